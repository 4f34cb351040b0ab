package dispatch

import (
	"math"
	"time"
)

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

// Estimate is a duration that varies. The zero value stands for nothing known.
type Estimate struct {
	// Mean is its smoothed mean.
	Mean time.Duration
	// Deviation is its smoothed mean deviation.
	Deviation time.Duration
	// At is when it was last observed.
	At time.Time
}

// Observe takes one more sample, as RFC 6298 does for round-trip times.
func (e Estimate) Observe(d time.Duration, now time.Time) Estimate {
	if e.Mean == 0 {
		return Estimate{Mean: d, Deviation: d / 2, At: now}
	}
	e.Deviation += ((e.Mean - d).Abs() - e.Deviation) / 4
	e.Mean += (d - e.Mean) / 8
	e.At = now
	return e
}

// Likely is what the duration seldom exceeds.
func (e Estimate) Likely() time.Duration { return e.Mean + 2*e.Deviation }

// recent is how old an estimate may be by which requests are turned away. Where
// all of them are, it is not observed any more, and would never be corrected.
const recent = 2 * time.Second

// Recent is e, or nothing known where e is old.
func (e Estimate) Recent(now time.Time) Estimate {
	if now.Sub(e.At) > recent {
		return Estimate{}
	}
	return e
}

// Replica is one model server.
type Replica struct {
	// URL is its base URL.
	URL string
	// State is what was last reported.
	State State
	// InFlight is the number of requests that it is working on for this
	// dispatcher.
	InFlight int
	// Concurrency is how many it may work on.
	Concurrency Concurrency
	// Latency is how long its attempts took.
	Latency Estimate
	// Failures is the number of failed attempts in a row.
	Failures int
	// AvoidUntil is until when it gets nothing.
	AvoidUntil time.Time
}

func (r Replica) usable(now time.Time) bool {
	return r.State == Ready && !now.Before(r.AvoidUntil)
}

func (r Replica) free(now time.Time) int {
	if !r.usable(now) {
		return 0
	}
	return max(0, r.Concurrency.Limit-r.InFlight)
}

// latencyHalfLife is in how long half of what sets a replica's latency apart is
// forgotten: one that was slow gets requests again, and may show that it isn't.
const latencyHalfLife = 10 * time.Second

// latency is what to expect of r where replicas typically take typical.
func (r Replica) latency(typical time.Duration, now time.Time) float64 {
	if r.Latency.Mean == 0 {
		return float64(typical)
	}
	apart := float64(r.Latency.Mean - typical)
	return float64(typical) + apart*math.Exp2(-float64(now.Sub(r.Latency.At))/float64(latencyHalfLife))
}

// Free is the number of requests that the replicas can take at once.
func Free(replicas []Replica, now time.Time) int {
	sum := 0
	for _, r := range replicas {
		sum += r.free(now)
	}
	return sum
}

// alike is the ratio up to which two latencies count as the same: a small
// difference must not draw everything to one replica.
const alike = 1.5

// Pick chooses a replica that can take a request: of two that are drawn, the one
// with less work and lower latency. Two choices come close to knowing the best,
// and do not send what several dispatchers have all to the same one (Mitzenmacher
// 2001; Prequal, NSDI 2024, for load and latency together). draw(n) is a number
// from 0 to n-1, typical what replicas take in general, exclude a URL not to
// choose, or empty. ok is false when none can take a request.
func Pick(replicas []Replica, typical time.Duration, exclude string, draw func(n int) int, now time.Time) (index int, ok bool) {
	candidate := func(i int) bool { return replicas[i].free(now) > 0 && replicas[i].URL != exclude }
	n := 0
	for i := range replicas {
		if candidate(i) {
			n++
		}
	}
	nth := func(k int) int {
		for i := range replicas {
			if candidate(i) {
				if k == 0 {
					return i
				}
				k--
			}
		}
		return -1
	}
	switch n {
	case 0:
		return 0, false
	case 1:
		return nth(0), true
	}
	first, second := draw(n), draw(n-1)
	if second >= first {
		second++
	}
	a, b := nth(first), nth(second)
	if better(replicas[b], replicas[a], typical, now) {
		return b, true
	}
	return a, true
}

// better says whether a request is likely answered sooner by a than by b.
func better(a, b Replica, typical time.Duration, now time.Time) bool {
	la, lb := a.latency(typical, now), b.latency(typical, now)
	if la <= alike*lb && lb <= alike*la {
		return a.InFlight < b.InFlight
	}
	return float64(a.InFlight+1)*la < float64(b.InFlight+1)*lb
}

// Rate is how many requests a second the replicas answer when they are never
// without, for as many dispatchers as there are: each of them has the same
// replicas, and sees in their latency what they do for the others. It is 0 where
// no latency is known.
func Rate(replicas []Replica, typical time.Duration, dispatchers int, now time.Time) float64 {
	rate := 0.
	for _, r := range replicas {
		if latency := r.latency(typical, now); r.usable(now) && latency > 0 {
			rate += float64(r.Concurrency.Limit) * float64(time.Second) / latency
		}
	}
	return rate * float64(max(1, dispatchers))
}

// Usable is the number of replicas but exclude that are ready and not avoided,
// busy or not.
func Usable(replicas []Replica, exclude string, now time.Time) int {
	n := 0
	for _, r := range replicas {
		if r.URL != exclude && r.usable(now) {
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
