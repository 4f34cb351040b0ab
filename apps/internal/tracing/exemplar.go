package tracing

import "github.com/prometheus/client_golang/prometheus"

// Observe observes a value with a trace as its exemplar, which may be empty, and
// the observer may know no exemplars.
func Observe(observer prometheus.Observer, value float64, traceID string) {
	if exemplars, ok := observer.(prometheus.ExemplarObserver); ok && traceID != "" {
		exemplars.ObserveWithExemplar(value, prometheus.Labels{"trace_id": traceID})
		return
	}
	observer.Observe(value)
}
