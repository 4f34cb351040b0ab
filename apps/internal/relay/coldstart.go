package relay

import (
	"time"

	"headroom.dev/apps/internal/dispatch"
)

// Ready is the number of replicas that are ready.
func (r *Relay) Ready() int { return r.fleet.Ready() }

// held is how many requests wait while no replica is ready: those that are on
// their way into the queue or wait in memory, and those in the queue where it can
// be seen.
func (r *Relay) held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := dispatch.Total(r.load.Arriving) + dispatch.Total(r.waiting)
	if dispatch.Reachable(r.load, r.limits, time.Now()) {
		n += dispatch.Total(r.load.Queued)
	}
	return n
}

// holding says that requests may be held for the lack of a replica.
func (r *Relay) holding() {
	if r.config.Wake == nil || r.fleet.Ready() > 0 {
		return
	}
	select {
	case r.toWake <- struct{}{}:
	default: // it is said already
	}
}

// wake asks for a replica when requests are held and none is ready.
func (r *Relay) wake() {
	var last time.Time
	for {
		select {
		case <-r.running.Done():
			return
		case <-r.toWake:
		}
		if now := time.Now(); dispatch.Wake(r.held(), r.fleet.Ready(), last, now) {
			last = now
			r.metrics.Woken(r.config.Wake(r.running))
		}
	}
}
