package protocol

import (
	"errors"
	"fmt"
)

const (
	// maxReplicas is far above any cluster's pods, far below what would exhaust
	// the memory.
	maxReplicas = 100_000
	// maxSeconds, three years, is what a time.Duration holds with room to spare.
	maxSeconds = 1e8

	defaultOffset = 0.3
)

func (h *HPA) complete() error {
	defaultTo(&h.Offset, defaultOffset)
	if h.CPUPercent == 0 && h.QueuePerReplica == 0 {
		return errors.New("start.hpa has neither cpuPercent nor queuePerReplica: at least one must be above 0")
	}
	if h.CPUPercent != 0 {
		if err := within("start.hpa.cpuRequest", h.CPURequest, 0.001, 1000); err != nil {
			return err
		}
	}
	if h.QueuePerReplica != 0 {
		if err := within("start.hpa.queuePerReplica", h.QueuePerReplica, 0.001, 1e9); err != nil {
			return err
		}
	}
	return first(
		within("start.hpa.cpuPercent", h.CPUPercent, 0, 1000),
		bounds("start.hpa", h.Min, h.Max, h.Replicas),
		between("start.hpa.offset", h.Offset, 0, 15),
	)
}

func (k *KPA) complete() error {
	defaultTo(&k.StableWindowSeconds, 60)
	defaultTo(&k.PanicWindowSeconds, 6)
	defaultTo(&k.PanicThreshold, 2)
	defaultTo(&k.MaxScaleUpRate, 1000)
	defaultTo(&k.MaxScaleDownRate, 2)
	defaultTo(&k.Offset, defaultOffset)
	return first(
		between("start.kpa.target", k.Target, 0, 1e9),
		bounds("start.kpa", k.Min, k.Max, k.Replicas),
		within("start.kpa.stableWindowSeconds", k.StableWindowSeconds, 6, 3600),
		within("start.kpa.panicWindowSeconds", k.PanicWindowSeconds, 1, k.StableWindowSeconds),
		within("start.kpa.panicThreshold", k.PanicThreshold, 1, 10),
		between("start.kpa.maxScaleUpRate", k.MaxScaleUpRate, 1, maxReplicas),
		between("start.kpa.maxScaleDownRate", k.MaxScaleDownRate, 1, maxReplicas),
		within("start.kpa.scaleDownDelaySeconds", k.ScaleDownDelaySeconds, 0, 3600),
		between("start.kpa.offset", k.Offset, 0, 2),
	)
}

func bounds(path string, low, high, replicas int32) error {
	return first(
		within(path+".min", low, 1, maxReplicas),
		within(path+".max", high, low, maxReplicas),
		within(path+".replicas", replicas, 1, maxReplicas),
	)
}

func (o *Observation) check() error {
	defaultTo(&o.MetricsWindow, 15)
	if o.MetricsAt == nil {
		o.MetricsAt = &o.At
	}
	err := first(
		within("observe.at", o.At, 0, maxSeconds),
		within("observe.replicas", o.Replicas, 0, maxReplicas),
		within("observe.queue", o.Queue, 0, 1e12),
		within("observe.concurrency", o.Concurrency, 0, 1e12),
		within("observe.metricsAt", *o.MetricsAt, -maxSeconds, o.At),
		between("observe.metricsWindow", o.MetricsWindow, 0, maxSeconds),
	)
	total := 0
	for i := range o.Pods {
		if err != nil {
			return err
		}
		p := &o.Pods[i]
		err = p.check(i, o.At, maxReplicas-total)
		total += p.Count
	}
	return err
}

func (p *Pods) check(i int, at float64, room int) error {
	if p.ReadyAt == nil {
		p.ReadyAt = &p.Created
	}
	// This runs for each group of each observation: the path is only made for an error.
	for _, c := range [...]struct {
		key              string
		value, low, high float64
	}{
		{"count", float64(p.Count), 1, float64(room)},
		{"cpu", p.CPU, 0, 1e6},
		{"created", p.Created, -maxSeconds, at},
		{"readyAt", *p.ReadyAt, p.Created, at},
	} {
		if c.value < c.low || c.value > c.high {
			return within(fmt.Sprintf("observe.pods[%d].%s", i, c.key), c.value, c.low, c.high)
		}
	}
	if p.Pending && (p.Ready || p.Metrics) {
		return fmt.Errorf("observe.pods[%d].pending is true: not allowed with ready or metrics", i)
	}
	return nil
}
