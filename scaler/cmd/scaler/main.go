// Command scaler keeps a target at the fewest replicas that hold the latency
// promise, by what Prometheus measures.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	_ "time/tzdata" // schedules have time zones, and an image may have none

	"github.com/alecthomas/kong"
)

type commands struct {
	Run     runCommand     `cmd:"" default:"withargs" help:"Keep the target at the fewest replicas that hold the promise. It needs no name: scaler --config FILE."`
	Explain explainCommand `cmd:"" help:"Replay recorded decisions, and say what each was made from and why it is what it is."`
}

const (
	exitFailure = 1 // could not run, or a replay differs
	exitUsage   = 2 // wrong flags, config or recording
)

// usage is an error of whoever called.
type usage struct{ error }

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main with everything it touches handed in. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c commands
	fail := func(code int, err error) int {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "scaler: %s\n", strings.TrimSuffix(line, "\n"))
		}
		return code
	}
	ended := -1
	parser, err := kong.New(&c, kong.Name("scaler"), kong.Writers(stdout, stderr), kong.Exit(func(code int) { ended = code }), kong.Help(help(&ended)),
		kong.Description("Keeps a target at the fewest replicas that hold the latency promise."))
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
	err = parsed.Run(streams{stdin, stdout, stderr})
	var wrong usage
	switch {
	case errors.As(err, &wrong):
		return fail(exitUsage, err)
	case err != nil:
		return fail(exitFailure, err)
	}
	return 0
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// help prints the usage and notes that nothing else is to be done.
func help(ended *int) kong.HelpPrinter {
	return func(options kong.HelpOptions, ctx *kong.Context) error {
		*ended = 0
		return kong.DefaultHelpPrinter(options, ctx)
	}
}
