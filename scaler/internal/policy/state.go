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
	// Zeroed tells that it was decided here that no replica is left, not by hand.
	Zeroed bool `json:"zeroed"`

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
	// Evidence is the sum of standard errors that speak for one that is too low.
	Evidence float64 `json:"evidence"`
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

const gapTicks = 5

// observe takes in what the snapshot tells beyond this one decision.
func (s State) observe(cfg Config, snap Snapshot, now time.Time) State {
	if s.Last.IsZero() || now.Sub(s.Last) > gapTicks*cfg.Tick || now.Before(s.Last) {
		s.Since = now
	}
	if !s.Last.IsZero() && snap.Spec != s.LastSpec {
		// What was decided and did not happen is no step: a conflict, or no leader yet.
		// What somebody else did is one, since now.
		at := now
		if snap.Spec == s.Decided {
			at = s.Last
		}
		if snap.Spec < s.LastSpec {
			s.LastIn = at
		} else {
			s.LastOut = at
		}
		s.Zeroed = snap.Spec == 0 && s.Decided == 0
	}
	s.Last, s.LastSpec = now, snap.Spec
	s.Correction = math.Max(1, s.Correction)
	s.Lead = s.Lead.learn(snap.BecameReady)
	s.History = remember(s.History, snap.Signals.ArrivalShort, now)
	s.learn(cfg, snap, now)
	return s
}
