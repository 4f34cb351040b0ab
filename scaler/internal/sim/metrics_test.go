package sim

import (
	"math"
	"slices"
	"testing"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// tenASecond arrive evenly, from half of a tenth of a second on.
func tenASecond(seconds int) []time.Duration {
	var out []time.Duration
	for i := range 10 * seconds {
		out = append(out, time.Duration(i)*100*ms+50*ms)
	}
	return out
}

// seen is what a scaler saw in each second.
func seen(t *testing.T, s Scenario, orders map[int]Order) []policy.Snapshot {
	t.Helper()
	var out []policy.Snapshot
	run(t, s, &script{last: Order{Replicas: s.Initial}, orders: orders, see: func(_ time.Duration, w *World) {
		out = append(out, w.Snapshot())
	}})
	return out
}

func TestSignalsAreAsPrometheusGivesThem(t *testing.T) {
	s := tale(tenASecond(60)...)
	s.Duration, s.Initial, s.CPULimit = 120*time.Second, 2, 0.5
	snaps := seen(t, s, nil)

	first := snaps[0].Signals
	if first.ArrivalShort.State != policy.Missing || first.ServiceMean.State != policy.Missing || first.LatencyQuantile.State != policy.Missing {
		t.Errorf("after one scrape there are rates: %+v", first)
	}
	second := snaps[1].Signals // scrapes at 0 s and 1 s
	near(t, "rate of two scrapes", second.ArrivalShort.Value, 10, 1e-9)
	steady := snaps[50].Signals
	for name, want := range map[string]float64{
		"arrival_short": 10, "arrival_long": 10, "backlog": 0, "oldest_age": 0, "in_flight": 1,
		"service_mean": 0.1, "cpu_per_request": 0.05, "cpu_limit": 0.5, "slots": 1,
	} {
		for n, got := range steady.Named() {
			if n == name {
				near(t, name, got.Value, want, 1e-3)
			}
		}
	}
	near(t, "service_p99", steady.ServiceP99.Value, 0.1, 0.004)
	near(t, "latency_quantile", steady.LatencyQuantile.Value, 0.1, 0.004)
	// Arrivals end at 60 s. The last three scrapes at 61.5 s are of 59, 60 and 61 s,
	// the last thirty those from 32 s on.
	near(t, "arrival_short past the end", snaps[61].Signals.ArrivalShort.Value, 5, 1e-9)
	near(t, "arrival_long past the end", snaps[61].Signals.ArrivalLong.Value, 280.0/29, 1e-9)
	idle := snaps[110].Signals
	if !math.IsNaN(idle.ServiceMean.Value) || idle.ServiceMean.State != policy.Invalid || idle.ServiceP99.State != policy.Invalid || idle.LatencyQuantile.State != policy.Invalid {
		t.Errorf("without an answer the service time must be NaN: %+v", idle)
	}
	if idle.CPUPerRequest.State != policy.Missing || idle.Slots.State != policy.OK {
		t.Errorf("without an answer there must be no CPU for one, but slots: %+v", idle)
	}
}

// What a replica uses by itself is in every figure of CPU, and in no request's time.
func TestUpkeepIsSeenInTheCPU(t *testing.T) {
	s := tale(tenASecond(60)...)
	s.Duration, s.Initial, s.CPULimit, s.Upkeep = 60*time.Second, 2, 0.5, 0.1
	steady := seen(t, s, nil)[50].Signals
	near(t, "service_mean", steady.ServiceMean.Value, 0.1, 1e-3)
	near(t, "cpu_limit", steady.CPULimit.Value, 0.5, 0)
	near(t, "cpu_per_request: 100 ms of 0.4 cores, and a tenth of two replicas' 0.1", steady.CPUPerRequest.Value, 0.04+0.02, 1e-3)
	near(t, "CPU-seconds: 600 requests, and a minute of two replicas", run(t, s, Fixed(2)).CPUSeconds, 24+12, 0.05) // one is in progress at the end
}

func TestABacklogIsSeenAsOfTheLastScrape(t *testing.T) {
	// Four wait from 0.9 s on, of which one has its turn at 1 s, as the scrape comes.
	s := tale(900*ms, 900*ms, 900*ms, 900*ms, 900*ms)
	got := seen(t, s, nil)[1].Signals
	near(t, "backlog", got.Backlog.Value, 3, 0)
	near(t, "oldest age", got.OldestAge.Value, 0.1, 1e-9)
	near(t, "in flight", got.InFlight.Value, 1, 0)
}

func TestASnapshotHasTheReplicas(t *testing.T) {
	s := tale(time.Second)
	s.EndpointLag = 300 * ms
	snaps := seen(t, s, map[int]Order{1: {Replicas: 3}, 2: {Replicas: 4}, 8: {Replicas: 0}})
	same := func(second int, spec, ready int, starting, became []policy.Cohort) {
		t.Helper()
		got := snaps[second]
		if got.Spec != spec || got.Ready != ready || !slices.Equal(got.Starting, starting) || !slices.Equal(got.BecameReady, became) {
			t.Errorf("second %d has %d, ready %d, starting %v, became ready %v; want %d, %d, %v, %v",
				second, got.Spec, got.Ready, got.Starting, got.BecameReady, spec, ready, starting, became)
		}
	}
	two := 2 * time.Second
	same(0, 1, 1, nil, []policy.Cohort{{Age: two, Count: 1}})
	same(1, 1, 1, nil, nil)
	same(2, 3, 1, []policy.Cohort{{Age: time.Second, Count: 2}}, nil)
	same(3, 4, 3, []policy.Cohort{{Age: time.Second, Count: 1}}, []policy.Cohort{{Age: two, Count: 2}})
	same(5, 4, 4, nil, nil)
	same(9, 0, 0, nil, nil)
}

func TestARequestWakes(t *testing.T) {
	s := tale(2*time.Second, 2*time.Second)
	s.Initial = 0
	for i, snap := range seen(t, s, nil) {
		if snap.Woken != (i == 2) {
			t.Errorf("second %d: woken is %v", i, snap.Woken)
		}
		if snap.Signals.Slots.State != policy.Missing {
			t.Errorf("second %d: slots are %v without a replica", i, snap.Signals.Slots)
		}
	}
}

func TestFaultsOfMetrics(t *testing.T) {
	const sec = time.Second
	for _, c := range []struct {
		name   string
		fault  Fault
		signal string
		second int
		want   policy.Signal
	}{
		{"before a fault all is well", Fault{Kind: Vanish, From: 20 * sec, To: 30 * sec}, "arrival_short", 19, policy.Value(10)},
		{"in it a signal is missing", Fault{Kind: Vanish, From: 20 * sec, To: 30 * sec}, "arrival_short", 20, policy.Signal{}},
		{"after it all is well", Fault{Kind: Vanish, From: 20 * sec, To: 30 * sec}, "arrival_short", 30, policy.Value(10)},
		{"the model server's fault leaves the dispatcher's signals", Fault{Kind: Vanish, From: 20 * sec, To: 30 * sec, Signals: ModelServerSignals}, "arrival_short", 25, policy.Value(10)},
		{"and takes its own", Fault{Kind: Vanish, From: 20 * sec, To: 30 * sec, Signals: ModelServerSignals}, "slots", 25, policy.Signal{}},
		{"NaN is invalid", Fault{Kind: NotANumber, From: 20 * sec, To: 30 * sec}, "slots", 25, policy.Signal{Value: math.NaN(), State: policy.Invalid}},
		{"lag shows what was", Fault{Kind: Lag, From: 65 * sec, To: 90 * sec}, "arrival_short", 74, policy.Value(0)},
		{"lag shows what was, though it has changed", Fault{Kind: Lag, From: 55 * sec, To: 90 * sec}, "arrival_short", 64, policy.Value(10)},
		{"what lags by more than ten seconds is stale", Fault{Kind: Lag, From: 55 * sec, To: 90 * sec}, "arrival_short", 65, policy.Signal{Value: 10, State: policy.Stale}},
		{"a restart shows in the short window for three scrapes", Fault{Kind: CounterReset, From: 20 * sec}, "arrival_short", 22, policy.Signal{Value: 10, State: policy.Reset}},
		{"and is over then", Fault{Kind: CounterReset, From: 20 * sec}, "arrival_short", 23, policy.Value(10)},
		{"in the latency's window for ten", Fault{Kind: CounterReset, From: 20 * sec}, "latency_quantile", 30, policy.Value(0.1)},
		{"in the long window for thirty", Fault{Kind: CounterReset, From: 20 * sec}, "service_mean", 49, policy.Signal{Value: 0.1, State: policy.Reset}},
		{"and is over then, too", Fault{Kind: CounterReset, From: 20 * sec}, "service_mean", 50, policy.Value(0.1)},
		{"longer where it lasted", Fault{Kind: CounterReset, From: 20 * sec, To: 25 * sec}, "service_mean", 54, policy.Signal{Value: 0.1, State: policy.Reset}},
		{"a gauge is not reset", Fault{Kind: CounterReset, From: 20 * sec}, "in_flight", 21, policy.Value(1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tale(tenASecond(60)...)
			s.Duration, s.Initial, s.Faults = 100*sec, 2, []Fault{c.fault}
			for name, got := range seen(t, s, nil)[c.second].Signals.Named() {
				if name != c.signal {
					continue
				}
				if got.State != c.want.State {
					t.Errorf("%s is %v, want %v", name, got, c.want)
				}
				if !math.IsNaN(c.want.Value) {
					near(t, name, got.Value, c.want.Value, 0.004)
				}
			}
		})
	}
}
