//go:build nokubernetes

package endpoints

import (
	"context"
	"errors"
	"log/slog"

	"headroom.dev/apps/internal/fleet"
)

var errWithout = errors.New("this dispatcher was built without Kubernetes (tag nokubernetes)")

// NoClient stands for a connection to a cluster where there is none. A build without
// Kubernetes' client is much shorter.
type NoClient struct{}

// Client fails.
func Client(string) (NoClient, error) { return NoClient{}, errWithout }

// UseLogger does nothing: there is no library that logs.
func UseLogger(*slog.Logger) {}

// Watch fails.
func Watch(context.Context, NoClient, Service, *slog.Logger, func([]fleet.Endpoint)) error {
	return errWithout
}
