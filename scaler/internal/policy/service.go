package policy

import "math"

// ServiceTime describes how long one request takes one server, as a log-normal
// distribution of that mean and 99th percentile, in seconds. It is what service
// times of one model on pictures of many sizes look like: positive, and skewed
// to the right.
type ServiceTime struct{ Mean, P99 float64 }

// p99Normal is the 99th percentile of the standard normal distribution.
const p99Normal = 2.3263478740408408

// sigma is the standard deviation of the logarithm: of the two that fit
// P99/Mean = exp(p99Normal·σ − σ²/2), the smaller.
func (s ServiceTime) sigma() float64 {
	if s.Mean <= 0 || s.P99 <= s.Mean {
		return 0
	}
	ratio := math.Log(s.P99 / s.Mean)
	return p99Normal - math.Sqrt(math.Max(0, p99Normal*p99Normal-2*ratio))
}

// CV is the coefficient of variation: the standard deviation over the mean.
func (s ServiceTime) CV() float64 {
	sigma := s.sigma()
	return math.Sqrt(math.Expm1(sigma * sigma))
}

// stratum is a share of all requests, and how long they take.
type stratum struct{ share, seconds float64 }

// The strata are narrow where a 99th percentile is decided. Each is represented
// by the middle of its probabilities.
var strataShares, strataNormal = func() (shares, normal []float64) {
	edges := []float64{0, 0.25, 0.5, 0.7, 0.85, 0.93, 0.97, 0.985, 0.992, 0.996, 0.999, 1}
	for i := range len(edges) - 1 {
		shares = append(shares, edges[i+1]-edges[i])
		normal = append(normal, math.Sqrt2*math.Erfinv(edges[i]+edges[i+1]-1))
	}
	return shares, normal
}()

func (s ServiceTime) strata() []stratum {
	sigma := s.sigma()
	if sigma == 0 {
		return []stratum{{1, s.Mean}}
	}
	median := s.Mean * math.Exp(-sigma*sigma/2)
	out := make([]stratum, len(strataShares))
	for i := range out {
		out[i] = stratum{strataShares[i], median * math.Exp(sigma*strataNormal[i])}
	}
	return out
}

// longer is P(S > seconds).
func (s ServiceTime) longer(seconds float64) float64 {
	sigma := s.sigma()
	if sigma == 0 {
		if s.Mean > seconds {
			return 1
		}
		return 0
	}
	z := (math.Log(seconds/s.Mean) + sigma*sigma/2) / sigma
	return 0.5 * math.Erfc(z/math.Sqrt2)
}

// times is the service time of a server 1/factor as fast.
func (s ServiceTime) times(factor float64) ServiceTime {
	return ServiceTime{s.Mean * factor, s.P99 * factor}
}
