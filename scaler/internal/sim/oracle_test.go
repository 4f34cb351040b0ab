package sim

import (
	"math"
	"strings"
	"testing"
	"time"
)

// bumpy is half an hour with a rise, a plateau and two short spikes.
func bumpy() Scenario {
	s := Scenario{
		Seed: 9, Service: Service{Mean: 100 * ms, CV: 0.5}, Slots: 1, CPULimit: 1, SLO: 500 * ms, Initial: 3,
		ColdStart: ColdStart{Mean: 5 * time.Second, CV: 0.2}, EndpointLag: 200 * ms, Rates: steady(12, 1800),
	}
	for i := range s.Rates {
		switch {
		case i >= 300 && i < 330, i >= 600 && i < 620:
			s.Rates[i] = 45
		case i >= 900 && i < 1400:
			s.Rates[i] = 12 + 40*math.Sin(math.Pi*float64(i-900)/500)
		}
	}
	return s
}

func TestErlangC(t *testing.T) {
	// By hand: one server waits as often as it is busy; for two, 2ρ²/(1+ρ).
	near(t, "C(1, 0.7)", erlangC(1, 0.7), 0.7, 1e-12)
	near(t, "C(2, 1)", erlangC(2, 1), 2*0.25/1.5, 1e-12)
	// The limit meets the recursion where it takes over.
	near(t, "C(200, 190)", erlangC(200, 190), erlangC(199, 190*199.0/200), 0.02)
}

func TestTheSizingIsTheFewestThatDo(t *testing.T) {
	s := bumpy()
	for _, rate := range []float64{5, 40, 300} {
		n := Replicas(s, rate)
		s.Rates, s.Initial = steady(rate, int(100000/rate)), n
		if r := run(t, s, Fixed(n)); r.ViolationShare > 0.012 {
			t.Errorf("%v/s: %d replicas have %.4f violations, want 0.01", rate, n, r.ViolationShare)
		}
		s.Initial = n - 1
		if r := run(t, s, Fixed(n-1)); r.ViolationShare < 0.008 {
			t.Errorf("%v/s: %d replicas have %.4f violations: they would do", rate, n-1, r.ViolationShare)
		}
	}
	if Replicas(s, 0) != 0 {
		t.Error("a rate of 0 needs replicas")
	}
}

func TestMoreHeadroomCostsMoreAndViolatesLess(t *testing.T) {
	for _, hold := range []time.Duration{0, time.Minute} {
		before := run(t, bumpy(), Oracle(-0.2, hold))
		for _, headroom := range []float64{0, 0.2, 0.5, 1, 2} {
			r := run(t, bumpy(), Oracle(headroom, hold))
			if r.ReplicaSeconds < before.ReplicaSeconds || r.Violations > before.Violations {
				t.Errorf("headroom %v and hold %s: %.0f replica-seconds and %d violations, after %.0f and %d with less",
					headroom, hold, r.ReplicaSeconds, r.Violations, before.ReplicaSeconds, before.Violations)
			}
			before = r
		}
	}
}

func TestTheOracleHoldsAHigherCount(t *testing.T) {
	s := bumpy()
	r := run(t, s, Oracle(0, 30*time.Second))
	high := Replicas(s, 45)
	for _, c := range []struct{ second, want int }{{299, Replicas(s, 12)}, {301, high}, {359, high}, {361, Replicas(s, 12)}} {
		if got := r.Timeline[c.second].Ordered; got != c.want {
			t.Errorf("%d ordered in second %d, want %d", got, c.second, c.want)
		}
	}
}

func TestTheOracleAtACostIsTheBestThatItAffords(t *testing.T) {
	s := bumpy()
	spare := run(t, s, Oracle(0.5, time.Minute))
	best, err := OracleAt(s, spare.ReplicaSeconds)
	if err != nil {
		t.Fatal(err)
	}
	if best.Result.ReplicaSeconds > spare.ReplicaSeconds || best.Result.Violations > spare.Violations {
		t.Errorf("%.0f replica-seconds and %d violations, want at most %.0f and %d",
			best.Result.ReplicaSeconds, best.Result.Violations, spare.ReplicaSeconds, spare.Violations)
	}
	if _, err := OracleAt(s, 1); err == nil || !strings.HasPrefix(err.Error(), "replicaSeconds: 1 must be") {
		t.Errorf("one replica-second: the error is %v", err)
	}
}

func TestTheClairvoyantNeverViolatesAndIsTheCheapest(t *testing.T) {
	s := bumpy()
	r, ok, err := Clairvoyant(s)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if r.Violations != r.Unavoidable {
		t.Errorf("%d violations, %d of them unavoidable", r.Violations, r.Unavoidable)
	}
	s.ColdStart.CV = 0
	for n := 1; ; n++ {
		s.Initial = n
		if fixed := run(t, s, Fixed(n)); fixed.Violations == fixed.Unavoidable {
			if r.ReplicaSeconds >= 0.7*fixed.ReplicaSeconds {
				t.Errorf("%.0f replica-seconds, and %d replicas all the time take %.0f", r.ReplicaSeconds, n, fixed.ReplicaSeconds)
			}
			return
		}
	}
}
