//go:build !nokubernetes

package main

import (
	"context"
	"log/slog"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/kubescale"
)

// inKubernetes is a target there, with a Lease and a ConfigMap.
func (c *runCommand) inKubernetes(cfg config.Config, identity string, log *slog.Logger) (place, error) {
	client, err := kubescale.Connect(c.Kubeconfig)
	if err != nil {
		return place{}, command.AsMisuse(err)
	}
	kubescale.RouteLogs(log)
	t := cfg.Target
	out := place{store: kubescale.NewStore(client, t.Namespace, cfg.State.ConfigMap), leads: func() bool { return true }, elect: func(context.Context) {}}
	if cfg.Lease.Enabled {
		election, err := kubescale.NewElection(client, cfg.Lease.Namespace, cfg.Lease.Name, identity, log)
		if err != nil {
			return place{}, err
		}
		out.leads, out.elect = election.Leads, election.Run
	}
	target, err := kubescale.NewTarget(client,
		kubescale.Ref{APIVersion: t.APIVersion, Kind: t.Kind, Resource: t.Resource, Namespace: t.Namespace, Name: t.Name},
		kubescale.Options{Identity: identity, Container: t.Container, Log: log})
	if err != nil {
		return place{}, command.AsMisuse(err)
	}
	out.target, out.close = target, target.Close
	return out, nil
}
