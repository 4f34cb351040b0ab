package hpa

import (
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// world is what the controller sees of the cluster. The pod at a place keeps
// its name: the controller tells pods apart only within one look at them.
type world struct {
	options protocol.HPA
	start   time.Time
	spec    v1.PodSpec

	mu       sync.Mutex
	wanted   int32 // the scale's spec.replicas
	observed protocol.Observation
	names    []string
	shapes   []shape
	pods     []*v1.Pod
}

func newWorld(o protocol.HPA, start time.Time) *world {
	w := &world{options: o, start: start, spec: podSpec(o.CPURequest), wanted: o.Replicas}
	w.observed.Replicas = o.Replicas
	return w
}

// replace puts another world in place and returns the replicas wanted.
func (w *world) replace(o protocol.Observation) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observed = o
	n := 0
	for i := range o.Pods {
		group := shapeOf(&o.Pods[i])
		for range o.Pods[i].Count {
			w.place(n, group)
			n++
		}
	}
	w.shapes, w.pods = w.shapes[:n], w.pods[:n]
	return int(w.wanted)
}

// place makes the i-th pod one of that shape, unless it is already.
func (w *world) place(i int, s shape) {
	if i == len(w.names) {
		w.names = append(w.names, fmt.Sprintf("%s-%d", target, i))
	}
	switch {
	case i == len(w.pods):
		w.shapes, w.pods = append(w.shapes, s), append(w.pods, w.newPod(i, s))
	case w.shapes[i] != s:
		w.shapes[i], w.pods[i] = s, w.newPod(i, s)
	}
}

// at is the time of a virtual second as the API server serves it, in whole
// seconds; the controller compares such times.
func (w *world) at(second float64) time.Time {
	return w.start.Add(seconds(second)).Truncate(time.Second)
}
