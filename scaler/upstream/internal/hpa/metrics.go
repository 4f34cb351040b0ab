package hpa

import (
	"context"
	"errors"
	"math"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// queueMetric is the name of the external metric.
const queueMetric = "queue"

// metrics serves the resource metrics API and the external one; the
// controller asks for no other.
type metrics struct {
	metricsclient.MetricsClient
	world *world
}

// GetResourceMetric returns a map of the caller's own: the controller writes
// into it.
func (m metrics) GetResourceMetric(context.Context, v1.ResourceName, string, labels.Selector, string) (metricsclient.PodMetricsInfo, time.Time, error) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	samples := make(metricsclient.PodMetricsInfo, len(w.pods))
	var sampled time.Time
	next := 0
	for _, group := range w.observed.Pods {
		names := w.names[next : next+group.Count]
		next += group.Count
		if !group.Metrics {
			continue
		}
		sampled = w.at(*w.observed.MetricsAt)
		sample := metricsclient.PodMetric{
			Timestamp: sampled,
			Window:    seconds(w.observed.MetricsWindow),
			Value:     millicores(group.CPU),
		}
		for _, name := range names {
			samples[name] = sample
		}
	}
	if len(samples) == 0 {
		return nil, time.Time{}, errors.New("no metrics returned from resource metrics API")
	}
	return samples, sampled, nil
}

// GetExternalMetric returns the length of the queue.
func (m metrics) GetExternalMetric(string, string, labels.Selector) ([]int64, time.Time, error) {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	return []int64{milli(m.world.observed.Queue)}, time.Now(), nil
}

// millicores rounds as the controller's client of metrics-server does, which
// reports nanocores: up.
func millicores(cores float64) int64 {
	return resource.NewScaledQuantity(int64(math.Round(cores*1e9)), resource.Nano).MilliValue()
}

func milli(value float64) int64 {
	return int64(math.Round(value * 1000))
}
