// Command scaler keeps a target at the fewest replicas that hold the latency
// promise, by what Prometheus measures.
package main

import (
	"io"
	"os"
	_ "time/tzdata" // schedules have time zones, and an image may have none

	"github.com/alecthomas/kong"

	"headroom.dev/scaler/internal/command"
)

type commands struct {
	Run     runCommand     `cmd:"" default:"withargs" help:"Keep the target at the fewest replicas that hold the promise. It needs no name: scaler --config FILE."`
	Explain explainCommand `cmd:"" help:"Replay recorded decisions, and say what each was made from and why it is what it is."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main with everything it touches handed in. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	do := func(parsed *kong.Context) error { return parsed.Run(streams{stdin, stdout, stderr}) }
	return command.Run("scaler", new(commands), args, stdout, stderr, do,
		kong.Description("Keeps a target at the fewest replicas that hold the latency promise."))
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}
