// Package pace turns rates into instants: when each request is meant to be sent.
// It is pure: no clock, no network.
package pace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// MaxRequests is the longest schedule that is made.
const MaxRequests = 20_000_000

// Arrivals says how requests are spread inside the seconds of a trace.
type Arrivals string

const (
	// Even spaces the requests of a second evenly.
	Even Arrivals = "even"
	// Poisson draws exponential gaps, as from many independent users: the
	// counts are right on average, not in each second.
	Poisson Arrivals = "poisson"
)

// Options say how a trace becomes a schedule.
type Options struct {
	// Scale is the factor on the rates, above 0.
	Scale float64
	// Speed is the factor on the trace's clock, above 0: at 2 the same number
	// of requests is sent in half the time, at twice the rate.
	Speed float64
	// Arrivals is Even or Poisson.
	Arrivals Arrivals
	// Seed gives a Poisson schedule: the same seed, the same schedule.
	Seed int64
}

// Schedule returns the intended send times from the start, sorted. rates are
// requests per second, one value a second.
//
// With Even arrivals fractions carry over to the next second, so that the
// number of requests after every second is the rounded sum of the scaled rates
// up to there. With Poisson arrivals the gaps come from a unit-rate process
// whose time is the cumulated rate (time change of an inhomogeneous process,
// Çinlar 1975), so the expected counts are those of the trace.
func Schedule(rates []float64, o Options) ([]time.Duration, error) {
	if !(o.Scale > 0) || math.IsInf(o.Scale, 0) {
		return nil, fmt.Errorf("scale %v: allowed are numbers above 0", o.Scale)
	}
	if !(o.Speed > 0) || math.IsInf(o.Speed, 0) {
		return nil, fmt.Errorf("speed %v: allowed are numbers above 0", o.Speed)
	}
	expected := 0.0
	for _, rate := range rates {
		expected += rate * o.Scale
	}
	if expected > MaxRequests {
		return nil, fmt.Errorf("%.0f requests in the schedule; allowed are at most %d: take a lower scale or a shorter part", expected, MaxRequests)
	}
	at := func(seconds float64) time.Duration {
		return time.Duration(math.Round(seconds / o.Speed * float64(time.Second)))
	}
	times := make([]time.Duration, 0, int(expected)+1)
	switch o.Arrivals {
	case Even:
		return even(times, rates, o.Scale, at), nil
	case Poisson:
		return poisson(times, rates, o.Scale, rand.New(rand.NewPCG(uint64(o.Seed), 0)), at), nil
	default:
		return nil, fmt.Errorf("arrivals %q: allowed are %s and %s", o.Arrivals, Even, Poisson)
	}
}

func even(times []time.Duration, rates []float64, scale float64, at func(float64) time.Duration) []time.Duration {
	// Sums of decimals such as ten times 0.1 end just below the number that is meant.
	const tolerance = 1e-9
	sum := 0.0
	for second, rate := range rates {
		sum += rate * scale
		count := int(math.Floor(sum+0.5+tolerance)) - len(times)
		for i := range count {
			times = append(times, at(float64(second)+float64(i)/float64(count)))
		}
	}
	return times
}

func poisson(times []time.Duration, rates []float64, scale float64, random *rand.Rand, at func(float64) time.Duration) []time.Duration {
	sum, next := 0.0, random.ExpFloat64()
	for second, rate := range rates {
		scaled := rate * scale
		for next < sum+scaled {
			times = append(times, at(float64(second)+(next-sum)/scaled))
			next += random.ExpFloat64()
		}
		sum += scaled
	}
	return times
}
