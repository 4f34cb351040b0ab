package sim

import (
	"slices"
	"time"

	"headroom.dev/scaler/internal/policy"
)

type replicaState uint8

const (
	starting replicaState = iota
	ready                 // and perhaps not known to the dispatcher yet
	draining
	gone
)

// replica is one pod.
type replica struct {
	state            replicaState
	visible          bool // the dispatcher sends it work
	inFlight         int
	place            int // in the request engine's list of replicas with as many in flight
	ordered, readyAt time.Duration
	work, mark       float64 // slot-seconds worked; see engine.workOf
	cpu              podCPU
	quota            quota
}

// fleet is the replicas: what a Deployment and its Service's endpoints do.
type fleet struct {
	slots int
	start draws
	lag   time.Duration

	spec     int
	starting []*replica // in the order of being ordered
	ready    []*replica // those that are not ending, in the order of becoming ready
	draining int
	visible  int
	pending  heap[*replica] // those that become ready, visible or, in aggregate, gone

	becameReady []policy.Cohort

	speed          float64
	costed         time.Duration
	replicaSeconds float64
	limitSeconds   float64 // replica-seconds, each as many times as it has its usual CPU
	served         float64 // replica-seconds from being ready to being gone
	events         *int64
}

func newFleet(s *Scenario, events *int64) *fleet {
	return &fleet{
		slots: s.Slots, lag: s.EndpointLag, speed: 1, events: events,
		start: lognormalDraws(s.ColdStart.Mean, s.ColdStart.CV, stream(s.Seed, coldStartStream)),
	}
}

// exist counts every replica that costs something.
func (f *fleet) exist() int { return len(f.starting) + len(f.ready) + f.draining }

// cost charges for the time since the last call. It comes before every change.
func (f *fleet) cost(now time.Duration) {
	seconds := (now - f.costed).Seconds()
	f.costed = now
	f.replicaSeconds += seconds * float64(f.exist())
	f.limitSeconds += seconds * (float64(len(f.starting)+f.draining) + f.speed*float64(len(f.ready)))
	f.served += seconds * float64(len(f.ready)+f.draining)
}

// servedSeconds are the replica-seconds, until now, from being ready to being gone.
func (f *fleet) servedSeconds(now time.Duration) float64 {
	return f.served + (now-f.costed).Seconds()*float64(len(f.ready)+f.draining)
}

// begin makes the replicas that are there at the start. For the first snapshot
// they are as if each had just taken the mean time.
func (f *fleet) begin(n int, took time.Duration) []*replica {
	f.spec = n
	for range n {
		f.ready = append(f.ready, &replica{state: ready, visible: true, ordered: -took})
	}
	f.visible = n
	if n > 0 {
		f.becameReady = append(f.becameReady, policy.Cohort{Age: took, Count: n})
	}
	return f.ready
}

// scale makes as many replicas as are ordered, or takes away: the last ordered of
// those that start first, then ready ones with the least in flight, of these
// the newest. It returns the ready ones taken, which its caller ends.
func (f *fleet) scale(now time.Duration, n int) []*replica {
	f.cost(now)
	f.spec = n
	for have := len(f.starting) + len(f.ready); have < n; have++ {
		r := &replica{ordered: now, readyAt: now + f.start.next()}
		f.starting = append(f.starting, r)
		f.pending.push(r.readyAt, r)
	}
	for len(f.starting) > 0 && len(f.starting)+len(f.ready) > n {
		last := len(f.starting) - 1
		f.starting[last].state = gone
		f.starting = f.starting[:last]
	}
	return f.leastBusy(len(f.ready) - n)
}

// leastBusy takes so many out of the ready ones.
func (f *fleet) leastBusy(n int) []*replica {
	var taken []*replica
	lowest := len(f.ready)
	for inFlight := 0; len(taken) < n; inFlight++ {
		for i := len(f.ready) - 1; i >= 0 && len(taken) < n; i-- {
			if r := f.ready[i]; r.inFlight == inFlight && r.state == ready {
				r.state = draining
				taken = append(taken, r)
				lowest = min(lowest, i)
			}
		}
	}
	if len(taken) > 0 {
		rest := slices.DeleteFunc(f.ready[lowest:], func(r *replica) bool { return r.state != ready })
		f.ready = f.ready[:lowest+len(rest)]
		f.draining += len(taken)
	}
	for _, r := range taken {
		if r.visible {
			f.visible--
		}
	}
	return taken
}

// end is when a replica that was to end has nothing left to do.
func (f *fleet) end(now time.Duration, r *replica) {
	f.cost(now)
	r.state = gone
	f.draining--
}

// oldest kills so many of those that are ready, the longest ready first.
func (f *fleet) oldest(now time.Duration, n int) []*replica {
	f.cost(now)
	n = min(n, len(f.ready))
	dead := slices.Clone(f.ready[:n])
	f.ready = slices.Delete(f.ready, 0, n)
	for _, r := range dead {
		r.state = gone
		if r.visible {
			f.visible--
		}
	}
	return dead
}

// nextEvent is when something happens to a replica by itself.
func (f *fleet) nextEvent() time.Duration { return f.pending.first() }

// step plays the event at nextEvent. It returns the replica if the dispatcher
// sees it from now on.
func (f *fleet) step() *replica {
	now, r := f.pending.pop()
	*f.events++
	switch {
	case r.state == starting:
		f.cost(now)
		r.state = ready
		i := slices.Index(f.starting, r)
		f.starting = slices.Delete(f.starting, i, i+1)
		f.ready = append(f.ready, r)
		f.noteReady(policy.Cohort{Age: now - r.ordered, Count: 1})
		f.pending.push(now+f.lag, r)
	case r.state == ready && !r.visible:
		r.visible = true
		f.visible++
		return r
	case r.state == draining:
		f.end(now, r)
	}
	return nil
}

func (f *fleet) noteReady(c policy.Cohort) {
	if last := len(f.becameReady) - 1; last >= 0 && f.becameReady[last].Age == c.Age {
		f.becameReady[last].Count += c.Count
		return
	}
	f.becameReady = append(f.becameReady, c)
}

// cohorts are the replicas that start, the oldest first.
func (f *fleet) cohorts(now time.Duration) []policy.Cohort {
	var out []policy.Cohort
	for _, r := range f.starting {
		age := now - r.ordered
		if last := len(out) - 1; last >= 0 && out[last].Age == age {
			out[last].Count++
		} else {
			out = append(out, policy.Cohort{Age: age, Count: 1})
		}
	}
	return out
}
