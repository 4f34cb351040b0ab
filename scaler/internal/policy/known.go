package policy

import (
	"math"
	"time"
)

// Known are the trusted values of what describes the replicas rather than the
// load, 0 where there was none. They change slowly, so an old one is good enough
// to add replicas.
type Known struct {
	ServiceMean float64 `json:"serviceMean"`
	ServiceP99  float64 `json:"serviceP99"`
	Price       Price   `json:"price"`
	CPULimit    float64 `json:"cpuLimit"`
	Slots       float64 `json:"slots"`
	// MeanSince and P99Since are when the first two last changed significantly: they
	// are means since then.
	MeanSince time.Time `json:"meanSince"`
	P99Since  time.Time `json:"p99Since"`
}

const (
	maxSlots = 1024
	// serviceMemory is the longest time that a service time is the mean of, and
	// serviceScrapes how many scrapes one measurement of it covers.
	serviceMemory  = 5 * time.Minute
	serviceScrapes = 30
	// raisedSeen is how long after the bridge's end service times still show it.
	raisedSeen = 70 * time.Second
)

// p99Error is the standard error of the 99th percentile of n standard normal
// values, times √n: √(0.99 · 0.01) / φ(2.326), as sample quantiles have it
// (H. Cramér, Mathematical Methods of Statistics, 1946, 28.5).
const p99Error = 3.733

// learn takes in what the snapshot tells of the replicas. As with the arrival rate,
// a service time is the mean since it last changed by more than chance explains: of a
// few dozen requests, the 99th percentile is a different one with every look.
func (s *State) learn(cfg Config, snap Snapshot, now time.Time) {
	m, k := snap.Signals, &s.Known
	if m.Slots.positive() {
		k.Slots = min(math.Max(1, math.Floor(m.Slots.Value)), maxSlots)
	}
	k.Price.watch(snap.Ready, now)
	if m.CPUPerRequest.positive() {
		k.Price.atMost(m.CPUPerRequest.Value)
	}
	if s.raised(now) {
		s.bound(&k.ServiceMean, m.ServiceMean)
		s.bound(&k.ServiceP99, m.ServiceP99)
		return
	}
	if m.CPULimit.positive() {
		k.CPULimit = m.CPULimit.Value
	}
	// The rate over the window that the measurements are of: the rate of the last
	// seconds times the price of the last half minute, which may be upkeep, is nothing.
	rate := m.ArrivalLong.or(m.ArrivalShort.or(0))
	// The relative standard errors of a mean and of a 99th percentile of so many
	// log-normal service times.
	n := math.Max(1, rate*serviceScrapes*cfg.scrape())
	service := ServiceTime{Mean: k.ServiceMean, P99: k.ServiceP99}
	ofMean, ofP99 := service.CV()/math.Sqrt(n), service.sigma()*p99Error/math.Sqrt(n)
	average := func(known *float64, since *time.Time, measured Signal, err float64) {
		if !measured.positive() {
			return
		}
		if *known <= 0 || since.IsZero() || math.Abs(math.Log(measured.Value / *known)) > significance*err {
			*known, *since = measured.Value, now
			return
		}
		seconds := min(now.Sub(*since), serviceMemory).Seconds() + serviceScrapes*cfg.scrape()
		*known += (measured.Value - *known) * math.Min(1, cfg.Tick.Seconds()/seconds)
	}
	if m.CPUPerRequest.positive() {
		window := time.Duration(serviceScrapes * cfg.scrape() * float64(time.Second))
		k.Price.learn(m.CPUPerRequest.Value, rate, m.ServiceMean.or(k.ServiceMean), ofMean, k.CPULimit, window, cfg.Tick, now)
	}
	average(&k.ServiceMean, &k.MeanSince, m.ServiceMean, ofMean)
	average(&k.ServiceP99, &k.P99Since, m.ServiceP99, ofP99)
}

// bound keeps a service time within what is measured while replicas have more CPU:
// without it, work takes no less than that, and at most as many times that as they
// have more CPU.
func (s *State) bound(known *float64, measured Signal) {
	if !measured.positive() {
		return
	}
	most := measured.Value * math.Max(1, s.RaisedBy)
	*known = math.Min(math.Max(*known, measured.Value), most)
}

// raise notes that replicas are given factor times their usual CPU.
func (s *State) raise(factor float64, now time.Time) {
	if !s.raised(now) {
		s.RaisedBy = 1
	}
	s.Raised, s.RaisedBy = now, math.Max(s.RaisedBy, factor)
}

// raised tells whether what is measured may still show the bridge.
func (s *State) raised(now time.Time) bool {
	return !s.Raised.IsZero() && now.Sub(s.Raised) < raisedSeen
}

func (k Known) slots() int { return int(math.Max(1, k.Slots)) }

// service is the service time to plan with.
//
// Under a CFS quota, a replica that has been idle answers from the quota it has
// not used, so its latency at low load promises more than it can sustain. What it
// can sustain is (quota − upkeep) / CPU seconds per request, spread over its slots.
// The mean is max(mean latency, slots · CPU per request / (quota − upkeep)).
func (k Known) service() ServiceTime {
	mean := k.ServiceMean
	if k.CPULimit > 0 {
		mean = math.Max(mean, float64(k.slots())*k.Price.Request/(k.CPULimit-k.Price.Upkeep))
	}
	return ServiceTime{Mean: mean, P99: math.Max(mean, k.ServiceP99)}
}
