// Command asynqbench does what the dispatcher's queue does by two other ways,
// for the dispatcher to be measured beside: through asynq, a Go job queue on
// Redis, and with the bare Redis commands that a queue can't do without.
//
// It is a module of its own so that no program of headroom depends on asynq.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// common is what each way needs to know.
type common struct {
	Redis   string        `required:"" placeholder:"HOST:PORT" help:"Redis. What is in the database given by --db is removed."`
	DB      int           `name:"db" default:"0" help:"Number of the database in it."`
	Payload string        `required:"" type:"existingfile" placeholder:"FILE" help:"What each job holds."`
	Stretch time.Duration `default:"2s" help:"Length of the measurement."`
}

type saturation struct {
	common
	WarmUp time.Duration `default:"500ms" help:"Time at full load before that."`
}

type options struct {
	Raw struct {
		saturation
		InFlight int `default:"64" help:"Jobs in Redis at a time."`
		Count    int `default:"1" help:"Most jobs that one XREADGROUP takes."`
	} `cmd:"" help:"As many jobs as there can be with XADD, XREADGROUP, XACK and XDEL."`
	Saturate struct {
		saturation
		InFlight int           `default:"64" help:"Jobs enqueued and not handled at a time."`
		Workers  int           `default:"64" help:"Enqueuers at a time, and handlers at a time."`
		Poll     time.Duration `help:"asynq's TaskCheckInterval; 0 for its default."`
	} `cmd:"" help:"As many jobs as there can be through asynq."`
	Pickup struct {
		common
		Rate float64       `default:"5" help:"Jobs a second, at random instants."`
		Seed uint64        `default:"1" help:"Of these instants."`
		Poll time.Duration `help:"asynq's TaskCheckInterval; 0 for its default."`
	} `cmd:"" help:"How long jobs lie in asynq before a handler has them."`
}

// outcome is what is printed.
type outcome struct {
	// Jobs is how many were done, in Seconds; CPUSeconds is what this process
	// took for them.
	Jobs       int64   `json:"jobs"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// Pickups are times from enqueuing a job to its handler's beginning, in
	// seconds, where they were asked for.
	Pickups []float64 `json:"pickups_s,omitempty"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "asynqbench: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	var o options
	parser, err := kong.New(&o, kong.Name("asynqbench"), kong.Description("Measures asynq and bare Redis commands."))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var found outcome
	switch parsed.Command() {
	case "raw":
		found, err = raw(ctx, o)
	case "saturate":
		found, err = saturate(ctx, o)
	default:
		found, err = pickup(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", parsed.Command(), err)
	}
	return json.NewEncoder(stdout).Encode(found)
}

// watch counts what is done in a stretch of time after a warm-up, which begins
// with the first job: asynq's server looks before there is one, and then sleeps.
func watch(ctx context.Context, s saturation, done *atomic.Int64) (outcome, error) {
	for done.Load() == 0 {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return outcome{}, err
		}
	}
	if err := sleep(ctx, s.WarmUp); err != nil {
		return outcome{}, err
	}
	jobs, cpu, begin := done.Load(), cpuSeconds(), time.Now()
	err := sleep(ctx, s.Stretch)
	return outcome{Jobs: done.Load() - jobs, Seconds: time.Since(begin).Seconds(), CPUSeconds: cpuSeconds() - cpu}, err
}

// sleep sleeps for d; the error is why ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cpuSeconds is the time that this process has had on a core.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(fmt.Sprintf("asking for the CPU time: %v", err)) // never fails for oneself
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
