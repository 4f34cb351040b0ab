// Command modelserver classifies pictures with one ONNX model over HTTP.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/libjpeg"
	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/serve"
	"headroom.dev/apps/internal/tracing"
)

type options struct {
	Model           string        `required:"" env:"MODEL" placeholder:"DIR" help:"Folder with model.yaml, the network and its labels."`
	Listen          string        `env:"LISTEN" default:":6001" help:"Address for requests over HTTP and probes, host:port."`
	GRPCListen      string        `name:"grpc-listen" env:"GRPC_LISTEN" default:":9000" help:"Address for the Open Inference Protocol over gRPC, host:port; empty for none."`
	MetricsListen   string        `env:"METRICS_LISTEN" default:":8001" help:"Address for /metrics, host:port."`
	OrtLib          string        `env:"ORT_LIB" placeholder:"FILE" help:"ONNX Runtime's shared library. Default: libonnxruntime.so.1 or libonnxruntime.so next to this program, in /usr/lib, /usr/local/lib or ./.headroom/lib."`
	CPUMax          string        `name:"cpu-max" env:"CPU_MAX" placeholder:"FILE" help:"Absolute path of a file with the CPU limit, in the format of a cgroup's cpu.max, where something else than a cgroup limits this process too; it is followed. Default: the cgroup's limit alone."`
	Slots           int           `env:"SLOTS" default:"0" help:"Runs of the network at the same time, each on one core, and pictures decoded at the same time, 1 to 256. Default (0): the CPU limit, rounded up, also where it changes later."`
	MaxBatch        int           `env:"MAX_BATCH" default:"0" help:"Most pictures of one run, 1 to 64, of those that wait; nothing waits for a batch to fill. Default (0): what is measured at the start to gain a tenth or more, else 1."`
	Calibration     time.Duration `env:"CALIBRATION" default:"300ms" help:"Longest time for that measurement on a whole core, 0s (none) to 1m; with a CPU limit below one core it is that share of it."`
	MaxWaiting      int           `env:"MAX_WAITING" default:"-1" help:"Requests that may wait for a slot, 0 to 10000; more are refused. Default (-1): 4 times the slots."`
	MaxBody         int64         `env:"MAX_BODY" default:"10485760" help:"Largest request body in bytes, 1024 to 1073741824."`
	MaxBodyMemory   int64         `env:"MAX_BODY_MEMORY" default:"134217728" help:"Most bytes of all request bodies in memory at the same time, 1048576 to 1099511627776; more are refused. Over gRPC each call to infer counts as the largest body; others, up to 8 at a time, do not count."`
	MaxPixels       int64         `env:"MAX_PIXELS" default:"25000000" help:"Most pixels of a picture, 1 to 1000000000."`
	MaxDecodeMemory int64         `env:"MAX_DECODE_MEMORY" default:"268435456" help:"Most bytes of memory that pictures take while they are decoded, all together, 1048576 to 1099511627776: 3 to 24 a pixel, by format. One that needs more is refused, others wait."`
	ReadTimeout     time.Duration `env:"READ_TIMEOUT" default:"10s" help:"Longest time for a request body to arrive, 1ms to 90s."`
	DecodeTimeout   time.Duration `env:"DECODE_TIMEOUT" default:"5s" help:"Longest time to decode a picture, 1ms to 90s."`
	Timeout         time.Duration `env:"TIMEOUT" default:"10s" help:"Longest that a request may take, also where its deadline is later or there is none, 1ms to 90s."`
	DrainDelay      time.Duration `env:"DRAIN_DELAY" default:"2s" help:"After SIGTERM: time for others to see that this server is not ready, while it still serves, 0s to 5m."`
	Drain           time.Duration `env:"DRAIN" default:"20s" help:"After that: longest wait for requests in flight, 0s to 10m."`
	Traces          tracing.Flags `embed:""`
}

// Validate is called by kong.
func (o *options) Validate() error {
	ranges := []struct {
		flag            string
		value, from, to int64
	}{
		{"--slots", int64(o.Slots), 0, 256},
		{"--max-batch", int64(o.MaxBatch), 0, model.MaxBatch},
		{"--max-waiting", int64(o.MaxWaiting), -1, 10000},
		{"--max-body", o.MaxBody, 1024, 1 << 30},
		{"--max-body-memory", o.MaxBodyMemory, 1 << 20, 1 << 40},
		{"--max-decode-memory", o.MaxDecodeMemory, 1 << 20, 1 << 40},
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
		{"--calibration", o.Calibration, 0, time.Minute},
		{"--read-timeout", o.ReadTimeout, time.Millisecond, 90 * time.Second},
		{"--decode-timeout", o.DecodeTimeout, time.Millisecond, 90 * time.Second},
		{"--timeout", o.Timeout, time.Millisecond, 90 * time.Second},
		{"--drain-delay", o.DrainDelay, 0, 5 * time.Minute},
		{"--drain", o.Drain, 0, 10 * time.Minute},
	}
	for _, r := range durations {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%s is %v; allowed: %v to %v", r.flag, r.value, r.from, r.to)
		}
	}
	if o.CPUMax != "" && !filepath.IsAbs(o.CPUMax) {
		return fmt.Errorf("--cpu-max is %q; allowed: an absolute path", o.CPUMax)
	}
	if o.MaxBodyMemory < o.MaxBody {
		return fmt.Errorf("--max-body-memory is %d; allowed: from --max-body, %d", o.MaxBodyMemory, o.MaxBody)
	}
	return o.Traces.Check()
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	return command.Run("modelserver", "Classifies pictures with one ONNX model: POST / on the request address, and the Open Inference Protocol over REST and gRPC.",
		&o, args, stdout, stderr, func(*kong.Context) error { return begin(o, stderr) })
}

// begin reads what can be read beforehand, and serves until it is told to stop.
func begin(o options, stderr io.Writer) error {
	spec, err := model.ReadSpec(o.Model)
	if err != nil {
		return command.AsUsage(err)
	}
	labels, err := spec.ReadLabels(o.Model)
	if err != nil {
		return command.AsUsage(err)
	}
	if o.OrtLib == "" {
		if o.OrtLib, err = findLibrary(); err != nil {
			return command.AsUsage(err)
		}
	}
	if o.CPUMax != "" {
		if _, err := o.cores(os.DirFS("/"), runtime.NumCPU())(); err != nil {
			return command.AsUsage(fmt.Errorf("--cpu-max: %w", err))
		}
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	traces, err := o.Traces.Start("model-server", command.Version(), log)
	if err != nil {
		return err
	}
	defer traces.Finish(log)
	return serveModel(o, spec, labels, traces, log)
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
func serveModel(o options, spec model.Spec, labels []string, traces *tracing.Tracing, log *slog.Logger) error {
	signals, stopSignals := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stopSignals()

	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	sizer := startSizer(ctx, o, os.DirFS("/"), runtime.NumCPU(), limitEvery, log)
	api := modelapi.New(modelapi.Config{
		Limits:  picture.Limits{Body: o.MaxBody, Memory: o.MaxBodyMemory, Time: o.ReadTimeout},
		Timeout: o.Timeout, Version: command.Version(), Metrics: sizer.metrics, Tracing: traces, Log: log,
	})
	servers, err := listen(o, api, sizer.metrics)
	if err != nil {
		return err
	}

	loaded := make(chan error, 1)
	go func() { loaded <- load(ctx, sizer, spec, labels, api) }()
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

	err = serve.Run(ctx, log, o.Drain, servers...)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// listen opens the addresses, in the order in which they are to be closed.
func listen(o options, api *modelapi.API, metrics *modelapi.Metrics) (servers []*serve.Server, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				err = errors.Join(err, s.Close())
			}
		}
	}()
	open := func(s *serve.Server, err error) error {
		if err == nil {
			servers = append(servers, s)
		}
		return err
	}
	if err := open(serve.Listen("request", o.Listen, api.Handler())); err != nil {
		return servers, err
	}
	if o.GRPCListen != "" {
		if err := open(serve.ListenGRPC("gRPC", o.GRPCListen, api.GRPC())); err != nil {
			return servers, err
		}
	}
	return servers, open(serve.Listen("metrics", o.MetricsListen, metrics.Handler()))
}

// load loads the model and has the API answer with it. sizer has the rest of
// what it takes.
func load(ctx context.Context, sizer *sizer, spec model.Spec, labels []string, api *modelapi.API) error {
	o := sizer.options
	if err := onnx.Start(o.OrtLib); err != nil {
		return err
	}
	slots, waiting := sizer.places()
	// With less than a core it would take longer, and a start is what a burst
	// waits for.
	calibration := time.Duration(float64(o.Calibration) * min(1, sizer.limit.Cores()))
	c, err := classifier.Load(ctx, o.Model, spec, labels, classifier.Config{
		Slots: slots, Waiting: waiting, MaxBatch: o.MaxBatch, Calibration: calibration,
		Limits: imaging.Limits{Pixels: o.MaxPixels, Memory: imaging.NewBudget(o.MaxDecodeMemory), Time: o.DecodeTimeout}, Observer: sizer.metrics,
	})
	if err != nil {
		return err
	}
	report := c.Report()
	api.Ready(c, slots, report)
	sizer.log.Info("ready", "model", c.Name(), "version", c.Version(), "input", c.Input().String(), "classes", c.Classes(),
		"slots", slots, "max_waiting", waiting, "max_batch", report.Batch, "batch_costs", report.Costs,
		"load_seconds", report.Load.Seconds(), "warmup_seconds", report.WarmUp.Seconds(),
		"libjpeg", libjpeg.Available, "ort_lib", o.OrtLib)
	sizer.loaded(c)
	return nil
}
