package modelapi

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/libjpeg"
	"headroom.dev/apps/internal/tracing"
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

// stageBuckets, in seconds: encoding takes microseconds, a large picture or a
// queue hundreds of milliseconds.
var stageBuckets = []float64{
	.000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .010, .025, .050, .100, .200, .300, .400, .500, .750, 1, 2.5, 5,
}

// Metrics is what the model server tells of itself. It is the classifier's
// Observer.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	refusals *prometheus.CounterVec
	latency  prometheus.Histogram
	stages   map[classifier.Stage]prometheus.Observer
	batch    prometheus.Histogram
	inFlight prometheus.Gauge
	reading  prometheus.Gauge
	slots    prometheus.Gauge
	ready    prometheus.Gauge
	load     prometheus.Gauge
	warmUp   prometheus.Gauge
	model    *prometheus.GaugeVec
}

// NewMetrics makes the metrics of a program of that version. cpuLimit returns
// the CPU cores that the process may use.
func NewMetrics(version string, cpuLimit func() float64) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "inference_stage_seconds", Help: "Time by stage: queue, decode, preprocess, run (of the network, whatever its batch) or encode.", Buckets: stageBuckets,
	}, []string{"stage"})
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "inference_requests_total", Help: "Requests by outcome: answered, refused or failed.",
		}, []string{"outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "inference_refused_total", Help: "Refused requests by reason.",
		}, []string{"reason"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "inference_latency_seconds", Help: "Service time of answered requests, without waiting for a turn.", Buckets: latencyBuckets,
		}),
		stages: map[classifier.Stage]prometheus.Observer{},
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "inference_batch_size", Help: "Pictures of one run of the network.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		inFlight: gauge("inference_in_flight", "Requests being served or waiting for a slot."),
		reading:  gauge("inference_receiving", "Requests of which the body is still arriving."),
		slots:    gauge("inference_slots", "Runs of the network at the same time."),
		ready:    gauge("modelserver_ready", "1 when the model is loaded and warm, else 0."),
		load:     gauge("modelserver_model_load_seconds", "Time from starting to load the model to being ready, warm-up included; 0 until then."),
		warmUp:   gauge("modelserver_model_warmup_seconds", "The part of it that warm-up runs and calibration took."),
		model: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserver_model_info", Help: "1, with the model that is served and the most pictures of one run.",
		}, []string{"max_batch", "model", "version"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "modelserver_build_info", Help: "1, with what this program was built from and with.",
	}, []string{"go_version", "libjpeg", "revision", "version"})
	build.WithLabelValues(runtime.Version(), strconv.FormatBool(libjpeg.Available), command.Revision(), version).Set(1)
	m.registry.MustRegister(m.requests, m.refusals, m.latency, stages, m.batch, m.inFlight, m.reading, m.slots, m.ready, m.load, m.warmUp, m.model, build,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserver_cpu_limit_cores", Help: "CPU cores that this replica may use: its cgroup's quota, or the machine's cores where there is none.",
		}, cpuLimit),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, outcome := range []string{answered, refused, failed} {
		m.requests.WithLabelValues(outcome)
	}
	for _, reason := range reasons {
		m.refusals.WithLabelValues(reason)
	}
	for _, stage := range classifier.Stages {
		m.stages[stage] = stages.WithLabelValues(string(stage))
	}
	return m
}

// Observe is the classifier's.
func (m *Metrics) Observe(stage classifier.Stage, took time.Duration) {
	m.stages[stage].Observe(took.Seconds())
}

// Batch is the classifier's.
func (m *Metrics) Batch(pictures int) { m.batch.Observe(float64(pictures)) }

// SetSlots says how many runs of the network there are at the same time.
func (m *Metrics) SetSlots(n int) { m.slots.Set(float64(n)) }

// served observes the service time of an answered request, with the trace that
// it belongs to as an exemplar where there is one.
func (m *Metrics) served(took time.Duration, trace string) {
	tracing.Observe(m.latency, took.Seconds(), trace)
}

// count counts a request that was answered with an HTTP status, and for reason
// where that is a refusal.
func (m *Metrics) count(status int, reason string) {
	switch {
	case status < 300:
		m.requests.WithLabelValues(answered).Inc()
	case status == http.StatusInternalServerError:
		m.requests.WithLabelValues(failed).Inc()
	default:
		m.requests.WithLabelValues(refused).Inc()
		m.refusals.WithLabelValues(reason).Inc()
	}
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, EnableOpenMetrics: true}))
	return mux
}
