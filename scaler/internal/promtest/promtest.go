// Package promtest starts a real Prometheus for tests, and fakes what it scrapes.
package promtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server is a running Prometheus.
type Server struct {
	URL string
	cmd *exec.Cmd
}

// Start runs the prometheus binary found on PATH, scraping each target (job →
// host:port) every second, until the test ends. It returns once it answers.
func Start(t *testing.T, targets map[string][]string) *Server {
	t.Helper()
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("prometheus is not on PATH; `make test` installs it (Debian: apt-get install prometheus): %v", err)
	}
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, scrape_timeout: 900ms}\nscrape_configs:\n")
	for job, addresses := range targets {
		fmt.Fprintf(&config, "- job_name: %s\n  static_configs:\n  - targets: [%s]\n", job, strings.Join(addresses, ", "))
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	address := FreeAddress(t)
	var output bytes.Buffer
	cmd := exec.Command(binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	s := &Server{URL: "http://" + address, cmd: cmd}
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
	return s
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

// Exporter is a fake service's /metrics. Its counters grow with the time that
// passes, at the rates last set.
type Exporter struct {
	Address string

	mu     sync.Mutex
	series map[string]*series
	since  time.Time
	down   bool
	stamp  bool
	frozen time.Time
}

type series struct {
	labels prometheus.Labels
	name   string
	value  float64 // what a gauge shows, or a counter had when its rate was set
	rate   float64
	kind   prometheus.ValueType
	// A histogram has rate observations a second, all of them of the size observed.
	histogram bool
	observed  float64
}

// NewExporter serves until the test ends.
func NewExporter(t *testing.T) *Exporter {
	t.Helper()
	e := &Exporter{series: map[string]*series{}, since: time.Now()}
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		down := e.down
		e.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		metrics.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	e.Address = server.Listener.Addr().String()
	return e
}

// Gauge sets a gauge.
func (e *Exporter) Gauge(name string, value float64) {
	e.set(name, nil, func(s *series) { s.kind, s.value = prometheus.GaugeValue, value })
}

// Counter lets a counter grow from now on at so much a second.
func (e *Exporter) Counter(name string, rate float64, labels prometheus.Labels) {
	e.set(name, labels, func(s *series) { s.kind, s.rate = prometheus.CounterValue, rate })
}

// Histogram lets a histogram have so many observations a second from now on, all of one size.
func (e *Exporter) Histogram(name string, rate, observed float64) {
	e.set(name, nil, func(s *series) { s.histogram, s.rate, s.observed = true, rate, observed })
}

// Down makes the exporter fail every scrape, or answer again.
func (e *Exporter) Down(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

// Stamp makes every sample carry its time from now on. Call it before the first
// scrape: Prometheus ends a series that starts to have times of its own.
func (e *Exporter) Stamp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stamp = true
}

// Freeze stops the time that samples carry, after Stamp, and all growth with it:
// every scrape succeeds and brings nothing new.
func (e *Exporter) Freeze() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frozen = time.Now()
	e.advance(e.frozen)
}

// Thaw undoes Freeze.
func (e *Exporter) Thaw() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frozen, e.since = time.Time{}, time.Now()
}

func (e *Exporter) set(name string, labels prometheus.Labels, change func(*series)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.advance(time.Now())
	key := fmt.Sprint(name, labels)
	if e.series[key] == nil {
		e.series[key] = &series{name: name, labels: labels}
	}
	change(e.series[key])
}

// advance takes what has grown since the last change into the values.
func (e *Exporter) advance(now time.Time) {
	for _, s := range e.series {
		s.value += s.rate * now.Sub(e.since).Seconds()
	}
	e.since = now
}

// Describe sends nothing: the series are not known beforehand.
func (e *Exporter) Describe(chan<- *prometheus.Desc) {}

// Collect sends every series as it is now.
func (e *Exporter) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.frozen
	if at.IsZero() {
		at = time.Now()
		e.advance(at)
	}
	for _, s := range e.series {
		desc := prometheus.NewDesc(s.name, s.name, nil, s.labels)
		var m prometheus.Metric
		if s.histogram {
			buckets := map[float64]uint64{}
			for _, le := range []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5} {
				buckets[le] = 0
				if s.observed <= le {
					buckets[le] = uint64(s.value)
				}
			}
			m = prometheus.MustNewConstHistogram(desc, uint64(s.value), float64(uint64(s.value))*s.observed, buckets)
		} else {
			m = prometheus.MustNewConstMetric(desc, s.kind, s.value)
		}
		if e.stamp {
			m = prometheus.NewMetricWithTimestamp(at, m)
		}
		out <- m
	}
}
