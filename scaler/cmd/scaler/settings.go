package main

import (
	"time"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/promsource"
)

// settingsOf is what a config means for the loop.
func settingsOf(c config.Config) (control.Settings, error) {
	source, err := promsource.New(promsource.Options{Prometheus: c.Prometheus, Signals: c.Signals, Quantile: c.SLO.Quantile})
	if err != nil {
		return control.Settings{}, err
	}
	return control.Settings{
		Policy: policyOf(c), Mode: control.Mode(c.Mode), Signals: source,
		Floor: func(now time.Time) (int, string) { return config.Floor(c.Schedules, now) },
	}, nil
}

func policyOf(c config.Config) policy.Config {
	out, in := c.ScaleOut, c.ScaleIn
	return policy.Config{
		Min: c.Replicas.Min, Max: c.Replicas.Max, IdleAfter: c.Replicas.IdleAfter,
		SLO: c.SLO.Latency, Quantile: c.SLO.Quantile,
		Utilization: out.Utilization, LeadTime: c.LeadTime, Tick: c.Tick, ScrapeInterval: c.Prometheus.ScrapeInterval,
		ScaleOut: policy.Rate{Step: out.Step, Share: out.Share, Interval: out.Interval},
		ScaleIn: policy.ScaleIn{
			Rate:      policy.Rate{Step: in.Step, Share: in.Share, Interval: in.Interval},
			Tolerance: in.Tolerance, Stabilization: in.Stabilization,
		},
		Fallback: policy.Fallback{After: c.Fallback.After, Replicas: c.Fallback.Replicas},
		Bridge:   policy.Bridge{Ceiling: c.Bridge.Ceiling},
	}
}
