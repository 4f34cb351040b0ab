// Package promtest starts a real Prometheus for tests, and fakes what it scrapes.
package promtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a Prometheus that runs until its test ends.
type Server struct {
	URL string

	arguments []string
	folder    string // of the configuration
	data      string // folder
	cmd       *exec.Cmd
	done      chan struct{}
}

// Option changes how [Start] starts Prometheus.
type Option func(*options)

type options struct{ interval time.Duration }

// Every sets the time between scrapes, which otherwise is a second.
func Every(interval time.Duration) Option {
	return func(o *options) { o.interval = interval }
}

// Start runs the prometheus binary found on PATH, scraping each target (job →
// host:port), until the test ends. It returns once it answers.
func Start(t *testing.T, targets map[string][]string, with ...Option) *Server {
	t.Helper()
	o := options{interval: time.Second}
	for _, option := range with {
		option(&o)
	}
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("prometheus is not on PATH; `make test` installs it (Debian: apt-get install prometheus): %v", err)
	}
	dir := t.TempDir()
	var config strings.Builder
	fmt.Fprintf(&config, "global: {scrape_interval: %dms, scrape_timeout: %dms}\nscrape_configs:\n", o.interval.Milliseconds(), o.interval.Milliseconds()*9/10)
	s := &Server{folder: dir}
	for job, addresses := range targets {
		fmt.Fprintf(&config, "- job_name: %s\n  file_sd_configs:\n  - files: [%s]\n    refresh_interval: 1s\n", job, s.targetsOf(job))
		s.Scrape(t, job, addresses...)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	address, data := FreeAddress(t), filepath.Join(dir, "data")
	s.URL, s.data = "http://"+address, data
	s.arguments = []string{binary, "--config.file=" + file, "--storage.tsdb.path=" + data, "--web.listen-address=" + address}
	s.start(t)
	t.Cleanup(s.Kill)
	return s
}

func (s *Server) start(t *testing.T) {
	t.Helper()
	var output bytes.Buffer
	cmd := exec.Command(s.arguments[0], s.arguments[1:]...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.cmd, s.done = cmd, done
	Eventually(t, 30*time.Second, func() error {
		select {
		case <-done:
			t.Fatalf("prometheus ended: %s", output.String())
		default:
		}
		resp, err := http.Get(s.URL + "/-/ready")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/-/ready answers %s", resp.Status)
		}
		return nil
	})
}

func (s *Server) targetsOf(job string) string { return filepath.Join(s.folder, job+".json") }

// Scrape sets the targets (host:port) of a job, from within a second on.
func (s *Server) Scrape(t *testing.T, job string, addresses ...string) {
	t.Helper()
	text, err := json.Marshal([]map[string][]string{{"targets": addresses}})
	if err != nil {
		t.Fatal(err)
	}
	// Renamed, so that no half of it is ever read.
	whole := s.targetsOf(job) + ".new"
	if err := errors.Join(os.WriteFile(whole, text, 0o600), os.Rename(whole, s.targetsOf(job))); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the process at once, and returns when it has ended.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it has ended already, or it ends now
	<-s.done
}

// Again starts a Prometheus that was killed, at the same address, with or without
// what it had stored. It returns once it answers, which is some seconds before
// its first scrape.
func (s *Server) Again(t *testing.T, keep bool) {
	t.Helper()
	if !keep {
		if err := os.RemoveAll(s.data); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t)
}

// Freeze stops the process without ending it: connections hang. It returns when
// the last thread has stopped, which the signal alone does not wait for. Thaw
// lets it go on.
func (s *Server) Freeze(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	Eventually(t, 5*time.Second, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
		if err != nil {
			return err
		}
		if len(threads) == 0 {
			return errors.New("it has no threads")
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				return err
			}
			// The state follows the name, which is in parentheses.
			if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
				return fmt.Errorf("%s is not stopped: %s", thread, stat)
			}
		}
		return nil
	})
}

// Thaw undoes Freeze.
func (s *Server) Thaw(t *testing.T) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// FreeAddress is a host:port on the loopback interface that was free a moment ago.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Eventually polls until check returns nil, and fails the test with its last
// error when that hasn't happened within the time given.
func Eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
