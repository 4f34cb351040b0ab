package policy

import (
	"math"
	"time"
)

// Price is what replicas' CPU goes to: Request for each request, in CPU-seconds,
// and Upkeep for each replica that is there, in cores. What is measured is both,
// CPU by answered requests: Request + Upkeep · replicas / rate. So a replica too many
// makes requests look dear, and would be kept for it.
//
// The two are told apart by a Kalman filter (R. E. Kalman, A New Approach to Linear
// Filtering and Prediction Problems, 1960) as the load for each replica varies: what
// few requests seem to cost is the replicas' own for the most part. While it doesn't
// vary, it is split by what is likely: a request takes no more than about a core, or
// the limit, for as long as it lasts, and the upkeep is no more than about a tenth of
// the limit.
type Price struct {
	Request float64 `json:"request"`
	Upkeep  float64 `json:"upkeep"`
	// RequestVar and UpkeepVar are the variances of their errors, and Covar is the
	// covariance.
	RequestVar float64 `json:"requestVar"`
	UpkeepVar  float64 `json:"upkeepVar"`
	Covar      float64 `json:"covar"`
	// Ready is the number of replicas that there have been, more or less, Since then.
	Ready int       `json:"ready"`
	Since time.Time `json:"since"`
}

const (
	// lowRate is the arrival rate per second under which a window holds too few
	// requests to tell anything by but what replicas cost without them.
	lowRate = 1.0
	// fewRequests is the least number of requests in a window that tell even that.
	fewRequests = 3
	// usualUpkeep and leastUpkeepError are the standard errors of the upkeep before
	// anything is known of it, and at least, as shares of the CPU limit; mostUpkeep
	// is the most that it can be.
	usualUpkeep, leastUpkeepError, mostUpkeep = 0.1, 0.01, 0.5
	// leastPriceError is the relative standard error of the best measurement.
	leastPriceError = 0.05
	// steadyReady is by which share the number of ready replicas may change for a
	// measurement to be taken for one of as many replicas.
	steadyReady = 0.1
)

// watch notes how long there have been as many replicas.
func (p *Price) watch(ready int, now time.Time) {
	if p.Since.IsZero() || math.Abs(float64(ready-p.Ready)) > steadyReady*float64(p.Ready) {
		p.Ready, p.Since = ready, now
	}
}

// atMost bounds the price of a request by what is measured of it, which holds the
// upkeep of however many replicas there are: also while they come and go.
func (p *Price) atMost(measured float64) {
	p.Request = math.Min(p.Request, measured*(1+significance*leastPriceError))
}

// learn takes in that so many CPU-seconds went to each of rate requests per second
// in the last window, which took a replica service seconds each (0: unknown).
// relative is the standard error of the mean of a window's requests, by their mean;
// limit is in cores, tick is how often it is looked.
func (p *Price) learn(measured, rate, service, relative, limit float64, window, tick time.Duration, now time.Time) {
	known, requests := p.Request > 0, rate*window.Seconds()
	if requests < fewRequests || !known && rate < lowRate || known && (p.Ready == 0 || now.Sub(p.Since) < window) {
		return
	}
	x := float64(max(p.Ready, 1)) / rate
	// One request more may have arrived than was answered. Looks overlap: each counts
	// for what is new in it.
	relative = math.Max(relative, math.Max(leastPriceError, 1/requests))
	noise := square(relative*measured) * (window.Seconds() / tick.Seconds())
	if !known {
		likely := square(service * math.Max(1, limit))
		if likely == 0 {
			likely = square(measured)
		}
		ofUpkeep := square(x * usualUpkeep * limit)
		p.Upkeep, p.UpkeepVar = measured/x*ofUpkeep/(likely+ofUpkeep), square(usualUpkeep*limit)
		p.set(measured-p.Upkeep*x, noise, x)
		return
	}
	p.RequestVar = math.Max(p.RequestVar, square(leastPriceError*p.Request)*window.Seconds()/serviceMemory.Seconds())
	p.UpkeepVar = math.Max(p.UpkeepVar, square(leastUpkeepError*limit))

	off := measured - p.Request - p.Upkeep*x
	variance := p.RequestVar + 2*x*p.Covar + x*x*p.UpkeepVar
	few := rate < lowRate
	if math.Abs(off) > significance*math.Sqrt(variance+square(relative*measured)) {
		if !few { // requests cost something else from now on
			p.set(measured-p.Upkeep*x, noise, x)
		}
		return
	}
	ofRequest, ofUpkeep := p.RequestVar+x*p.Covar, p.Covar+x*p.UpkeepVar
	variance += noise
	p.Upkeep += off * ofUpkeep / variance
	p.UpkeepVar -= ofUpkeep * ofUpkeep / variance
	p.Covar -= ofRequest * ofUpkeep / variance
	// No part of what was measured is below 0, and there is some CPU left for requests.
	upkeep := math.Min(math.Max(p.Upkeep, 0), math.Min(mostUpkeep*limit, measured/x))
	// Of few requests only the upkeep is learned, as a Schmidt-Kalman filter does (S. F.
	// Schmidt, Application of State-Space Methods to Navigation Problems, 1966).
	if !few {
		p.Request += off * ofRequest / variance
		p.RequestVar -= ofRequest * ofRequest / variance
		p.Request = math.Max(p.Request+(p.Upkeep-upkeep)*x, 0)
	}
	p.Upkeep = upkeep
}

// set starts anew with a price of a request, measured at so many replicas by rate.
// Its error is that of the measurement and of the upkeep.
func (p *Price) set(request, noise, x float64) {
	p.Request = math.Max(request, 0)
	p.RequestVar, p.Covar = noise+x*x*p.UpkeepVar, -x*p.UpkeepVar
}

func square(x float64) float64 { return x * x }
