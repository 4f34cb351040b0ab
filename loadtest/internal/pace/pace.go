// Package pace turns a trace into instants: when each request is meant to be
// sent. It is pure: no clock, no network.
package pace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
	// Gamma draws gaps whose coefficient of variation is chosen: above 1 the
	// requests come in clusters, below 1 more evenly than by chance.
	Gamma Arrivals = "gamma"
	// Recorded are the instants of a trace that holds them.
	Recorded Arrivals = "recorded"
)

// The range of Options.CV.
const (
	LowestCV  = 0.01
	HighestCV = 10
)

// Options say how a trace becomes a schedule.
type Options struct {
	// Scale is the factor on the rates, above 0.
	Scale float64
	// Speed is the factor on the trace's clock, above 0: at 2 the same number
	// of requests is sent in half the time, at twice the rate.
	Speed float64
	// Arrivals is Even, Poisson or Gamma.
	Arrivals Arrivals
	// CV is the coefficient of variation of Gamma's gaps: their standard
	// deviation over their mean, LowestCV to HighestCV.
	CV float64
	// Seed gives what is drawn: the same seed, the same schedule.
	Seed int64
}

// Schedule returns the intended send times from the start, sorted. rates are
// requests per second, one value a second.
//
// With Even arrivals fractions carry over to the next second, so that the
// number of requests after every second is the rounded sum of the scaled rates
// up to there. With Poisson and Gamma arrivals the gaps come from a renewal
// process of rate 1 whose time is the cumulated rate (time change of an
// inhomogeneous process, Çinlar 1975; with gamma gaps Barbieri et al. 2001), so
// the expected count of every second is that of the trace.
func Schedule(rates []float64, o Options) ([]time.Duration, error) {
	expected := 0.0
	for _, rate := range rates {
		expected += rate * o.Scale
	}
	if err := o.check(expected); err != nil {
		return nil, err
	}
	times := make([]time.Duration, 0, int(expected)+1)
	switch o.Arrivals {
	case Even:
		return even(times, rates, o), nil
	case Poisson:
		random := o.random()
		return renewal(times, rates, o, random.ExpFloat64(), random.ExpFloat64), nil
	case Gamma:
		if !(o.CV >= LowestCV && o.CV <= HighestCV) {
			return nil, fmt.Errorf("coefficient of variation %v: allowed are numbers from %v to %d", o.CV, LowestCV, HighestCV)
		}
		gaps := newGammaGaps(o.CV, o.random())
		return renewal(times, rates, o, gaps.first(), gaps.next), nil
	default:
		return nil, fmt.Errorf("arrivals %q: allowed are %s, %s and %s", o.Arrivals, Even, Poisson, Gamma)
	}
}

// Replay returns the intended send times for a trace of arrivals, which are
// sorted and counted from its start: the same instants, divided by the speed.
// Each arrival stands for as many requests as the scale says: the whole ones
// for certain and one more with the rest as its probability. The first is sent
// at the arrival's own instant, the others at random instants of the same
// second of the trace, so that no two are sent together that did not arrive so
// and no second that was silent is filled.
func Replay(arrivals []time.Duration, o Options) ([]time.Duration, error) {
	expected := float64(len(arrivals)) * o.Scale
	if err := o.check(expected); err != nil {
		return nil, err
	}
	random := o.random()
	whole, rest := math.Modf(o.Scale)
	times := make([]time.Duration, 0, int(expected)+1)
	for _, arrival := range arrivals {
		requests := int(whole)
		// Drawn for every arrival, so that at a higher scale the same ones and more are kept.
		if random.Float64() < rest {
			requests++
		}
		for i := range requests {
			instant := arrival.Seconds()
			if i > 0 {
				instant = math.Floor(instant) + random.Float64()
			}
			times = append(times, o.at(instant))
		}
	}
	slices.Sort(times)
	return times, nil
}

// CV is the coefficient of variation of the gaps between times: their standard
// deviation over their mean; 0 where there are fewer than two gaps or all are 0.
func CV(times []time.Duration) float64 {
	gaps := float64(len(times) - 1)
	if gaps < 2 || times[len(times)-1] == times[0] {
		return 0
	}
	mean := (times[len(times)-1] - times[0]).Seconds() / gaps
	variance := 0.0
	for i := 1; i < len(times); i++ {
		deviation := (times[i] - times[i-1]).Seconds() - mean
		variance += deviation * deviation / gaps
	}
	return math.Sqrt(variance) / mean
}

func (o Options) check(expected float64) error {
	if !(o.Scale > 0) || math.IsInf(o.Scale, 0) {
		return fmt.Errorf("scale %v: allowed are numbers above 0", o.Scale)
	}
	if !(o.Speed > 0) || math.IsInf(o.Speed, 0) {
		return fmt.Errorf("speed %v: allowed are numbers above 0", o.Speed)
	}
	if expected > MaxRequests {
		return fmt.Errorf("%.0f requests in the schedule; allowed are at most %d: take a lower scale or a shorter part", expected, MaxRequests)
	}
	return nil
}

// at is when an instant of the trace is replayed.
func (o Options) at(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds / o.Speed * float64(time.Second)))
}

func (o Options) random() *rand.Rand { return rand.New(rand.NewPCG(uint64(o.Seed), 0)) }

func even(times []time.Duration, rates []float64, o Options) []time.Duration {
	// Sums of decimals such as ten times 0.1 end just below the number that is meant.
	const tolerance = 1e-9
	sum := 0.0
	for second, rate := range rates {
		sum += rate * o.Scale
		count := int(math.Floor(sum+0.5+tolerance)) - len(times)
		for i := range count {
			times = append(times, o.at(float64(second)+float64(i)/float64(count)))
		}
	}
	return times
}

// renewal places requests where the cumulated rate has grown by first, and then
// by each next gap.
func renewal(times []time.Duration, rates []float64, o Options, first float64, gap func() float64) []time.Duration {
	sum, next := 0.0, first
	for second, rate := range rates {
		scaled := rate * o.Scale
		for next < sum+scaled {
			times = append(times, o.at(float64(second)+(next-sum)/scaled))
			next += gap()
		}
		sum += scaled
	}
	return times
}

// gammaGaps draws gaps of mean 1 from a gamma distribution: shape 1/cv² and
// scale cv². Requests with such gaps are how bursts are made in the evaluation
// of AlpaServe (Li et al., OSDI 2023).
type gammaGaps struct {
	shape  float64
	random *rand.Rand
}

func newGammaGaps(cv float64, random *rand.Rand) gammaGaps {
	return gammaGaps{shape: 1 / (cv * cv), random: random}
}

func (g gammaGaps) next() float64 { return gamma(g.shape, g.random) / g.shape }

// first is the time to the first request for one who comes at any time: a
// random part of a gap that he is the likelier to come into the longer it is,
// which is gamma distributed with a shape that is larger by one (Cox, Renewal
// Theory, 1962, chapter 5). Were it a usual gap, the first seconds would have
// (cv²-1)/2 requests too many.
func (g gammaGaps) first() float64 {
	return gamma(g.shape+1, g.random) / g.shape * g.random.Float64()
}

// gamma draws from a gamma distribution of scale 1: Marsaglia and Tsang, A
// simple method for generating gamma variables, 2000, with their step for
// shapes below 1.
func gamma(shape float64, random *rand.Rand) float64 {
	if shape < 1 {
		return gamma(shape+1, random) * math.Pow(random.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := random.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v *= v * v
		if math.Log(1-random.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
