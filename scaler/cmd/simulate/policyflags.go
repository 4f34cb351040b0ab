package main

import (
	"fmt"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// policyFlags are the bounds of every policy, and headroom's settings.
type policyFlags struct {
	Min           int           `default:"1" help:"Fewest replicas, from 0; the HPA and the KPA take 0 for 1. Default: ${default}."`
	Max           int           `default:"1000" help:"Most replicas, up to 100000. Default: ${default}."`
	Utilization   float64       `default:"0.85" help:"headroom: highest share of a replica's time that is planned for, above 0 to below 1. Default: ${default}."`
	Stabilization time.Duration `default:"60s" help:"headroom: a lower count is taken only when nothing higher was asked for this long. Default: ${default}."`
	Step          int           `default:"1" help:"headroom: replicas taken away at most in an interval. Default: ${default}."`
	Share         float64       `default:"0.25" help:"headroom: or this share of the present ones, 0 to 1. Default: ${default}."`
	Interval      time.Duration `default:"5s" help:"headroom: that interval. Default: ${default}."`
	Tolerance     float64       `default:"0.1" help:"headroom: share by which demand may grow without the smaller count's being too small, 0 to 1. Default: ${default}."`
	LeadTime      time.Duration `default:"15s" help:"headroom: time from ordering a replica to its being ready, until that is learned. Default: ${default}."`
}

// check tells what is wrong with the flags: one line with the flag, its value and
// what is allowed.
func (c *policyFlags) check() error {
	for _, r := range []limits{
		{"min", float64(c.Min), 0, 100_000, false}, {"max", float64(c.Max), max(float64(c.Min), 1), 100_000, false},
		{"step", float64(c.Step), 0, 100_000, false}, {"share", c.Share, 0, 1, false}, {"tolerance", c.Tolerance, 0, 1, false},
	} {
		if err := r.check(); err != nil {
			return err
		}
	}
	for _, d := range []times{
		{"stabilization", c.Stabilization, 0, time.Hour}, {"interval", c.Interval, 0, time.Hour}, {"lead-time", c.LeadTime, 0, time.Hour},
	} {
		if err := d.check(); err != nil {
			return err
		}
	}
	if !(c.Utilization > 0 && c.Utilization < 1) {
		return fmt.Errorf("--utilization %v: allowed are numbers above 0 to below 1", c.Utilization)
	}
	if (c.Step > 0 || c.Share > 0) && c.Interval == 0 {
		return fmt.Errorf("--interval %s: allowed are times above 0s where --step or --share is above 0", c.Interval)
	}
	return nil
}

// policy is headroom's configuration.
func (c *policyFlags) policy(slo time.Duration) policy.Config {
	return policy.Config{
		Min: c.Min, Max: c.Max, IdleAfter: 5 * time.Minute,
		SLO: slo, Quantile: 0.99, Utilization: c.Utilization, LeadTime: c.LeadTime,
		Tick: time.Second, ScrapeInterval: time.Second,
		ScaleIn: policy.ScaleIn{
			Rate:      policy.Rate{Step: c.Step, Share: c.Share, Interval: c.Interval},
			Tolerance: c.Tolerance, Stabilization: c.Stabilization,
		},
		Bridge: policy.Bridge{Ceiling: 1},
	}
}

// limits are what a number may be.
type limits struct {
	flag             string
	value, low, high float64
	above            bool // low itself is not allowed
}

func (r limits) check() error {
	if r.value >= r.low && r.value <= r.high && !(r.above && r.value == r.low) {
		return nil
	}
	from := "from"
	if r.above {
		from = "above"
	}
	return fmt.Errorf("--%s %v: allowed are numbers %s %v to %v", r.flag, r.value, from, r.low, r.high)
}

// times are what a duration may be.
type times struct {
	flag             string
	value, low, high time.Duration
}

func (d times) check() error {
	if d.value < d.low || d.value > d.high {
		return fmt.Errorf("--%s %s: allowed are times from %s to %s", d.flag, d.value, d.low, d.high)
	}
	return nil
}
