// Package serve runs the servers of a process until they are told to stop, then
// lets what is in flight finish.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Server is one server of a process.
type Server struct {
	name     string
	listener net.Listener
	protocol protocol
}

// protocol is HTTP or gRPC.
type protocol interface {
	// serve serves until it fails, or until shutdown or close: then it returns
	// nil.
	serve(net.Listener) error
	// shutdown stops accepting and waits for what is in flight, until ctx ends.
	shutdown(ctx context.Context) error
	// close cuts off what is in flight.
	close() error
}

// Listen opens address (host:port; port 0 picks a free one) for an HTTP server
// called name, so that an address in use is known before any work starts.
// The error names both.
func Listen(name, address string, handler http.Handler) (*Server, error) {
	return listen(name, address, overHTTP{&http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		// These are backstops: handlers set shorter limits of their own.
		ReadTimeout:    2 * time.Minute,
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
	}})
}

// ListenGRPC is Listen for a gRPC server.
func ListenGRPC(name, address string, server *grpc.Server) (*Server, error) {
	return listen(name, address, overGRPC{server})
}

func listen(name, address string, p protocol) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s server can't listen on %q: %w", name, address, err)
	}
	return &Server{name: name, listener: listener, protocol: p}, nil
}

// overHTTP is a protocol.
type overHTTP struct{ *http.Server }

func (h overHTTP) serve(listener net.Listener) error {
	if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h overHTTP) shutdown(ctx context.Context) error { return h.Shutdown(ctx) }
func (h overHTTP) close() error                       { return h.Close() }

// overGRPC is a protocol.
type overGRPC struct{ *grpc.Server }

func (g overGRPC) serve(listener net.Listener) error {
	if err := g.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func (g overGRPC) shutdown(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g overGRPC) close() error {
	g.Stop()
	return nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close ends the server at once, also one that was never run.
func (s *Server) Close() error {
	return errors.Join(s.protocol.close(), ignoreClosed(s.listener.Close()))
}

// Run serves until ctx is done or a server fails. Then it shuts the servers
// down: each stops accepting, and its requests in flight may go on until drain,
// for all servers together, is over. What is left then is cut off, and Run
// returns an error that says so. The last server, that of the metrics, goes
// when the others are down.
func Run(ctx context.Context, log *slog.Logger, drain time.Duration, servers ...*Server) error {
	failed := make(chan error, len(servers))
	for _, s := range servers {
		log.Info("listening", "server", s.name, "address", s.Addr().String())
		go func() {
			if err := s.protocol.serve(s.listener); err != nil {
				failed <- fmt.Errorf("%s server: %w", s.name, err)
			}
		}()
	}

	errs := make([]error, len(servers)+1)
	select {
	case <-ctx.Done():
	case errs[len(servers)] = <-failed:
	}

	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	last := len(servers) - 1
	var group sync.WaitGroup
	for i, s := range servers[:last] {
		group.Go(func() { errs[i] = s.end(deadline, drain) })
	}
	group.Wait()
	errs[last] = servers[last].end(deadline, drain)
	return errors.Join(errs...)
}

func (s *Server) end(deadline context.Context, drain time.Duration) error {
	err := s.protocol.shutdown(deadline)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s server: requests still in flight after %v were cut off", s.name, drain)
	}
	return errors.Join(err, ignoreClosed(s.protocol.close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
