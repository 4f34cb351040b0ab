package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/quick"
)

func TestErlangCAgreesWithPublishedValues(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    int
		a    float64
		want float64
	}{
		{"one server: the utilization (Kleinrock §3.2)", 1, 0.7, 0.7},
		{"two servers: 2ρ²/(1+ρ), ρ = 0.75 (Kleinrock §3.5)", 2, 1.5, 2 * 0.75 * 0.75 / 1.75},
		{"three servers, two erlangs: 4/9", 3, 2, 4.0 / 9},
		{"the call centre's textbook case: 200 calls an hour of 3 minutes, 14 agents: 17.4%", 14, 10, 0.1741},
		{"no load: nobody waits", 3, 0, 0},
		{"more load than servers: everybody waits", 3, 3, 1},
		{"no servers: everybody waits", 0, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ErlangC(tc.c, tc.a); math.Abs(got-tc.want) > 5e-5 {
				t.Errorf("ErlangC(%d, %g) = %.5f, want %.5f", tc.c, tc.a, got, tc.want)
			}
		})
	}
	// The same call centre answers 88.8% of the calls within 20 seconds.
	if got := WaitTail(14, 200.0/3600, 180, 20); math.Abs(got-(1-0.8884)) > 1e-4 {
		t.Errorf("WaitTail = %.4f, want %.4f", got, 1-0.8884)
	}
}

func TestErlangCStaysFiniteWhereFactorialsOverflow(t *testing.T) {
	for _, c := range []int{171, 1000, 100_000} {
		got := ErlangC(c, 0.99*float64(c))
		if !(got > 0 && got < 1) {
			t.Errorf("ErlangC(%d, %g) = %g, want a probability", c, 0.99*float64(c), got)
		}
	}
}

// A simulated first-come-first-served M/M/c queue waits as the formula says.
func TestWaitTailAgreesWithASimulatedQueue(t *testing.T) {
	for _, tc := range []struct {
		c             int
		rate, service float64
		wait          float64
	}{
		{1, 7, 0.1, 0.3},
		{4, 30, 0.1, 0.1},
		{5, 36, 0.1, 0.05},
	} {
		rng := rand.New(rand.NewPCG(1, uint64(tc.c)))
		free := make([]float64, tc.c) // when each server is done
		const arrivals = 400_000
		now, late := 0.0, 0
		for range arrivals {
			now += rng.ExpFloat64() / tc.rate
			first := 0
			for i := range free {
				if free[i] < free[first] {
					first = i
				}
			}
			start := math.Max(now, free[first])
			free[first] = start + rng.ExpFloat64()*tc.service
			if start-now > tc.wait {
				late++
			}
		}
		got, want := WaitTail(tc.c, tc.rate, tc.service, tc.wait), float64(late)/arrivals
		t.Logf("c=%d rate=%g: formula %.4f, simulation %.4f", tc.c, tc.rate, got, want)
		if math.Abs(got-want) > 0.01 {
			t.Errorf("c=%d rate=%g: formula says %.4f, simulation %.4f", tc.c, tc.rate, got, want)
		}
	}
}

func TestFewestReplicasIsTheFewest(t *testing.T) {
	property := func(rate, service, wait float64, slots uint8) bool {
		l := load{
			rate: 0.1 + math.Mod(math.Abs(rate), 500), service: 0.001 + math.Mod(math.Abs(service), 0.5),
			slots: 1 + int(slots%8), wait: math.Mod(math.Abs(wait), 0.5), tail: 0.01, utilization: 0.8, limit: 1000,
		}
		n := l.replicas()
		fits := func(n int) bool {
			c := n * l.slots
			return n > 0 && l.rate*l.service <= 0.8*float64(c)*(1+1e-9) && WaitTail(c, l.rate, l.service, l.wait) <= l.tail
		}
		if !fits(n) || fits(n-1) {
			t.Logf("%+v: %d replicas", l, n)
			return false
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000, Rand: seeded()}); err != nil {
		t.Error(err)
	}
}

func TestMoreLoadNeverNeedsFewerReplicas(t *testing.T) {
	property := func(rate, service, wait, more float64) bool {
		base := load{
			rate: math.Mod(math.Abs(rate), 500), service: 0.001 + math.Mod(math.Abs(service), 0.5),
			slots: 2, wait: math.Mod(math.Abs(wait), 0.5), tail: 0.01, utilization: 0.8, limit: 1000,
		}
		by := 1 + math.Mod(math.Abs(more), 2)
		busier, slower, laxer := base, base, base
		busier.rate *= by
		slower.service *= by
		laxer.wait *= by
		n := base.replicas()
		return busier.replicas() >= n && slower.replicas() >= n && laxer.replicas() <= n
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000, Rand: seeded()}); err != nil {
		t.Error(err)
	}
}
