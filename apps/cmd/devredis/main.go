// Command devredis is an in-memory Redis for trying the dispatcher on a machine
// that has none. It keeps nothing and bounds nothing: it is no Redis to rely on.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/alicebob/miniredis/v2"

	"headroom.dev/apps/internal/command"
)

type options struct {
	Listen   string `env:"LISTEN" default:"127.0.0.1:6379" help:"Address to listen on, host:port."`
	Password string `env:"REDIS_PASSWORD" help:"Password that clients must give. Default: none."`
}

// Validate is called by kong.
func (o *options) Validate() error {
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return fmt.Errorf("--listen is %q; allowed: host:port or :port", o.Listen)
	}
	return nil
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	return command.Run("devredis", "An in-memory Redis for development.", &o, args, stdout, stderr, func(*kong.Context) error {
		return serve(o, stderr)
	})
}

// serve listens until it is told to stop.
func serve(o options, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := miniredis.NewMiniRedis()
	if o.Password != "" {
		server.RequireAuth(o.Password)
	}
	if err := server.StartAddr(o.Listen); err != nil {
		return fmt.Errorf("can't listen on %q: %w", o.Listen, err)
	}
	defer server.Close()
	_, _ = fmt.Fprintf(stderr, "devredis: listening on %s\n", server.Addr())
	<-ctx.Done()
	return nil
}
