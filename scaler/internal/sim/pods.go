package sim

import "time"

// PodGroup is some pods that can't be told apart.
type PodGroup struct {
	Count int
	// CPU is what each of them used on average, in cores, where Metrics is true:
	// a pod has metrics once it was looked at twice.
	CPU     float64
	Metrics bool
	Ready   bool
	// Created and ReadyAt are times since the start; those from before it are 0 or
	// less. ReadyAt is Created where it isn't ready.
	Created, ReadyAt time.Duration
}

// podWatcher is a scaler that looks at pods' CPU.
type podWatcher interface {
	Scaler
	// zeroLag tells whether it sees the last second's CPU rather than what
	// metrics-server saw last.
	zeroLag() bool
}

// podCPU is what was seen of a pod: its CPU time when looked at last, and what
// it used between the last two looks.
type podCPU struct {
	looks  int
	at     time.Duration
	work   float64
	perSec float64
}

// podsEvery is the time between two looks.
func (w *World) podsEvery() time.Duration {
	if w.scaler.(podWatcher).zeroLag() {
		return time.Second
	}
	return w.scenario.MetricsResolution
}

// samplePods is metrics-server's look at every pod.
func (w *World) samplePods() {
	w.podsAt = w.now
	for _, list := range [][]*replica{w.fleet.ready, w.fleet.starting} {
		for _, r := range list {
			work := w.engine.workOf(r)
			if r.cpu.looks > 0 {
				r.cpu.perSec = (work - r.cpu.work) / (w.now - r.cpu.at).Seconds()
			}
			r.cpu.looks, r.cpu.at, r.cpu.work = r.cpu.looks+1, w.now, work
		}
	}
}

// Pods are the pods that are not ending, as metrics-server saw them last; without
// metrics for a scaler that doesn't look at them. The result is good until the next call.
func (w *World) Pods() []PodGroup {
	w.pods = w.pods[:0]
	perSlot := w.scenario.perSlot()
	for _, list := range [][]*replica{w.fleet.ready, w.fleet.starting} {
		for _, r := range list {
			g := PodGroup{Count: 1, CPU: r.cpu.perSec * perSlot, Metrics: r.cpu.looks >= 2, Ready: r.state == ready, Created: r.ordered, ReadyAt: r.ordered}
			if g.Ready {
				g.ReadyAt = r.readyAt
				g.CPU += w.scenario.Upkeep
			}
			if last := len(w.pods) - 1; last >= 0 && w.pods[last].like(g) {
				sum := &w.pods[last]
				sum.CPU = (sum.CPU*float64(sum.Count) + g.CPU) / float64(sum.Count+1)
				sum.Count++
			} else {
				w.pods = append(w.pods, g)
			}
		}
	}
	return w.pods
}

func (g PodGroup) like(o PodGroup) bool {
	return g.Metrics == o.Metrics && g.Ready == o.Ready && g.Created == o.Created && g.ReadyAt == o.ReadyAt
}
