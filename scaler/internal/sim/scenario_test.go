package sim

import (
	"testing"
	"time"
)

func TestAScenarioOutOfRangeIsNamed(t *testing.T) {
	for _, c := range []struct {
		spoil func(s *Scenario)
		want  string
	}{
		{func(s *Scenario) { s.Times = nil }, "rates: 0 and times: 0 entries: exactly one of them must be given"},
		{func(s *Scenario) { s.Times = []time.Duration{2, 1} }, "times[1]: 1ns must be at least 0 and not before the one ahead of it"},
		{func(s *Scenario) { s.Times, s.Rates = nil, []float64{1, -1} }, "rates[1]: -1 must be finite and at least 0"},
		{func(s *Scenario) { s.Service.Mean = 0 }, "service.mean: 0s must be above 0"},
		{func(s *Scenario) { s.Service.CV = -1 }, "service.cv: -1 must be at least 0"},
		{func(s *Scenario) { s.Service = Service{Bounds: []float64{1, 1}, Counts: []uint64{1, 1}} }, "service.bounds[1]: 1 must be finite and above 1"},
		{func(s *Scenario) { s.Service = Service{Bounds: []float64{1}, Counts: []uint64{0}} }, "service.counts: [0] must not all be 0"},
		{func(s *Scenario) { s.Service = Service{Bounds: []float64{1}, Counts: []uint64{0, 1}} }, "service.bounds: 1 entries must be as many as service.counts has, 2"},
		{func(s *Scenario) { s.Service.Counts = []uint64{1} }, "service.mean: 100ms and service.cv: 0 must be 0 where service.counts are given"},
		{func(s *Scenario) { s.Service.Bounds = []float64{1} }, "service.bounds: 1 entries must have as many in service.counts"},
		{func(s *Scenario) { s.SLO = 0 }, "slo: 0s must be at least 1ns"},
		{func(s *Scenario) { s.Timeout = 1 }, "timeout: 1ns must be at least 500ms"},
		{func(s *Scenario) { s.Duration = -1 }, "duration: -1ns must be at least 1ns"},
		{func(s *Scenario) { s.Slots = 0 }, "slots: 0 must be at least 1"},
		{func(s *Scenario) { s.CPULimit = 0 }, "cpuLimit: 0 must be above 0"},
		{func(s *Scenario) { s.Upkeep = 1 }, "upkeep: 1 must be at least 0 and below cpuLimit, which is 1"},
		{func(s *Scenario) { s.Initial = -1 }, "initial: -1 must be at least 0"},
		{func(s *Scenario) { s.ColdStart.CV = -1 }, "coldStart.cv: -1 must be at least 0"},
		{func(s *Scenario) { s.TickOffset = 3 * time.Second }, "tickOffset: 3s must not fall on a scrape (every 1s from 0s)"},
		{func(s *Scenario) { s.QuotaPeriod = 2 * time.Second }, "quotaPeriod: 2s must be from 0s to 1s"},
		{func(s *Scenario) { s.QuotaPeriod, s.Slots = 1, 2 }, "quotaPeriod: 1ns needs 1 slot, which are 2, a cpuLimit of at most 1, which is 1, and the engine requests, which is auto"},
		{func(s *Scenario) { s.QuotaPeriod, s.CPULimit = 1, 2 }, "quotaPeriod: 1ns needs 1 slot, which are 1, a cpuLimit of at most 1, which is 2, and the engine requests, which is auto"},
		{func(s *Scenario) { s.Engine = "exact" }, `engine: "exact" must be one of auto, requests, aggregate`},
		{func(s *Scenario) { s.Engine = Aggregate }, `engine: "aggregate" must be auto or requests where times are given`},
		{func(s *Scenario) { s.Faults = []Fault{{Kind: "quake"}} }, `faults[0].kind: "quake" must be one of [kill lag vanish nan reset]`},
		{func(s *Scenario) { s.Faults = []Fault{{Kind: Kill}} }, "faults[0].replicas: 0 must be at least 1"},
		{func(s *Scenario) { s.Faults = []Fault{{Kind: Lag, From: -1}} }, "faults[0].from: -1ns must be at least 0s"},
		{func(s *Scenario) { s.Faults = []Fault{{Kind: Lag, From: 2, To: 2}} }, "faults[0].to: 2ns must be after from, 2ns"},
		{func(s *Scenario) { s.Faults = []Fault{{Kind: Lag, To: 2, Signals: "mine"}} }, `faults[0].signals: "mine" must be one of [all dispatcher model-server]`},
	} {
		s := tale(time.Second)
		c.spoil(&s)
		if err := s.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("the error is %v\nwant %s", err, c.want)
		}
	}
	if err := tale(time.Second).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := Run(tale(), Fixed(1)); err == nil {
		t.Error("Run must not play what Validate refuses")
	}
}

func TestAutoTakesTheAggregateEngineForManyReplicas(t *testing.T) {
	s := tale()
	s.Times, s.Duration = nil, 0
	for rate, want := range map[float64]Engine{500: Requests, 501: Aggregate} {
		s.Rates = []float64{1, rate}
		if got := run(t, s, Fixed(1)).Engine; got != want {
			t.Errorf("%v requests/s of 100 ms take engine %s, want %s", rate, got, want)
		}
	}
}
