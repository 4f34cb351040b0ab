// Command loadtest replays recorded demand against the dispatcher and reports
// what became of it.
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
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/trace"
)

const (
	exitFailure = 1  // something went wrong while running
	exitUsage   = 2  // what was asked for can't be run
	exitInvalid = 98 // the load was not what the schedule said
	exitMissed  = 99 // a threshold was missed; 99 as with k6
)

type commandLine struct {
	Run     runCommand     `cmd:"" help:"Replay a trace against a dispatcher and write a report. Ctrl-C ends early with a report of what was done."`
	Report  reportCommand  `cmd:"" help:"Make the tables, plots and page of results again from their raw files, and print several side by side."`
	Compare compareCommand `cmd:"" help:"Compare runs of the same demand against different scalers: a table, plots, an interactive page, and a verdict with its uncertainty."`
	Trace   traceCommand   `cmd:"" help:"Print one of the traces that come with this program, from its formula."`
}

type runCommand struct {
	Target      string        `required:"" placeholder:"URL" help:"Dispatcher's base URL, such as http://127.0.0.1:5001; pictures are posted to /query below it."`
	Prometheus  string        `placeholder:"URL" help:"Prometheus' base URL, such as http://127.0.0.1:9090, for replicas, queue and server-side latency. Default: they are not measured."`
	Trace       string        `required:"" placeholder:"FILE|FORMULA" help:"Requests per second, one number from 0 to 1000000 a second, separated by spaces or newlines ('#' starts a comment); counts a minute; a CSV file of instants; or ${formulas}."`
	TraceFormat string        `default:"auto" enum:"auto,per-second,per-minute,arrivals" help:"What the values of the trace's file are: per-second (rates), per-minute (counts), arrivals (instants: seconds, or dates with a time) or auto, which decides what is certain and refuses the rest. Default: ${default}."`
	TraceColumn string        `placeholder:"NAME|N" help:"Column of a CSV trace, by its name or its number from 1. Default: the only one that it can be; of arrivals one called timestamp or arrival, or the first."`
	Images      string        `required:"" placeholder:"DIR|FILE" help:"Picture, or folder of pictures that are sent in turn (jpg, jpeg, png, webp, gif, bmp; each up to 10 MiB)."`
	Out         string        `required:"" placeholder:"DIR" help:"Folder for the results, empty or not there yet. In a folder named results, results/latest then points to it."`
	SLO         time.Duration `name:"slo" default:"500ms" help:"Latency promise, as a duration from 1ms to 1h. Default: ${default}."`
	Scale       float64       `default:"1" help:"Factor on the trace's rates, above 0 to 10000. Of a trace of arrivals each is kept with this probability, or sent more than once: again at random instants of the same second. Default: ${default}."`
	Speed       float64       `default:"1" help:"Factor on the trace's clock, above 0 to 10000: at 2 the same requests in half the time. Default: ${default}."`
	Start       time.Duration `default:"0s" help:"Where in the trace to start, whole seconds of the trace. Default: ${default}."`
	Length      time.Duration `default:"0s" help:"How much of the trace to replay, whole seconds of the trace; 0s is up to its end. Default: ${default}."`
	Arrivals    string        `default:"even" enum:"even,poisson,gamma" help:"Spread of the requests inside a second: even, poisson or gamma. A trace of arrivals keeps its own instants. Default: ${default}."`
	CV          float64       `name:"cv" default:"2" help:"Coefficient of variation of the gaps of gamma arrivals, 0.01 to 10: poisson has 1, more is burstier. Default: ${default}."`
	Seed        int64         `default:"1" help:"Seed of what is drawn at random in the schedule, a whole number: the same seed, the same schedule. Default: ${default}."`
	Mode        string        `default:"sync" enum:"sync,async" help:"sync: each request waits for its prediction. async: it is accepted at once and its result asked for by long poll; its latency is from the intended send time until the result is here. Default: ${default}."`
	Protocol    string        `default:"http/1.1" enum:"http/1.1,h2" help:"http/1.1, or h2: HTTP/2, agreed on by TLS with an https target, by prior knowledge (h2c) with an http one. Default: ${default}."`
	Timeout     time.Duration `default:"10s" help:"When a request without an answer, or without its result, is given up, as a duration from 1ms to 1h. Default: ${default}."`
	MaxInFlight int           `default:"2000" help:"Most requests under way at once, 1 to 100000; more are counted as unsent. Default: ${default}."`
	Scaler      string        `placeholder:"NAME" help:"What is scaling, for the report: up to 60 characters, such as custom, hpa or none."`
	Max         []string      `placeholder:"NAME=LIMIT" help:"Threshold: the most that a figure may be, such as p99=500ms or violations=1%; may be given several times, or as a list with commas. Times: p50, p90, p99, p999 (server side, as with server_ before them; client_ before them for the client's), lag_p99, reaction. Requests, as a number or a percentage: violations, failed, refused, unsent. Numbers: replica_seconds, cpu_limit_seconds, cpu_seconds, mean_replicas, peak_replicas, flaps. One that is missed or was not measured makes the exit status 99, with all results written."`
	LagBound    time.Duration `default:"10ms" help:"How late requests may be sent, at the 99th percentile, as a duration from 100µs to 1h. A run above it, or with requests that were not sent, is marked invalid, and the exit status is 98. Default: ${default}."`
	HPALog      string        `name:"hpa-log" placeholder:"FILE" help:"Log of a HorizontalPodAutoscaler's status, read at the run's end, a line a look: unix_seconds current desired cpu_percent, with - for what is unknown. Needs --prometheus. Default: none."`
	Repetition  int           `default:"1" placeholder:"N" help:"Number of this run among those of one comparison, for the report, 1 to 10000. Default: ${default}."`
	Settle      time.Duration `default:"0s" help:"How long to go on looking at replicas and queue after the last answer, as a duration from 0s to 24h. Default: ${default}."`
}

type reportCommand struct {
	Dirs []string `arg:"" name:"dir" help:"Folders with results."`
}

type traceCommand struct {
	Name string `arg:"" enum:"demo,workload,workload_heavy" help:"demo, workload or workload_heavy."`
}

// usageError is a fault in what was asked for.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// verdictError is a run that went through, with results that do not pass.
type verdictError struct {
	status int
	words  string
}

func (e verdictError) Error() string { return e.words }

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal, a second one ends the program at once.
	context.AfterFunc(ctx, stop)

	err := execute(ctx, args, stdout, stderr)
	var usage usageError
	var verdict verdictError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &verdict):
		_, _ = fmt.Fprintln(stderr, "loadtest:", oneLine(err))
		return verdict.status
	case errors.As(err, &usage):
		_, _ = fmt.Fprintln(stderr, "loadtest:", oneLine(err))
		return exitUsage
	default:
		_, _ = fmt.Fprintln(stderr, "loadtest:", oneLine(err))
		return exitFailure
	}
}

func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var cli commandLine
	helped := false
	parser, err := kong.New(&cli,
		kong.Name("loadtest"),
		kong.Description("Replays recorded demand against the dispatcher: an open loop, with latency counted from the intended send time. Every flag may also be given as the environment variable named beside it. Exit status: 0; 1 when something went wrong; 2 when what was asked for can't be run; 98 when the run is invalid (--lag-bound); 99 when a threshold was missed (--max)."),
		kong.DefaultEnvars(""),
		kong.Vars{"formulas": "a formula: " + trace.FormulaHelp},
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return nil
	case err != nil:
		return usageError{fmt.Errorf("%w (loadtest --help tells what is allowed)", err)}
	}
	switch strings.Fields(parsed.Command())[0] {
	case "run":
		return replay(ctx, &cli.Run, stdout, stderr)
	case "compare":
		return compareRuns(&cli.Compare, stdout, stderr)
	case "report":
		return remake(cli.Report.Dirs, stdout)
	default:
		return printTrace(cli.Trace.Name, stdout)
	}
}

func remake(dirs []string, stdout io.Writer) error {
	var summaries []report.Summary
	for _, dir := range dirs {
		summary, err := report.Remake(dir)
		if err != nil {
			return err
		}
		summaries = append(summaries, summary)
	}
	return report.Table(stdout, colourful(stdout), summaries...)
}

func printTrace(name string, stdout io.Writer) error {
	for _, shape := range trace.Shapes() {
		if shape.Name == name {
			_, err := shape.WriteTo(stdout)
			return err
		}
	}
	return usageError{fmt.Errorf("trace %q: there is none of this name", name)}
}
