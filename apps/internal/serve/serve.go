// Package serve runs HTTP servers until they are told to stop, then lets what
// is in flight finish.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server is one HTTP server of a process.
type Server struct {
	name     string
	listener net.Listener
	http     *http.Server
}

// Listen opens address (host:port; port 0 picks a free one) for a server
// called name, so that an address in use is known before any work starts.
// The error names both.
func Listen(name, address string, handler http.Handler) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s server can't listen on %q: %w", name, address, err)
	}
	return &Server{
		name:     name,
		listener: listener,
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			// These are backstops: handlers set shorter limits of their own.
			ReadTimeout:    2 * time.Minute,
			WriteTimeout:   2 * time.Minute,
			IdleTimeout:    2 * time.Minute,
			MaxHeaderBytes: 32 << 10,
		},
	}, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close ends the server at once, also one that was never run.
func (s *Server) Close() error {
	return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close()))
}

// Run serves until ctx is done or a server fails. Then it shuts the servers
// down one after the other, in the order given: each stops accepting, and its
// requests in flight may go on until drain, for all servers together, is over.
// What is left then is cut off, and Run returns an error that says so.
func Run(ctx context.Context, log *slog.Logger, drain time.Duration, servers ...*Server) error {
	failed := make(chan error, len(servers))
	for _, s := range servers {
		log.Info("listening", "server", s.name, "address", s.Addr().String())
		go func() {
			if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s server: %w", s.name, err)
			}
		}()
	}

	var errs []error
	select {
	case <-ctx.Done():
	case err := <-failed:
		errs = append(errs, err)
	}

	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, s := range servers {
		err := s.http.Shutdown(deadline)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%s server: requests still in flight after %v were cut off", s.name, drain)
		}
		errs = append(errs, err, ignoreClosed(s.http.Close()))
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
