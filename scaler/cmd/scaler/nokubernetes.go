//go:build nokubernetes

package main

import (
	"errors"
	"log/slog"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/config"
)

// inKubernetes is what a build without Kubernetes' client can't do. Such a build
// is much shorter, for who tries the loop on processes.
func (c *runCommand) inKubernetes(config.Config, string, *slog.Logger) (place, error) {
	return place{}, command.AsMisuse(errors.New("target: this scaler was built without Kubernetes (tag nokubernetes), must be processes"))
}
