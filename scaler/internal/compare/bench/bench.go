// Package bench measures how fast the simulator and a decision of the policy are.
package bench

import (
	"fmt"
	"math"
	"time"

	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/sim"
)

// Figure is one number of a benchmark, as results/bench.json has it.
type Figure struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// What is measured, in words.
	What string `json:"what"`
	// Rounds are the measurements of which Value is the median.
	Rounds []float64 `json:"rounds"`
}

// Run measures everything in so many rounds, from 1.
func Run(rounds int) (map[string]Figure, error) {
	figures := map[string]Figure{
		"sim_request_events_per_second":   {Unit: "events/s", What: "events a second of the simulator's request engine: ten minutes at 300 requests a second of 100 ms, scaled by headroom's policy"},
		"sim_aggregate_day_seconds":       {Unit: "s", What: "a day whose peak keeps 9,000 of 10,000 replicas busy, on the aggregate engine"},
		"sim_aggregate_events_per_second": {Unit: "events/s", What: "steps and events a second of the aggregate engine in that day"},
		"policy_decide_ns":                {Unit: "ns", What: "one decision of the policy, with two minutes of history"},
	}
	add := func(name string, value float64) {
		f := figures[name]
		f.Rounds = append(f.Rounds, value)
		f.Value = median(f.Rounds)
		figures[name] = f
	}
	for range rounds {
		events, took, err := play(busy(), sim.Headroom(settings(100)))
		if err != nil {
			return nil, err
		}
		add("sim_request_events_per_second", events/took.Seconds())
		day := day()
		if events, took, err = play(day, sim.Fixed(day.Initial)); err != nil {
			return nil, err
		}
		add("sim_aggregate_day_seconds", took.Seconds())
		add("sim_aggregate_events_per_second", events/took.Seconds())
		add("policy_decide_ns", decide())
	}
	return figures, nil
}

func play(s sim.Scenario, scaler sim.Scaler) (events float64, took time.Duration, err error) {
	started := time.Now()
	r, err := sim.Run(s, scaler)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", s.Name, err)
	}
	return float64(r.Events), time.Since(started), nil
}

func settings(replicas int) policy.Config {
	return policy.Config{
		Min: 1, Max: replicas, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.85,
		LeadTime: 15 * time.Second, Tick: time.Second, ScrapeInterval: time.Second,
		ScaleIn: policy.ScaleIn{
			Rate:      policy.Rate{Step: 1, Share: 0.25, Interval: 5 * time.Second},
			Tolerance: 0.1, Stabilization: time.Minute,
		},
	}
}

// busy is a load that many replicas work at, one request after the other.
func busy() sim.Scenario {
	s := world("ten busy minutes", 100*time.Millisecond, 600)
	s.Engine = sim.Requests
	for i := range s.Rates {
		s.Rates[i] = 300
	}
	s.Initial = sim.Replicas(s, s.Rates[0])
	return s
}

func day() sim.Scenario {
	s := world("a day of 10,000 replicas", 80*time.Millisecond, 86400)
	s.Engine = sim.Aggregate
	const top = 9000 / 0.08
	for i := range s.Rates {
		s.Rates[i] = top * (0.6 - 0.4*math.Cos(2*math.Pi*float64(i)/86400))
	}
	s.Initial = 10000
	return s
}

func world(name string, service time.Duration, seconds int) sim.Scenario {
	return sim.Scenario{
		Name: name, Seed: 1, Service: sim.Service{Mean: service, CV: 0.5}, Slots: 1, CPULimit: 1,
		SLO: 500 * time.Millisecond, ColdStart: sim.ColdStart{Mean: 10 * time.Second, CV: 0.2},
		EndpointLag: 200 * time.Millisecond, Rates: make([]float64, seconds),
	}
}

// decide is how many nanoseconds a decision takes, of 10,000 in a row.
func decide() float64 {
	const decisions = 10_000
	cfg := settings(100)
	var state policy.State
	now := time.Unix(0, 0)
	snap := policy.Snapshot{Spec: 28, Ready: 28, Signals: policy.Signals{
		ArrivalShort: policy.Value(200), ArrivalLong: policy.Value(200), Backlog: policy.Value(0), OldestAge: policy.Value(0),
		InFlight: policy.Value(20), ServiceMean: policy.Value(0.1), ServiceP99: policy.Value(0.2), CPUPerRequest: policy.Value(0.1),
		CPULimit: policy.Value(1), Slots: policy.Value(1), LatencyQuantile: policy.Value(0.2), Lost: policy.Value(0),
	}}
	started := time.Now()
	for i := range decisions {
		snap.Signals.ArrivalShort = policy.Value(200 + float64(i%7))
		state, _ = policy.Decide(cfg, state, snap, now.Add(time.Duration(i)*time.Second))
	}
	return float64(time.Since(started).Nanoseconds()) / decisions
}
