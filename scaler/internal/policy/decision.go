package policy

import "time"

// Reason says in one word why a decision is what it is.
type Reason string

// The reasons. A count that goes up has Demand, Forecast, Backlog, Latency,
// Woken, Fallback, Floor, AtMax or BelowMin; one that goes down has ScalingIn,
// ToZero, AboveMax or Ceiling; all others leave it as it is (AtMax may do either).
const (
	// Steady: what is there is what is needed.
	Steady Reason = "steady"
	// Idle: there is no work, and the fewest allowed replicas.
	Idle Reason = "idle"
	// Demand: the arrival rate needs more replicas.
	Demand Reason = "demand"
	// Forecast: the arrival rate expected when a new replica would be ready does.
	Forecast Reason = "forecast"
	// Backlog: what has piled up needs more replicas than the arrival rate does.
	Backlog Reason = "backlog"
	// Latency: the measured latency breaks the promise where the model says it holds.
	Latency Reason = "latency"
	// Woken: a request waits and there is no replica.
	Woken Reason = "woken"
	// SLOInfeasible: the count is as it should be, but the service time alone is
	// longer than the promise, which no number of replicas repairs.
	SLOInfeasible Reason = "slo_infeasible"
	// ScalingIn: replicas are taken away.
	ScalingIn Reason = "scale_in"
	// ToZero: nothing has arrived for long enough, and the last replicas go.
	ToZero Reason = "to_zero"
	// ScaleInWait: fewer would do, but not for long enough yet.
	ScaleInWait Reason = "scale_in_wait"
	// HoldUntrusted: a needed signal can't be relied on, so nothing is taken away.
	HoldUntrusted Reason = "hold_untrusted"
	// FallbackFloor: the load has been unknown for so long that the configured
	// fallback is the least count.
	FallbackFloor Reason = "fallback"
	// Paused: the count would change, and people have paused that direction.
	Paused Reason = "paused"
	// FloorSet: people have set a floor that is higher.
	FloorSet Reason = "floor"
	// CeilingSet: people have set a ceiling that is lower.
	CeilingSet Reason = "ceiling"
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
		Steady, Idle, Demand, Forecast, Backlog, Latency, Woken, SLOInfeasible, ScalingIn, ToZero, ScaleInWait,
		HoldUntrusted, FallbackFloor, Paused, FloorSet, CeilingSet, AtMax, AtMin, BelowMin, AboveMax, Disabled,
	}
}

// Limiter says what kept a decision from being what the model asked for.
type Limiter string

// The limiters. None: the model had its way.
const (
	None            Limiter = "none"
	ByMin           Limiter = "min"
	ByMax           Limiter = "max"
	ByRate          Limiter = "rate"
	ByStabilization Limiter = "stabilization"
	ByBacklog       Limiter = "backlog"
	ByInFlight      Limiter = "in_flight"
	ByTrust         Limiter = "trust"
	ByPause         Limiter = "pause"
	ByFloor         Limiter = "floor"
	ByCeiling       Limiter = "ceiling"
	ByDisabled      Limiter = "disabled"
	ByTolerance     Limiter = "tolerance"
)

// Limiters lists every limiter that a decision can have.
func Limiters() []Limiter {
	return []Limiter{
		None, ByMin, ByMax, ByRate, ByStabilization, ByBacklog, ByInFlight, ByTrust, ByPause, ByFloor, ByCeiling, ByDisabled,
		ByTolerance,
	}
}

// Decision is how many replicas the target should have, and why.
type Decision struct {
	Replicas int     `json:"replicas"`
	Reason   Reason  `json:"reason"`
	Limiter  Limiter `json:"limiter"`
	// Sentence is the reason for people.
	Sentence string `json:"sentence"`
	Terms    Terms  `json:"terms"`
	// CPUFactor is how many times its usual CPU limit each ready replica should
	// have now: 1, or more while the bridge covers for replicas that start.
	CPUFactor float64 `json:"cpuFactor"`
}

// Terms are the numbers behind a decision.
type Terms struct {
	// Level is the arrival rate measured, LevelError its standard error, Trend its
	// growth per second, and Rate the rate planned for, all per second.
	Level      float64 `json:"level"`
	LevelError float64 `json:"levelError"`
	Trend      float64 `json:"trend"`
	Rate       float64 `json:"rate"`
	// Window is how many seconds of arrivals the level comes from: the time since
	// the last significant change.
	Window float64 `json:"window"`
	// LeadTime is the time that a new replica is expected to take, seconds.
	LeadTime float64 `json:"leadTime"`
	// ServiceEffective is the mean service time planned with, seconds, 0 when
	// unknown; ServiceP99 its 99th percentile.
	ServiceEffective float64 `json:"serviceEffective"`
	ServiceP99       float64 `json:"serviceP99"`
	// Correction is the factor by which measured latency corrects the service time.
	Correction float64 `json:"correction"`
	// LatencyModel is the latency at Config.Quantile that the model expects of the
	// ready replicas, seconds; 0 when unknown, or they can't keep up.
	LatencyModel float64 `json:"latencyModel"`
	// BacklogExpected is the part of the backlog that is expected to be left when a
	// new replica is ready, and BacklogRate the rate at which to drain it then.
	BacklogExpected float64 `json:"backlogExpected"`
	BacklogRate     float64 `json:"backlogRate"`
	// Utilization is the share of the decided replicas' time that Rate takes.
	Utilization float64 `json:"utilization"`
	// ForDemand, ForForecast, ForBacklog are the replicas that each of these asks
	// for: the rate now, the rate expected, and the latter with the backlog.
	ForDemand   int `json:"forDemand"`
	ForForecast int `json:"forForecast"`
	ForBacklog  int `json:"forBacklog"`
	// Recommended is what this moment asks for, before limits and stabilization.
	Recommended int `json:"recommended"`
	// ForScaleIn is the fewest that would do with ScaleIn.Tolerance to spare.
	ForScaleIn int `json:"forScaleIn"`
	// WindowMax is how many replicas are kept of what was asked for within the last
	// Hold seconds: the stabilization time, or longer where demand comes back.
	Hold      float64 `json:"hold"`
	WindowMax int     `json:"windowMax"`
	// ForecastError is the last error of a forecast that has come due, as a share of
	// what was measured then; above 0 means too high. ForecastKnown tells that there is one.
	ForecastError float64 `json:"forecastError"`
	ForecastKnown bool    `json:"forecastKnown"`
	// Untrusted names the needed signals that can't be relied on, with their state,
	// and UntrustedFor says for how long there has been one.
	Untrusted    []string      `json:"untrusted,omitempty"`
	UntrustedFor time.Duration `json:"untrustedFor,omitempty"`
}
