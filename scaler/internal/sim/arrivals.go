package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// never is later than everything that happens.
const never = time.Duration(math.MaxInt64)

// The streams of random numbers of one seed.
const (
	arrivalStream = iota + 1
	serviceStream
	coldStartStream
	routingStream
	departureStream
)

func stream(seed uint64, which uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, which)) }

// arrivals yields the instants at which requests arrive.
type arrivals struct {
	rates []float64
	times []time.Duration
	end   time.Duration
	rng   *rand.Rand

	second int
	into   float64 // share of the second that is over
}

func newArrivals(s *Scenario) arrivals {
	return arrivals{rates: s.Rates, times: s.Times, end: s.Duration, rng: stream(s.Seed, arrivalStream)}
}

// next is the next arrival, or never. With rates it is a nonhomogeneous Poisson
// process: unit exponential steps along the integral of the rate (inversion;
// Lewis and Shedler, 1979).
func (a *arrivals) next() time.Duration {
	at := never
	if len(a.times) > 0 {
		at, a.times = a.times[0], a.times[1:]
	} else {
		step := a.rng.ExpFloat64()
		for ; a.second < len(a.rates); a.second, a.into = a.second+1, 0 {
			rate := a.rates[a.second]
			if left := rate * (1 - a.into); step >= left {
				step -= left
				continue
			}
			a.into += step / rate
			at = time.Duration((float64(a.second) + a.into) * float64(time.Second))
			break
		}
	}
	if at >= a.end {
		return never
	}
	return at
}
