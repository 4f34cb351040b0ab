// Package policy decides how many replicas keep the latency promise. It is pure:
// no clock, no network, no logger. Whoever drives it hands in the time and what
// was measured, so production, tests and simulations run the same function.
package policy

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Config is what the promise is and how far the policy may go.
type Config struct {
	// Min and Max bound every decision: 1 ≤ Min ≤ Max.
	Min, Max int
	// SLO is the latency that the share Quantile (0..1) of requests must stay inside.
	SLO      time.Duration
	Quantile float64
	// Utilization is the highest share of a replica's time that may be planned
	// for, above 0 and below 1.
	Utilization float64
	// Stabilization is how long nothing higher may have been asked for before
	// replicas are taken away.
	Stabilization time.Duration
	// Step is how many replicas are taken away at most at a time, Interval the
	// least time between two such steps.
	Step     int
	Interval time.Duration
	// Tick is the usual time between decisions. A gap of more than five of them
	// voids what was known about the stabilization window.
	Tick time.Duration
}

// Reason says in one word why a decision is what it is.
type Reason string

// The reasons. A count that goes up has Demand, Backlog, AtMax or BelowMin; one
// that goes down has ScaleIn or AboveMax; all others leave it as it is (AtMax
// may do either).
const (
	// Steady: what is there is what is needed.
	Steady Reason = "steady"
	// Idle: there is no work, and the fewest allowed replicas.
	Idle Reason = "idle"
	// Demand: the arrival rate needs more replicas.
	Demand Reason = "demand"
	// Backlog: what has piled up needs more replicas than the arrival rate does.
	Backlog Reason = "backlog"
	// SLOInfeasible: the count is as it should be, but the service time alone is
	// longer than the promise, which no number of replicas repairs.
	SLOInfeasible Reason = "slo_infeasible"
	// ScaleIn: replicas are taken away.
	ScaleIn Reason = "scale_in"
	// ScaleInWait: fewer would do, but not for long enough yet.
	ScaleInWait Reason = "scale_in_wait"
	// HoldUntrusted: a needed signal can't be relied on, so nothing is taken away.
	HoldUntrusted Reason = "hold_untrusted"
	// AtMax: more are needed than Config.Max allows.
	AtMax Reason = "at_max"
	// AtMin: fewer would do than Config.Min allows.
	AtMin Reason = "at_min"
	// BelowMin: the target had fewer replicas than Config.Min.
	BelowMin Reason = "below_min"
	// AboveMax: the target had more replicas than Config.Max.
	AboveMax Reason = "above_max"
	// Disabled: somebody scaled the target to zero by hand, which switches scaling
	// off until it is scaled up again, as it does for a HorizontalPodAutoscaler.
	Disabled Reason = "disabled"
)

// Reasons lists every reason that a decision can have.
func Reasons() []Reason {
	return []Reason{
		Steady, Idle, Demand, Backlog, SLOInfeasible, ScaleIn, ScaleInWait,
		HoldUntrusted, AtMax, AtMin, BelowMin, AboveMax, Disabled,
	}
}

// Decision is how many replicas the target should have, and why.
type Decision struct {
	Replicas int
	Reason   Reason
	// Sentence is the reason for people.
	Sentence string
	Terms    Terms
}

// Terms are the numbers behind a decision.
type Terms struct {
	// Rate is the arrival rate planned for, per second.
	Rate float64
	// ServiceEffective is the service time planned with, seconds; 0 when unknown.
	ServiceEffective float64
	// WaitBudget is how long a request may wait, seconds. BudgetAtFloor says that
	// it is more than the service time leaves of the SLO.
	WaitBudget    float64
	BudgetAtFloor bool
	// BacklogRate is the rate at which the backlog has to be drained, per second.
	BacklogRate float64
	// Utilization is the share of the decided replicas' time that Rate takes.
	Utilization float64
	// ForDemand and ForBacklog are the replicas that each of them asks for.
	ForDemand, ForBacklog int
	// Recommended is what this moment asks for, before limits and stabilization.
	Recommended int
	// WindowMax is the most that was asked for within the stabilization window.
	WindowMax int
	// Untrusted names the needed signals that can't be relied on, with their state.
	Untrusted []string
}

// State is what the policy remembers between decisions. The zero value is a
// fresh start. Decide never changes the State that it is given.
type State struct {
	since       time.Time // start of the time that the window covers without a gap
	last        time.Time // time of the last decision
	window      []recommendation
	lastScaleIn time.Time
	lastSpec    int
	decided     int
	known       known
}

type recommendation struct {
	at time.Time
	n  int
}

// known are the last trusted values of what describes the replicas rather than
// the load. They change slowly, so an old one is good enough to add replicas.
type known struct {
	serviceMean, serviceP99, cpuPerRequest, cpuLimit, slots float64
}

const (
	// lowRate is the arrival rate per second under which a window holds too few
	// requests to tell what one costs: what was known before is kept, and a
	// replica's idle CPU use is not taken for the price of a request.
	lowRate = 1.0
	// minBudgetShare of the SLO is left for waiting even where the service time
	// takes more than the rest. Less would buy replicas without end for a promise
	// that waiting less can't rescue.
	minBudgetShare = 0.2
	// minDrainShare of the SLO is the shortest time in which a backlog is to be drained.
	minDrainShare = 0.5
	maxSlots      = 1024
	gapTicks      = 5
)

// Decide says how many replicas the target should have at the time now, given
// what it remembers and sees.
//
// Sizing. Each replica serves `slots` requests at a time, so n replicas are an
// M/M/(n·slots) queue. Asked for is the fewest n with P(W > SLO − p99 of the
// service time) ≤ 1 − quantile ([WaitTail]) and a planned utilization within
// bounds, for the higher of the short and the long arrival rate. A backlog B is
// to be gone within the drain time d = SLO − age of the oldest (at least half an
// SLO): n·slots ≥ (rate + B/d)·service. The higher of both counts.
//
// Service time. Under a CFS quota, a replica that has been idle answers from the
// quota it has not used, so its latency at low load promises more than it can
// sustain. What it can sustain is quota / CPU seconds per request, spread over
// its slots. Planned with is max(mean latency, slots · CPU per request / quota).
//
// Safety. Counts are absolute, so replicas that are still starting are never
// ordered twice. More is taken at once. Fewer is taken only when nothing higher
// was asked for in the whole stabilization window, a step at a time, never with a
// backlog, never below what is in flight, and never while a needed signal is
// missing, stale or invalid; such a moment counts as asking for what is there.
func Decide(cfg Config, state State, snap Snapshot, now time.Time) (State, Decision) {
	state = state.observe(cfg, snap, now)
	terms := size(cfg, state.known, snap)
	d := decide(cfg, &state, snap, terms, now)
	d.Terms.Utilization = utilization(d, state.known)
	state.decided = d.Replicas
	return state, d
}

// observe takes in what the snapshot tells beyond this one decision.
func (s State) observe(cfg Config, snap Snapshot, now time.Time) State {
	if s.last.IsZero() || now.Sub(s.last) > gapTicks*cfg.Tick {
		s.since = now
	}
	if !s.last.IsZero() && snap.Spec < s.lastSpec && snap.Spec != s.decided {
		s.lastScaleIn = now // somebody else did it, and the interval holds for that too
	}
	s.last, s.lastSpec = now, snap.Spec

	learn := func(to *float64, from Signal) {
		if from.positive() {
			*to = from.Value
		}
	}
	learn(&s.known.serviceMean, snap.ServiceMean)
	learn(&s.known.serviceP99, snap.ServiceP99)
	learn(&s.known.cpuLimit, snap.CPULimit)
	if snap.Slots.positive() {
		s.known.slots = min(math.Max(1, math.Floor(snap.Slots.Value)), maxSlots)
	}
	if rate, _ := arrivalRate(snap); rate >= lowRate {
		learn(&s.known.cpuPerRequest, snap.CPUPerRequest)
	}
	return s
}

// arrivalRate is the higher of the arrival rates that can be relied on.
func arrivalRate(snap Snapshot) (rate float64, ok bool) {
	for _, s := range []Signal{snap.ArrivalShort, snap.ArrivalLong} {
		if s.ok() {
			rate, ok = math.Max(rate, s.Value), true
		}
	}
	return rate, ok
}

func (k known) effectiveService() float64 {
	s := k.serviceMean
	if k.cpuLimit > 0 {
		s = math.Max(s, k.slotsOrOne()*k.cpuPerRequest/k.cpuLimit)
	}
	return s
}

func (k known) slotsOrOne() float64 { return math.Max(1, k.slots) }

// size works out what this moment asks for, before any limit.
func size(cfg Config, k known, snap Snapshot) Terms {
	slo := cfg.SLO.Seconds()
	t := Terms{ServiceEffective: k.effectiveService()}
	t.WaitBudget = slo - math.Max(k.serviceP99, t.ServiceEffective)
	if floor := minBudgetShare * slo; t.WaitBudget < floor {
		t.WaitBudget, t.BudgetAtFloor = floor, true
	}

	var rateKnown bool
	t.Rate, rateKnown = arrivalRate(snap)
	backlog, age := 0.0, 0.0
	if snap.Backlog.ok() {
		backlog = snap.Backlog.Value
	}
	if snap.OldestAge.ok() {
		age = snap.OldestAge.Value
	}
	if backlog > 0 {
		t.BacklogRate = backlog / math.Max(slo-age, minDrainShare*slo)
	}
	t.Untrusted = untrusted(k, snap, t.Rate, backlog)

	switch {
	case t.ServiceEffective > 0:
		slots := int(k.slotsOrOne())
		t.ForDemand = load{
			rate: t.Rate, service: t.ServiceEffective, slots: slots, wait: t.WaitBudget,
			tail: 1 - cfg.Quantile, utilization: cfg.Utilization, limit: cfg.Max,
		}.replicas()
		if t.BacklogRate > 0 {
			t.ForBacklog = ceil((t.Rate + t.BacklogRate) * t.ServiceEffective / float64(slots))
		}
	case t.Rate > 0 || backlog > 0 || !rateKnown:
		t.ForDemand = snap.Spec // there is or may be work, of unknown size
	}
	t.Recommended = max(t.ForDemand, t.ForBacklog)
	return t
}

// untrusted names the signals that this moment's load makes necessary and that
// can't be relied on. Without load, nobody needs to know what a request costs:
// 0/0 is then what an idle service measures, and no fault.
func untrusted(k known, snap Snapshot, rate, backlog float64) []string {
	var names []string
	for name, s := range snap.Named() {
		needed := true
		switch name {
		case "service_mean":
			needed = rate >= lowRate || (rate > 0 || backlog > 0) && k.serviceMean == 0
		case "service_p99", "cpu_per_request", "cpu_limit", "slots":
			needed = rate >= lowRate
		}
		if !needed || s.ok() {
			continue
		}
		state := s.State
		if state == OK {
			state = Invalid
		}
		names = append(names, name+" "+state.String())
	}
	return names
}

func decide(cfg Config, state *State, snap Snapshot, t Terms, now time.Time) Decision {
	current := snap.Spec
	bounded := clamp(t.Recommended, cfg)
	trusted := len(t.Untrusted) == 0
	if trusted {
		state.recommend(bounded, now, cfg.Stabilization)
	} else {
		state.recommend(max(bounded, clamp(current, cfg)), now, cfg.Stabilization)
	}
	t.WindowMax = state.window[0].n

	is := func(n int, reason Reason, sentence string) Decision {
		if t.BudgetAtFloor && t.Rate > 0 {
			sentence += fmt.Sprintf("; the service time leaves less than that of the %s promised, and no number of replicas changes it", cfg.SLO)
		}
		return Decision{Replicas: n, Reason: reason, Sentence: sentence, Terms: t}
	}
	switch {
	case current == 0:
		return is(0, Disabled, "the target was scaled to zero by hand, which switches scaling off until it has a replica again")
	case bounded > current:
		reason, why := Demand, t.demand()
		switch {
		case t.Recommended > cfg.Max:
			reason = AtMax
			why += fmt.Sprintf(", and at most %d are allowed", cfg.Max)
		case t.Recommended < cfg.Min:
			reason, why = BelowMin, fmt.Sprintf("the target has %s and at least %d are wanted", replicas(current), cfg.Min)
		case t.ForBacklog > t.ForDemand:
			reason = Backlog
		}
		return is(bounded, reason, why+t.distrust())
	case current > cfg.Max:
		return is(cfg.Max, AboveMax, fmt.Sprintf("the target has %s and at most %d are allowed", replicas(current), cfg.Max))
	case !trusted:
		return is(current, HoldUntrusted, fmt.Sprintf("holding %s%s", replicas(current), t.distrust()))
	case t.Recommended > cfg.Max:
		return is(current, AtMax, t.demand()+fmt.Sprintf(", and at most %d are allowed", cfg.Max))
	case bounded == current:
		reason, why := cfg.steadyReason(state.known, t), t.demand()
		if t.Recommended < cfg.Min {
			why += fmt.Sprintf(", and the fewest allowed are %d", cfg.Min)
		}
		return is(current, reason, why)
	}

	wait := func(why string) Decision {
		return is(current, ScaleInWait, fmt.Sprintf("%s, but %s", t.demand(), why))
	}
	inFlight := ceil(snap.InFlight.Value / state.known.slotsOrOne())
	fewest := max(t.WindowMax, inFlight, current-cfg.Step)
	switch {
	case snap.Backlog.Value > 0:
		return wait(fmt.Sprintf("%.0f requests are waiting", snap.Backlog.Value))
	case now.Sub(state.since) < cfg.Stabilization:
		return wait(fmt.Sprintf("demand has been watched without a gap for %s of %s only", now.Sub(state.since).Round(time.Second), cfg.Stabilization))
	case t.WindowMax >= current:
		return wait(fmt.Sprintf("%d were asked for within the last %s", t.WindowMax, cfg.Stabilization))
	case inFlight >= current:
		return wait(fmt.Sprintf("%.0f requests are being served", snap.InFlight.Value))
	case !state.lastScaleIn.IsZero() && now.Sub(state.lastScaleIn) < cfg.Interval:
		return wait(fmt.Sprintf("the last step down was less than %s ago", cfg.Interval))
	}
	state.lastScaleIn = now
	return is(fewest, ScaleIn, fmt.Sprintf("%s, and no more than %d were asked for in %s", t.demand(), t.WindowMax, cfg.Stabilization))
}

// steadyReason says why a count that is as it should be is that.
func (cfg Config) steadyReason(k known, t Terms) Reason {
	switch {
	case t.Recommended == 0:
		return Idle
	case t.Recommended < cfg.Min:
		return AtMin
	case math.Max(k.serviceP99, t.ServiceEffective) >= cfg.SLO.Seconds():
		return SLOInfeasible
	}
	return Steady
}

// recommend adds n to the window and forgets what is older than the
// stabilization time. The window holds falling counts only: one that a later
// count is at least as high as can't be the highest any more.
func (s *State) recommend(n int, now time.Time, stabilization time.Duration) {
	kept := make([]recommendation, 0, len(s.window)+1)
	for _, r := range s.window {
		if r.n > n && now.Sub(r.at) < stabilization {
			kept = append(kept, r)
		}
	}
	kept = append(kept, recommendation{now, n})
	s.window = kept
}

func clamp(n int, cfg Config) int { return min(max(n, cfg.Min), cfg.Max) }

func utilization(d Decision, k known) float64 {
	if d.Replicas == 0 {
		return 0
	}
	return d.Terms.Rate * d.Terms.ServiceEffective / (float64(d.Replicas) * k.slotsOrOne())
}

// demand is what this moment asks for, in words.
func (t Terms) demand() string {
	if t.Rate == 0 && t.BacklogRate == 0 {
		return "no requests arrive and none are queued"
	}
	what := fmt.Sprintf("%.1f requests/s", t.Rate)
	if t.ForBacklog > t.ForDemand {
		what += fmt.Sprintf(" and a backlog to be drained at %.1f/s", t.BacklogRate)
	}
	if t.ServiceEffective == 0 {
		return what + " of a service time that isn't known yet"
	}
	return fmt.Sprintf("%s of %s each need %s to wait %s at most", what, seconds(t.ServiceEffective), replicas(t.Recommended), seconds(t.WaitBudget))
}

func replicas(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

func (t Terms) distrust() string {
	if len(t.Untrusted) == 0 {
		return ""
	}
	return " (can't rely on: " + strings.Join(t.Untrusted, ", ") + ")"
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Microsecond).String()
}
