// Command modelserver classifies pictures with one ONNX model over HTTP.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/apps/internal/cpuquota"
	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/serve"
)

// warmUps is how often each slot runs before the server says that it is ready.
// After the second run, the times of a small network no longer fall.
const warmUps = 3

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

type options struct {
	Model         string        `required:"" env:"MODEL" placeholder:"DIR" help:"Folder with model.yaml, the network and its labels."`
	Listen        string        `env:"LISTEN" default:":6001" help:"Address for requests and probes, host:port."`
	MetricsListen string        `env:"METRICS_LISTEN" default:":8001" help:"Address for /metrics, host:port."`
	OrtLib        string        `env:"ORT_LIB" placeholder:"FILE" help:"ONNX Runtime's shared library. Default: libonnxruntime.so.1 or libonnxruntime.so next to this program, in /usr/lib, /usr/local/lib or ./.headroom/lib."`
	Slots         int           `env:"SLOTS" default:"0" help:"Pictures classified at the same time, 1 to 256. Default (0): the CPU limit, rounded up."`
	MaxWaiting    int           `env:"MAX_WAITING" default:"-1" help:"Requests that may wait for a slot, 0 to 10000; more are refused. Default (-1): 4 times the slots."`
	MaxBody       int64         `env:"MAX_BODY" default:"10485760" help:"Largest request body in bytes, 1024 to 1073741824."`
	MaxPixels     int64         `env:"MAX_PIXELS" default:"25000000" help:"Most pixels of a picture, 1 to 1000000000. Decoding takes up to about 12 bytes of memory a pixel."`
	Timeout       time.Duration `env:"TIMEOUT" default:"10s" help:"Longest that a request may take, also where its deadline is later or there is none, 1ms to 90s."`
	DrainDelay    time.Duration `env:"DRAIN_DELAY" default:"2s" help:"After SIGTERM: time for others to see that this server is not ready, while it still serves, 0s to 5m."`
	Drain         time.Duration `env:"DRAIN" default:"20s" help:"After that: longest wait for requests in flight, 0s to 10m."`
}

// Validate is called by kong.
func (o *options) Validate() error {
	ranges := []struct {
		flag            string
		value, from, to int64
	}{
		{"--slots", int64(o.Slots), 0, 256},
		{"--max-waiting", int64(o.MaxWaiting), -1, 10000},
		{"--max-body", o.MaxBody, 1024, 1 << 30},
		{"--max-pixels", o.MaxPixels, 1, 1_000_000_000},
	}
	for _, r := range ranges {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%s is %d; allowed: %d to %d", r.flag, r.value, r.from, r.to)
		}
	}
	durations := []struct {
		flag            string
		value, from, to time.Duration
	}{
		{"--timeout", o.Timeout, time.Millisecond, 90 * time.Second},
		{"--drain-delay", o.DrainDelay, 0, 5 * time.Minute},
		{"--drain", o.Drain, 0, 10 * time.Minute},
	}
	for _, r := range durations {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%s is %v; allowed: %v to %v", r.flag, r.value, r.from, r.to)
		}
	}
	return nil
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fail := func(code int, err error) int {
		_, _ = fmt.Fprintf(stderr, "modelserver: %v\n", err)
		return code
	}

	var o options
	helped := false
	parser, err := kong.New(&o, kong.Name("modelserver"),
		kong.Description("Classifies pictures with one ONNX model: POST / on the request address."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }))
	if err != nil {
		return fail(exitError, err)
	}
	_, err = parser.Parse(args)
	if helped {
		return exitOK
	}
	if err != nil {
		return fail(exitUsage, err)
	}

	spec, err := model.ReadSpec(o.Model)
	if err != nil {
		return fail(exitUsage, err)
	}
	labels, err := spec.ReadLabels(o.Model)
	if err != nil {
		return fail(exitUsage, err)
	}
	if o.OrtLib == "" {
		if o.OrtLib, err = findLibrary(); err != nil {
			return fail(exitUsage, err)
		}
	}

	log := slog.New(slog.NewJSONHandler(stderr, nil))
	if err := serveModel(o, spec, labels, log); err != nil {
		return fail(exitError, err)
	}
	return exitOK
}

func findLibrary() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's folder: %w", err)
	}
	path, err := onnx.FindLibrary(filepath.Dir(program), "/usr/lib", "/usr/local/lib", ".headroom/lib")
	if err != nil {
		return "", fmt.Errorf("%w; name it with --ort-lib or ORT_LIB", err)
	}
	return path, nil
}

// serveModel listens, loads the model, serves, and drains on SIGTERM or
// SIGINT. A second signal ends the process at once.
func serveModel(o options, spec model.Spec, labels []string, log *slog.Logger) error {
	signals, stopSignals := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stopSignals()

	cores := cpuLimit(log)
	if o.Slots == 0 {
		o.Slots = max(1, int(math.Ceil(cores())))
	}
	if o.MaxWaiting < 0 {
		o.MaxWaiting = 4 * o.Slots
	}
	api := modelapi.New(modelapi.Config{
		MaxBody: o.MaxBody, Timeout: o.Timeout, MaxWaiting: o.MaxWaiting, CPULimit: cores, Log: log,
	})
	requests, err := serve.Listen("request", o.Listen, api.Handler())
	if err != nil {
		return err
	}
	metrics, err := serve.Listen("metrics", o.MetricsListen, api.MetricsHandler())
	if err != nil {
		return errors.Join(err, requests.Close())
	}

	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	loaded := make(chan error, 1)
	go func() { loaded <- load(o, spec, labels, api, log) }()
	go func() {
		select {
		case err := <-loaded:
			if err != nil {
				stop(err)
				return
			}
		case <-signals.Done():
			stop(nil)
			return
		}
		<-signals.Done()
		stopSignals()
		log.Info("draining", "delay", o.DrainDelay.String(), "drain", o.Drain.String())
		api.Drain()
		time.Sleep(o.DrainDelay)
		stop(nil)
	}()

	err = serve.Run(ctx, log, o.Drain, requests, metrics)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

func load(o options, spec model.Spec, labels []string, api *modelapi.API, log *slog.Logger) error {
	begin := time.Now()
	if err := onnx.Start(o.OrtLib); err != nil {
		return err
	}
	m, err := model.Load(o.Model, spec, labels)
	if err != nil {
		return err
	}
	ready, err := m.NewSlots(o.Slots, o.MaxPixels, warmUps)
	if err != nil {
		return errors.Join(err, m.Close())
	}
	served := make([]modelapi.Slot, len(ready))
	for i, slot := range ready {
		served[i] = slot
	}
	took := time.Since(begin)
	api.Ready(m.Name(), served, took)
	log.Info("ready", "model", m.Name(), "version", spec.Version, "classes", m.Classes(), "slots", o.Slots,
		"max_waiting", o.MaxWaiting, "load_seconds", took.Seconds(), "ort_lib", o.OrtLib)
	return nil
}

// cpuLimit reads the CPU limit anew on each call: a pod's limit can be changed
// while it runs. Where it can't be read, it is the machine's cores.
func cpuLimit(log *slog.Logger) func() float64 {
	root := os.DirFS("/")
	return func() float64 {
		cores, err := cpuquota.Cores(root, runtime.NumCPU())
		if err != nil {
			log.Warn("the CPU limit can't be read; taking the machine's cores", "error", err)
			return float64(runtime.NumCPU())
		}
		return cores
	}
}
