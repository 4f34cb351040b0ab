package main

import (
	"context"
	"log/slog"
	"os"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/processes"
)

// place is where what is scaled runs, and what goes with it.
type place struct {
	target control.Target
	store  control.Store // nil where nothing is kept
	leads  func() bool
	elect  func(context.Context)
	close  func()
}

// place makes the one that the config is about.
func (c *runCommand) place(cfg config.Config, identity string, log *slog.Logger) (place, error) {
	if cfg.Processes.Given() {
		return onThisMachine(cfg.Processes, log)
	}
	return c.inKubernetes(cfg, identity, log)
}

// onThisMachine is a target of processes. They end with this one, so there is
// nobody to lead before, and nothing to keep for who comes next.
func onThisMachine(p config.Processes, log *slog.Logger) (place, error) {
	target, err := processes.New(processes.Options{
		Command: p.Command, Network: p.Network, Port: p.Port, MetricsPort: p.MetricsPort, Readiness: p.Readiness,
		CPU: p.CPU, Folder: p.Folder, Drain: p.Drain, Output: os.Stderr, Log: log,
	})
	if err != nil {
		return place{}, command.AsMisuse(err)
	}
	return place{target: target, leads: func() bool { return true }, elect: func(context.Context) {}, close: target.Close}, nil
}
