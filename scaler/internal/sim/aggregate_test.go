package sim

import (
	"math"
	"testing"
	"time"
)

// both plays a scenario on either engine.
func both(t *testing.T, s Scenario, scaler func() Scaler) (requests, aggregate Result) {
	t.Helper()
	s.Engine = Requests
	requests = run(t, s, scaler())
	s.Engine = Aggregate
	return requests, run(t, s, scaler())
}

func TestTheAggregateEngineAgreesWithTheRequestEngine(t *testing.T) {
	base := Scenario{
		Seed: 11, Service: Service{Mean: 80 * ms, CV: 0.6}, Slots: 1, CPULimit: 1, SLO: 500 * ms,
		ColdStart: ColdStart{Mean: 6 * time.Second, CV: 0.2}, EndpointLag: 200 * ms, Initial: 60,
	}
	sine := make([]float64, 900)
	for i := range sine {
		sine[i] = 600 - 350*math.Cos(2*math.Pi*float64(i)/300)
	}
	for _, c := range []struct {
		name    string
		rates   []float64
		service Service
		scaler  func() Scaler
		share   float64 // margin of the violations' share, in points
		p99     float64 // margin of the 99th percentile of latency, as a share
	}{
		{"with time to spare", steady(500, 900), base.Service, func() Scaler { return Fixed(60) }, 0.0002, 0.02},
		{"at nine tenths", steady(675, 900), base.Service, func() Scaler { return Fixed(60) }, 0.0005, 0.03},
		{"near saturation", steady(732, 900), base.Service, func() Scaler { return Fixed(60) }, 0.015, 0.15},
		{"at nine tenths of equal services", steady(675, 900), Service{Mean: 80 * ms}, func() Scaler { return Fixed(60) }, 0.0005, 0.05},
		{"at nine tenths of unequal services", steady(675, 900), Service{Mean: 60 * ms, CV: 1.4}, func() Scaler { return Fixed(48) }, 0.002, 0.08},
		{"at twice the capacity", steady(1500, 300), base.Service, func() Scaler { return Fixed(60) }, 0.03, 0.03},
		{"where it is scaled", sine, base.Service, func() Scaler { return Oracle(0.1, 20*time.Second) }, 0.005, 0.1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := base
			s.Rates, s.Service = c.rates, c.service
			exact, rough := both(t, s, c.scaler)
			near(t, "violation share", rough.ViolationShare, exact.ViolationShare, c.share)
			near(t, "p99", rough.LatencyP99, exact.LatencyP99, c.p99*exact.LatencyP99)
			near(t, "p50", rough.LatencyP50, exact.LatencyP50, 0.05*exact.LatencyP50)
			near(t, "requests", float64(rough.Requests), float64(exact.Requests), 0.01*float64(exact.Requests))
			near(t, "CPU-seconds", rough.CPUSeconds, exact.CPUSeconds, 0.01*exact.CPUSeconds)
			near(t, "replica-seconds", rough.ReplicaSeconds, exact.ReplicaSeconds, 0.01*exact.ReplicaSeconds)
		})
	}
}

func TestEnginesShowTheSameMetrics(t *testing.T) {
	s := Scenario{
		Seed: 2, Rates: steady(675, 120), Service: Service{Mean: 80 * ms, CV: 0.6}, Slots: 1, CPULimit: 0.5, SLO: 500 * ms, Initial: 60,
	}
	look := func(e Engine) (w *World) {
		s.Engine = e
		run(t, s, &script{last: Order{Replicas: 60}, see: func(_ time.Duration, seen *World) { w = seen }})
		return w
	}
	exact, rough := look(Requests).metrics.signals(), look(Aggregate).metrics.signals()
	for name, margin := range map[string]float64{
		"arrival_long": 0.03, "in_flight": 0.25, "service_mean": 0.01, "service_p99": 0.04,
		"cpu_per_request": 0.01, "cpu_limit": 0, "slots": 0, "latency_quantile": 0.1,
	} {
		var want float64
		for n, e := range exact.Named() {
			if n == name {
				want = e.Value
			}
		}
		for n, got := range rough.Named() {
			if n == name {
				near(t, name, got.Value, want, margin*want)
			}
		}
	}
}

func TestEnginesShowTheSameCPUOfPods(t *testing.T) {
	s := Scenario{
		Seed: 2, Rates: steady(500, 120), Service: Service{Mean: 80 * ms, CV: 0.6}, Slots: 2, CPULimit: 0.5, SLO: 500 * ms,
		Initial: 29, ColdStart: ColdStart{Mean: 10 * time.Second},
	}
	look := func(e Engine) (cpu []float64) {
		s.Engine = e
		run(t, s, &watcher{script{last: Order{Replicas: 30}, see: func(_ time.Duration, w *World) {
			cpu = cpu[:0]
			for _, g := range w.Pods() {
				cpu = append(cpu, g.CPU)
			}
		}}})
		return cpu
	}
	exact, rough := look(Requests), look(Aggregate)
	if len(exact) != 2 || len(rough) != 2 {
		t.Fatalf("%d and %d groups of pods, want those of the start and the one ordered later", len(exact), len(rough))
	}
	for i, want := range exact {
		near(t, "CPU of a pod", rough[i], want, 0.1*want)
	}
}

// watcher is a script that looks at pods.
type watcher struct{ script }

func (*watcher) zeroLag() bool { return false }

func TestTheAggregateEngineKnowsFaultsAndTheBridge(t *testing.T) {
	s := Scenario{
		Seed: 4, Rates: steady(900, 120), Service: Service{Mean: 80 * ms, CV: 0.6}, Slots: 1, CPULimit: 1, SLO: 500 * ms,
		Initial: 100, ColdStart: ColdStart{Mean: 20 * time.Second},
		Faults: []Fault{{Kind: Kill, From: 30 * time.Second, Replicas: 50}},
	}
	exact, rough := both(t, s, func() Scaler { return Fixed(100) })
	near(t, "violations", float64(rough.Violations), float64(exact.Violations), 0.1*float64(exact.Violations))
	bridged, roughly := both(t, s, func() Scaler {
		return &script{last: Order{Replicas: 100}, orders: map[int]Order{31: {Replicas: 100, CPUFactor: 1.7}, 55: {Replicas: 100}}}
	})
	near(t, "violations with the bridge", float64(roughly.Violations), float64(bridged.Violations), 0.15*float64(bridged.Violations))
	if bridged.Violations > exact.Violations/2 {
		t.Errorf("the bridge leaves %d of %d violations, want less than half", bridged.Violations, exact.Violations)
	}
	s.Initial, s.Faults, s.ColdStartAllowance = 0, nil, 30*time.Second
	exact, rough = both(t, s, func() Scaler { return Fixed(100) })
	near(t, "violations of a start from nothing", float64(rough.Violations), float64(exact.Violations), 0.1*float64(exact.Violations))
}

// day is a day at up to 10,000 replicas' load, lowest at its start and end.
func day() Scenario {
	s := Scenario{
		Seed: 1, Service: Service{Mean: 80 * ms, CV: 0.5}, Slots: 1, CPULimit: 1, SLO: 500 * ms,
		ColdStart: ColdStart{Mean: 10 * time.Second, CV: 0.2}, EndpointLag: 200 * ms, Rates: make([]float64, 86400),
	}
	top := 10000 * 0.9 / s.Service.mean()
	for i := range s.Rates {
		s.Rates[i] = top * (0.6 - 0.4*math.Cos(2*math.Pi*float64(i)/86400))
	}
	s.Initial = Replicas(s, s.Rates[0])
	return s
}

// BenchmarkAggregateDay is that day with a scaler that decides every second.
func BenchmarkAggregateDay(b *testing.B) {
	s := day()
	steps := int64(0)
	for b.Loop() {
		steps += run(b, s, Oracle(0.05, time.Minute)).Events
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
}
