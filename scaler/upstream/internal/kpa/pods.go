package kpa

import (
	"knative.dev/serving/pkg/resources"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// readyPods counts the endpoints of the revision.
type readyPods struct {
	resources.EndpointsCounter
	count int
}

func (r *readyPods) observe(groups []protocol.Pods) {
	r.count = 0
	for i := range groups {
		if groups[i].Ready {
			r.count += groups[i].Count
		}
	}
}

// ReadyCount is what the autoscaler takes for the replicas that serve.
func (r *readyPods) ReadyCount() (int, error) { return r.count, nil }
