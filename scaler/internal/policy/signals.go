package policy

import (
	"iter"
	"math"
)

// SignalState says whether a signal can be relied on. The zero value is Missing.
type SignalState int

const (
	// Missing means that nothing was read: no such series, or the read failed.
	Missing SignalState = iota
	// OK means that the value was read, is recent, finite and not negative.
	OK
	// Stale means that a value was read that is too old to act on.
	Stale
	// Invalid means that what was read is NaN, infinite or negative.
	Invalid
)

// String is the state in one word, as logs show it.
func (s SignalState) String() string {
	switch s {
	case OK:
		return "ok"
	case Stale:
		return "stale"
	case Invalid:
		return "invalid"
	default:
		return "missing"
	}
}

// Signal is one measured number and whether it can be relied on.
type Signal struct {
	Value float64
	State SignalState
}

// Value makes a Signal of a number that was just read: OK, or Invalid where it
// is NaN, infinite or negative (no signal here can be below zero).
func Value(v float64) Signal {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return Signal{Value: v, State: Invalid}
	}
	return Signal{Value: v, State: OK}
}

func (s Signal) ok() bool { return s.State == OK && Value(s.Value).State == OK }

func (s Signal) positive() bool { return s.ok() && s.Value > 0 }

// Signals are the measurements that a decision is made from.
type Signals struct {
	// ArrivalShort and ArrivalLong are arrivals per second over a short window
	// (it shows a burst first) and over a longer one (it forgets a lull slowly).
	ArrivalShort, ArrivalLong Signal
	// Backlog is the number of requests that wait in the queue.
	Backlog Signal
	// OldestAge is how long the oldest of them has waited, in seconds.
	OldestAge Signal
	// InFlight is the number of requests sent to a replica and not answered yet.
	InFlight Signal
	// ServiceMean and ServiceP99 are seconds from having a slot to having the reply.
	ServiceMean, ServiceP99 Signal
	// CPUPerRequest is CPU seconds used for one answered request.
	CPUPerRequest Signal
	// CPULimit is the CPU cores that one replica may use.
	CPULimit Signal
	// Slots is the number of requests that one replica serves at the same time.
	Slots Signal
}

// Named yields every signal with the name that logs and metrics use.
func (s *Signals) Named() iter.Seq2[string, *Signal] {
	return func(yield func(string, *Signal) bool) {
		for _, n := range []struct {
			name   string
			signal *Signal
		}{
			{"arrival_short", &s.ArrivalShort},
			{"arrival_long", &s.ArrivalLong},
			{"backlog", &s.Backlog},
			{"oldest_age", &s.OldestAge},
			{"in_flight", &s.InFlight},
			{"service_mean", &s.ServiceMean},
			{"service_p99", &s.ServiceP99},
			{"cpu_per_request", &s.CPUPerRequest},
			{"cpu_limit", &s.CPULimit},
			{"slots", &s.Slots},
		} {
			if !yield(n.name, n.signal) {
				return
			}
		}
	}
}

// Snapshot is everything that one decision sees.
type Snapshot struct {
	Signals
	// Spec is the number of replicas that the target is told to have.
	Spec int
	// Ready is how many of them are ready.
	Ready int
}
