package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// WorkloadKinds are the shapes of load that [Workloads] deals out in turn.
func WorkloadKinds() []string { return []string{"step", "ramp", "spike", "sine", "burst", "flat"} }

// Workloads are n random scenarios of one hour each with an SLO of 500 ms, the
// same for the same seed. Their peaks need 1 to 500 replicas and their cold starts
// take 2 to 30 s (both equally likely in each doubling); service times have a
// mean of 20 to 150 ms, a CV of 0.1 to 1.5 and a 99th percentile below 400 ms. The
// initial replicas are those that the first second needs.
func Workloads(seed uint64, n int) []Scenario {
	rng := rand.New(rand.NewPCG(seed, 0))
	kinds := WorkloadKinds()
	out := make([]Scenario, n)
	for i := range out {
		out[i] = workload(rng, kinds[i%len(kinds)])
	}
	return out
}

const workloadSeconds = 3600

func between(rng *rand.Rand, low, high float64) float64 { return low + rng.Float64()*(high-low) }

// logBetween is equally likely in each doubling.
func logBetween(rng *rand.Rand, low, high float64) float64 {
	return low * math.Exp(rng.Float64()*math.Log(high/low))
}

func workload(rng *rand.Rand, kind string) Scenario {
	s := Scenario{
		Seed: rng.Uint64(), SLO: 500 * time.Millisecond, CPULimit: 1, Slots: 1 + rng.IntN(2),
		EndpointLag: time.Duration(between(rng, 0.05, 0.5) * float64(time.Second)),
		ColdStart: ColdStart{
			Mean: time.Duration(logBetween(rng, 2, 30) * float64(time.Second)).Round(time.Millisecond),
			CV:   between(rng, 0, 0.3),
		},
		ScrapeOffset: time.Duration(rng.IntN(500)) * time.Millisecond,
	}
	for {
		s.Service = Service{
			Mean: time.Duration(between(rng, 20, 150) * float64(time.Millisecond)).Round(time.Millisecond),
			CV:   math.Round(between(rng, 0.1, 1.5)*100) / 100,
		}
		if s.Service.Quantile(0.99) < 0.8*s.SLO.Seconds() {
			break
		}
	}
	s.TickOffset = s.ScrapeOffset + time.Duration(100+rng.IntN(800))*time.Millisecond
	peak := logBetween(rng, 1, 500)
	// At the peak, seven tenths of so many replicas' time are work.
	top := 0.7 * peak * float64(s.Slots) / s.Service.mean()
	var shape string
	s.Rates, s.Onset, shape = shapeOf(rng, kind, top)
	s.Initial = max(1, Replicas(s, s.Rates[0]))
	s.Name = fmt.Sprintf("%s %s peak=%.1f slots=%d service=%s/cv%.2f cold=%s/cv%.2f",
		kind, shape, peak, s.Slots, s.Service.Mean, s.Service.CV, s.ColdStart.Mean, s.ColdStart.CV)
	return s
}

// shapeOf gives an hour of rates below top, the onset of its step if it has one,
// and its parameters in words.
func shapeOf(rng *rand.Rand, kind string, top float64) (rates []float64, onset time.Duration, words string) {
	rates = make([]float64, workloadSeconds)
	base := top * logBetween(rng, 0.05, 0.6)
	fill := func(rate func(second float64) float64) {
		for i := range rates {
			rates[i] = min(max(rate(float64(i)), 0), top)
		}
	}
	switch kind {
	case "step":
		up, down := 600+rng.IntN(600), 2000+rng.IntN(1200)
		fill(func(t float64) float64 {
			if int(t) >= up && int(t) < down {
				return top
			}
			return base
		})
		return rates, time.Duration(up) * time.Second, fmt.Sprintf("x%.1f", top/base)
	case "ramp":
		length := logBetween(rng, 30, 1200)
		fill(func(t float64) float64 {
			return base + (top-base)*min(max((t-600)/length, 0), 1)*min(max((3000-t)/length, 0), 1)
		})
		return rates, 600 * time.Second, fmt.Sprintf("x%.1f in %.0fs", top/base, length)
	case "spike":
		every, length := 200+rng.IntN(600), 5+rng.IntN(60)
		fill(func(t float64) float64 {
			if int(t)%every >= every-length {
				return top
			}
			return base
		})
		return rates, time.Duration(every-length) * time.Second, fmt.Sprintf("x%.1f of %ds every %ds", top/base, length, every)
	case "sine":
		period := logBetween(rng, 120, 3600)
		fill(func(t float64) float64 {
			return base + (top-base)*(1-math.Cos(2*math.Pi*t/period))/2
		})
		return rates, 0, fmt.Sprintf("x%.1f every %.0fs", top/base, period)
	case "burst":
		on, off := logBetween(rng, 5, 120), logBetween(rng, 20, 300)
		level, left := base, rng.ExpFloat64()*off
		fill(func(float64) float64 {
			for ; left <= 0; left += rng.ExpFloat64() * off {
				if level == base {
					level = top * between(rng, 0.3, 1)
					left += rng.ExpFloat64() * on
					continue
				}
				level = base
			}
			left--
			return level
		})
		return rates, 0, fmt.Sprintf("x%.1f on %.0fs off %.0fs", top/base, on, off)
	}
	fill(func(float64) float64 { return top })
	return rates, 0, "x1"
}
