// Package policy decides how many replicas keep the latency promise. It is pure:
// no clock, no network, no logger. Whoever drives it hands in the time and what
// was measured, so production, tests and simulations run the same function.
package policy

import (
	"math"
	"time"
)

// Decide says how many replicas the target should have at the time now, given
// what it remembers and sees.
//
// Demand. The arrival rate is the mean since it last changed significantly, plus
// one standard error; where a line explains the recent past better than a step,
// its growth until a replica ordered now would be ready is added (estimate). That
// lead time is learned from replicas that started.
//
// Sizing. Each replica serves `slots` requests at a time, so n replicas are a
// queue of n·slots servers. Asked for is the fewest n of which at most the share
// 1 − quantile of requests waits and is served for longer than the SLO
// ([Load.LateShare]), with a planned utilization within bounds; and what drains
// the backlog that will be left when a replica ordered now is ready. Where
// measured latency contradicts the model, a correction of the service time is
// learned (guard).
//
// Safety. Counts are absolute, so replicas that are still starting are never
// ordered twice. More is taken at once. Fewer is taken only when nothing higher was
// asked for in the whole stabilization window and the model holds for fewer with a
// tolerance, a step at a time, never with a backlog, never below what is in flight,
// and never while a needed signal is missing, stale, invalid or reset; such a moment
// counts as asking for what is there. An increase by less than [outTolerance] is left.
func Decide(cfg Config, state State, snap Snapshot, now time.Time) (State, Decision) {
	s := state.observe(cfg, snap, now)
	t := size(cfg, &s, snap, now)
	s.foresee(t, now)
	s.guard(cfg, snap, t, now)
	s.watch(snap, t, now)
	if !s.UntrustedSince.IsZero() {
		t.UntrustedFor = now.Sub(s.UntrustedSince)
	}

	d := choose(cfg, &s, snap, t, now)
	d.CPUFactor = bridge(cfg, &s, snap, d.Terms, now)
	d.Terms.Utilization = d.Terms.utilization(d.Replicas, s.Known.slots())
	s.Decided = d.Replicas
	return s, d
}

// watch notes since when there is no work, and since when signals are bad.
func (s *State) watch(snap Snapshot, t Terms, now time.Time) {
	m := snap.Signals
	idle := len(t.Untrusted) == 0 && m.ArrivalShort.Value == 0 && m.ArrivalLong.Value == 0 && m.Backlog.Value == 0 && m.InFlight.Value == 0 && !snap.Woken
	if !idle || s.LastWork.IsZero() {
		s.LastWork = now
	}
	since := func(at *time.Time, bad bool) {
		switch {
		case !bad:
			*at = time.Time{}
		case at.IsZero():
			*at = now
		}
	}
	since(&s.UntrustedSince, len(t.Untrusted) > 0)
	since(&s.LoadUnknownSince, !m.ArrivalShort.OK() && !m.ArrivalLong.OK())
}

// bounds are the least and most replicas at this moment.
type bounds struct {
	min, max   int
	minBy      Reason
	maxBy      Reason
	minLimiter Limiter
	maxLimiter Limiter
}

func (cfg Config) bounds(s *State, snap Snapshot, now time.Time) bounds {
	b := bounds{cfg.Min, cfg.Max, BelowMin, AboveMax, ByMin, ByMax}
	if b.min == 0 && snap.Spec > 0 && (snap.Woken || now.Sub(s.LastWork) < cfg.IdleAfter) {
		b.min = 1 // the last one stays until nothing has arrived for long enough; the first is ordered by demand
	}
	c := snap.Controls
	if c.Ceiling != nil && *c.Ceiling < b.max {
		b.max, b.maxBy, b.maxLimiter = max(*c.Ceiling, b.min), CeilingSet, ByCeiling
	}
	if c.Floor > b.min {
		b.min, b.minBy, b.minLimiter = min(c.Floor, cfg.Max), FloorSet, ByFloor
		b.max = max(b.max, b.min)
	}
	if f := cfg.Fallback; f.After > 0 && !s.LoadUnknownSince.IsZero() && now.Sub(s.LoadUnknownSince) >= f.After && f.Replicas > b.min {
		b.min, b.minBy, b.minLimiter = min(f.Replicas, b.max), FallbackFloor, ByTrust
	}
	return b
}

func choose(cfg Config, s *State, snap Snapshot, t Terms, now time.Time) Decision {
	current := snap.Spec
	b := cfg.bounds(s, snap, now)
	asked := t.Recommended
	if snap.Spec == 0 && cfg.Min == 0 && (snap.Woken || t.Rate > 0 || snap.Signals.Backlog.or(0) > 0) {
		asked = max(asked, 1)
	}
	bounded := min(max(asked, b.min), b.max)
	trusted := len(t.Untrusted) == 0
	wanted := max(asked, cfg.Min) // passing floors are not what was asked for
	if !trusted {
		wanted = max(wanted, current)
	}
	s.ask(min(wanted, b.max), t, now, cfg.ScaleIn.Stabilization)
	kept, hold := s.kept(cfg.ScaleIn.Stabilization, now)
	t.Hold, t.WindowMax = hold.Seconds(), kept

	is := func(n int, reason Reason, limiter Limiter, sentence string) Decision {
		return Decision{Replicas: n, Reason: reason, Limiter: limiter, Sentence: sentence + t.infeasible(cfg, snap), Terms: t}
	}
	if current == 0 && cfg.Min > 0 && !s.Zeroed {
		return is(0, Disabled, ByDisabled, "the target was scaled to zero by hand, which switches scaling off until it has a replica again")
	}
	switch {
	case bounded > current:
		return out(cfg, s, snap, t, b, bounded, asked, now, is)
	case current > b.max:
		if snap.Controls.PauseIn {
			return is(current, Paused, ByPause, t.demand()+", and taking replicas away is paused")
		}
		return is(b.max, b.maxBy, b.maxLimiter, "the target has "+replicas(current)+" and at most "+count(b.max)+" are allowed"+b.word(b.maxBy))
	case !trusted:
		return is(current, HoldUntrusted, ByTrust, "holding "+replicas(current)+t.distrust())
	case asked > b.max:
		return is(current, atMax(b), b.maxLimiter, t.demand()+", and at most "+count(b.max)+" are allowed"+b.word(b.maxBy))
	case bounded == current:
		reason, limiter, why := cfg.steady(s, t), None, t.demand()
		if asked < b.min {
			limiter = b.minLimiter
			why += ", and the fewest allowed are " + count(b.min) + b.word(b.minBy)
			if reason != Idle {
				reason = AtMin
			}
		}
		return is(current, reason, limiter, why)
	}
	return in(cfg, s, snap, t, b, now, is)
}

type verdict = func(n int, reason Reason, limiter Limiter, sentence string) Decision

func atMax(b bounds) Reason {
	if b.maxBy == CeilingSet {
		return CeilingSet
	}
	return AtMax
}

// out decides a count that goes up, to `to` unless a limit is in the way.
func out(cfg Config, s *State, snap Snapshot, t Terms, b bounds, to, asked int, now time.Time, is verdict) Decision {
	current := snap.Spec
	reason, limiter, why := t.cause(s), None, t.demand()
	switch {
	case asked > b.max:
		reason, limiter = atMax(b), b.maxLimiter
		why += ", and at most " + count(b.max) + " are allowed" + b.word(b.maxBy)
	case asked < b.min:
		reason, limiter = b.minBy, b.minLimiter
		why = "the target has " + replicas(current) + " and at least " + count(b.min) + " are wanted" + b.word(b.minBy)
	case current == 0 && snap.Woken:
		reason = Woken
		why = "a request waits and there is no replica"
	}
	if asked >= b.min && t.ForBacklog <= current && asked <= withTolerance(current) {
		return is(current, cfg.steady(s, t), ByTolerance, why+", which "+replicas(current)+" are close enough to")
	}
	why += t.distrust()
	if snap.Controls.PauseOut {
		return is(current, Paused, ByPause, why+", but adding replicas is paused")
	}
	if most := cfg.ScaleOut.most(current); to-current > most {
		if !s.LastOut.IsZero() && now.Sub(s.LastOut) < cfg.ScaleOut.Interval {
			return is(current, t.cause(s), ByRate, why+", but the last step up was less than "+cfg.ScaleOut.Interval.String()+" ago")
		}
		to, reason, limiter = current+most, t.cause(s), ByRate
		why += ", of which " + count(most) + " are added at a time"
	}
	return is(to, reason, limiter, why)
}

// in decides whether a count that is higher than what is asked for goes down.
func in(cfg Config, s *State, snap Snapshot, t Terms, b bounds, now time.Time, is verdict) Decision {
	current := snap.Spec
	wait := func(limiter Limiter, why string) Decision {
		return is(current, ScaleInWait, limiter, t.demand()+", but "+why)
	}
	inFlight := ceil(snap.Signals.InFlight.Value / float64(s.Known.slots()))
	fewest := max(t.WindowMax, t.ForScaleIn, inFlight, b.min, current-cfg.ScaleIn.most(current))
	switch {
	case snap.Controls.PauseIn:
		return is(current, Paused, ByPause, t.demand()+", but taking replicas away is paused")
	case snap.Signals.Backlog.Value > 0:
		return wait(ByBacklog, count(int(math.Ceil(snap.Signals.Backlog.Value)))+" requests are waiting")
	case now.Sub(s.Since) < cfg.ScaleIn.Stabilization:
		return wait(ByStabilization, "demand has been watched without a gap for "+now.Sub(s.Since).Round(time.Second).String()+" of "+cfg.ScaleIn.Stabilization.String()+" only")
	case t.WindowMax >= current:
		return wait(ByStabilization, count(t.WindowMax)+" are kept of what was asked for within the last "+seconds(t.Hold))
	case t.ForScaleIn >= current:
		return wait(ByStabilization, count(t.ForScaleIn)+" are needed for it to hold with a margin")
	case inFlight >= current:
		return wait(ByInFlight, count(int(snap.Signals.InFlight.Value))+" requests are being served")
	case !s.LastIn.IsZero() && now.Sub(s.LastIn) < cfg.ScaleIn.Interval:
		return wait(ByRate, "the last step down was less than "+cfg.ScaleIn.Interval.String()+" ago")
	case fewest == 0:
		return is(0, ToZero, None, "nothing has arrived for "+now.Sub(s.LastWork).Round(time.Second).String())
	}
	limiter := None
	if fewest > max(t.WindowMax, t.ForScaleIn, b.min) {
		limiter = ByRate
	}
	return is(fewest, ScalingIn, limiter, t.demand()+", and no more than "+count(t.WindowMax)+" are kept of what was asked for within the last "+seconds(t.Hold))
}

// outTolerance is the share by which demand may exceed the present count before
// more is asked for. It matters from 50 replicas on, where the planned utilization
// sizes, not the queue, and where a flat load is not known more exactly.
const outTolerance = 0.02

func withTolerance(n int) int { return n + int(outTolerance*float64(n)) }

// most is by how many replicas the count may change at a time.
func (r Rate) most(current int) int {
	if r.Step <= 0 && r.Share <= 0 {
		return maxCount
	}
	return max(r.Step, int(r.Share*float64(current)), 1)
}

// bridge is the factor by which the ready replicas' CPU makes up for those that
// are still starting: as much as the demand needs, in quarters, within the ceiling.
func bridge(cfg Config, s *State, snap Snapshot, t Terms, now time.Time) float64 {
	ready := min(snap.Ready, snap.Spec)
	needed := max(t.ForDemand, t.ForBacklog)
	if cfg.Bridge.Ceiling <= 1 || ready == 0 || needed <= ready {
		return 1
	}
	factor := math.Min(cfg.Bridge.Ceiling, math.Ceil(float64(needed)/float64(ready)*4)/4)
	s.raise(factor, now)
	return factor
}
