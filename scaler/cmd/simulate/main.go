// Command simulate plays scalers against a modelled service in virtual time, the
// real HPA and KPA among them, and reports what each costs and violates.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Run   runCommand   `cmd:"" default:"withargs" help:"Compare scalers. It needs no name: simulate --trace FILE."`
	Bench benchCommand `cmd:"" help:"Measure how fast the simulator and a decision of the policy are."`
}

const (
	exitFailure = 1 // could not run
	exitUsage   = 2 // wrong flags or trace
)

// usage is an error of whoever called.
type usage struct{ error }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with everything it touches handed in. It returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	var c commands
	fail := func(code int, err error) int {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "simulate: %s\n", strings.TrimSuffix(line, "\n"))
		}
		return code
	}
	ended := -1
	parser, err := kong.New(&c, kong.Name("simulate"), kong.Writers(stdout, stderr), kong.Exit(func(code int) { ended = code }), kong.Help(help(&ended)),
		kong.DefaultEnvars("SIMULATE"), kong.Description("Plays scalers against a modelled service in virtual time. Each flag is an environment variable too: SIMULATE_TRACE for --trace."))
	if err != nil {
		return fail(exitFailure, err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case ended >= 0:
		return ended
	case err != nil:
		return fail(exitUsage, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(streams{stdout, stderr})
	var wrong usage
	switch {
	case errors.As(err, &wrong):
		return fail(exitUsage, err)
	case err != nil:
		return fail(exitFailure, err)
	}
	return 0
}

// streams are where a command writes.
type streams struct{ out, err io.Writer }

// help prints the usage and notes that nothing else is to be done.
func help(ended *int) kong.HelpPrinter {
	return func(options kong.HelpOptions, ctx *kong.Context) error {
		*ended = 0
		return kong.DefaultHelpPrinter(options, ctx)
	}
}
