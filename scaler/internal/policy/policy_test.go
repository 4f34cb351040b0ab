package policy

import (
	"math"
	mathrand "math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

func seeded() *mathrand.Rand { return mathrand.New(mathrand.NewSource(1)) }

func config() Config {
	return Config{
		Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8,
		Stabilization: 60 * time.Second, Step: 1, Interval: 10 * time.Second, Tick: 2 * time.Second,
	}
}

// healthy is a service of one-slot replicas with 150m of CPU, where a request
// takes 15 ms of CPU: 15 ms / 0.15 = 100 ms each, or 10 requests a second, when
// busy. The p99 of the service time is 200 ms, which leaves 300 ms for waiting.
func healthy(rate float64, spec int) Snapshot {
	return Snapshot{
		Signals: Signals{
			ArrivalShort: Value(rate), ArrivalLong: Value(rate),
			Backlog: Value(0), OldestAge: Value(0), InFlight: Value(0),
			ServiceMean: Value(0.040), ServiceP99: Value(0.200),
			CPUPerRequest: Value(0.015), CPULimit: Value(0.15), Slots: Value(1),
		},
		Spec: spec, Ready: spec,
	}
}

// idle is what Prometheus has of a service that nobody has ever asked anything:
// the rates are 0, and so 0/0 is what a request costs.
func idle(spec int) Snapshot {
	s := healthy(0, spec)
	s.ServiceMean, s.ServiceP99, s.CPUPerRequest = Value(math.NaN()), Value(math.NaN()), Signal{}
	return s
}

func with(s Snapshot, change func(*Snapshot)) Snapshot {
	change(&s)
	return s
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A story is a sequence of what is seen and what is to be decided. Where no
// count is given the target follows the decision, as it does in a cluster.
type chapter struct {
	at     time.Duration
	see    func(spec int) Snapshot
	want   int
	reason Reason
}

func tell(t *testing.T, cfg Config, spec int, story []chapter) {
	t.Helper()
	var state State
	var d Decision
	last := time.Duration(0)
	for i, c := range story {
		// Between two chapters nothing new happens, tick by tick.
		for at := last + cfg.Tick; i > 0 && at < c.at; at += cfg.Tick {
			state, d = Decide(cfg, state, story[i-1].see(spec), noon.Add(at))
			spec = d.Replicas
		}
		state, d = Decide(cfg, state, c.see(spec), noon.Add(c.at))
		if d.Replicas != c.want || d.Reason != c.reason {
			t.Fatalf("at %s with %d replicas: %d (%s: %s), want %d (%s)", c.at, spec, d.Replicas, d.Reason, d.Sentence, c.want, c.reason)
		}
		spec, last = d.Replicas, c.at
	}
}

func rate(r float64) func(int) Snapshot {
	return func(spec int) Snapshot { return healthy(r, spec) }
}

func TestABurstComesAndGoes(t *testing.T) {
	tell(t, config(), 1, []chapter{
		{0, idle, 1, Idle},
		// 5/s of 100 ms are 0.5 erlangs: one replica makes 0.5·exp(−5·0.3) = 11%
		// wait over 300 ms, two 0.1·exp(−15·0.3) = 0.1%.
		{10 * time.Second, rate(5), 2, Demand},
		{12 * time.Second, rate(5), 2, Steady},
		// 36/s are 3.6 erlangs: 4 replicas are 90% utilized, over 80%; 5 are 72%, and
		// 0.41·exp(−14·0.3) = 0.6% wait too long.
		{20 * time.Second, rate(36), 5, Demand},
		// They were ordered; while they start, the same is asked for, not more.
		{22 * time.Second, func(n int) Snapshot {
			return with(healthy(36, n), func(s *Snapshot) { s.Ready = 2 })
		}, 5, Steady},
		{30 * time.Second, rate(5), 5, ScaleInWait},
		// The last call for 5 was at 28 s. 60 s later it is forgotten.
		{86 * time.Second, rate(5), 5, ScaleInWait},
		{88 * time.Second, rate(5), 4, ScaleIn},
		// One at a time, every 10 s, down to the 2 that 5/s need.
		{96 * time.Second, rate(5), 4, ScaleInWait},
		{98 * time.Second, rate(5), 3, ScaleIn},
		{108 * time.Second, rate(5), 2, ScaleIn},
		{200 * time.Second, rate(5), 2, Steady},
		{202 * time.Second, rate(0), 2, ScaleInWait},
		{300 * time.Second, rate(0), 1, Idle},
	})
}

func TestTheShortRateSeesABurstFirstAndTheLongOneForgetsItLast(t *testing.T) {
	for name, change := range map[string]func(*Snapshot){
		"short": func(s *Snapshot) { s.ArrivalLong = Value(2) },
		"long":  func(s *Snapshot) { s.ArrivalShort = Value(2) },
	} {
		_, d := Decide(config(), State{}, with(healthy(36, 1), change), noon)
		if d.Replicas != 5 {
			t.Errorf("%s rate 36, the other 2: %d replicas, want 5", name, d.Replicas)
		}
	}
}

func TestServiceTimeIsWhatTheQuotaAllowsNotWhatAnIdleReplicaShows(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Snapshot)
		want   float64
	}{
		{"15 ms of CPU at 0.15 cores take 100 ms, whatever the latency of 40 ms says", func(*Snapshot) {}, 0.1},
		{"a latency above that is what counts", func(s *Snapshot) { s.ServiceMean = Value(0.13) }, 0.13},
		{"two slots share the quota: 200 ms each", func(s *Snapshot) { s.Slots = Value(2) }, 0.2},
		{"a whole core is not the limit: 15 ms of CPU, 40 ms of latency", func(s *Snapshot) { s.CPULimit = Value(1) }, 0.04},
		{"below one request a second a replica's own upkeep is not the price of a request", func(s *Snapshot) {
			s.ArrivalShort, s.ArrivalLong = Value(0.1), Value(0.1)
		}, 0.04},
		{"without the CPU time, the latency is all there is", func(s *Snapshot) { s.CPUPerRequest = Signal{} }, 0.04},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(config(), State{}, with(healthy(5, 1), tc.change), noon)
			if math.Abs(d.Terms.ServiceEffective-tc.want) > 1e-9 {
				t.Errorf("%.3f s, want %.3f s", d.Terms.ServiceEffective, tc.want)
			}
		})
	}
}

func TestABacklogAsksForWhatDrainsItInTime(t *testing.T) {
	backlog := func(n, age float64) func(int) Snapshot {
		return func(spec int) Snapshot {
			return with(healthy(10, spec), func(s *Snapshot) { s.Backlog, s.OldestAge = Value(n), Value(age) })
		}
	}
	tell(t, config(), 3, []chapter{
		// 10/s are 1 erlang: two replicas make 0.33·exp(−10·0.3) = 1.7% wait too long, three 0.02%.
		{0, rate(10), 3, Steady},
		// 15 requests, the oldest 0.1 s old, are to be gone in 0.4 s: 37.5/s more.
		// (10 + 37.5)·0.1 = 4.75.
		{2 * time.Second, backlog(15, 0.1), 5, Backlog},
		// At 0.45 s old, half the SLO is the shortest that is planned for: 60/s more, 7 replicas.
		{4 * time.Second, backlog(15, 0.45), 7, Backlog},
		{6 * time.Second, backlog(200, 3), 10, AtMax},
	})

	// One waiting request forbids taking a replica away, however long it was quiet.
	tell(t, config(), 5, []chapter{
		{0, rate(10), 5, ScaleInWait},
		{60 * time.Second, rate(10), 4, ScaleIn},
		{62 * time.Second, backlog(1, 0.01), 4, ScaleInWait},
		{90 * time.Second, backlog(1, 0.01), 4, ScaleInWait},
		{92 * time.Second, rate(10), 3, ScaleIn},
	})
}

func TestBusyReplicasAreNotTakenAway(t *testing.T) {
	busy := func(inFlight float64) func(int) Snapshot {
		return func(spec int) Snapshot {
			return with(healthy(0, spec), func(s *Snapshot) { s.InFlight = Value(inFlight) })
		}
	}
	tell(t, config(), 3, []chapter{
		{0, busy(3), 3, ScaleInWait},
		{90 * time.Second, busy(3), 3, ScaleInWait},
		{92 * time.Second, busy(2), 2, ScaleIn},
	})
	// A big step stops at what is busy.
	cfg := config()
	cfg.Step = 5
	tell(t, cfg, 6, []chapter{
		{0, busy(4), 6, ScaleInWait},
		{60 * time.Second, busy(4), 4, ScaleIn},
		{80 * time.Second, busy(4), 4, ScaleInWait},
	})
}

func TestNothingIsTakenAwayOnSignalsThatCannotBeReliedOn(t *testing.T) {
	var names []string
	for name := range new(Signals).Named() {
		names = append(names, name)
	}
	for _, name := range names {
		for _, bad := range []Signal{{}, {Value: 1, State: Stale}, Value(math.NaN()), Value(math.Inf(1)), {Value: math.NaN(), State: OK}} {
			broken := func(spec int) Snapshot {
				return with(healthy(2, spec), func(s *Snapshot) {
					for n, signal := range s.Named() {
						if n == name {
							*signal = bad
						}
					}
				})
			}
			t.Run(name+" "+bad.State.String(), func(t *testing.T) {
				// 2/s need two replicas (one: 0.2·exp(−8·0.3) = 1.8%). Four are there, and
				// stay for as long as the signal is bad, and a whole window after.
				tell(t, config(), 4, []chapter{
					{0, rate(2), 4, ScaleInWait},
					{50 * time.Second, broken, 4, HoldUntrusted},
					{300 * time.Second, broken, 4, HoldUntrusted},
					{302 * time.Second, rate(2), 4, ScaleInWait},
					{358 * time.Second, rate(2), 4, ScaleInWait},
					{360 * time.Second, rate(2), 3, ScaleIn},
				})
			})
		}
	}
}

func TestHealthySignalsStillAddReplicasWhenOthersAreGone(t *testing.T) {
	learned, _ := Decide(config(), State{}, healthy(5, 2), noon)
	for _, tc := range []struct {
		name   string
		change func(*Snapshot)
		want   int
	}{
		{"the short rate is gone, the long one is there", func(s *Snapshot) { s.ArrivalShort = Signal{} }, 5},
		{"the long rate is gone, the short one is there", func(s *Snapshot) { s.ArrivalLong = Value(math.NaN()) }, 5},
		{"what a request costs is gone, but was known", func(s *Snapshot) {
			s.ServiceMean, s.ServiceP99, s.CPUPerRequest, s.CPULimit, s.Slots = Signal{}, Signal{}, Signal{}, Signal{}, Signal{}
		}, 5},
		// (0 + 10/0.4)·0.1 = 2.5
		{"both rates are gone, and a backlog of 10 is 0.1 s old", func(s *Snapshot) {
			s.ArrivalShort, s.ArrivalLong = Signal{}, Signal{Value: 50, State: Stale}
			s.Backlog, s.OldestAge = Value(10), Value(0.1)
		}, 3},
		{"everything is gone", func(s *Snapshot) { s.Signals = Signals{} }, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(config(), learned, with(healthy(36, 2), tc.change), noon.Add(2*time.Second))
			if d.Replicas != tc.want || len(d.Terms.Untrusted) == 0 || !strings.Contains(d.Sentence, "can't rely on") {
				t.Errorf("%d replicas (%s: %s), want %d and the signals named", d.Replicas, d.Reason, d.Sentence, tc.want)
			}
		})
	}
}

func TestAFreshStart(t *testing.T) {
	nothing := func(spec int) Snapshot { return Snapshot{Spec: spec} }
	tell(t, config(), 4, []chapter{
		{0, nothing, 4, HoldUntrusted},
		{300 * time.Second, nothing, 4, HoldUntrusted},
	})
	atLeastTwo := config()
	atLeastTwo.Min = 2
	tell(t, atLeastTwo, 1, []chapter{
		{0, nothing, 2, BelowMin},
		{2 * time.Second, nothing, 2, HoldUntrusted},
	})
	// A service that nobody uses is no alarm, and needs no data on what a request costs.
	tell(t, config(), 1, []chapter{
		{0, idle, 1, Idle},
		{600 * time.Second, idle, 1, Idle},
	})
	// The first request: its rate is there before what it cost is.
	first := func(spec int) Snapshot {
		return with(idle(spec), func(s *Snapshot) { s.ArrivalShort = Value(0.4) })
	}
	tell(t, config(), 1, []chapter{
		{0, idle, 1, Idle},
		{2 * time.Second, first, 1, HoldUntrusted},
		{4 * time.Second, rate(2), 2, Demand},
		// A trickle with holes in its service time goes by what was known, and comes down.
		{10 * time.Second, first, 2, ScaleInWait},
		{80 * time.Second, first, 1, Steady},
	})
	// A restarted scaler knows nothing of the last minute, and waits for one.
	tell(t, config(), 3, []chapter{
		{0, idle, 3, ScaleInWait},
		{58 * time.Second, idle, 3, ScaleInWait},
		{60 * time.Second, idle, 2, ScaleIn},
	})
}

func TestAGapInTheDecisionsVoidsTheWindow(t *testing.T) {
	cfg := config()
	state, _ := Decide(cfg, State{}, healthy(36, 5), noon)
	// The API server was gone for five minutes: who knows what was asked for meanwhile.
	state, d := Decide(cfg, state, healthy(2, 5), noon.Add(5*time.Minute))
	if d.Reason != ScaleInWait {
		t.Errorf("%d replicas (%s), want to wait", d.Replicas, d.Reason)
	}
	_, d = Decide(cfg, state, healthy(2, 5), noon.Add(5*time.Minute+10*time.Second))
	if d.Reason != ScaleInWait {
		t.Errorf("10 s later: %d replicas (%s), want to wait", d.Replicas, d.Reason)
	}
}

func TestAStepDownBySomebodyElseCountsForTheInterval(t *testing.T) {
	cfg := config()
	var state State
	var d Decision
	at := noon
	for ; at.Before(noon.Add(62 * time.Second)); at = at.Add(cfg.Tick) {
		// Two slots' worth is asked for until the last moment, so 3 stay 3.
		state, _ = Decide(cfg, state, with(idle(3), func(s *Snapshot) { s.InFlight = Value(3) }), at)
	}
	state, d = Decide(cfg, state, idle(2), at)
	if d.Reason != ScaleInWait || !strings.Contains(d.Sentence, "last step down") {
		t.Errorf("%d replicas (%s: %s), want to wait for the interval", d.Replicas, d.Reason, d.Sentence)
	}
	_, d = Decide(cfg, state, idle(2), at.Add(cfg.Interval))
	if d.Replicas != 1 || d.Reason != ScaleIn {
		t.Errorf("an interval later: %d replicas (%s: %s), want 1", d.Replicas, d.Reason, d.Sentence)
	}
}

func TestAPromiseThatTheServiceTimeBreaksAlone(t *testing.T) {
	slow := func(p99 float64) func(int) Snapshot {
		return func(spec int) Snapshot {
			return with(healthy(30, spec), func(s *Snapshot) { s.ServiceP99 = Value(p99) })
		}
	}
	tell(t, config(), 4, []chapter{
		// 3 erlangs: 4 replicas are 75% utilized, 0.51·exp(−10·0.3) = 2.5% wait too
		// long; 5: 0.24·exp(−20·0.3) = 0.06%.
		{0, slow(0.2), 5, Demand},
		// With a p99 of 700 ms only a fifth of the SLO is left for waiting, 100 ms:
		// 5 make 0.24·exp(−20·0.1) = 3.2%, 6 0.10·exp(−30·0.1) = 0.5%. Not ever more.
		{2 * time.Second, slow(0.7), 6, Demand},
		{4 * time.Second, slow(0.7), 6, SLOInfeasible},
	})
	_, d := Decide(config(), State{}, slow(0.7)(6), noon)
	if !d.Terms.BudgetAtFloor || !strings.Contains(d.Sentence, "no number of replicas") {
		t.Errorf("not said: %s", d.Sentence)
	}
}

func TestBounds(t *testing.T) {
	cfg := config()
	cfg.Min, cfg.Max = 2, 4
	for _, tc := range []struct {
		name   string
		see    Snapshot
		want   int
		reason Reason
	}{
		{"more is needed than allowed: as many as allowed", healthy(100, 2), 4, AtMax},
		{"more is needed than allowed, which are there", healthy(100, 4), 4, AtMax},
		{"fewer would do than are kept", healthy(1, 2), 2, AtMin},
		{"fewer are there than are kept", healthy(1, 1), 2, BelowMin},
		{"more are there than allowed", healthy(1, 7), 4, AboveMax},
		{"more are there than allowed, and nothing is known", Snapshot{Spec: 7}, 4, AboveMax},
		{"somebody switched it off by scaling to zero", healthy(100, 0), 0, Disabled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(cfg, State{}, tc.see, noon)
			if d.Replicas != tc.want || d.Reason != tc.reason {
				t.Errorf("%d (%s: %s), want %d (%s)", d.Replicas, d.Reason, d.Sentence, tc.want, tc.reason)
			}
		})
	}
}

// Whatever is measured, the count stays within bounds, the state that was handed
// in is left alone, nothing is taken away on bad data and never more than a step.
func FuzzDecide(f *testing.F) {
	f.Add(10.0, 5.0, 0.1, 0.2, 0.015, 0.15, 1.0, uint8(3), uint16(2), uint8(0))
	f.Add(math.NaN(), math.Inf(1), -1.0, 0.0, 1e300, 1e-300, 1e300, uint8(0), uint16(9999), uint8(255))
	f.Add(1e300, 1e300, 1e300, 1e300, 1e300, 1e-300, 1e9, uint8(200), uint16(1), uint8(3))
	f.Fuzz(func(t *testing.T, rate, backlog, mean, p99, cpu, limit, slots float64, spec uint8, gap uint16, states uint8) {
		cfg := config()
		cfg.Min = 2
		var state State
		at, n := noon, int(spec)
		for i := range 4 {
			snap := Snapshot{Spec: n, Ready: n, Signals: Signals{
				ArrivalShort: Value(rate), ArrivalLong: Value(rate / 2), Backlog: Value(backlog), OldestAge: Value(p99), InFlight: Value(backlog),
				ServiceMean: Value(mean), ServiceP99: Value(p99), CPUPerRequest: Value(cpu), CPULimit: Value(limit), Slots: Value(slots),
			}}
			if states>>i&1 == 1 {
				snap.Backlog.State = Stale
			}
			before := state
			before.window = slices.Clone(state.window)
			next, d := Decide(cfg, state, snap, at)
			switch {
			case n == 0 && (d.Replicas != 0 || d.Reason != Disabled):
				t.Fatalf("a target scaled to zero: %d (%s)", d.Replicas, d.Reason)
			case n > 0 && (d.Replicas < cfg.Min || d.Replicas > cfg.Max):
				t.Fatalf("%d replicas are out of bounds", d.Replicas)
			case n <= cfg.Max && d.Replicas < n-cfg.Step:
				t.Fatalf("from %d to %d: more than a step", n, d.Replicas)
			case n <= cfg.Max && d.Replicas < n && len(d.Terms.Untrusted) > 0:
				t.Fatalf("from %d to %d on %v", n, d.Replicas, d.Terms.Untrusted)
			case !slices.Contains(Reasons(), d.Reason) || d.Sentence == "":
				t.Fatalf("reason %q, sentence %q", d.Reason, d.Sentence)
			case !reflect.DeepEqual(before, state):
				t.Fatal("the state that was handed in was changed")
			case len(next.window) > cfg.Max:
				t.Fatalf("the window has grown to %d", len(next.window))
			}
			state, n, at = next, d.Replicas, at.Add(time.Duration(gap)*time.Millisecond)
		}
	})
}

func TestMoreArrivalsNeverGetFewerReplicas(t *testing.T) {
	property := func(rate, more float64) bool {
		rate = math.Mod(math.Abs(rate), 100)
		more = math.Mod(math.Abs(more), 50)
		_, fewer := Decide(config(), State{}, healthy(rate, 1), noon)
		_, greater := Decide(config(), State{}, healthy(rate+more, 1), noon)
		return greater.Replicas >= fewer.Replicas
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 1000, Rand: seeded()}); err != nil {
		t.Error(err)
	}
}
