package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// poisson draws from a Poisson distribution of that mean.
func poisson(rng *rand.Rand, mean float64) float64 {
	if mean > 200 {
		return math.Max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64()))
	}
	n, p := 0.0, math.Exp(-mean)
	for u := rng.Float64(); ; n++ {
		if u < p {
			return n
		}
		u -= p
		p *= mean / (n + 1)
		if p == 0 {
			return n
		}
	}
}

// watched is the arrivals of a load as Prometheus shows them: a counter scraped
// every second, over a window of three scrapes and one of thirty.
type watched struct {
	rng     *rand.Rand
	counter []float64
}

func newWatched(seed uint64) *watched {
	return &watched{rng: rand.New(rand.NewPCG(seed, 1)), counter: []float64{0}}
}

func (w *watched) second(rate float64) (short, long float64) {
	w.counter = append(w.counter, w.counter[len(w.counter)-1]+poisson(w.rng, rate))
	last := len(w.counter) - 1
	over := func(scrapes int) float64 {
		from := max(0, last-scrapes+1)
		if from == last {
			return 0
		}
		return (w.counter[last] - w.counter[from]) / float64(last-from)
	}
	return over(3), over(30)
}

func TestFlatLoadDoesNotFlap(t *testing.T) {
	for _, rate := range []float64{0.5, 4, 7, 9, 36, 75, 200, 2000} {
		t.Run(fmt.Sprintf("%g requests/s", rate), func(t *testing.T) {
			cfg := config()
			cfg.Max, cfg.Tick, cfg.Utilization, cfg.ScaleIn.Share = 1000, time.Second, 0.85, 0.25
			const hours, settling = 3, 300
			changes := 0
			for seed := range uint64(hours) {
				w := newWatched(seed)
				var state State
				n := 1
				for i := range 3600 + settling {
					short, long := w.second(rate)
					snap := healthy(rate, n)
					snap.Signals.ArrivalShort, snap.Signals.ArrivalLong = Value(short), Value(long)
					var d Decision
					state, d = Decide(cfg, state, snap, noon.Add(time.Duration(i)*time.Second))
					if d.Replicas != n && i > settling {
						changes++
						if testing.Verbose() {
							t.Logf("hour %d, %d s: %d → %d, %s (level %.1f ± %.1f of %.0f s)", seed, i, n, d.Replicas, d.Sentence, d.Terms.Level, d.Terms.LevelError, d.Terms.Window)
						}
					}
					n = d.Replicas
				}
			}
			if changes > 2*hours {
				t.Errorf("%d changes in %d hours", changes, hours)
			}
		})
	}
}
