package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

// Service is how long a request occupies a slot at the replica's usual CPU
// limit: lognormal with Mean and CV (0: always the mean), or, where Counts are
// given instead, a measured histogram.
type Service struct {
	Mean time.Duration `json:"mean,omitempty"`
	CV   float64       `json:"cv,omitempty"`
	// Bounds are the buckets' upper bounds in seconds, rising and above 0, and
	// Counts what each of them holds by itself. Inside a bucket all times are
	// equally likely; the first starts at 0.
	Bounds []float64 `json:"bounds,omitempty"`
	Counts []uint64  `json:"counts,omitempty"`
}

// Validate tells what is wrong, naming the key, its value and what is allowed.
func (s Service) Validate() error {
	if len(s.Counts) == 0 {
		switch {
		case s.Mean <= 0:
			return fmt.Errorf("service.mean: %s must be above 0", s.Mean)
		case !(s.CV >= 0) || math.IsInf(s.CV, 0):
			return fmt.Errorf("service.cv: %v must be at least 0", s.CV)
		case len(s.Bounds) > 0:
			return fmt.Errorf("service.bounds: %d entries must have as many in service.counts", len(s.Bounds))
		}
		return nil
	}
	if s.Mean != 0 || s.CV != 0 {
		return fmt.Errorf("service.mean: %s and service.cv: %v must be 0 where service.counts are given", s.Mean, s.CV)
	}
	if len(s.Bounds) != len(s.Counts) {
		return fmt.Errorf("service.bounds: %d entries must be as many as service.counts has, %d", len(s.Bounds), len(s.Counts))
	}
	last, total := 0.0, uint64(0)
	for i, b := range s.Bounds {
		if !(b > last) || math.IsInf(b, 0) {
			return fmt.Errorf("service.bounds[%d]: %v must be finite and above %v", i, b, last)
		}
		last, total = b, total+s.Counts[i]
	}
	if total == 0 {
		return fmt.Errorf("service.counts: %v must not all be 0", s.Counts)
	}
	return nil
}

// mean is in seconds.
func (s *Service) mean() float64 {
	mean, _ := s.moments()
	return mean
}

// moments are the mean, in seconds, and the squared coefficient of variation.
func (s *Service) moments() (mean, scv float64) {
	if len(s.Counts) == 0 {
		return s.Mean.Seconds(), s.CV * s.CV
	}
	var total, square float64
	low := 0.0
	for i, high := range s.Bounds {
		n := float64(s.Counts[i])
		total += n
		mean += n * (low + high) / 2
		square += n * (low*low + low*high + high*high) / 3
		low = high
	}
	mean /= total
	return mean, square/total/(mean*mean) - 1
}

// lognormal gives the parameters of a lognormal with this mean (any unit) and
// coefficient of variation.
func lognormal(mean, cv float64) (mu, sigma float64) {
	variance := math.Log1p(cv * cv)
	return math.Log(mean) - variance/2, math.Sqrt(variance)
}

// tail gives the probability of taking longer than so many seconds.
func (s *Service) tail() func(seconds float64) float64 {
	if len(s.Counts) > 0 {
		table := s.cumulative()
		return func(x float64) float64 { return 1 - table.below(x) }
	}
	mean := s.Mean.Seconds()
	if s.CV == 0 {
		return func(x float64) float64 {
			if x < mean {
				return 1
			}
			return 0
		}
	}
	mu, sigma := lognormal(mean, s.CV)
	return func(x float64) float64 {
		if x <= 0 {
			return 1
		}
		return math.Erfc((math.Log(x)-mu)/(sigma*math.Sqrt2)) / 2
	}
}

// table is a distribution function, linear between its points.
type table struct{ at, share []float64 }

func (s *Service) cumulative() table {
	t := table{at: append([]float64{0}, s.Bounds...), share: make([]float64, len(s.Counts)+1)}
	sum := 0.0
	for i, n := range s.Counts {
		sum += float64(n)
		t.share[i+1] = sum
	}
	for i := range t.share {
		t.share[i] /= sum
	}
	return t
}

func (t *table) below(x float64) float64 {
	if x <= 0 {
		return 0
	}
	i := sort.SearchFloat64s(t.at, x)
	if i == len(t.at) {
		return 1
	}
	part := (x - t.at[i-1]) / (t.at[i] - t.at[i-1])
	return t.share[i-1] + part*(t.share[i]-t.share[i-1])
}

// quantile is the inverse of below, for 0 ≤ p < 1.
func (t *table) quantile(p float64) float64 {
	i := sort.Search(len(t.share), func(i int) bool { return t.share[i] > p })
	part := (p - t.share[i-1]) / (t.share[i] - t.share[i-1])
	return t.at[i-1] + part*(t.at[i]-t.at[i-1])
}

// draws yields random durations: one stream, one distribution.
type draws struct {
	rng       *rand.Rand
	fixed     time.Duration
	mu, sigma float64 // of a lognormal, in nanoseconds
	table     *table
}

func lognormalDraws(mean time.Duration, cv float64, rng *rand.Rand) draws {
	d := draws{rng: rng, fixed: mean}
	if cv > 0 && mean > 0 {
		d.mu, d.sigma = lognormal(float64(mean), cv)
	}
	return d
}

func (s *Service) draws(rng *rand.Rand) draws {
	if len(s.Counts) > 0 {
		t := s.cumulative()
		return draws{rng: rng, table: &t}
	}
	return lognormalDraws(s.Mean, s.CV, rng)
}

func (d *draws) next() time.Duration {
	switch {
	case d.sigma > 0:
		return time.Duration(min(math.Exp(d.mu+d.sigma*d.rng.NormFloat64()), float64(time.Hour)))
	case d.table != nil:
		return time.Duration(d.table.quantile(d.rng.Float64()) * float64(time.Second))
	}
	return d.fixed
}

// Quantile is the time, in seconds, that the share p (0 < p < 1) of requests stays inside.
func (s *Service) Quantile(p float64) float64 {
	switch {
	case len(s.Counts) > 0:
		t := s.cumulative()
		return t.quantile(p)
	case s.CV == 0:
		return s.Mean.Seconds()
	}
	mu, sigma := lognormal(s.Mean.Seconds(), s.CV)
	return math.Exp(mu + sigma*math.Sqrt2*math.Erfinv(2*p-1))
}
