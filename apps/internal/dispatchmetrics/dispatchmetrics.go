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
	// ClientError requests could not be answered by their own fault (4xx), which
	// breaks no promise.
	ClientError Outcome = "client_error"
	// Refused requests were turned away because the queue or a replica could not
	// take them (503).
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
	// Hopeless is for those dropped while they waited, because they could not
	// be answered in time any more.
	Hopeless Reason = "hopeless"
	// Overload is for those refused at the door: the queue was full.
	Overload Reason = "overload"
	// Predicted is for those refused at the door: the queue was too long for
	// their deadline.
	Predicted Reason = "predicted"
	// NoQueue is for those that the queue could not take.
	NoQueue Reason = "no_queue"
	// RateLimit is for those above their API key's rate.
	RateLimit Reason = "rate_limit"
	// Shutdown is for those that waited when the dispatcher had to end.
	Shutdown Reason = "shutdown"
)

// Reasons are all reasons.
var Reasons = []Reason{Deadline, Hopeless, Overload, Predicted, NoQueue, RateLimit, Shutdown}

// Calls to whoever starts model servers.
const (
	wakeOK     = "ok"
	wakeFailed = "failed"
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
	// Queued is the number of entries that no worker has taken, and of those
	// that wait here.
	Queued int
	// OldestAge is how long the oldest of them has waited.
	OldestAge time.Duration
	// DeadLetters is the number of requests that were given up and kept.
	DeadLetters int
	// Waiting is the number of requests that wait in the dispatcher's memory for
	// a replica: it has taken them from the queue, or there is none to reach.
	Waiting int
	// SeenAt is when this was true; zero for never.
	SeenAt time.Time
}

// Fleet is what is known of the replicas.
type Fleet interface {
	// Count is the number of replicas in each state.
	Count() map[dispatch.State]int
	// InFlight is the number of requests that replicas work on.
	InFlight() int
	// Replicas are the replicas.
	Replicas() []dispatch.Replica
}

// Metrics are the dispatcher's metrics.
type Metrics struct {
	registry        *prometheus.Registry
	requests        prometheus.Counter
	straight        prometheus.Counter
	forwarded       prometheus.Counter
	retries         *prometheus.CounterVec
	reclaimed       prometheus.Counter
	buried          prometheus.Counter
	dropped         *prometheus.CounterVec
	wakeCalls       *prometheus.CounterVec
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
		straight: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatcher_requests_straight_total",
			Help: "Requests that went to a free replica without the queue.",
		}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatcher_retries_total",
			Help: "Attempts made again, by what the one before ended in: busy, unreachable, broken, erred, slow.",
		}, []string{"after"}),
		reclaimed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatcher_reclaims_total",
			Help: "Queue entries taken over from a dispatcher that had fallen silent.",
		}),
		buried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dispatcher_dead_letters_total",
			Help: "Requests given up and kept as dead letters.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatcher_requests_dropped_total",
			Help: "Requests given up: deadline (too late), hopeless (dropped while waiting), overload and predicted (refused at the door), no_queue (Redis), rate_limit, shutdown.",
		}, []string{"reason"}),
		wakeCalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dispatcher_wake_calls_total",
			Help: "Calls to --wake while requests were held and no model server was ready, one for each address: ok (2xx) or failed.",
		}, []string{"outcome"}),
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
	for _, r := range Reasons {
		m.dropped.WithLabelValues(string(r))
	}
	for _, o := range dispatch.Outcomes {
		if !o.Final() && o != dispatch.Abandoned {
			m.retries.WithLabelValues(o.String())
		}
	}
	m.Woken(0, 0)
	for _, o := range []Outcome{Answered, ClientError, Refused, Dropped, Failed} {
		m.requestDuration.WithLabelValues(string(o))
	}
	m.registry.MustRegister(
		m.requests, m.straight, m.forwarded, m.retries, m.reclaimed, m.buried, m.dropped, m.wakeCalls, m.requestDuration, m.backendDuration,
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

// Woken counts calls to whoever starts model servers.
func (m *Metrics) Woken(ok, failed int) {
	m.wakeCalls.WithLabelValues(wakeOK).Add(float64(ok))
	m.wakeCalls.WithLabelValues(wakeFailed).Add(float64(failed))
}

// WentStraight counts a request that does without the queue.
func (m *Metrics) WentStraight() { m.straight.Inc() }

// Retried counts another attempt after one with an outcome.
func (m *Metrics) Retried(after dispatch.Outcome) { m.retries.WithLabelValues(after.String()).Inc() }

// Reclaimed counts entries taken over.
func (m *Metrics) Reclaimed(n int) { m.reclaimed.Add(float64(n)) }

// Buried counts a request that became a dead letter.
func (m *Metrics) Buried() { m.buried.Inc() }

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
		"Requests in the queue that no dispatcher has taken yet, and those that this one has taken and no model server has; absent while Redis can't be asked: take max over dispatchers.", nil, nil)
	oldestAge = prometheus.NewDesc("dispatcher_queue_oldest_age_seconds",
		"Age of the oldest of those entries, 0 when there is none; absent while Redis can't be asked: take max over dispatchers.", nil, nil)
	deadLetters = prometheus.NewDesc("dispatcher_dead_letters",
		"Requests that were given up and kept, over all dispatchers; absent while Redis can't be asked: take max over dispatchers.", nil, nil)
	waiting = prometheus.NewDesc("dispatcher_waiting",
		"Requests that wait in this dispatcher's memory for a model server, taken from the queue or, while Redis is out of reach, without it: take the sum over dispatchers.", nil, nil)
	inFlight = prometheus.NewDesc("dispatcher_in_flight",
		"Requests that this dispatcher has sent to a model server and that are not answered yet: take the sum over dispatchers.", nil, nil)
	replicas = prometheus.NewDesc("dispatcher_replicas",
		"Model server replicas by state as this dispatcher sees them: take max over dispatchers.", []string{"state"}, nil)
	replicaInFlight = prometheus.NewDesc("dispatcher_replica_in_flight",
		"Requests that a model server has from this dispatcher: take the sum over dispatchers.", []string{"replica"}, nil)
	replicaLimit = prometheus.NewDesc("dispatcher_replica_concurrency_limit",
		"Requests that a model server may have from this dispatcher, as measured.", []string{"replica"}, nil)
	replicaLatency = prometheus.NewDesc("dispatcher_replica_latency_seconds",
		"Smoothed mean of how long attempts at a model server take; 0 before the first.", []string{"replica"}, nil)
	replicaAvoided = prometheus.NewDesc("dispatcher_replica_avoided",
		"1 while a model server is left alone after failures, else 0.", []string{"replica"}, nil)
)

// Describe implements prometheus.Collector.
func (o *observed) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueSize, oldestAge, deadLetters, waiting, inFlight, replicas, replicaInFlight, replicaLimit, replicaLatency, replicaAvoided} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (o *observed) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	state := o.queue()
	if !state.SeenAt.IsZero() && time.Since(state.SeenAt) <= QueueMaxAge {
		gauge(queueSize, float64(state.Queued))
		gauge(oldestAge, state.OldestAge.Seconds())
		gauge(deadLetters, float64(state.DeadLetters))
	}
	gauge(waiting, float64(state.Waiting))
	gauge(inFlight, float64(o.fleet.InFlight()))
	count := o.fleet.Count()
	for _, s := range dispatch.States {
		gauge(replicas, float64(count[s]), string(s))
	}
	now := time.Now()
	for _, r := range o.fleet.Replicas() {
		gauge(replicaInFlight, float64(r.InFlight), r.URL)
		gauge(replicaLimit, float64(r.Concurrency.Limit), r.URL)
		gauge(replicaLatency, r.Latency.Mean.Seconds(), r.URL)
		avoided := 0.
		if now.Before(r.AvoidUntil) {
			avoided = 1
		}
		gauge(replicaAvoided, avoided, r.URL)
	}
}
