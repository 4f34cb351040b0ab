package policy

import (
	"math"
	"time"
)

// State is what the policy remembers between decisions. The zero value is a
// fresh start. It is plain data, so that it can be carried to another process;
// Decide never changes the State that it is given.
type State struct {
	// Since is the start of the time that is known without a gap, Last the time of
	// the last decision.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	// Asked are the counts asked for lately that no later one is at least as high
	// as: the first is the highest. Returns are the times that a higher demand came back.
	Asked   []Asked  `json:"asked"`
	Returns []Return `json:"returns"`
	// LastIn and LastOut are the last times that the count went down and up.
	LastIn  time.Time `json:"lastIn"`
	LastOut time.Time `json:"lastOut"`
	// LastSpec is the count last seen, Decided the one last decided.
	LastSpec int `json:"lastSpec"`
	Decided  int `json:"decided"`

	Known   Known    `json:"known"`
	History []Sample `json:"history"`
	Lead    Lead     `json:"lead"`
	// Due are forecasts whose time has not come; ForecastError is that of the last
	// whose time has.
	Due           []Sample `json:"due"`
	ForecastError float64  `json:"forecastError"`
	ForecastKnown bool     `json:"forecastKnown"`
	// Correction is the factor by which the service time is corrected, from 1.
	Correction float64 `json:"correction"`
	// EnoughSince is since when the ready replicas have been as many as the model
	// asks for; zero while they are not.
	EnoughSince time.Time `json:"enoughSince"`
	// LastWork is the last time that there was or may have been work.
	LastWork time.Time `json:"lastWork"`
	// UntrustedSince and LoadUnknownSince are since when a needed signal could not be
	// relied on, and since when no arrival rate could; zero while all is well.
	UntrustedSince   time.Time `json:"untrustedSince"`
	LoadUnknownSince time.Time `json:"loadUnknownSince"`
	// Raised is the last time that the bridge gave replicas more CPU, and RaisedBy the
	// highest factor since it began to.
	Raised   time.Time `json:"raised"`
	RaisedBy float64   `json:"raisedBy"`
}

// Sample is an arrival rate, per second, at a time.
type Sample struct {
	At   time.Time `json:"at"`
	Rate float64   `json:"rate"`
}

// Known are the last trusted values of what describes the replicas rather than
// the load, 0 where there was none. They change slowly, so an old one is good
// enough to add replicas.
type Known struct {
	ServiceMean   float64 `json:"serviceMean"`
	ServiceP99    float64 `json:"serviceP99"`
	CPUPerRequest float64 `json:"cpuPerRequest"`
	CPULimit      float64 `json:"cpuLimit"`
	Slots         float64 `json:"slots"`
}

const (
	// lowRate is the arrival rate per second under which a window holds too few
	// requests to tell what one costs: what was known before is kept. busyShare is the
	// share of the ready replicas' CPU that requests must use to tell it better than
	// what is known: below, a replica's own upkeep is a good part of the price.
	lowRate   = 1.0
	busyShare = 0.1
	maxSlots  = 1024
	gapTicks  = 5
	// raisedSeen is how long after the bridge's end service times still show it.
	raisedSeen = 70 * time.Second
)

// observe takes in what the snapshot tells beyond this one decision.
func (s State) observe(cfg Config, snap Snapshot, now time.Time) State {
	if s.Last.IsZero() || now.Sub(s.Last) > gapTicks*cfg.Tick || now.Before(s.Last) {
		s.Since = now
	}
	if !s.Last.IsZero() && snap.Spec < s.LastSpec && snap.Spec != s.Decided {
		s.LastIn = now // somebody else did it, and the interval holds for that too
	}
	s.Last, s.LastSpec = now, snap.Spec
	s.Correction = math.Max(1, s.Correction)
	s.Lead = s.Lead.learn(snap.BecameReady)
	s.History = remember(s.History, snap.Signals.ArrivalShort, now)
	s.learn(snap, now)
	return s
}

func (s *State) learn(snap Snapshot, now time.Time) {
	learn := func(to *float64, from Signal) {
		if from.positive() {
			*to = from.Value
		}
	}
	m := snap.Signals
	if m.Slots.positive() {
		s.Known.Slots = min(math.Max(1, math.Floor(m.Slots.Value)), maxSlots)
	}
	if s.raised(now) {
		s.bound(&s.Known.ServiceMean, m.ServiceMean)
		s.bound(&s.Known.ServiceP99, m.ServiceP99)
		return
	}
	learn(&s.Known.CPULimit, m.CPULimit)
	learn(&s.Known.ServiceMean, m.ServiceMean)
	learn(&s.Known.ServiceP99, m.ServiceP99)
	rate := math.Max(m.ArrivalShort.or(0), m.ArrivalLong.or(0))
	busy := rate*m.CPUPerRequest.or(0) >= busyShare*float64(snap.Ready)*s.Known.CPULimit
	if rate >= lowRate && (busy || s.Known.CPUPerRequest == 0) {
		learn(&s.Known.CPUPerRequest, m.CPUPerRequest)
	}
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
// can sustain is quota / CPU seconds per request, spread over its slots. The mean
// is max(mean latency, slots · CPU per request / quota).
func (k Known) service() ServiceTime {
	mean := k.ServiceMean
	if k.CPULimit > 0 {
		mean = math.Max(mean, float64(k.slots())*k.CPUPerRequest/k.CPULimit)
	}
	return ServiceTime{Mean: mean, P99: math.Max(mean, k.ServiceP99)}
}
