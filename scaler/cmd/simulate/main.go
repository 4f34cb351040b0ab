// Command simulate plays scalers against a modelled service in virtual time, the
// real HPA and KPA among them, and reports what each costs and violates.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"headroom.dev/scaler/internal/command"
)

type commands struct {
	Run      runCommand      `cmd:"" default:"withargs" help:"Compare scalers. It needs no name: simulate --trace FILE."`
	Validate validateCommand `cmd:"" help:"Hold a simulation against a load test of a real stack, with the same arrivals."`
	Bench    benchCommand    `cmd:"" help:"Measure how fast the simulator and a decision of the policy are."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with everything it touches handed in. It returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	do := func(parsed *kong.Context) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		parsed.BindTo(ctx, (*context.Context)(nil))
		return parsed.Run(streams{stdout, stderr})
	}
	return command.Run("simulate", new(commands), args, stdout, stderr, do,
		kong.DefaultEnvars("SIMULATE"), kong.Description("Plays scalers against a modelled service in virtual time. Each flag is an environment variable too: SIMULATE_TRACE for --trace."))
}

// streams are where a command writes.
type streams struct{ out, err io.Writer }
