package control

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"headroom.dev/scaler/internal/policy"
)

// Metrics are what a scaler exports, as contract/metrics.json lists it.
type Metrics struct {
	// Registry holds them and the process's own.
	Registry *prometheus.Registry

	// Without labels, but vectors: absent until something is known.
	desiredReplicas *prometheus.GaugeVec
	readyReplicas   *prometheus.GaugeVec
	decisions       *prometheus.CounterVec
	scalings        *prometheus.CounterVec
	signalUp        *prometheus.GaugeVec
	errors          *prometheus.CounterVec
	loopDuration    prometheus.Histogram
}

// NewMetrics makes the metrics of one scaler in a registry of its own. leads
// tells whether it may write at present.
func NewMetrics(leads func() bool) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		Registry:        prometheus.NewRegistry(),
		desiredReplicas: gauge("headroom_scaler_desired_replicas", "Replicas of the last decision."),
		readyReplicas:   gauge("headroom_scaler_ready_replicas", "Ready replicas of the target, as last read."),
		decisions:       counter("headroom_scaler_decisions_total", "Decisions by reason code.", "reason"),
		scalings:        counter("headroom_scaler_scalings_total", "Writes to the scale subresource, by direction.", "direction"),
		signalUp:        gauge("headroom_scaler_signal_up", "1 when the signal was read and is a recent, finite number, else 0.", "signal"),
		errors:          counter("headroom_scaler_errors_total", "Failed reads and writes by source.", "source"),
		loopDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headroom_scaler_loop_duration_seconds", Help: "Duration of one turn of the control loop.",
			Buckets: []float64{0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10},
		}),
	}
	leader := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headroom_scaler_leader", Help: "1 on the replica that holds the Lease.",
	}, func() float64 {
		if leads() {
			return 1
		}
		return 0
	})
	m.Registry.MustRegister(
		m.desiredReplicas, m.readyReplicas, m.decisions, m.scalings, m.signalUp, m.errors, m.loopDuration, leader,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, reason := range policy.Reasons() {
		m.decisions.WithLabelValues(string(reason))
	}
	for _, direction := range []string{"out", "in"} {
		m.scalings.WithLabelValues(direction)
	}
	for _, source := range []string{"prometheus", "kubernetes"} {
		m.errors.WithLabelValues(source)
	}
	m.observeSignals(new(policy.Signals))
	return m
}

func (m *Metrics) observeSignals(signals *policy.Signals) {
	for name, s := range signals.Named() {
		up := 0.0
		if s.State == policy.OK {
			up = 1
		}
		m.signalUp.WithLabelValues(name).Set(up)
	}
}
