// Package dispatchmetrics holds the dispatcher's metrics, by the names, types
// and labels of the contract.
package dispatchmetrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/tracing"
)

// Outcome is what a synchronous request ended in.
type Outcome string

const (
	// Answered requests got a prediction.
	Answered Outcome = "answered"
	// Refused requests were turned away: by their own fault (4xx), or because
	// the queue or a replica could not take them (503).
	Refused Outcome = "refused"
	// Dropped requests were not answered before their deadline (504), or
	// their caller went away.
	Dropped Outcome = "dropped"
	// Failed requests met something broken (500, 502).
	Failed Outcome = "failed"
)

// Reason is why a request was given up.
type Reason string

const (
	// Deadline is for those that were too late.
	Deadline Reason = "deadline"
	// Overload is for those refused at the door.
	Overload Reason = "overload"
	// Shutdown is for those that waited when the dispatcher had to end.
	Shutdown Reason = "shutdown"
)

// buckets are dense around the promise of 500 ms.
var buckets = []float64{
	.005, .01, .025, .05, .075, .1, .15, .2, .25, .3, .35, .4, .45, .5, .55, .6, .75, 1, 1.5, 2.5, 5, 10,
}

// QueueMaxAge is how old what is known of the queue may be before its metrics
// are left out: a scaler must not take an old number for the present.
const QueueMaxAge = 3 * time.Second

// QueueState is what is known of the queue.
type QueueState struct {
	// Queued is the number of entries that no worker has taken.
	Queued int
	// OldestAge is how long the oldest of them has waited.
	OldestAge time.Duration
	// SeenAt is when this was true; zero for never.
	SeenAt time.Time
}

// Fleet is what is known of the replicas.
type Fleet interface {
	// Count is the number of replicas in each state.
	Count() map[dispatch.State]int
	// InFlight is the number of requests that replicas work on.
	InFlight() int
}

// Metrics are the dispatcher's metrics.
type Metrics struct {
	registry        *prometheus.Registry
	requests        prometheus.Counter
	forwarded       prometheus.Counter
	dropped         *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	backendDuration prometheus.Histogram
}

// New is a set of metrics at zero. The fleet and the queue are asked at every
// scrape.
func New(fleet Fleet, queue func() QueueState) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatcher_requests_total",
			Help: "Requests that arrived at /query, whatever became of them.",
		}),
		forwarded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatcher_requests_forwarded_total",
			Help: "Attempts sent to a model server.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatcher_requests_dropped_total",
			Help: "Requests given up: deadline (too late), overload (refused at the door), shutdown.",
		}, []string{"reason"}),
		requestDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dispatcher_request_duration_seconds",
			Help:    "From accepting a synchronous request to writing its reply, by outcome.",
			Buckets: buckets,
		}, []string{"outcome"}),
		backendDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dispatcher_backend_duration_seconds",
			Help:    "From sending an attempt to a model server to having read its answer.",
			Buckets: buckets,
		}),
	}
	for _, r := range []Reason{Deadline, Overload, Shutdown} {
		m.dropped.WithLabelValues(string(r))
	}
	for _, o := range []Outcome{Answered, Refused, Dropped, Failed} {
		m.requestDuration.WithLabelValues(string(o))
	}
	m.registry.MustRegister(
		m.requests, m.forwarded, m.dropped, m.requestDuration, m.backendDuration,
		&observed{fleet: fleet, queue: queue},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Timeout: 5 * time.Second,
		// Exemplars exist in this format only; who scrapes asks for it.
		EnableOpenMetrics: true,
	}))
	return mux
}

// Arrived counts a request at /query.
func (m *Metrics) Arrived() { m.requests.Inc() }

// Dropped counts a request that is given up.
func (m *Metrics) Dropped(r Reason) { m.dropped.WithLabelValues(string(r)).Inc() }

// Forwarding counts an attempt.
func (m *Metrics) Forwarding() { m.forwarded.Inc() }

// Forwarded records how long an attempt took.
func (m *Metrics) Forwarded(took time.Duration) { m.backendDuration.Observe(took.Seconds()) }

// Replied records how long a synchronous request took. traceID, which may be
// empty, names the trace that shows where the time went.
func (m *Metrics) Replied(o Outcome, took time.Duration, traceID string) {
	tracing.Observe(m.requestDuration.WithLabelValues(string(o)), took.Seconds(), traceID)
}

// observed asks for gauges when they are scraped.
type observed struct {
	fleet Fleet
	queue func() QueueState
}

var (
	queueSize = prometheus.NewDesc("dispatcher_queue_size",
		"Entries in the queue that no worker has taken yet, over all dispatchers; absent while Redis can't be asked: take max over dispatchers.", nil, nil)
	oldestAge = prometheus.NewDesc("dispatcher_queue_oldest_age_seconds",
		"Age of the oldest of those entries, 0 when there is none; absent while Redis can't be asked: take max over dispatchers.", nil, nil)
	inFlight = prometheus.NewDesc("dispatcher_in_flight",
		"Requests that this dispatcher has sent to a model server and that are not answered yet: take the sum over dispatchers.", nil, nil)
	replicas = prometheus.NewDesc("dispatcher_replicas",
		"Model server replicas by state as this dispatcher sees them: take max over dispatchers.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (o *observed) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueSize, oldestAge, inFlight, replicas} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (o *observed) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if state := o.queue(); !state.SeenAt.IsZero() && time.Since(state.SeenAt) <= QueueMaxAge {
		gauge(queueSize, float64(state.Queued))
		gauge(oldestAge, state.OldestAge.Seconds())
	}
	gauge(inFlight, float64(o.fleet.InFlight()))
	count := o.fleet.Count()
	for _, s := range dispatch.States {
		gauge(replicas, float64(count[s]), string(s))
	}
}
