package policy

import "time"

// Config is what the promise is and how far the policy may go. All of it is
// physical: the promise, the bounds, and how cautious to be.
type Config struct {
	// Min and Max bound every decision: 0 ≤ Min ≤ Max, 1 ≤ Max. A Min of 0 lets an
	// idle target go to zero.
	Min int `json:"min"`
	Max int `json:"max"`
	// SLO is the latency that the share Quantile (0..1) of requests must stay inside.
	SLO      time.Duration `json:"slo"`
	Quantile float64       `json:"quantile"`
	// Utilization is the highest share of a replica's time that may be planned
	// for, above 0 and below 1.
	Utilization float64 `json:"utilization"`
	// LeadTime is the time from ordering a replica to its being ready, until it has
	// been learned from replicas that started.
	LeadTime time.Duration `json:"leadTime"`
	// Tick is the usual time between decisions. A gap of more than five of them
	// voids what was known about the stabilization window.
	Tick time.Duration `json:"tick"`
	// ScrapeInterval is how often Prometheus looks, 1 s unless given. ArrivalShort is
	// taken from three scrapes.
	ScrapeInterval time.Duration `json:"scrapeInterval"`

	ScaleOut Rate    `json:"scaleOut"`
	ScaleIn  ScaleIn `json:"scaleIn"`
	// IdleAfter is how long nothing may have arrived before the last replicas are
	// taken away, where Min is 0.
	IdleAfter time.Duration `json:"idleAfter"`
	Fallback  Fallback      `json:"fallback"`
	Bridge    Bridge        `json:"bridge"`
}

// Rate bounds how fast the count changes in one direction: by Step replicas or
// the Share (0..1) of the present count, whichever is more, in one Interval.
// Without Step and Share there is no bound.
type Rate struct {
	Step     int           `json:"step"`
	Share    float64       `json:"share"`
	Interval time.Duration `json:"interval"`
}

// ScaleIn says how carefully replicas are taken away.
type ScaleIn struct {
	Rate
	// Tolerance is the share by which demand may grow without the smaller count's
	// being too small, 0..1.
	Tolerance float64 `json:"tolerance"`
	// Stabilization is how long nothing higher may have been asked for.
	Stabilization time.Duration `json:"stabilization"`
}

// Fallback is the least count when the load has been unknown for a time.
type Fallback struct {
	// After is how long the present count is held; 0 means for ever.
	After    time.Duration `json:"after"`
	Replicas int           `json:"replicas"`
}

// Bridge lets ready replicas have more CPU while others start.
type Bridge struct {
	// Ceiling is the most CPU that one replica is given, as a multiple of its usual
	// limit; 1 or less switches the bridge off.
	Ceiling float64 `json:"ceiling"`
}
