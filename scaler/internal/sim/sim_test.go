package sim

import (
	"math"
	"testing"
	"time"
)

const ms = time.Millisecond

// script orders what it has for the second of a decision, and otherwise what it did before.
type script struct {
	orders map[int]Order
	last   Order
	see    func(at time.Duration, w *World)
}

func (s *script) Every() time.Duration { return time.Second }

func (s *script) Decide(at time.Duration, w *World) Order {
	if s.see != nil {
		s.see(at, w)
	}
	if o, ok := s.orders[int(at/time.Second)]; ok {
		s.last = o
	}
	return s.last
}

// tale is a world of ten seconds whose requests take 100 ms and arrive when told.
// Decisions are at 0.5 s, 1.5 s and so on.
func tale(arrivals ...time.Duration) Scenario {
	return Scenario{
		Times: arrivals, Duration: 10 * time.Second, Service: Service{Mean: 100 * ms}, Slots: 1, CPULimit: 1,
		SLO: 500 * ms, Initial: 1, ColdStart: ColdStart{Mean: 2 * time.Second},
	}
}

func run(t testing.TB, s Scenario, scaler Scaler) Result {
	t.Helper()
	r, err := Run(s, scaler)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Refused + r.Dropped + r.Late; got != r.Violations || r.Violations > r.Requests {
		t.Fatalf("%s: %d refused + %d dropped + %d late must be %d violations, of %d requests", s.Name, r.Refused, r.Dropped, r.Late, r.Violations, r.Requests)
	}
	return r
}

func near(t testing.TB, what string, got, want, margin float64) {
	t.Helper()
	if !(math.Abs(got-want) <= margin) {
		t.Errorf("%s is %.6g, want %.6g ± %.2g", what, got, want, margin)
	}
}

// steady is an hour, or as many seconds, of one rate.
func steady(rate float64, seconds int) []float64 {
	out := make([]float64, seconds)
	for i := range out {
		out[i] = rate
	}
	return out
}

// exponential is a service time of that distribution, as a histogram of 2000
// buckets of equal counts.
func exponential(mean float64) Service {
	const buckets = 2000
	var s Service
	for i := 1; i < buckets; i++ {
		s.Bounds = append(s.Bounds, -mean*math.Log1p(-float64(i)/buckets))
		s.Counts = append(s.Counts, 1)
	}
	s.Bounds = append(s.Bounds, mean*math.Log(buckets)+2*mean)
	s.Counts = append(s.Counts, 1)
	return s
}
