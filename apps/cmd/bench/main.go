// Command bench measures the model server and the dispatcher beside their limits
// and peers in the same run, and writes what it found as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/dispatchbench"
	"headroom.dev/apps/internal/servebench"
)

// shortestStretch is the least in which something can be measured.
const shortestStretch = 100 * time.Millisecond

type common struct {
	OrtLib   string        `required:"" env:"ORT_LIB" placeholder:"FILE" help:"ONNX Runtime's shared library."`
	Model    string        `required:"" placeholder:"DIR" help:"Folder of the model."`
	Pictures string        `required:"" placeholder:"DIR" help:"Folder of *.jpg to classify."`
	Slots    int           `default:"1" help:"Runs of the network at the same time: the server's cores."`
	Stretch  time.Duration `default:"4s" help:"Length of one measurement."`
}

type options struct {
	ModelServer struct {
		common
		Program    string `required:"" placeholder:"FILE" help:"The model server."`
		ServerCPUs string `name:"server-cpus" default:"0" help:"Cores of the server and of bare loops, as taskset takes them."`
		Rounds     int    `default:"5" help:"Rounds, of which medians are taken."`
		Requests   int    `default:"200000" help:"Requests over which memory is watched."`
		Photo      string `placeholder:"FILE" help:"A JPEG to preprocess besides the ones that are made up."`
		Out        string `required:"" placeholder:"FILE" help:"JSON file to put the figures into."`
	} `cmd:"" name:"modelserver" help:"Measure everything about the model server."`
	Bare struct {
		common
		Rate float64 `help:"Pictures to begin a second, evenly spaced; 0 for as many as there can be."`
	} `cmd:"" help:"Classify in a bare loop and print what it reached, as JSON."`
	Dispatcher struct {
		Program     string        `required:"" placeholder:"FILE" help:"The dispatcher."`
		Peers       string        `required:"" placeholder:"FILE" help:"asynqbench, which does the same by other ways."`
		SubjectCPUs string        `name:"subject-cpus" default:"0" help:"The core of the dispatcher and of what it is measured beside, as taskset takes it. All else runs where this program does."`
		Folder      string        `placeholder:"DIR" help:"Where Redis may write hundreds of megabytes. Default: the system's for temporary files."`
		Rounds      int           `default:"5" help:"Rounds, of which medians are taken."`
		Stretch     time.Duration `default:"2s" help:"Length of one measurement."`
		Seed        uint64        `default:"1" help:"Of the instants at which requests are sent."`
		Parts       []string      `default:"overhead,throughput,overload" enum:"overhead,throughput,overload" placeholder:"NAME" help:"What is measured: overhead, throughput, overload; separated by commas."`
		Out         string        `required:"" placeholder:"FILE" help:"JSON file to put the figures into."`
	} `cmd:"" help:"Measure everything about the dispatcher."`
	Stub struct {
		Listen  []string      `required:"" placeholder:"HOST:PORT" help:"Addresses, of one server each."`
		Service time.Duration `help:"How long a request holds one of the slots; with 0 there are none."`
		Slots   int           `default:"1" help:"Requests that each server works on at a time."`
		Waiting int           `default:"16" help:"Requests that each lets wait besides; more are refused."`
	} `cmd:"" help:"Be model servers that only take time."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	return command.Run("bench", "Measures the model server and the dispatcher beside their limits.", &o, args, stdout, stderr, func(parsed *kong.Context) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		switch parsed.Command() {
		case "bare":
			return bare(ctx, o.Bare.common, o.Bare.Rate, stdout)
		case "stub":
			return dispatchbench.Stub(ctx, dispatchbench.StubConfig{Listen: o.Stub.Listen, Service: o.Stub.Service, Slots: o.Stub.Slots, Waiting: o.Stub.Waiting})
		case "dispatcher":
			return dispatcher(ctx, o, stdout, stderr)
		}
		return modelServer(ctx, o, stdout, stderr)
	})
}

func bare(ctx context.Context, o common, rate float64, stdout io.Writer) error {
	pictures, err := servebench.ReadPictures(o.Pictures)
	if err != nil {
		return err
	}
	phase, err := servebench.Bare(ctx, servebench.BareConfig{
		OrtLib: o.OrtLib, Model: o.Model, Pictures: pictures, Slots: o.Slots, For: o.Stretch, Rate: rate,
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(phase)
}

func modelServer(ctx context.Context, o options, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	m := o.ModelServer
	figures, err := servebench.Run(ctx, servebench.Config{
		Program: m.Program, Self: self, OrtLib: m.OrtLib, Model: m.Model, Pictures: m.Pictures, Photo: m.Photo,
		ServerCPUs: m.ServerCPUs, Slots: m.Slots, Rounds: m.Rounds, Stretch: m.Stretch, Requests: m.Requests,
		Progress: progress(stderr),
	})
	if err != nil {
		return err
	}
	servebench.Print(stdout, figures)
	return servebench.Save(m.Out, figures)
}

func dispatcher(ctx context.Context, o options, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d := o.Dispatcher
	if d.Rounds < 1 || d.Stretch < shortestStretch {
		return command.AsUsage(fmt.Errorf("--rounds is %d and --stretch %v; allowed: from 1, and from %v", d.Rounds, d.Stretch, shortestStretch))
	}
	figures, err := dispatchbench.Run(ctx, dispatchbench.Config{
		Program: d.Program, Self: self, Peers: d.Peers, SubjectCPUs: d.SubjectCPUs, Folder: d.Folder,
		Rounds: d.Rounds, Stretch: d.Stretch, Seed: d.Seed, Parts: d.Parts, Progress: progress(stderr),
	})
	if err != nil {
		return err
	}
	servebench.Print(stdout, figures)
	return servebench.Save(d.Out, figures)
}

func progress(stderr io.Writer) func(format string, args ...any) {
	return func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "bench: "+format+"\n", args...) }
}
