package model

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/onnxtest"
)

const maxPixels = 25_000_000

var (
	red   = color.RGBA{R: 255, A: 255}
	green = color.RGBA{G: 255, A: 255}
	blue  = color.RGBA{B: 255, A: 255}
)

func startRuntime(t testing.TB) {
	t.Helper()
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
}

func solidPNG(t testing.TB, c color.Color) []byte {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 40, 30))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folderOf writes a model folder and returns it.
func folderOf(t testing.TB, network onnxtest.Network, spec, labels string) string {
	t.Helper()
	folder := t.TempDir()
	onnxtest.Write(t, filepath.Join(folder, "model.onnx"), network)
	for name, text := range map[string]string{SpecFile: spec, "labels.txt": labels} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func loadFolder(folder string) (*Model, error) {
	spec, err := ReadSpec(folder)
	if err != nil {
		return nil, err
	}
	labels, err := spec.ReadLabels(folder)
	if err != nil {
		return nil, err
	}
	return Load(folder, spec, labels)
}

// slotsOf loads folder and makes n warm slots.
func slotsOf(t testing.TB, folder string, n int) []*Slot {
	t.Helper()
	startRuntime(t)
	m, err := loadFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	slots, err := m.NewSlots(n, maxPixels, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, slot := range slots {
			slot.Close()
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return slots
}

func colorSpec(dtype onnx.DataType, layout imaging.Layout, order imaging.Color, kind Kind) string {
	return fmt.Sprintf(`
name: colors
labels: labels.txt
input: {name: input, dtype: %s, layout: %s, width: 8, height: 6, color: %s, scale: 0.00392156862745098}
output: {name: output, kind: %s}
`, dtype, layout, order, kind)
}

// The network answers with the channels' means, so a red picture gives (1,0,0)
// in the tensor's order, and a softmax of that e/(e+2) and twice 1/(e+2).
func TestClassifyByColor(t *testing.T) {
	high, low := math.E/(math.E+2), 1/(math.E+2)
	tests := []struct {
		name    string
		network onnxtest.Network
		spec    string
		labels  string
	}{
		{"float32 NCHW RGB", onnxtest.Network{Flat: true}, colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Logits), "red\ngreen\nblue\n"},
		{"float32 NCHW BGR", onnxtest.Network{Flat: true}, colorSpec(onnx.Float32, imaging.NCHW, imaging.BGR, Logits), "blue\ngreen\nred\n"},
		{"float32 NHWC RGB, four dimensions", onnxtest.Network{NHWC: true}, colorSpec(onnx.Float32, imaging.NHWC, imaging.RGB, Logits), "red\ngreen\nblue\n"},
		{"float16 NCHW BGR, four dimensions", onnxtest.Network{Type: onnxtest.Float16}, colorSpec(onnx.Float16, imaging.NCHW, imaging.BGR, Logits), "blue\ngreen\nred\n"},
		{"float16 NHWC RGB, open batch", onnxtest.Network{Type: onnxtest.Float16, NHWC: true, Open: true}, colorSpec(onnx.Float16, imaging.NHWC, imaging.RGB, Logits), "red\ngreen\nblue\n"},
		{"a network with its own softmax", onnxtest.Network{Flat: true, Softmax: true}, colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Softmax), "red\ngreen\nblue\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.network.Width, test.network.Height = 8, 6
			slot := slotsOf(t, folderOf(t, test.network, test.spec, test.labels), 1)[0]
			labels := strings.Fields(test.labels)
			for name, c := range map[string]color.Color{"red": red, "green": green, "blue": blue} {
				got, err := slot.Classify(t.Context(), solidPNG(t, c), 5)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != 3 {
					t.Fatalf("%d predictions for 3 classes", len(got))
				}
				if got[0].Label != name || labels[got[0].Class] != name || math.Abs(got[0].Probability-high) > 1e-3 || math.Abs(got[1].Probability-low) > 1e-3 {
					t.Errorf("%s: got %+v, want it first with %.4f, then %.4f", name, got, high, low)
				}
				// What is equally probable comes in the classes' order.
				if got[1].Class > got[2].Class {
					t.Errorf("%s: got %+v", name, got)
				}
			}
		})
	}
}

func TestClassifyGivesKPredictions(t *testing.T) {
	spec := strings.Replace(colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Logits), "labels: labels.txt\n", "", 1)
	slot := slotsOf(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true}, spec, ""), 1)[0]
	got, err := slot.Classify(t.Context(), solidPNG(t, green), 1)
	if err != nil || len(got) != 1 || got[0].Class != 1 || got[0].Label != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestClassifySaysWhatIsWrongWithAPicture(t *testing.T) {
	slot := slotsOf(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true},
		colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Logits), "red\ngreen\nblue\n"), 1)[0]
	var bad *imaging.Error
	if _, err := slot.Classify(t.Context(), []byte("no picture"), 1); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := slot.Classify(ctx, solidPNG(t, red), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Slots that work at the same time must not see each other's pictures.
func TestSlotsAtTheSameTime(t *testing.T) {
	slots := slotsOf(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true},
		colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Logits), "red\ngreen\nblue\n"), 6)
	pictures := [][]byte{solidPNG(t, red), solidPNG(t, green), solidPNG(t, blue)}
	var group sync.WaitGroup
	for i, slot := range slots {
		group.Go(func() {
			for round := range 100 {
				class := (i + round) % len(pictures)
				got, err := slot.Classify(t.Context(), pictures[class], 1)
				if err != nil || got[0].Class != class {
					t.Errorf("slot %d, round %d: got %+v, %v, want class %d", i, round, got, err, class)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestWhatDoesNotFitIsRefusedInOneLine(t *testing.T) {
	startRuntime(t)
	good := colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Logits)
	network := onnxtest.Network{Width: 8, Height: 6, Flat: true}
	tests := []struct {
		name    string
		network onnxtest.Network
		spec    string
		labels  string
		want    string // FOLDER stands for the model's folder
	}{
		{"type", network, colorSpec(onnx.Float16, imaging.NCHW, imaging.RGB, Logits), "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [1,3,6,8]; model.yaml expects float16 [1,3,6,8]`},
		{"layout", network, colorSpec(onnx.Float32, imaging.NHWC, imaging.RGB, Logits), "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [1,3,6,8]; model.yaml expects float32 [1,6,8,3]`},
		{"size", onnxtest.Network{Width: 224, Height: 224, Open: true}, good, "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [?,3,224,224]; model.yaml expects float32 [1,3,6,8]`},
		{"the input's name", network, strings.Replace(good, "name: input", "name: data", 1), "a\nb\nc\n",
			`FOLDER/model.onnx: the input is called "input"; input.name in model.yaml expects "data"`},
		{"the output's name", network, strings.Replace(good, "name: output", "name: logits", 1), "a\nb\nc\n",
			`FOLDER/model.onnx: the outputs are called "output"; output.name in model.yaml expects "logits"`},
		{"a second input", onnxtest.Network{Width: 8, Height: 6, Flat: true, SecondInput: true}, good, "a\nb\nc\n",
			`FOLDER/model.onnx has 2 inputs ("input", "bias"); expected 1`},
		{"labels", network, good, "a\nb\n",
			`FOLDER/labels.txt has 2 labels; output "output" of FOLDER/model.onnx has 3 classes`},
		{"the network is missing", network, good + "file: other.onnx\n", "a\nb\nc\n",
			`model file missing: stat FOLDER/other.onnx: no such file or directory`},
		{"the network is none", network, good + "file: labels.txt\n", "a\nb\nc\n",
			`FOLDER/labels.txt can't be loaded: .*`},
		// The grey picture of the warm-up has the mean 128/255 in each of 3 channels.
		{"logits that are called probabilities", network, colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB, Softmax), "a\nb\nc\n",
			`warming up model colors: output "output" of model colors: the classes add up to 1.506, not 1: is output.kind in model.yaml logits?`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := folderOf(t, test.network, test.spec, test.labels)
			m, err := loadFolder(folder)
			if err == nil {
				_, err = m.NewSlots(1, maxPixels, 1)
				defer func() { _ = m.Close() }()
			}
			want := strings.ReplaceAll(test.want, "FOLDER", folder)
			if err == nil || (err.Error() != want && !onlyPattern(want, err.Error())) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// onlyPattern matches a wish that ends in .* against one line.
func onlyPattern(want, got string) bool {
	prefix, isPattern := strings.CutSuffix(want, ".*")
	return isPattern && strings.HasPrefix(got, prefix) && !strings.Contains(got, "\n")
}

func TestProbabilities(t *testing.T) {
	nan := float32(math.NaN())
	tests := []struct {
		name   string
		output []float32
		kind   Kind
		want   []float64
		err    string
	}{
		{"logits", []float32{0, float32(math.Log(3))}, Logits, []float64{0.25, 0.75}, ""},
		{"logits that would overflow exp", []float32{1000, 1000}, Logits, []float64{0.5, 0.5}, ""},
		{"probabilities of halves, a little off", []float32{1.0005, -0.0002}, Softmax, []float64{1, 0}, ""},
		{"no number", []float32{1, nan}, Logits, nil, "class 1 is NaN, which is no finite number"},
		{"logits that are called probabilities", []float32{3, -2}, Softmax, nil, "class 0 is 3, which is no probability: is output.kind in model.yaml logits?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := probabilities(test.output, test.kind)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != test.err || len(got) != len(test.want) {
				t.Fatalf("got %v, %q, want %v, %q", got, message, test.want, test.err)
			}
			for i := range got {
				if math.Abs(got[i]-test.want[i]) > 1e-6 {
					t.Errorf("got %v, want %v", got, test.want)
				}
			}
		})
	}
}

const bundled = "../../../models/vehicles"

// The bundled model must know every sample that is bundled with it; a sample's
// name is its label, and a number where there are more.
func TestBundledModelKnowsItsSamples(t *testing.T) {
	slot := slotsOf(t, bundled, 1)[0]
	samples, err := filepath.Glob(filepath.Join(bundled, "samples", "*.jpg"))
	if err != nil || len(samples) < slot.model.Classes() {
		t.Fatalf("%d samples for %d classes, %v", len(samples), slot.model.Classes(), err)
	}
	number := regexp.MustCompile(`-\d+$`)
	for _, sample := range samples {
		body, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		name := number.ReplaceAllString(strings.TrimSuffix(filepath.Base(sample), ".jpg"), "")
		got, err := slot.Classify(t.Context(), body, 2)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(got[0].Label, " ", "-") != name {
			t.Errorf("%s is taken for %+v", filepath.Base(sample), got)
		}
	}
}

// A real ImageNet model, float16 and BGR, where the machine has one: make
// model NAME=squeezenet-imagenet fetches it. The picture is one of a fire
// engine, class 555 of ImageNet.
func TestImageNetModelKnowsAFireEngine(t *testing.T) {
	folder, picture := os.Getenv("HEADROOM_IMAGENET_MODEL_DIR"), os.Getenv("HEADROOM_IMAGENET_PICTURE")
	if folder == "" || picture == "" {
		t.Skip("HEADROOM_IMAGENET_MODEL_DIR (a model folder) and HEADROOM_IMAGENET_PICTURE (a fire engine) are not set")
	}
	body, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	got, err := slotsOf(t, folder, 1)[0].Classify(t.Context(), body, 5)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Class != 555 || !strings.Contains(got[0].Label, "fire engine") || got[0].Probability < 0.9 {
		t.Errorf("got %+v", got)
	}
}

// photo is a JPEG of 320×240 pixels with smooth areas, edges and grain, as a
// photograph has them.
func photo(b *testing.B) []byte {
	b.Helper()
	random := rand.New(rand.NewPCG(5, 6))
	picture := image.NewRGBA(image.Rect(0, 0, 320, 240))
	for y := range 240 {
		for x := range 320 {
			grain := random.IntN(12)
			c := color.RGBA{R: uint8(x/2 + grain), G: uint8(y/2 + 40 + grain), B: uint8((x+y)/4 + grain), A: 255}
			if (x-160)*(x-160)+(y-120)*(y-120) < 70*70 {
				c.R, c.B = uint8(200+grain), uint8(30+grain)
			}
			picture.SetRGBA(x, y, c)
		}
	}
	var buffer bytes.Buffer
	if err := jpeg.Encode(&buffer, picture, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	return buffer.Bytes()
}

// What one request costs, by stage, with the bundled model or that in the
// folder HEADROOM_BENCH_MODEL_DIR.
func BenchmarkStages(b *testing.B) {
	slot := slotsOf(b, cmp.Or(os.Getenv("HEADROOM_BENCH_MODEL_DIR"), bundled), 1)[0]
	body := photo(b)
	picture, err := imaging.Decode(b.Context(), body, maxPixels)
	if err != nil {
		b.Fatal(err)
	}
	slot.fill(picture)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := imaging.Decode(b.Context(), body, maxPixels); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("preprocess", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			slot.fill(picture)
		}
	})
	b.Run("run", func(b *testing.B) {
		for b.Loop() {
			if _, err := slot.run.Do(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			if _, err := slot.Classify(b.Context(), body, 5); err != nil {
				b.Fatal(err)
			}
		}
	})
}
