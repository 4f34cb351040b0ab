package servebench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Server is a model server that is measured.
type Server struct {
	command           *exec.Cmd
	requests, metrics string // URLs
	ended             chan struct{}
	stderr            bytes.Buffer
	client            *http.Client
	// Startup is from starting the program to its saying that it is ready.
	Startup time.Duration
}

// StartServer starts the program on cpus, a list as taskset takes it, with its
// flags, and waits until it is ready.
func StartServer(ctx context.Context, program, cpus string, flags ...string) (*Server, error) {
	addresses, err := FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	s := &Server{
		requests: "http://" + addresses[0], metrics: "http://" + addresses[1], ended: make(chan struct{}),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1024}},
	}
	args := append([]string{"--cpu-list", cpus, program, "--listen", addresses[0], "--metrics-listen", addresses[1], "--grpc-listen", "", "--drain-delay", "0s"}, flags...)
	s.command = exec.Command("taskset", args...)
	s.command.Stderr = &s.stderr
	begin := time.Now()
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	go func() {
		_ = s.command.Wait() // how it ended is seen from stderr
		close(s.ended)
	}()
	for {
		response, err := s.client.Get(s.requests + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				s.Startup = time.Since(begin)
				return s, nil
			}
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%s ended: %s", program, strings.TrimSpace(s.stderr.String()))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.Stop())
		case <-time.After(time.Millisecond):
		}
	}
}

// FreeAddresses are addresses on this machine that nobody listens on.
func FreeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// Stop ends the server.
func (s *Server) Stop() error {
	s.client.CloseIdleConnections()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the server does not end"), s.command.Process.Kill())
	}
}

// Load sends pictures for a stretch of time, over a number of connections: as
// many as are answered, or at a rate; see run.
func (s *Server) Load(connections int, stretch time.Duration, rate float64, pictures [][]byte) (Phase, error) {
	return run(connections, stretch, rate, func(_, n int) error { return s.classify(pictures[n%len(pictures)]) })
}

func (s *Server) classify(picture []byte) error {
	response, err := s.client.Post(s.requests, "image/jpeg", bytes.NewReader(picture))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s: %s", response.Status, body)
	}
	return nil
}

// Allocated is what the program has allocated since its start: bytes and
// objects.
func (s *Server) Allocated() (size, objects float64, err error) {
	response, err := s.client.Get(s.metrics + "/metrics")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, 0, err
	}
	for name, into := range map[string]*float64{"go_memstats_alloc_bytes_total": &size, "go_memstats_mallocs_total": &objects} {
		metrics := families[name].GetMetric()
		if len(metrics) != 1 {
			return 0, 0, fmt.Errorf("the server exports no %s", name)
		}
		*into = metrics[0].GetCounter().GetValue()
	}
	return size, objects, nil
}

// Resident is the program's resident memory, in bytes.
func (s *Server) Resident() (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.command.Process.Pid), "statm"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/…/statm has %q", text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
