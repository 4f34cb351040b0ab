package serve

import "headroom.dev/scaler/upstream/internal/protocol"

const (
	cpuRequest = 0.1 // cores, of each pod
	cpuLimit   = 0.2 // cores, of each pod
	startup    = 4   // seconds from a pod's creation to its readiness
	resolution = 15  // seconds between two samples of metrics-server
)

// cluster is a Deployment, its pods and metrics-server, a second at a time.
type cluster struct {
	pods      []pod
	sampledAt float64
}

type pod struct {
	created, used, sample float64
	sampled               bool
}

func newCluster(replicas int) *cluster {
	c := &cluster{}
	c.scale(-1000, replicas)
	return c
}

func (c *cluster) scale(at float64, replicas int) {
	for len(c.pods) < replicas {
		c.pods = append(c.pods, pod{created: at})
	}
	c.pods = c.pods[:replicas]
}

// advance lets the second before at pass, with work for so many cores shared
// by the ready pods, and returns the world then.
func (c *cluster) advance(at, cores float64) protocol.Observation {
	ready := 0.0
	for _, p := range c.pods {
		if p.created+startup < at {
			ready++
		}
	}
	o := protocol.Observation{At: at, Replicas: int32(len(c.pods)), MetricsAt: &c.sampledAt}
	sample := int(at)%resolution == 0
	for i := range c.pods {
		p := &c.pods[i]
		if p.created+startup < at {
			p.used += min(cores/ready, cpuLimit)
		}
		if sample {
			// Two scrapes of the running container make a sample.
			p.sampled = p.created+startup <= at-resolution
			p.sample, p.used = p.used/resolution, 0
		}
		group := protocol.Pods{Count: 1, Created: p.created, CPU: p.sample, Metrics: p.sampled}
		if readyAt := p.created + startup; readyAt <= at {
			group.Ready, group.ReadyAt = true, &readyAt
		}
		o.Pods = append(o.Pods, group)
	}
	if sample {
		c.sampledAt = at
	}
	return o
}
