package policy

import "math"

// ErlangC is the probability that an arrival has to wait in an M/M/c queue of
// c servers that is offered a erlangs (arrival rate times mean service time).
// It is 0 for a ≤ 0, and 1 for a ≥ c, where the queue has no steady state.
//
// Up to exactServers it comes from the Erlang B recursion B(0) = 1,
// B(k) = a·B(k−1)/(k + a·B(k−1)) and C = B/(1 − (a/c)(1 − B)), which stays between
// 0 and 1 where the textbook sum of a^k/k! overflows. Source: A. K. Erlang,
// "Solution of some problems in the theory of probabilities of significance in
// automatic telephone exchanges", 1917; L. Kleinrock, Queueing Systems vol. 1,
// 1975, §3.5. Above, it is the limit of many servers, C = 1/(1 + β·Φ(β)/φ(β)) with
// β = (c − a)/√a, in the same time for any c: S. Halfin, W. Whitt, "Heavy-traffic
// limits for queues with many exponential servers", Operations Research 29, 1981.
func ErlangC(c int, a float64) float64 {
	switch {
	case a <= 0:
		return 0
	case c <= 0 || a >= float64(c):
		return 1
	case c > exactServers:
		return manyServers(c, a)
	}
	b := 1.0
	for k := 1; k <= c; k++ {
		b = a * b / (float64(k) + a*b)
	}
	return b / (1 - a/float64(c)*(1-b))
}

// exactServers is where the limit of many servers is as good as the recursion
// for what is decided here (within 0.01 of it) and cheaper.
const exactServers = 200

func manyServers(c int, a float64) float64 {
	beta := (float64(c) - a) / math.Sqrt(a)
	cumulative := 0.5 * math.Erfc(-beta/math.Sqrt2)
	density := math.Exp(-beta*beta/2) / math.Sqrt(2*math.Pi)
	if density == 0 {
		return 0
	}
	return 1 / (1 + beta*cumulative/density)
}

// Load is what a number of servers has to serve.
type Load struct {
	// Rate is arrivals per second, Poisson.
	Rate float64
	// Service is how long one server is taken by one request.
	Service ServiceTime
}

// WaitTail is about P(W > wait): the share of arrivals that wait longer than wait
// seconds for one of c servers. It is 1 where the servers can't keep up.
//
// For exponential service times it is exact: C(c, a)·exp(−(c − a)·wait/S). For
// others the exponent is divided by (1 + cv²)/2, as in heavy traffic: who waits
// at all is about the same, and how long grows with the variability of what is
// waited for. Source: H. C. Tijms, Stochastic Models, 1994, §4.4;
// W. Whitt, "Approximations for the GI/G/m queue", Production and Operations
// Management 2, 1993, §2.
func (l Load) WaitTail(c int, wait float64) float64 {
	if l.Rate <= 0 || l.Service.Mean <= 0 {
		return 0
	}
	return l.tail(ErlangC(c, l.erlangs()), c, wait)
}

func (l Load) erlangs() float64 { return l.Rate * l.Service.Mean }

func (l Load) tail(waits float64, c int, wait float64) float64 {
	spare := float64(c) - l.erlangs()
	if spare <= 0 {
		return 1
	}
	variability := (1 + l.Service.CV()*l.Service.CV()) / 2
	return waits * math.Exp(-spare*math.Max(wait, 0)/(l.Service.Mean*variability))
}

// LateShare is about P(W + S > within): the share of arrivals that is not done
// within so many seconds of arriving at c servers, waiting and service taken as
// independent.
func (l Load) LateShare(c int, within float64) float64 {
	if l.Rate <= 0 || l.Service.Mean <= 0 {
		return 0
	}
	waits := ErlangC(c, l.erlangs())
	late := 0.0
	for _, s := range l.Service.strata() {
		if s.seconds > within {
			late += s.share
		} else {
			late += s.share * l.tail(waits, c, within-s.seconds)
		}
	}
	return late
}

// Latency is about the latency, in seconds, that the given share of arrivals
// stays inside at c servers; +Inf where they can't keep up.
func (l Load) Latency(c int, share float64) float64 {
	if l.Service.Mean <= 0 {
		return 0
	}
	if l.erlangs() >= float64(c) {
		return math.Inf(1)
	}
	low, high := 0.0, l.Service.Mean
	for l.LateShare(c, high) > 1-share && high < 1e6 {
		low, high = high, 2*high
	}
	for range 20 {
		if middle := (low + high) / 2; l.LateShare(c, middle) > 1-share {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// goal is how well a load has to be served.
type goal struct {
	within      float64 // seconds
	late        float64 // share of requests that may take longer
	utilization float64 // highest share of a server's time that may be planned for
	slots       int     // servers per replica
	limit       int     // above this count of replicas only the utilization is looked at
}

// maxCount bounds what the sizing returns, so that no absurd input overflows an int.
const maxCount = 1_000_000

// replicas is the fewest n whose n·slots servers serve the load as the goal has
// it. Where the service time alone takes longer than the goal for more requests
// than may be late, waiting as little as minWaitShare of the goal is aimed at:
// less would buy replicas without end for what replicas can't mend.
func (g goal) replicas(l Load) int {
	if l.Rate <= 0 {
		return 0
	}
	if l.Service.Mean <= 0 {
		return 1
	}
	n := max(1, ceil(l.erlangs()/(float64(g.slots)*g.utilization)))
	unavoidable := l.Service.longer(g.within)
	for ; n <= g.limit; n++ {
		c := n * g.slots
		if l.erlangs() >= float64(c) {
			continue
		}
		if unavoidable < g.late && l.LateShare(c, g.within) <= g.late ||
			unavoidable >= g.late/2 && l.WaitTail(c, minWaitShare*g.within) <= g.late {
			break
		}
	}
	return n
}

// minWaitShare of the promise is left for waiting where the service time takes the rest.
const minWaitShare = 0.2

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
