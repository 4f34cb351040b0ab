package promtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Exporter is a fake service's /metrics. Its counters grow with the time that
// passes, at the rates last set.
type Exporter struct {
	Address string

	mu     sync.Mutex
	series map[string]*series
	since  time.Time
	down   bool
	fails  int // scrapes that are to fail
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
		if e.failsNow() {
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
func (e *Exporter) Gauge(name string, value float64) { e.GaugeWith(name, value, nil) }

// GaugeWith sets a gauge that has labels.
func (e *Exporter) GaugeWith(name string, value float64, labels prometheus.Labels) {
	e.set(name, labels, func(s *series) { s.kind, s.value = prometheus.GaugeValue, value })
}

// Counter lets a counter grow from now on at so much a second.
func (e *Exporter) Counter(name string, rate float64, labels prometheus.Labels) {
	e.set(name, labels, func(s *series) { s.kind, s.rate = prometheus.CounterValue, rate })
}

// Histogram lets a histogram have so many observations a second from now on, all of one size.
func (e *Exporter) Histogram(name string, rate, observed float64) {
	e.HistogramWith(name, rate, observed, nil)
}

// HistogramWith is Histogram for one that has labels.
func (e *Exporter) HistogramWith(name string, rate, observed float64, labels prometheus.Labels) {
	e.set(name, labels, func(s *series) { s.histogram, s.rate, s.observed = true, rate, observed })
}

// Remove ends a series.
func (e *Exporter) Remove(name string, labels prometheus.Labels) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.series, fmt.Sprint(name, labels))
}

// Restart lets all that is counted begin anew at zero, as a process does that is
// started again.
func (e *Exporter) Restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.advance(time.Now())
	for _, s := range e.series {
		if s.histogram || s.kind == prometheus.CounterValue {
			s.value = 0
		}
	}
}

// Miss makes the exporter fail the next so many scrapes.
func (e *Exporter) Miss(scrapes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails = scrapes
}

func (e *Exporter) failsNow() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fails > 0 {
		e.fails--
		return true
	}
	return e.down
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
