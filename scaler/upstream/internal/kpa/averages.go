package kpa

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/aggregation"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/metrics"

	"headroom.dev/scaler/upstream/internal/protocol"
)

const (
	namespace = "default"
	revision  = "model-server"
)

// averages is the collector's part for one revision: the same two averages,
// over the same buckets.
type averages struct {
	metrics.MetricClient
	stable, panicking *aggregation.TimedFloat64Buckets
}

func newAverages(o protocol.KPA) *averages {
	over := func(window int) *aggregation.TimedFloat64Buckets {
		return aggregation.NewTimedFloat64Buckets(time.Duration(window)*time.Second, config.BucketSize)
	}
	return &averages{stable: over(o.StableWindowSeconds), panicking: over(o.PanicWindowSeconds)}
}

func (a *averages) record(at time.Time, concurrency float64) {
	a.stable.Record(at, concurrency)
	a.panicking.Record(at, concurrency)
}

// StableAndPanicConcurrency fails until there is a sample.
func (a *averages) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	if a.stable.IsEmpty(now) {
		return 0, 0, metrics.ErrNoData
	}
	return a.stable.WindowAverage(now), a.panicking.WindowAverage(now), nil
}
