package compare

import (
	"testing"
	"time"

	"headroom.dev/scaler/internal/sim"
)

func TestBrokenMetricsOfAFallingLoadTakeNothingAway(t *testing.T) {
	// The load falls just before the fault, in which a scaler that believes what it
	// sees would scale in.
	s := step("falling", 7, 36)
	for i := range s.Rates {
		s.Rates[i] = 36
		if i >= 230 {
			s.Rates[i] = 7
		}
	}
	s.Initial = sim.Replicas(s, 36)
	runs, err := Faults(t.Context(), []sim.Scenario{s}, settings())
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 12 {
		t.Fatalf("%d runs, want 4 faults of 3 groups", len(runs))
	}
	for _, r := range runs {
		if r.WrongWay() != 0 || r.From != 250*time.Second || r.To != 350*time.Second || r.Envelope < s.Initial {
			t.Errorf("got %+v", r)
		}
	}
}

func TestTheHighestOrder(t *testing.T) {
	orders := []order{{10 * time.Second, 1, 7}, {20 * time.Second, 7, 3}, {30 * time.Second, 3, 5}, {40 * time.Second, 5, 9}}
	for _, tt := range []struct {
		name     string
		from, to time.Duration
		want     int
	}{
		{"what was there before counts", 15 * time.Second, 18 * time.Second, 7},
		{"what was ordered at its start counts", 30 * time.Second, 35 * time.Second, 5},
		{"what is ordered at its end does not", 25 * time.Second, 40 * time.Second, 5},
		{"without orders it is what was at the start", 0, 5 * time.Second, 1},
	} {
		if got := highest(orders, 1, tt.from, tt.to); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
