package servebench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"headroom.dev/apps/internal/onnxtest"
)

// Config is what is measured, and how long.
type Config struct {
	// Program is the model server, Self this program, which runs bare loops as
	// "Self bare".
	Program, Self string
	OrtLib, Model string
	// Pictures are the folder's JPEG files, which all requests take in turn.
	Pictures string
	// Photo is a JPEG to preprocess besides the ones that are made up; may be
	// empty.
	Photo string
	// ServerCPUs are the cores of the server and of bare loops, as taskset takes
	// them; Slots is how many they are.
	ServerCPUs string
	Slots      int
	Rounds     int
	Stretch    time.Duration
	// Requests is how many the memory is watched for.
	Requests int
	Progress func(format string, args ...any)
}

// Run measures everything.
func Run(ctx context.Context, config Config) (map[string]Figure, error) {
	figures := map[string]Figure{}
	for _, part := range []func(context.Context, Config, map[string]Figure) error{
		startup, preprocessing224, serving, memory,
	} {
		if err := part(ctx, config, figures); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

func (c Config) start(ctx context.Context, flags ...string) (*Server, error) {
	return StartServer(ctx, c.Program, c.ServerCPUs, append([]string{"--ort-lib", c.OrtLib}, flags...)...)
}

func startup(ctx context.Context, config Config, figures map[string]Figure) error {
	config.Progress("start-up to ready")
	var rounds []float64
	for range config.Rounds {
		server, err := config.start(ctx, "--model", config.Model)
		if err != nil {
			return err
		}
		rounds = append(rounds, server.Startup.Seconds())
		if err := server.Stop(); err != nil {
			return err
		}
	}
	figures["modelserver_startup_seconds"] = Median("s", "from starting the program to /readyz answering 200: load, warm-up and calibration", rounds, nil)
	return nil
}

func preprocessing224(ctx context.Context, config Config, figures map[string]Figure) error {
	pictures := map[string][]byte{}
	for _, size := range []image.Point{{1000, 563}, {4000, 3000}} {
		photo, err := Photo(size.X, size.Y)
		if err != nil {
			return err
		}
		pictures[fmt.Sprintf("preprocess_speedup_%dx%d", size.X, size.Y)] = photo
	}
	if config.Photo != "" {
		photo, err := os.ReadFile(config.Photo)
		if err != nil {
			return err
		}
		pictures["preprocess_speedup_photo"] = photo
	}
	for name, picture := range pictures {
		config.Progress("%s", name)
		ours, standard, err := Preprocess(ctx, picture, config.Rounds, config.Stretch/4)
		if err != nil {
			return err
		}
		ratios := make([]float64, len(ours))
		for i := range ours {
			ratios[i] = standard[i] / ours[i]
		}
		figures[name] = Median("times", "a JPEG to a 224×224 input, against the standard library's decoder and x/image/draw's BiLinear", ratios,
			map[string]any{"ours_s": ours, "standard_s": standard, "bytes": len(picture)})
	}
	return nil
}

// round is one of serving.
type round struct {
	Bare     Phase `json:"bare_loop"`
	HTTP     Phase `json:"http_at_saturation"`
	BareHalf Phase `json:"bare_loop_at_half_load"`
	Half     Phase `json:"http_at_half_load"`
}

func serving(ctx context.Context, config Config, figures map[string]Figure) error {
	pictures, err := ReadPictures(config.Pictures)
	if err != nil {
		return err
	}
	server, err := config.start(ctx, "--model", config.Model, "--slots", strconv.Itoa(config.Slots), "--max-waiting", "64")
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	if _, err := server.Load(4*config.Slots, config.Stretch/2, 0, pictures); err != nil { // so that memory and caches are warm
		return err
	}
	var rounds []round
	var efficiencies, overheads, sameRate, sizes, objects []float64
	for i := range config.Rounds {
		config.Progress("serving, round %d of %d", i+1, config.Rounds)
		var r round
		if r.Bare, err = config.bare(ctx, config.Stretch, 0); err != nil {
			return err
		}
		sizeBefore, objectsBefore, err := server.Allocated()
		if err != nil {
			return err
		}
		if r.HTTP, err = server.Load(4*config.Slots, config.Stretch, 0, pictures); err != nil {
			return err
		}
		sizeAfter, objectsAfter, err := server.Allocated()
		if err != nil {
			return err
		}
		// Twice as long, for as many requests.
		if r.BareHalf, err = config.bare(ctx, 2*config.Stretch, r.HTTP.Rate()/2); err != nil {
			return err
		}
		if r.Half, err = server.Load(4*config.Slots, 2*config.Stretch, r.HTTP.Rate()/2, pictures); err != nil {
			return err
		}
		if failed := r.HTTP.Failed + r.Half.Failed; failed > 0 {
			return fmt.Errorf("%d requests were not answered", failed)
		}
		rounds = append(rounds, r)
		efficiencies = append(efficiencies, r.HTTP.Rate()/r.Bare.Rate())
		overheads = append(overheads, 1000*(r.Half.P99-r.Bare.P99))
		sameRate = append(sameRate, 1000*(r.Half.P99-r.BareHalf.P99))
		sizes = append(sizes, (sizeAfter-sizeBefore)/float64(r.HTTP.Requests))
		objects = append(objects, (objectsAfter-objectsBefore)/float64(r.HTTP.Requests))
	}
	resident, err := server.Resident()
	if err != nil {
		return err
	}
	figures["modelserver_efficiency"] = Median("ratio", "requests a second over HTTP at saturation, against a bare loop of the same decoding, preprocessing and network on the same cores", efficiencies, rounds)
	figures["modelserver_overhead_p99_ms"] = Median("ms", "99th percentile over HTTP at half load, evenly spaced, less that of the bare loop, which never pauses", overheads, nil)
	figures["modelserver_overhead_p99_same_rate_ms"] = Median("ms", "the same, less that of the bare loop at the same rate: a core that was idle finds its caches cold, whatever runs on it", sameRate, nil)
	figures["modelserver_bytes_per_request"] = Median("B", "allocated by Go for a request, the HTTP server included", sizes, nil)
	figures["modelserver_allocations_per_request"] = Median("objects", "allocated by Go for a request, the HTTP server included", objects, nil)
	figures["modelserver_resident_bytes"] = Figure{Value: float64(resident), Unit: "B", What: "resident memory after the load, with ONNX Runtime and the bundled model"}
	return nil
}

// bare runs a bare loop in a process of its own, on the server's cores, at a
// rate or without a pause.
func (c Config) bare(ctx context.Context, stretch time.Duration, rate float64) (Phase, error) {
	command := exec.CommandContext(ctx, "taskset", "--cpu-list", c.ServerCPUs, c.Self, "bare",
		"--ort-lib", c.OrtLib, "--model", c.Model, "--pictures", c.Pictures, "--slots", strconv.Itoa(c.Slots), "--stretch", stretch.String(), "--rate", strconv.FormatFloat(rate, 'f', -1, 64))
	command.Stderr = os.Stderr
	text, err := command.Output()
	if err != nil {
		return Phase{}, fmt.Errorf("the bare loop: %w", err)
	}
	var p Phase
	return p, json.Unmarshal(text, &p)
}

// ReadPictures reads the JPEG files of a folder.
func ReadPictures(folder string) ([][]byte, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.jpg"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no *.jpg", folder)
	}
	var pictures [][]byte
	for _, file := range files {
		picture, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, picture)
	}
	return pictures, nil
}

// memory watches a server over very many requests. Its network is tiny, so that
// they take seconds; the way of a request is the same.
func memory(ctx context.Context, config Config, figures map[string]Figure) (err error) {
	config.Progress("memory over %d requests", config.Requests)
	folder, err := os.MkdirTemp("", "headroom-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	network := onnxtest.Network{Width: 8, Height: 8, Flat: true}.Bytes()
	err = errors.Join(os.WriteFile(filepath.Join(folder, "model.onnx"), network, 0o600),
		os.WriteFile(filepath.Join(folder, "model.yaml"), []byte("name: means\noutput: {kind: logits}\n"), 0o600))
	if err != nil {
		return err
	}
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewGray(image.Rect(0, 0, 32, 32)), nil); err != nil {
		return err
	}
	server, err := config.start(ctx, "--model", folder, "--max-waiting", "64")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	// A tenth of the requests fill what is kept.
	var before, after int64
	sent := 0
	for sent < config.Requests {
		p, err := server.Load(8, time.Second, 0, [][]byte{picture.Bytes()})
		if err != nil {
			return err
		}
		if sent += p.Requests; before == 0 && sent >= config.Requests/10 {
			if before, err = server.Resident(); err != nil {
				return err
			}
		}
	}
	if after, err = server.Resident(); err != nil {
		return err
	}
	figures["modelserver_memory_growth"] = Figure{
		Value: float64(after)/float64(before) - 1, Unit: "share",
		What:    fmt.Sprintf("growth of the resident memory from a tenth of %d requests to the end", sent),
		Details: map[string]any{"before_bytes": before, "after_bytes": after, "requests": sent},
	}
	return nil
}
