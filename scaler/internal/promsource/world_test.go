package promsource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/promtest"
)

// scrape is what makes a long window of 7.5 s, a short one of 0.75 s and one of
// 2.5 s for latency: a test's time rather than a service's.
const scrape = 250 * time.Millisecond

var answered = prometheus.Labels{"outcome": "answered"}

// world is a dispatcher, two model servers, the Prometheus that scrapes them and
// a Source that reads it.
type world struct {
	door, spare *promtest.Exporter // the spare is a dispatcher that is down
	old, young  *promtest.Exporter
	server      *promtest.Server
	source      *Source
}

func options(url string) Options {
	c := config.Defaults()
	c.Prometheus.URL, c.Prometheus.Timeout = url, time.Second
	c.Prometheus.ScrapeInterval, c.Prometheus.StaleAfter = scrape, 3*time.Second
	return Options{Prometheus: c.Prometheus, Signals: c.Signals, Quantile: c.SLO.Quantile}
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newWorld has so many requests a second. Both model servers are ready, and the
// young one has nothing to do.
func newWorld(t *testing.T, stamped bool, rate float64) *world {
	t.Helper()
	w := &world{door: promtest.NewExporter(t), spare: promtest.NewExporter(t), old: promtest.NewExporter(t), young: promtest.NewExporter(t)}
	w.spare.Down(true)
	for _, door := range []*promtest.Exporter{w.door, w.spare} {
		door.Gauge("dispatcher_queue_size", 0)
		door.Gauge("dispatcher_queue_oldest_age_seconds", 0)
		door.Gauge("dispatcher_in_flight", 0)
	}
	for _, server := range []*promtest.Exporter{w.old, w.young} {
		if stamped {
			server.Stamp()
		}
		server.Gauge("inference_slots", 1)
		server.Gauge("modelserver_cpu_limit_cores", 0.15)
		server.Gauge("modelserver_ready", 1)
		server.Counter("inference_requests_total", 0, prometheus.Labels{"outcome": "refused"})
		serves(server, 0)
	}
	arrives(w.door, rate)
	serves(w.old, rate)
	w.server = promtest.Start(t, map[string][]string{
		"dispatcher":   {w.door.Address, w.spare.Address},
		"model-server": {w.old.Address, w.young.Address},
	}, promtest.Every(scrape))
	w.source = open(t, options(w.server.URL))
	return w
}

func arrives(door *promtest.Exporter, rate float64) {
	door.Counter("dispatcher_requests_total", rate, nil)
	door.Counter("dispatcher_requests_dropped_total", rate*0.05, prometheus.Labels{"reason": "overload"})
	door.Counter("dispatcher_requests_dropped_total", rate*0.1, prometheus.Labels{"reason": "rate_limit"})
	door.HistogramWith("dispatcher_request_duration_seconds", rate, 0.15, answered)
}

func serves(server *promtest.Exporter, rate float64) {
	server.Counter("inference_requests_total", rate, answered)
	server.Counter("process_cpu_seconds_total", rate*0.015, nil)
	server.Histogram("inference_latency_seconds", rate, 0.04)
}

// until reads until the check has nothing to say.
func until(t *testing.T, source *Source, check func(control.Measured, error) string) {
	t.Helper()
	promtest.Eventually(t, 40*time.Second, func() error {
		m, err := source.Read(context.Background())
		if problem := check(m, err); problem != "" {
			return errors.Join(fmt.Errorf("%s\nread: %+v", problem, m), err)
		}
		return nil
	})
}

// between says what is wrong with a signal that should be OK and in a range.
func between(name string, s policy.Signal, least, most float64) string {
	if s.State != policy.OK || s.Value < least || s.Value > most {
		return fmt.Sprintf("%s is %g (%s), want %g to %g; ", name, s.Value, s.State, least, most)
	}
	return ""
}

// are says which signals are not in the state that they should be in.
func are(signals policy.Signals, want policy.SignalState, names ...string) string {
	var wrong []string
	for name, s := range signals.Named() {
		for _, n := range names {
			if n == name && s.State != want {
				wrong = append(wrong, fmt.Sprintf("%s is %s, want %s; ", name, s.State, want))
			}
		}
	}
	return strings.Join(wrong, "")
}

var (
	arrivingNames = []string{"arrival_short", "arrival_long", "backlog", "oldest_age", "in_flight", "latency_quantile", "lost"}
	servingNames  = []string{"service_mean", "service_p99", "cpu_per_request", "cpu_limit", "slots"}
)
