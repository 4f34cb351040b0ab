package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
)

type runCommand struct {
	Config      string `required:"" placeholder:"FILE" env:"CONFIG" help:"YAML file with the target, Prometheus, the SLO and the bounds. Every key and default: contract/scaler-config.example.yaml. It is followed while the scaler runs."`
	Kubeconfig  string `placeholder:"FILE" env:"KUBECONFIG" help:"How to reach the API server. Default: the pod's service account."`
	CheckConfig bool   `env:"CHECK_CONFIG" help:"Check the config file, print every problem with it, and end: 0 when it is good, else 2."`
	LogLevel    string `enum:"debug,info,warn,error" default:"info" env:"LOG_LEVEL" help:"Least level that is logged: debug, info, warn or error. Default: ${default}."`
}

// Run scales until it is told to end.
func (c *runCommand) Run(s streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return command.AsMisuse(err)
	}
	if c.CheckConfig {
		fmt.Fprintf(s.out, "%s is good\n", c.Config)
		return nil
	}
	settings, err := settingsOf(cfg)
	if err != nil {
		return command.AsMisuse(err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return command.AsMisuse(err)
	}
	log := slog.New(slog.NewJSONHandler(s.err, &slog.HandlerOptions{Level: level}))
	identity, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	identity = fmt.Sprintf("%s_%d_%d", identity, os.Getpid(), time.Now().UnixNano())

	p, err := c.place(cfg, identity, log)
	if err != nil {
		return err
	}
	defer p.close()
	version, revision := build()
	metrics := control.NewMetrics(p.leads, version, revision)
	metrics.ConfigLoaded(time.Now())
	loop := control.New(control.Options{
		Settings: settings, Target: p.target, Store: p.store,
		Leads: p.leads, Metrics: metrics, Log: log, Identity: identity, Version: version,
	})

	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen %s: %w", cfg.Listen, err)
	}
	server := &http.Server{
		Handler:           loop.Handler(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("started", "version", version, "target", p.target.String(), "mode", string(cfg.Mode), "listen", listener.Addr().String(),
		"prometheus", cfg.Prometheus.URL, "lease", cfg.Lease.Enabled, "min", cfg.Replicas.Min, "max", cfg.Replicas.Max,
		"slo", cfg.SLO.Latency.String(), "tick", cfg.Tick.String())
	r := reloader{started: cfg, running: cfg, loop: loop, metrics: metrics, log: log}
	err = serve(ctx, parts{
		server: server, listener: listener, loop: loop.Run, elect: p.elect,
		watch: func(ctx context.Context) { config.Watch(ctx, c.Config, cfg, r.take) },
	})
	if err != nil {
		return err
	}
	log.Info("ended")
	return nil
}

// build is what this program was built from, "unknown" where that isn't in it.
func build() (version, revision string) {
	version, revision = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, revision
	}
	if v := info.Main.Version; v != "" {
		version = v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			revision = setting.Value
		}
	}
	return version, revision
}
