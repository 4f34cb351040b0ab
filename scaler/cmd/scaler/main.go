// Command scaler keeps a Deployment at the fewest replicas that hold the latency
// promise, by what Prometheus measures.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/kubescale"
	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/promsource"
)

type flags struct {
	Config      string `required:"" placeholder:"FILE" env:"CONFIG" help:"YAML file with the target, Prometheus, the SLO and the bounds. Every key and default: contract/scaler-config.example.yaml."`
	Kubeconfig  string `placeholder:"FILE" env:"KUBECONFIG" help:"How to reach the API server. Default: the pod's service account."`
	CheckConfig bool   `env:"CHECK_CONFIG" help:"Check the config file, print every problem with it, and end: 0 when it is good, else 2."`
	LogLevel    string `enum:"debug,info,warn,error" default:"info" env:"LOG_LEVEL" help:"Least level that is logged: debug, info, warn or error. Default: ${default}."`
}

const (
	exitFailure = 1 // could not run
	exitUsage   = 2 // wrong flags or config
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with everything it touches handed in. It returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	var f flags
	fail := func(code int, err error) int {
		for line := range strings.Lines(err.Error()) {
			_, _ = fmt.Fprintf(stderr, "scaler: %s\n", strings.TrimSuffix(line, "\n"))
		}
		return code
	}
	ended := -1
	parser, err := kong.New(&f, kong.Name("scaler"), kong.Writers(stdout, stderr), kong.Exit(func(code int) { ended = code }), kong.Help(help(&ended)),
		kong.Description("Keeps a Deployment at the fewest replicas that hold the latency promise."))
	if err != nil {
		return fail(exitFailure, err)
	}
	_, err = parser.Parse(args)
	switch {
	case ended >= 0:
		return ended
	case err != nil:
		return fail(exitUsage, err)
	}
	cfg, err := config.Load(f.Config)
	if err != nil {
		return fail(exitUsage, err)
	}
	if f.CheckConfig {
		_, _ = fmt.Fprintf(stdout, "%s is good\n", f.Config)
		return 0
	}
	client, err := kubescale.Connect(f.Kubeconfig)
	if err != nil {
		return fail(exitUsage, err)
	}
	source, err := promsource.New(promsource.Options{URL: cfg.Prometheus.URL, Timeout: cfg.Prometheus.Timeout})
	if err != nil {
		return fail(exitUsage, err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		return fail(exitUsage, err)
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	kubescale.RouteLogs(log)

	identity, err := os.Hostname()
	if err != nil {
		return fail(exitFailure, fmt.Errorf("host name: %w", err))
	}
	identity = fmt.Sprintf("%s_%d_%d", identity, os.Getpid(), time.Now().UnixNano())
	leads, elect := func() bool { return true }, func(context.Context) {}
	if cfg.Lease.Enabled {
		election, err := kubescale.NewElection(client, cfg.Lease.Namespace, cfg.Lease.Name, identity, log)
		if err != nil {
			return fail(exitFailure, err)
		}
		leads, elect = election.Leads, election.Run
	}
	target := kubescale.NewDeployment(client, cfg.Target.Namespace, cfg.Target.Name, identity)
	defer target.Close()
	loop := control.New(policyOf(cfg), source, target, leads, control.NewMetrics(leads), log)

	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fail(exitFailure, fmt.Errorf("listen %s: %w", cfg.Listen, err))
	}
	server := &http.Server{
		Handler:           loop.Handler(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("started", "target", target.String(), "listen", listener.Addr().String(), "prometheus", cfg.Prometheus.URL,
		"lease", cfg.Lease.Enabled, "min", cfg.Replicas.Min, "max", cfg.Replicas.Max, "slo", cfg.SLO.Latency.String(), "tick", cfg.Tick.String())
	if err := serve(ctx, server, listener, loop.Run, elect); err != nil {
		return fail(exitFailure, err)
	}
	log.Info("ended")
	return 0
}

// serve runs all parts until the context is done or the server fails, and then
// ends them in this order: the loop, so that nothing is written any more, the
// election, which gives the Lease back, and the server.
func serve(ctx context.Context, server *http.Server, listener net.Listener, loop, elect func(context.Context)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var served error
	var serving, electing sync.WaitGroup
	serving.Go(func() {
		defer cancel()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			served = fmt.Errorf("listen %s: %w", listener.Addr(), err)
		}
	})
	electable, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	electing.Go(func() { elect(electable) })

	loop(ctx)
	resign()
	electing.Wait()
	closing, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := server.Shutdown(closing); err != nil {
		_ = server.Close() // scrapes that hang are not worth waiting for
	}
	serving.Wait()
	return served
}

// help prints the usage and notes that nothing else is to be done.
func help(ended *int) kong.HelpPrinter {
	return func(options kong.HelpOptions, ctx *kong.Context) error {
		*ended = 0
		return kong.DefaultHelpPrinter(options, ctx)
	}
}

func policyOf(c config.Config) policy.Config {
	return policy.Config{
		Min: c.Replicas.Min, Max: c.Replicas.Max,
		SLO: c.SLO.Latency, Quantile: c.SLO.Quantile,
		Utilization:   c.ScaleOut.Utilization,
		Stabilization: c.ScaleIn.Stabilization, Step: c.ScaleIn.Step, Interval: c.ScaleIn.Interval,
		Tick: c.Tick,
	}
}
