package sim

import (
	"math"
	"sort"
	"time"
)

// allowedShare is the share of requests that a sized fleet may answer late.
const allowedShare = 1 - latencyShare

// sizing is how many replicas a steady rate needs for its 99th percentile to be
// inside the SLO: an M/G/c queue.
type sizing struct {
	slots     int
	mean, scv float64
	slo       float64
	tail      func(float64) float64
	limit     float64   // the share that may be late
	rates     []float64 // by replicas: the most that they can take; 0 where not known yet
}

func newSizing(s *Scenario) *sizing {
	z := &sizing{slots: s.Slots, slo: s.SLO.Seconds(), tail: s.Service.tail(), rates: make([]float64, 1)}
	z.mean, z.scv = s.Service.moments()
	// Where service times alone break the promise, half as many again may be late.
	z.limit = max(allowedShare, 1.5*z.tail(z.slo))
	return z
}

// Replicas is the fewest replicas that keep the 99th percentile of latency of a
// scenario's service inside its SLO at a steady rate, 0 for a rate of 0.
func Replicas(s Scenario, rate float64) int {
	s = s.withDefaults()
	return newSizing(&s).replicas(rate)
}

func (z *sizing) replicas(rate float64) int {
	if rate <= 0 {
		return 0
	}
	least := int(rate * z.mean / float64(z.slots))
	high := least + 1
	for z.rate(high) < rate {
		high = 2*high - least
	}
	return least + sort.Search(high-least, func(i int) bool { return i > 0 && z.rate(least+i) >= rate })
}

// rate is the most that so many replicas can take.
func (z *sizing) rate(replicas int) float64 {
	for replicas >= len(z.rates) {
		z.rates = append(z.rates, make([]float64, len(z.rates))...)
	}
	if z.rates[replicas] == 0 {
		full := float64(replicas*z.slots) / z.mean
		low, high := 0.0, 1.0
		for high-low > 1e-4 {
			if mid := (low + high) / 2; z.late(replicas*z.slots, mid*full) <= z.limit {
				low = mid
			} else {
				high = mid
			}
		}
		z.rates[replicas] = low * full
	}
	return z.rates[replicas]
}

// late is the share of requests answered after the SLO by so many servers.
//
// The probability of waiting is M/M/c's (Erlang C), and the wait of those who do
// is exponential with the M/M/c mean times (1+scv)/2 (Lee and Longton, 1959).
func (z *sizing) late(servers int, rate float64) float64 {
	load := rate * z.mean
	if load >= float64(servers) {
		return 1
	}
	waits := erlangC(servers, load)
	wait := z.mean / (float64(servers) - load) * (1 + z.scv) / 2
	const points = 64
	lateIfWaiting := 0.0
	for i := range points {
		w := -wait * math.Log1p(-(float64(i)+0.5)/points)
		if w >= z.slo {
			lateIfWaiting++
		} else {
			lateIfWaiting += z.tail(z.slo - w)
		}
	}
	return (1-waits)*z.tail(z.slo) + waits*lateIfWaiting/points
}

// erlangC is the probability of waiting in an M/M/c queue of so many servers with
// an offered load in erlangs, below the servers. From 200 servers on it is Halfin's
// and Whitt's limit (1981), which then is less than 1 % off where it matters. The
// policy has a function of its own: a bound that it is held against shares none of
// its formulas.
func erlangC(servers int, load float64) float64 {
	c := float64(servers)
	if servers >= 200 {
		beta := (1 - load/c) * math.Sqrt(c)
		density := math.Exp(-beta*beta/2) / math.Sqrt(2*math.Pi)
		return 1 / (1 + beta*math.Erfc(-beta/math.Sqrt2)/2/density)
	}
	inverseB := 1.0 // of the loss probability, by its recursion over the servers
	for k := 1; k <= servers; k++ {
		inverseB = 1 + inverseB*float64(k)/load
	}
	return 1 / (load/c + (1-load/c)*inverseB)
}

// seconds is how many full seconds a scenario has rates for, or arrivals.
func (s *Scenario) seconds() int {
	return int((s.Duration + time.Second - 1) / time.Second)
}
