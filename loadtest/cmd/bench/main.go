// Command bench measures the load tester beside vegeta, and how fast it can be
// and still be on time.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/loadtest/internal/loadbench"
)

type runOptions struct {
	Vegeta     string        `required:"" type:"existingfile" placeholder:"FILE" help:"vegetabench."`
	Picture    string        `required:"" type:"existingfile" placeholder:"FILE" help:"What is sent."`
	LoadCPUs   string        `name:"load-cpus" required:"" placeholder:"LIST" help:"Cores of the load generators, as taskset takes them: one, for figures per core to be that."`
	ServerCPUs string        `name:"server-cpus" required:"" placeholder:"LIST" help:"Cores of the server."`
	Out        string        `required:"" placeholder:"FILE" help:"JSON file to put the figures into."`
	Rounds     int           `default:"5" help:"Rounds, of which medians are taken, 1 to 100. Default: ${default}."`
	Stretch    time.Duration `default:"5s" help:"Length of each measurement, whole seconds. Default: ${default}."`
}

type options struct {
	Run  runOptions `cmd:"" help:"Measure everything."`
	Stub struct {
		Listen string `required:"" placeholder:"HOST:PORT" help:"Where to listen."`
	} `cmd:"" help:"Answer every request with the same prediction."`
	Fire struct {
		Target  string        `required:"" placeholder:"URL" help:"Where to send to."`
		Picture string        `required:"" type:"existingfile" placeholder:"FILE" help:"What to send."`
		Rate    float64       `required:"" help:"Requests a second."`
		Stretch time.Duration `default:"5s" help:"How long, whole seconds. Default: ${default}."`
	} `cmd:"" help:"Send a constant rate and print what became of it."`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var o options
	parser, err := kong.New(&o, kong.Name("bench"), kong.Description("Measures the load tester."))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch parsed.Command() {
	case "stub":
		listener, err := net.Listen("tcp", o.Stub.Listen)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = listener.Close() })
		return loadbench.Serve(listener)
	case "fire":
		f := o.Fire
		outcome, err := loadbench.Fire(ctx, loadbench.Load{Target: f.Target, Picture: f.Picture, Rate: f.Rate, Stretch: f.Stretch})
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(outcome)
	}
	figures, err := measure(ctx, o.Run)
	if err != nil {
		return err
	}
	loadbench.Print(os.Stdout, figures)
	return loadbench.Save(o.Run.Out, figures)
}

func measure(ctx context.Context, o runOptions) (map[string]loadbench.Figure, error) {
	if o.Rounds < 1 || o.Rounds > 100 {
		return nil, fmt.Errorf("--rounds %d: allowed are numbers from 1 to 100", o.Rounds)
	}
	if o.Stretch < time.Second || o.Stretch%time.Second != 0 || o.Stretch > time.Hour {
		return nil, fmt.Errorf("--stretch %v: allowed are whole seconds from 1s to 1h", o.Stretch)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return loadbench.Run(ctx, loadbench.Config{
		Self: self, Vegeta: o.Vegeta, Picture: o.Picture, LoadCPUs: o.LoadCPUs, ServerCPUs: o.ServerCPUs,
		Rounds: o.Rounds, Stretch: o.Stretch,
		Progress: func(format string, args ...any) { _, _ = fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
}
