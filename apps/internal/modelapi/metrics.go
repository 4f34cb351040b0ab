package modelapi

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Outcomes of a request.
const (
	// answered with a prediction
	answered = "answered"
	// refused: the caller's fault, or not now
	refused = "refused"
	// failed: ours
	failed = "failed"
)

// latencyBuckets, in seconds, are fine from 1 ms, where small networks are,
// and around 500 ms, the promise.
var latencyBuckets = []float64{
	.001, .002, .003, .004, .005, .006, .008, .010, .0125, .015, .020, .025, .030, .040, .050, .060, .075,
	.100, .125, .150, .200, .250, .300, .350, .400, .450, .475, .500, .525, .550, .600, .700, .800,
	1, 1.25, 1.5, 2, 2.5, 3, 4, 5,
}

type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	latency  prometheus.Histogram
	inFlight prometheus.Gauge
	slots    prometheus.Gauge
	ready    prometheus.Gauge
	load     prometheus.Gauge
}

func newMetrics(cpuLimit func() float64) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "inference_requests_total", Help: "Requests by outcome: answered, refused or failed.",
		}, []string{"outcome"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "inference_latency_seconds", Help: "Service time of answered requests, from having a slot to having the reply.", Buckets: latencyBuckets,
		}),
		inFlight: gauge("inference_in_flight", "Requests being served or waiting for a slot."),
		slots:    gauge("inference_slots", "Requests that are served at the same time."),
		ready:    gauge("modelserver_ready", "1 when the model is loaded and warm, else 0."),
		load:     gauge("modelserver_model_load_seconds", "Time from starting to load the model to having finished warming it up; 0 until then."),
	}
	m.registry.MustRegister(m.requests, m.latency, m.inFlight, m.slots, m.ready, m.load,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserver_cpu_limit_cores", Help: "CPU cores that this replica may use: its cgroup's quota, or the machine's cores where there is none.",
		}, cpuLimit),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, outcome := range []string{answered, refused, failed} {
		m.requests.WithLabelValues(outcome)
	}
	return m
}

// MetricsHandler answers GET /metrics.
func (a *API) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{Registry: a.metrics.registry}))
	return mux
}
