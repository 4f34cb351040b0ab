package dispatch

import (
	"math"
	"time"
)

// Load is what is known of the queue and of those who empty it.
type Load struct {
	// Queued is the number of entries of each priority that no worker has
	// taken, as last seen.
	Queued [len(Priorities)]int
	// Arriving is the number of requests of each priority that were let in and
	// are not in the queue yet.
	Arriving [len(Priorities)]int
	// SeenAt is when Queued was last known to be true.
	SeenAt time.Time
	// Rate is how many requests leave the queue in a second while there are
	// any, over all dispatchers; 0 where that isn't known.
	Rate float64
	// Service is how long replicas take for a request.
	Service Estimate
}

// Waiting is the number of requests of a priority and of those that go before
// it.
func (l Load) Waiting(from Priority) int {
	n := 0
	for p := from; int(p) < len(l.Queued); p++ {
		n += l.Queued[p] + l.Arriving[p]
	}
	return n
}

// Total is the sum of counts by priority.
func Total(counts [len(Priorities)]int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}

// waitMargin is by how much a wait is longer than the replicas' latency tells: it
// knows nothing of the time between two requests at a replica.
const waitMargin = 1.1

// Wait predicts how long a request of a priority that comes now is queued: until
// as many requests have left as are before it, and one more has made room for it
// (Little's law). It is 0 where nothing is before it, or the rate isn't known.
func (l Load) Wait(p Priority) time.Duration {
	before := l.Waiting(p)
	if before == 0 || l.Rate <= 0 {
		return 0
	}
	seconds := waitMargin * float64(before+1) / l.Rate
	return time.Duration(min(seconds*float64(time.Second), math.MaxInt64/2))
}

// Limits bound the queue.
type Limits struct {
	// MaxQueue is the most entries that may wait before another one; at least 1.
	MaxQueue int
	// MaxAge is how old knowledge of the queue may be before the queue counts
	// as out of reach.
	MaxAge time.Duration
}

// Admission is what becomes of a request at the door.
type Admission int

const (
	// Admitted requests are queued.
	Admitted Admission = iota
	// Overloaded requests find the queue full.
	Overloaded
	// Late requests would be answered after their deadline.
	Late
	// NoQueue requests find no queue.
	NoQueue
)

// Admit decides at the door: a request is let in while the queue can be
// reached, is not full of what goes before it, counting those that are on their
// way into it, and is short enough for the request's deadline. What a refused request would have cost is
// there for those that can still be answered.
func Admit(load Load, limits Limits, p Priority, deadline, now time.Time) Admission {
	switch wait := load.Wait(p); {
	case !Reachable(load, limits, now):
		return NoQueue
	case load.Waiting(p) >= limits.MaxQueue:
		return Overloaded
	case wait > 0 && now.Add(wait+load.Service.Recent(now).Likely()).After(deadline):
		return Late
	}
	return Admitted
}

// Reachable says whether the queue was seen recently enough to count on it.
func Reachable(load Load, limits Limits, now time.Time) bool {
	return !load.SeenAt.IsZero() && now.Sub(load.SeenAt) <= limits.MaxAge
}
