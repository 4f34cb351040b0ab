package policy

import "math"

// ErlangC is the probability that an arrival has to wait in an M/M/c queue of
// c servers that is offered a erlangs (arrival rate times mean service time).
// It is 0 for a ≤ 0, and 1 for a ≥ c, where the queue has no steady state.
//
// It comes from the Erlang B recursion B(0) = 1, B(k) = a·B(k−1)/(k + a·B(k−1))
// and C = B/(1 − (a/c)(1 − B)), which stays between 0 and 1 for any c where
// the textbook sum of a^k/k! overflows. Source: A. K. Erlang, "Solution of some
// problems in the theory of probabilities of significance in automatic
// telephone exchanges", 1917; L. Kleinrock, Queueing Systems vol. 1, 1975, §3.5.
func ErlangC(c int, a float64) float64 {
	switch {
	case a <= 0:
		return 0
	case c <= 0 || a >= float64(c):
		return 1
	}
	b := 1.0
	for k := 1; k <= c; k++ {
		b = nextErlangB(b, k, a)
	}
	return erlangCFromB(b, c, a)
}

// WaitTail is P(W > wait): the share of arrivals that wait longer than wait
// seconds for one of c servers, with rate arrivals a second and a mean service
// time of service seconds: C(c, a)·exp(−(c/service − rate)·wait), a = rate·service
// (Kleinrock, as above). It is 1 where the servers can't keep up.
func WaitTail(c int, rate, service, wait float64) float64 {
	return tail(ErlangC(c, rate*service), c, rate, service, wait)
}

func nextErlangB(previous float64, k int, a float64) float64 {
	return a * previous / (float64(k) + a*previous)
}

func erlangCFromB(b float64, c int, a float64) float64 {
	return b / (1 - a/float64(c)*(1-b))
}

func tail(waits float64, c int, rate, service, wait float64) float64 {
	if rate <= 0 || service <= 0 {
		return 0
	}
	if rate*service >= float64(c) {
		return 1
	}
	return waits * math.Exp(-(float64(c)/service-rate)*math.Max(wait, 0))
}

// maxCount bounds what the sizing returns, so that no absurd input overflows an int.
const maxCount = 1_000_000

// load is what Replicas has to serve, and how well.
type load struct {
	rate        float64 // arrivals per second
	service     float64 // mean time that one request holds a slot, seconds
	slots       int     // slots per replica
	wait        float64 // seconds that may be waited
	tail        float64 // share of requests that may wait longer than that
	utilization float64 // highest share of a slot's time that may be planned for
	limit       int     // above this count only the utilization is looked at
}

// replicas is the fewest n whose n·slots servers keep both the planned
// utilization and the waiting time's tail.
func (l load) replicas() int {
	if l.rate <= 0 {
		return 0
	}
	a := l.rate * l.service
	n := ceil(a / (float64(l.slots) * l.utilization))
	if n > l.limit {
		return n
	}
	b, k := 1.0, 0
	for ; ; n++ {
		c := n * l.slots
		for ; k < c; k++ {
			b = nextErlangB(b, k+1, a)
		}
		if a < float64(c) && tail(erlangCFromB(b, c, a), c, l.rate, l.service, l.wait) <= l.tail {
			return n
		}
	}
}

// ceil rounds up, forgiving the last bits of a float (0.3/0.1 is 3, not 4).
func ceil(x float64) int {
	x = math.Ceil(x * (1 - 1e-12))
	switch {
	case !(x > 0):
		return 0
	case x > maxCount:
		return maxCount
	}
	return int(x)
}
