// Package dispatch holds the dispatcher's decisions: whether a request is let
// in, whether it is too late for it, which replica gets it, and whether a
// failed attempt is made again. They are pure: what they need to know, the
// time included, is an argument.
package dispatch

import "time"

// Mode says how a caller waits.
type Mode string

const (
	// Sync is a caller that holds its connection open for the answer.
	Sync Mode = "sync"
	// Async is a caller that fetches the answer later.
	Async Mode = "async"
)

// Request is what waits in the queue.
type Request struct {
	// ID is the caller's name for it, or a generated one. A caller may use
	// one twice.
	ID string
	// Deadline is when nobody wants the answer any more; whole milliseconds.
	Deadline time.Time
	// Mode says how the caller waits.
	Mode Mode
	// Waiter names the dispatcher that holds a Sync caller's connection.
	Waiter string
	// Ticket names the caller at its waiter; unique there.
	Ticket string
	// Picture is the picture as it was sent.
	Picture []byte
	// TraceParent is the W3C traceparent of the trace that the request
	// belongs to; empty for none. One from a queue may be malformed.
	TraceParent string
}

// Result is the answer to a request: a status and a JSON body of the contract.
type Result struct {
	// Status is the HTTP status.
	Status int `json:"status"`
	// Body is the JSON body.
	Body []byte `json:"body"`
}

// Load is what is known of the queue.
type Load struct {
	// Queued is the number of entries that no worker has taken, as last seen.
	Queued int
	// Arriving is the number of requests that were let in and are not in the
	// queue yet.
	Arriving int
	// SeenAt is when Queued was last known to be true.
	SeenAt time.Time
}

// Limits bound the queue.
type Limits struct {
	// MaxQueue is the most entries that may wait; at least 1.
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
	// Unreachable requests find no queue.
	Unreachable
)

// Admit decides at the door: a request is let in while the queue can be
// reached and has room, counting those that are on their way into it.
func Admit(load Load, limits Limits, now time.Time) Admission {
	if !Reachable(load, limits, now) {
		return Unreachable
	}
	if load.Queued+load.Arriving >= limits.MaxQueue {
		return Overloaded
	}
	return Admitted
}

// Reachable says whether the queue was seen recently enough to count on it.
func Reachable(load Load, limits Limits, now time.Time) bool {
	return !load.SeenAt.IsZero() && now.Sub(load.SeenAt) <= limits.MaxAge
}

// Expired says whether nobody waits for r's answer any more.
func Expired(r Request, now time.Time) bool {
	return !now.Before(r.Deadline)
}

// State is a replica's state as the cluster, or a probe, reports it.
type State string

const (
	// Ready replicas take requests.
	Ready State = "ready"
	// Starting replicas do not yet.
	Starting State = "starting"
	// Terminating replicas finish what they have.
	Terminating State = "terminating"
)

// States are all states of a replica.
var States = []State{Ready, Starting, Terminating}

// Replica is one model server.
type Replica struct {
	// URL is its base URL.
	URL string
	// State is what was last reported.
	State State
	// InFlight is the number of requests that it is working on for this
	// dispatcher.
	InFlight int
	// AvoidUntil is until when it gets nothing, after a failed attempt.
	AvoidUntil time.Time
}

func (r Replica) free(concurrency int, now time.Time) int {
	if r.State != Ready || now.Before(r.AvoidUntil) {
		return 0
	}
	return max(0, concurrency-r.InFlight)
}

// Free is the number of requests that the replicas can take at once when each
// works on at most concurrency.
func Free(replicas []Replica, concurrency int, now time.Time) int {
	sum := 0
	for _, r := range replicas {
		sum += r.free(concurrency, now)
	}
	return sum
}

// Pick chooses, among the replicas that can take a request, one with the least
// in flight; of equals the first from index turn on, so that a turn that
// counts up goes round. exclude is a URL not to choose, or empty. ok is false
// when none can take a request.
func Pick(replicas []Replica, concurrency int, exclude string, turn int, now time.Time) (index int, ok bool) {
	if len(replicas) == 0 {
		return 0, false
	}
	index = -1
	for k := range replicas {
		i := (turn + k) % len(replicas)
		r := replicas[i]
		if r.free(concurrency, now) == 0 || r.URL == exclude {
			continue
		}
		if index < 0 || r.InFlight < replicas[index].InFlight {
			index = i
		}
	}
	return index, index >= 0
}

// Usable is the number of replicas but exclude that are ready and not avoided,
// busy or not.
func Usable(replicas []Replica, exclude string, now time.Time) int {
	n := 0
	for _, r := range replicas {
		if r.URL != exclude && r.State == Ready && !now.Before(r.AvoidUntil) {
			n++
		}
	}
	return n
}

// NextReturn is the earliest instant after now at which a ready replica stops
// being avoided; ok is false when none is avoided.
func NextReturn(replicas []Replica, now time.Time) (at time.Time, ok bool) {
	for _, r := range replicas {
		if r.State != Ready || !now.Before(r.AvoidUntil) {
			continue
		}
		if !ok || r.AvoidUntil.Before(at) {
			at, ok = r.AvoidUntil, true
		}
	}
	return at, ok
}

const (
	avoidFirst = 250 * time.Millisecond
	avoidMost  = 4 * time.Second
)

// Avoid is how long a replica gets nothing after its failures-th failed
// attempt in a row, from 1 on: a quarter of a second, then twice as long each
// time, at most four seconds. Without it a dead replica, having nothing in
// flight, would draw every request until the cluster notices.
func Avoid(failures int) time.Duration {
	d := avoidFirst
	for range failures - 1 {
		d *= 2
		if d >= avoidMost {
			return avoidMost
		}
	}
	return d
}

// Next is what to do after an attempt that got no answer.
type Next int

const (
	// GiveUp tells the caller.
	GiveUp Next = iota
	// Elsewhere makes another attempt, on another replica.
	Elsewhere
	// Anywhere makes another attempt, on whichever replica is there first.
	Anywhere
)

// maxAsyncAttempts bounds what one request that ends model servers can ruin.
const maxAsyncAttempts = 5

// Retry decides after the attempts-th attempt, from 1 on, found its replica
// unable to answer (a broken connection, or a 503). A Sync request gets one
// more, and only if one of others, the other usable replicas, is there to make
// it; an Async one has the time to wait for a replica and gets up to five.
func Retry(r Request, attempts, others int, now time.Time) Next {
	switch {
	case Expired(r, now):
		return GiveUp
	case r.Mode == Async && attempts >= maxAsyncAttempts:
		return GiveUp
	case r.Mode == Async && others > 0:
		return Elsewhere
	case r.Mode == Async:
		return Anywhere
	case attempts == 1 && others > 0:
		return Elsewhere
	}
	return GiveUp
}
