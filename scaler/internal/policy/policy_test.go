package policy

import (
	"encoding/json"
	"math"
	mathrand "math/rand"
	"math/rand/v2"
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
		Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8, LeadTime: 10 * time.Second,
		ScaleIn: ScaleIn{Rate: Rate{Step: 1, Interval: 10 * time.Second}, Tolerance: 0.1, Stabilization: 60 * time.Second},
		Tick:    2 * time.Second, ScrapeInterval: time.Second,
	}
}

// healthy is a service of one-slot replicas with 150m of CPU, where a request
// takes 15 ms of CPU, and a little is the replica's own: 15 ms / 0.15 = 100 ms each, or 10 requests a second, when
// busy. The p99 of the service time is 200 ms.
func healthy(rate float64, spec int) Snapshot {
	return Snapshot{
		Signals: Signals{
			ArrivalShort: Value(rate), ArrivalLong: Value(rate),
			Backlog: Value(0), OldestAge: Value(0), InFlight: Value(0),
			ServiceMean: Value(0.040), ServiceP99: Value(0.200),
			CPUPerRequest: Value(0.01525), CPULimit: Value(0.15), Slots: Value(1),
			LatencyQuantile: Value(0.250), Lost: Value(0),
		},
		Spec: spec, Ready: spec,
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// idle is what Prometheus has of a service that nobody has ever asked anything:
// the rates are 0, and so 0/0 is what a request costs.
func idle(spec int) Snapshot {
	s := healthy(0, spec)
	m := &s.Signals
	m.ServiceMean, m.ServiceP99, m.CPUPerRequest = Value(math.NaN()), Value(math.NaN()), Signal{}
	m.LatencyQuantile, m.Lost = Value(math.NaN()), Value(math.NaN())
	return s
}

func with(s Snapshot, change func(*Snapshot)) Snapshot {
	change(&s)
	return s
}

func rate(r float64) func(int) Snapshot {
	return func(spec int) Snapshot { return healthy(r, spec) }
}

// A story is a sequence of what is seen and what is to be decided. The target
// follows the decision at once, as its count does in a cluster.
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

func TestABurstComesAndGoes(t *testing.T) {
	tell(t, config(), 1, []chapter{
		{0, idle, 1, Idle},
		// 5/s of 100 ms, and a standard error for caution: 0.7 erlangs. One replica
		// would have 3% of the requests late, two 0.1%.
		{10 * time.Second, rate(5), 2, Demand},
		{20 * time.Second, rate(5), 2, Steady},
		// 36/s are 3.6 erlangs, with caution 4: 5 replicas are 80% utilized.
		{60 * time.Second, rate(36), 6, Demand},
		// They were ordered; while they start, the same is asked for, not more.
		{62 * time.Second, func(n int) Snapshot {
			return with(healthy(36, n), func(s *Snapshot) { s.Ready, s.Starting = 2, []Cohort{{2 * time.Second, 4}} })
		}, 6, Steady},
		{64 * time.Second, rate(5), 6, ScaleInWait},
		// The last call for 6 was at 62 s. 60 s later it is forgotten.
		{120 * time.Second, rate(5), 6, ScaleInWait},
		{122 * time.Second, rate(5), 5, ScalingIn},
		// One at a time, every 10 s, down to the 2 that 5/s need.
		{130 * time.Second, rate(5), 5, ScaleInWait},
		{132 * time.Second, rate(5), 4, ScalingIn},
		{142 * time.Second, rate(5), 3, ScalingIn},
		{152 * time.Second, rate(5), 2, ScalingIn},
		{400 * time.Second, rate(5), 2, Steady},
		{402 * time.Second, rate(0), 2, ScaleInWait},
		{500 * time.Second, rate(0), 1, Idle},
	})
}

func TestServiceTimeIsWhatTheQuotaAllowsNotWhatAnIdleReplicaShows(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Signals)
		want   float64
	}{
		{"15 ms of CPU at 0.15 cores take 100 ms, whatever the latency of 40 ms says", func(*Signals) {}, 0.1},
		{"a latency above that is what counts", func(s *Signals) { s.ServiceMean = Value(0.13) }, 0.13},
		{"two slots share the quota: 200 ms each", func(s *Signals) { s.Slots = Value(2) }, 0.2},
		{"a whole core is not the limit: 15 ms of CPU, 40 ms of latency", func(s *Signals) { s.CPULimit = Value(1) }, 0.04},
		{"below one request a second a replica's own upkeep is not the price of a request", func(s *Signals) {
			s.ArrivalShort, s.ArrivalLong = Value(0.1), Value(0.1)
		}, 0.04},
		{"without the CPU time, the latency is all there is", func(s *Signals) { s.CPUPerRequest = Signal{} }, 0.04},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(config(), State{}, with(healthy(5, 1), func(s *Snapshot) { tc.change(&s.Signals) }), noon)
			if math.Abs(d.Terms.ServiceEffective-tc.want) > 0.02*tc.want {
				t.Errorf("%.4f s, want %.3f s", d.Terms.ServiceEffective, tc.want)
			}
		})
	}
}

func TestUpkeepIsNotThePriceOfARequest(t *testing.T) {
	// A request costs 15 ms of CPU, and a replica 15m by itself: a tenth of its CPU.
	costs := func(rate, price float64, n int) Snapshot {
		return with(healthy(rate, n), func(s *Snapshot) {
			s.Signals.CPUPerRequest = Value(price + 0.015*float64(n)/rate)
		})
	}
	var state State
	var d Decision
	now := noon
	see := func(snap Snapshot, long time.Duration) {
		for until := now.Add(long); now.Before(until); now = now.Add(2 * time.Second) {
			state, d = Decide(config(), state, snap, now)
		}
	}
	takes := func(when string, least, most float64) {
		t.Helper()
		if s := d.Terms.ServiceEffective; s < least || s > most {
			t.Errorf("%s: %.4f s (%+v), want %.4f to %.4f", when, s, state.Known.Price, least, most)
		}
	}
	const alone = 0.015 / (0.15 - 0.015) // 111 ms
	see(costs(20, 0.015, 5), time.Minute)
	takes("before the load has varied, nearly all is for requests", 0.98*0.125, 0.125)
	// The load has ended: of the last half minute's fewer and fewer requests, more and
	// more of the CPU is the replicas' own.
	before := state
	for left := 28.0; left > 0; left -= 2 {
		see(costs(20*left/30, 0.015, 5), 2*time.Second)
	}
	takes("the load has ended", 0.95*alone, 1.05*alone)
	state = before
	see(costs(2, 0.015, 5), time.Minute)
	takes("2/s over five replicas: of 53 ms for each, 38 are the replicas' own", 0.98*alone, 1.02*alone)
	if u := state.Known.Price.Upkeep; u < 0.014 || u > 0.016 {
		t.Errorf("an upkeep of %.4f cores, want 0.015", u)
	}
	see(costs(2, 0.015, 5), time.Hour)
	takes("after an hour of the same", 0.98*alone, 1.02*alone)
	// The first seconds of a burst after it: the half minute that the price is of has
	// seen hardly a request.
	see(with(healthy(20, 5), func(s *Snapshot) { s.Signals.ArrivalLong, s.Signals.CPUPerRequest = Value(0.5), Value(0.3) }), 10*time.Second)
	takes("a burst begins", 0.98*alone, 1.02*alone)
	// Replicas come, and the half minute is that of those before.
	see(with(costs(20, 0.015, 5), func(s *Snapshot) { s.Ready, s.Spec = 10, 10 }), 28*time.Second)
	takes("while replicas come", 0.98*alone, 1.02*alone)
	// Another model, twice as dear, and its replicas cost the same by themselves.
	see(costs(20, 0.030, 5), 34*time.Second)
	takes("another model", 0.98*2*alone, 1.02*2*alone)
}

// The first requests to a cold replica cost several times the usual. A burst, in which
// the count never stays the same, is not planned for at that price.
func TestThePriceOfAColdStartIsForgottenWhileReplicasComeAndGo(t *testing.T) {
	cost := func(price float64, n int) Snapshot {
		return with(healthy(20, n), func(s *Snapshot) { s.Signals.CPUPerRequest = Value(price) })
	}
	state, d := Decide(config(), State{}, cost(0.05, 1), noon)
	if d.Terms.ServiceEffective < 0.3 {
		t.Fatalf("cold: %.3f s", d.Terms.ServiceEffective)
	}
	for i := range 20 {
		state, d = Decide(config(), state, cost(0.016, 2+i%5), noon.Add(time.Duration(i+1)*2*time.Second))
	}
	if d.Terms.ServiceEffective > 0.13 {
		t.Errorf("%.3f s, want what 16 ms take, 107 ms, and what chance explains", d.Terms.ServiceEffective)
	}
}

// What replicas cost by themselves is learned from counts that come and go, with
// requests of which no two cost the same.
func TestThePriceIsLearnedFromWhatIsMeasured(t *testing.T) {
	for _, upkeep := range []float64{0, 0.014} {
		rng := rand.New(rand.NewPCG(7, 7))
		var p Price
		const window, tick = 30 * time.Second, time.Second
		now := noon
		for n := range 40 {
			ready, rate := 1+n%4, 2+float64(n*7%11)
			for range 60 {
				mean := 0.015 + 0.003*rng.NormFloat64()/math.Sqrt(rate)
				p.watch(ready, now)
				p.learn(mean+upkeep*float64(ready)/rate, rate, 0.02, 0.5/math.Sqrt(30*rate), 0.15, window, tick, now)
				now = now.Add(tick)
			}
		}
		if math.Abs(p.Request-0.015) > 0.0008 || math.Abs(p.Upkeep-upkeep) > 0.0015 {
			t.Errorf("upkeep %.3f: %+v, want 0.015 for a request", upkeep, p)
		}
	}
}

// Recorded on a cluster, a look each second: the load ends, and the half minute that is
// looked at holds fewer and fewer requests to replicas that use ten millicores anyhow.
func TestTheLastRequestsOfALoadDoNotMakeTheNextDear(t *testing.T) {
	var p Price
	most := math.Inf(1) // of what was measured where there were requests enough
	for i, seen := range []struct {
		ready                   int
		rate, measured, service float64
	}{
		{1, 0.3103, 0.06071, 0.019}, {1, 0, 0.1925, 0.0409}, {1, 0.06896, 0, 0}, {1, 0.2414, 0.1433, 0.0252}, {1, 0.5173, 0.06239, 0.0157},
		{1, 0.7243, 0.03707, 0.0172}, {1, 0.8621, 0.03063, 0.0153}, {1, 0.9654, 0.02749, 0.0143}, {1, 1.207, 0.02435, 0.0153}, {1, 1.379, 0.0221, 0.0151},
		{1, 1.517, 0.0199, 0.0169}, {1, 1.586, 0.01883, 0.0178}, {1, 1.828, 0.01826, 0.0175}, {2, 1.931, 0.01705, 0.018}, {2, 2.069, 0.01661, 0.0186},
		{2, 2.069, 0.01606, 0.0183}, {2, 2.138, 0.0158, 0.0182}, {2, 2.414, 0.01519, 0.0182}, {2, 2.586, 0.01467, 0.0194}, {2, 2.725, 0.01393, 0.019},
		{2, 2.897, 0.01333, 0.0182}, {2, 2.966, 0.0131, 0.0186}, {2, 3.103, 0.01318, 0.0182}, {2, 3.241, 0.01297, 0.0194}, {2, 3.345, 0.01284, 0.0189},
		{2, 3.379, 0.01289, 0.0187}, {2, 3.586, 0.01273, 0.0185}, {2, 3.759, 0.01255, 0.0184}, {2, 3.966, 0.01245, 0.0181}, {2, 4.034, 0.01237, 0.018},
		{2, 4.138, 0.01229, 0.0182}, {2, 4.207, 0.01221, 0.0185}, {2, 4.138, 0.01221, 0.0184}, {2, 3.862, 0.01241, 0.0189}, {2, 3.655, 0.01262, 0.0189},
		{2, 3.517, 0.01291, 0.0194}, {2, 3.414, 0.0132, 0.0198}, {2, 3.172, 0.01337, 0.0198}, {2, 3, 0.01344, 0.0201}, {2, 2.862, 0.01369, 0.0195},
		{2, 2.793, 0.01388, 0.0192}, {2, 2.552, 0.0141, 0.0194}, {2, 2.448, 0.01465, 0.0192}, {2, 2.31, 0.01464, 0.0188}, {2, 2.31, 0.01507, 0.019},
		{2, 2.241, 0.01485, 0.019}, {2, 1.966, 0.01542, 0.0191}, {2, 1.793, 0.01596, 0.0178}, {2, 1.655, 0.0166, 0.0181}, {2, 1.483, 0.01778, 0.0194},
		{2, 1.414, 0.01833, 0.0189}, {2, 1.276, 0.01868, 0.0198}, {2, 1.138, 0.03001, 0.0168}, {2, 1.034, 0.03323, 0.0179}, {2, 1, 0.03448, 0.0186},
		{2, 0.7931, 0.0363, 0.0192}, {2, 0.6207, 0.045, 0.02}, {2, 0.4138, 0.05375, 0.0228}, {2, 0.3448, 0.06833, 0.0251}, {2, 0.2414, 0.09623, 0.0251},
		{2, 0.1034, 0.1825, 0.0245}, {2, 0, 0, 0},
	} {
		now := noon.Add(time.Duration(i) * time.Second)
		p.watch(seen.ready, now)
		if seen.measured > 0 {
			p.atMost(seen.measured)
			p.learn(seen.measured, seen.rate, seen.service, 0.1, 0.15, 30*time.Second, time.Second, now)
			if seen.rate >= lowRate {
				most = math.Min(most, seen.measured)
			}
		}
		if p.Request > 1.25*most {
			t.Errorf("look %d, %g s of CPU for each of %g/s: requests are planned with %.4f s each, and were seen to take %.4f at most", i, seen.measured, seen.rate, p.Request, most)
		}
	}
}

func TestABacklogAsksForWhatDrainsItInTime(t *testing.T) {
	backlog := func(n, age float64) func(int) Snapshot {
		return func(spec int) Snapshot {
			return with(healthy(10, spec), func(s *Snapshot) { s.Signals.Backlog, s.Signals.OldestAge = Value(n), Value(age) })
		}
	}
	tell(t, config(), 3, []chapter{
		// 10/s are 1 erlang, and three replicas serve 30/s.
		{0, rate(10), 3, ScaleInWait},
		// 15 requests are gone long before a replica ordered now is ready, in 10 s.
		{60 * time.Second, backlog(15, 0.1), 3, ScaleInWait},
		// 1,000 that have waited for 30 s don't expire at the promise. Of them, and of
		// 10/s, three replicas leave 1,000 + (10.3 − 30)·10 in 10 s, to be gone in
		// another 10 s: 80/s more, so 91/s, or 9.1 erlangs.
		{62 * time.Second, backlog(1000, 30), 10, Backlog},
		// The seven that are starting count from when they are ready.
		{64 * time.Second, func(n int) Snapshot {
			return with(backlog(1000, 30)(n), func(s *Snapshot) { s.Ready, s.Starting = 3, []Cohort{{2 * time.Second, 7}} })
		}, 10, ScaleInWait},
		{70 * time.Second, backlog(5000, 30), 10, AtMax},
	})
	// Where requests do expire, no more than the arrivals of one promise can be left:
	// 36/s for 0.5 s, to be gone in a lead time. That is half a replica, not many.
	state, _ := Decide(config(), State{}, healthy(36, 2), noon)
	_, d := Decide(config(), state, with(healthy(36, 2), func(s *Snapshot) { s.Signals.Backlog, s.Signals.OldestAge = Value(18), Value(0.4) }), noon.Add(2*time.Second))
	if d.Terms.BacklogRate > 2.5 || d.Terms.BacklogRate < 1.5 {
		t.Errorf("a full queue asks for %.1f/s more", d.Terms.BacklogRate)
	}

	// One waiting request forbids taking a replica away, however long it was quiet.
	tell(t, config(), 5, []chapter{
		{0, rate(10), 5, ScaleInWait},
		{60 * time.Second, rate(10), 4, ScalingIn},
		{62 * time.Second, backlog(1, 0.01), 4, ScaleInWait},
		{90 * time.Second, backlog(1, 0.01), 4, ScaleInWait},
		{92 * time.Second, rate(10), 3, ScalingIn},
	})
}

func TestBusyReplicasAreNotTakenAway(t *testing.T) {
	busy := func(inFlight float64) func(int) Snapshot {
		return func(spec int) Snapshot {
			return with(healthy(0, spec), func(s *Snapshot) { s.Signals.InFlight = Value(inFlight) })
		}
	}
	tell(t, config(), 3, []chapter{
		{0, busy(3), 3, ScaleInWait},
		{90 * time.Second, busy(3), 3, ScaleInWait},
		{92 * time.Second, busy(2), 2, ScalingIn},
	})
	// A big step stops at what is busy.
	cfg := config()
	cfg.ScaleIn.Step = 5
	tell(t, cfg, 6, []chapter{
		{0, busy(4), 6, ScaleInWait},
		{60 * time.Second, busy(4), 4, ScalingIn},
		{80 * time.Second, busy(4), 4, ScaleInWait},
	})
}

// badSignals are all the ways in which a signal can be bad.
var badSignals = map[string]Signal{
	"missing": {}, "stale": {Value: 1, State: Stale}, "reset": {Value: 1, State: Reset},
	"NaN": Value(math.NaN()), "infinite": Value(math.Inf(1)), "negative": Value(-9.2e15), "NaN that claims to be ok": {Value: math.NaN(), State: OK},
}

func TestNothingIsTakenAwayOnSignalsThatCannotBeReliedOn(t *testing.T) {
	for name := range new(Signals).Named() {
		if name == "latency_quantile" || name == "lost" {
			continue // nothing is taken away for a low latency
		}
		for kind, bad := range badSignals {
			broken := func(spec int) Snapshot {
				return with(healthy(2, spec), func(s *Snapshot) {
					for n, signal := range s.Signals.Named() {
						if n == name {
							*signal = bad
						}
					}
				})
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				// 2/s need one replica. Four are there, and stay for as long as the signal
				// is bad, and a whole window after.
				tell(t, config(), 4, []chapter{
					{0, rate(2), 4, ScaleInWait},
					{50 * time.Second, broken, 4, HoldUntrusted},
					{300 * time.Second, broken, 4, HoldUntrusted},
					{302 * time.Second, rate(2), 4, ScaleInWait},
					{358 * time.Second, rate(2), 4, ScaleInWait},
					{360 * time.Second, rate(2), 3, ScalingIn},
				})
			})
		}
	}
}

func TestStoriesOfOtherScalersWithBadData(t *testing.T) {
	at := func(r float64, change func(*Signals)) func(int) Snapshot {
		return func(spec int) Snapshot { return with(healthy(r, spec), func(s *Snapshot) { change(&s.Signals) }) }
	}
	rates := func(v Signal) func(*Signals) {
		return func(s *Signals) { s.ArrivalShort, s.ArrivalLong = v, v }
	}
	for _, tc := range []struct {
		name string
		bad  func(*Signals)
	}{
		{"nulls at the peak are not zero (keda#3065)", rates(Signal{})},
		{"NaN is not a very small number (keda#7475)", rates(Value(math.NaN()))},
		{"nor is −9.2e15", rates(Value(-9.2e15))},
		{"a metric that is not found is no reason to scale out (prometheus-adapter#636)", func(s *Signals) { *s = Signals{} }},
		{"infinity is not a demand", rates(Value(math.Inf(1)))},
		{"a frozen metric says nothing", rates(Signal{Value: 500, State: Stale})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tell(t, config(), 1, []chapter{
				{0, rate(36), 6, Demand},
				{100 * time.Second, at(36, tc.bad), 6, HoldUntrusted},
				{1000 * time.Second, at(36, tc.bad), 6, HoldUntrusted},
				// It comes back: no jump in either direction.
				{1002 * time.Second, rate(36), 6, Steady},
				{1200 * time.Second, rate(36), 6, ScaleInWait}, // with a margin, 36/s need 6
			})
		})
	}
}

func TestAFallbackIsALeastCountAfterAWhile(t *testing.T) {
	cfg := config()
	cfg.Fallback = Fallback{After: time.Minute, Replicas: 4}
	nothing := func(spec int) Snapshot { return Snapshot{Spec: spec, Ready: spec} }
	tell(t, cfg, 2, []chapter{
		{0, rate(5), 2, Steady},
		{2 * time.Second, nothing, 2, HoldUntrusted},
		{60 * time.Second, nothing, 2, HoldUntrusted},
		{62 * time.Second, nothing, 4, FallbackFloor},
		{300 * time.Second, nothing, 4, HoldUntrusted},
		{302 * time.Second, rate(5), 4, ScaleInWait},
	})
	// It never overrides a higher count.
	tell(t, cfg, 7, []chapter{
		{0, nothing, 7, HoldUntrusted},
		{300 * time.Second, nothing, 7, HoldUntrusted},
	})
}

func TestHealthySignalsStillAddReplicasWhenOthersAreGone(t *testing.T) {
	learned, _ := Decide(config(), State{}, healthy(5, 2), noon)
	for _, tc := range []struct {
		name   string
		change func(*Signals)
		want   int
	}{
		{"the long rate is gone, the short one is there", func(s *Signals) { s.ArrivalLong = Value(math.NaN()) }, 6},
		{"what a request costs is gone, but was known", func(s *Signals) {
			s.ServiceMean, s.ServiceP99, s.CPUPerRequest, s.CPULimit, s.Slots = Signal{}, Signal{}, Signal{}, Signal{}, Signal{}
		}, 6},
		// (0 + (1000 − 2·10·10)/10)·0.1 = 8
		{"both rates are gone, and a backlog of 1,000 is 30 s old", func(s *Signals) {
			s.ArrivalShort, s.ArrivalLong = Signal{}, Signal{Value: 50, State: Stale}
			s.Backlog, s.OldestAge = Value(1000), Value(30)
		}, 10},
		{"everything is gone", func(s *Signals) { *s = Signals{} }, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(config(), learned, with(healthy(36, 2), func(s *Snapshot) { tc.change(&s.Signals) }), noon.Add(2*time.Second))
			if d.Replicas != tc.want || len(d.Terms.Untrusted) == 0 || !strings.Contains(d.Sentence, "can't rely on") {
				t.Errorf("%d replicas (%s: %s), want %d and the signals named", d.Replicas, d.Reason, d.Sentence, tc.want)
			}
		})
	}
	_, d := Decide(config(), State{}, with(healthy(36, 2), func(s *Snapshot) { s.Signals.ArrivalShort = Signal{} }), noon)
	if d.Replicas < 5 {
		t.Errorf("only the long rate is there: %d replicas (%s)", d.Replicas, d.Sentence)
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
		return with(idle(spec), func(s *Snapshot) { s.Signals.ArrivalShort = Value(0.4) })
	}
	tell(t, config(), 1, []chapter{
		{0, idle, 1, Idle},
		{2 * time.Second, first, 1, HoldUntrusted},
		{4 * time.Second, rate(8), 2, Demand},
		// A trickle with holes in its service time goes by what was known, and comes down.
		{10 * time.Second, first, 2, ScaleInWait},
		{200 * time.Second, first, 1, Steady},
	})
	// A restarted scaler knows nothing of the last minute, and waits for one.
	tell(t, config(), 3, []chapter{
		{0, idle, 3, ScaleInWait},
		{58 * time.Second, idle, 3, ScaleInWait},
		{60 * time.Second, idle, 2, ScalingIn},
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
		// Three are busy until the last moment, so 3 stay 3.
		state, _ = Decide(cfg, state, with(idle(3), func(s *Snapshot) { s.Signals.InFlight = Value(3) }), at)
	}
	state, d = Decide(cfg, state, idle(2), at)
	if d.Reason != ScaleInWait || !strings.Contains(d.Sentence, "last step down") {
		t.Errorf("%d replicas (%s: %s), want to wait for the interval", d.Replicas, d.Reason, d.Sentence)
	}
	_, d = Decide(cfg, state, idle(2), at.Add(cfg.ScaleIn.Interval))
	if d.Replicas != 1 || d.Reason != ScalingIn {
		t.Errorf("an interval later: %d replicas (%s: %s), want 1", d.Replicas, d.Reason, d.Sentence)
	}
}

func TestAPromiseThatTheServiceTimeBreaksAlone(t *testing.T) {
	slow := func(spec int) Snapshot {
		return with(healthy(30, spec), func(s *Snapshot) { s.Signals.ServiceP99 = Value(0.7) })
	}
	state, d := Decide(config(), State{}, slow(4), noon)
	if d.Replicas > 9 || !strings.Contains(d.Sentence, "no number of replicas") {
		t.Errorf("%d (%s: %s), want few and that it is said", d.Replicas, d.Reason, d.Sentence)
	}
	_, d = Decide(config(), state, slow(d.Replicas), noon.Add(2*time.Second))
	if d.Reason != SLOInfeasible {
		t.Errorf("%s: %s, want %s", d.Reason, d.Sentence, SLOInfeasible)
	}
}

func TestBounds(t *testing.T) {
	cfg := config()
	cfg.Min, cfg.Max = 2, 4
	for _, tc := range []struct {
		name    string
		see     Snapshot
		want    int
		reason  Reason
		limiter Limiter
	}{
		{"more is needed than allowed: as many as allowed", healthy(100, 2), 4, AtMax, ByMax},
		{"more is needed than allowed, which are there", healthy(100, 4), 4, AtMax, ByMax},
		{"fewer would do than are kept", healthy(1, 2), 2, AtMin, ByMin},
		{"fewer are there than are kept", healthy(1, 1), 2, BelowMin, ByMin},
		{"more are there than allowed", healthy(1, 7), 4, AboveMax, ByMax},
		{"more are there than allowed, and nothing is known", Snapshot{Spec: 7}, 4, AboveMax, ByMax},
		{"somebody switched it off by scaling to zero", healthy(100, 0), 0, Disabled, ByDisabled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(cfg, State{}, tc.see, noon)
			if d.Replicas != tc.want || d.Reason != tc.reason || d.Limiter != tc.limiter {
				t.Errorf("%d (%s by %s: %s), want %d (%s by %s)", d.Replicas, d.Reason, d.Limiter, d.Sentence, tc.want, tc.reason, tc.limiter)
			}
		})
	}
}

// An order that did not go through (a conflict, or somebody else leads) is no step that
// the next has to wait for.
func TestAnOrderThatDidNotHappenIsGivenAgain(t *testing.T) {
	cfg := config()
	cfg.ScaleOut = Rate{Step: 2, Interval: time.Minute}
	state, d := Decide(cfg, State{}, healthy(60, 2), noon)
	if d.Replicas != 4 {
		t.Fatalf("%d (%s), want two more", d.Replicas, d.Sentence)
	}
	state, d = Decide(cfg, state, healthy(60, 2), noon.Add(2*time.Second))
	if d.Replicas != 4 {
		t.Errorf("still two: %d (%s), want two more", d.Replicas, d.Sentence)
	}
	state, _ = Decide(cfg, state, healthy(60, 4), noon.Add(4*time.Second))
	if _, d = Decide(cfg, state, healthy(60, 4), noon.Add(61*time.Second)); d.Replicas != 4 || d.Limiter != ByRate {
		t.Errorf("59 s after the order that went through: %d by %s (%s), want to wait", d.Replicas, d.Limiter, d.Sentence)
	}
	if _, d = Decide(cfg, state, healthy(60, 4), noon.Add(62*time.Second)); d.Replicas != 6 {
		t.Errorf("a minute after it: %d (%s), want two more", d.Replicas, d.Sentence)
	}
}

// Who raises the minimum of a target that the policy itself has taken to zero has not
// switched it off.
func TestTheMinimumIsRaisedFromZero(t *testing.T) {
	cfg := config()
	cfg.Min, cfg.IdleAfter = 0, 10*time.Minute
	var state State
	n, at := 1, noon
	for ; n > 0; at = at.Add(2 * time.Second) {
		if at.Sub(noon) > time.Hour {
			t.Fatal("not taken to zero")
		}
		var d Decision
		state, d = Decide(cfg, state, idle(n), at)
		n = d.Replicas
	}
	state, _ = Decide(cfg, state, idle(0), at)
	cfg.Min = 2
	saved := state
	if _, d := Decide(cfg, state, idle(0), at.Add(2*time.Second)); d.Replicas != 2 || d.Reason != BelowMin {
		t.Errorf("the minimum is 2 now: %d (%s: %s)", d.Replicas, d.Reason, d.Sentence)
	}
	// By hand, it was switched off, whatever had been decided before.
	state, _ = Decide(cfg, saved, healthy(1, 2), at.Add(2*time.Second))
	if _, d := Decide(cfg, state, healthy(1, 0), at.Add(4*time.Second)); d.Replicas != 0 || d.Reason != Disabled {
		t.Errorf("scaled to zero by hand: %d (%s: %s)", d.Replicas, d.Reason, d.Sentence)
	}
}

func TestPeopleAreObeyed(t *testing.T) {
	ceiling := func(n int) *int { return &n }
	for _, tc := range []struct {
		name     string
		rate     float64
		spec     int
		controls Controls
		want     int
		reason   Reason
		limiter  Limiter
	}{
		{"scaling out is paused", 36, 2, Controls{PauseOut: true}, 2, Paused, ByPause},
		{"scaling in is paused, which does not keep from scaling out", 36, 2, Controls{PauseIn: true}, 6, Demand, None},
		{"scaling in is paused", 2, 8, Controls{PauseIn: true}, 8, Paused, ByPause},
		{"a floor", 2, 2, Controls{Floor: 5}, 5, FloorSet, ByFloor},
		{"a floor above the most allowed", 2, 2, Controls{Floor: 50}, 10, FloorSet, ByFloor},
		{"a ceiling", 36, 2, Controls{Ceiling: ceiling(3)}, 3, CeilingSet, ByCeiling},
		{"a ceiling below what is there", 36, 8, Controls{Ceiling: ceiling(3)}, 3, CeilingSet, ByCeiling},
		{"a ceiling below what is there, and scaling in paused", 36, 8, Controls{Ceiling: ceiling(3), PauseIn: true}, 8, Paused, ByPause},
		{"a floor above a ceiling wins", 2, 2, Controls{Floor: 5, Ceiling: ceiling(3)}, 5, FloorSet, ByFloor},
		{"a ceiling of zero leaves the least allowed", 36, 2, Controls{Ceiling: ceiling(0)}, 1, CeilingSet, ByCeiling},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, d := Decide(config(), State{}, with(healthy(tc.rate, tc.spec), func(s *Snapshot) { s.Controls = tc.controls }), noon)
			if d.Replicas != tc.want || d.Reason != tc.reason || d.Limiter != tc.limiter {
				t.Errorf("%d (%s by %s: %s), want %d (%s by %s)", d.Replicas, d.Reason, d.Limiter, d.Sentence, tc.want, tc.reason, tc.limiter)
			}
		})
	}
}

func TestStepsUpAreBoundedWhereThatIsWanted(t *testing.T) {
	cfg := config()
	cfg.ScaleOut = Rate{Step: 2, Share: 0.5, Interval: 10 * time.Second}
	tell(t, cfg, 1, []chapter{
		{0, rate(90), 3, Demand},
		{2 * time.Second, rate(90), 3, Demand}, // asked for, and not allowed yet
		{10 * time.Second, rate(90), 5, Demand},
		{20 * time.Second, rate(90), 7, Demand},
		{30 * time.Second, rate(90), 10, AtMax}, // half of 7 is 3
	})
}

func TestZero(t *testing.T) {
	cfg := config()
	cfg.Min, cfg.IdleAfter = 0, 5*time.Minute
	woken := func(spec int) Snapshot {
		return with(idle(spec), func(s *Snapshot) { s.Woken = true })
	}
	blind := func(spec int) Snapshot { return Snapshot{Spec: spec, Ready: spec} }
	tell(t, cfg, 2, []chapter{
		{0, idle, 2, ScaleInWait},
		{60 * time.Second, idle, 1, ScalingIn},
		{298 * time.Second, idle, 1, Idle},
		{300 * time.Second, idle, 0, ToZero},
		{900 * time.Second, idle, 0, Idle},
		{902 * time.Second, woken, 1, Woken},
		{904 * time.Second, idle, 1, Idle},
		{1200 * time.Second, idle, 1, Idle},
		{1202 * time.Second, idle, 0, ToZero},
		// The news may come by a metric as well.
		{1220 * time.Second, rate(5), 2, Demand},
	})
	// Never on data that can't be trusted, and not for long enough after it.
	tell(t, cfg, 1, []chapter{
		{0, idle, 1, Idle},
		{200 * time.Second, blind, 1, HoldUntrusted},
		{2000 * time.Second, blind, 1, HoldUntrusted},
		{2002 * time.Second, idle, 1, Idle},
		{2298 * time.Second, idle, 1, Idle},
		{2300 * time.Second, idle, 0, ToZero},
	})
}

func TestTheLeadTimeIsLearned(t *testing.T) {
	cfg := config()
	_, d := Decide(cfg, State{}, healthy(5, 2), noon)
	if d.Terms.LeadTime != 10 {
		t.Errorf("before any: %g s, want the configured 10", d.Terms.LeadTime)
	}
	var state State
	for i := range 40 {
		state, d = Decide(cfg, state, with(healthy(5, 2), func(s *Snapshot) { s.BecameReady = []Cohort{{4 * time.Second, 1}} }), noon.Add(time.Duration(i)*cfg.Tick))
	}
	if d.Terms.LeadTime < 4 || d.Terms.LeadTime > 4.1 {
		t.Errorf("after 40 replicas that took 4 s: %g s", d.Terms.LeadTime)
	}
}

func TestTheForecast(t *testing.T) {
	see := func(rate func(second int) float64) (Decision, int) {
		var state State
		var d Decision
		cfg := config()
		cfg.Tick, cfg.Max = time.Second, 100
		most := 0
		for i := range 200 {
			r := rate(i)
			state, d = Decide(cfg, state, healthy(r, 1), noon.Add(time.Duration(i)*time.Second))
			most = max(most, d.Terms.ForForecast-d.Terms.ForDemand)
		}
		return d, most
	}
	d, _ := see(func(i int) float64 { return 20 + 2*float64(i) })
	// A lead time of 10 s and 2.5 s for the news to arrive: 25/s more than now.
	if ahead := d.Terms.Rate - d.Terms.Level; d.Reason != Forecast || ahead < 20 || ahead > 45 || math.Abs(d.Terms.Trend-2) > 0.01 {
		t.Errorf("a ramp of 2/s each second: planned for %.1f more (%s: %s)", ahead, d.Reason, d.Sentence)
	}
	if _, most := see(func(i int) float64 { return 20 + 180*float64(i/100) }); most > 0 {
		t.Errorf("a step is no trend: the forecast added %d replicas", most)
	}
	if d, most := see(func(i int) float64 { return 400 - 2*float64(i) }); most > 0 || d.Terms.Rate < d.Terms.Level {
		t.Errorf("a forecast may only add: level %.1f, planned for %.1f", d.Terms.Level, d.Terms.Rate)
	}
	if d, _ := see(func(i int) float64 { return 20 + 2*float64(i) }); !d.Terms.ForecastKnown || math.Abs(d.Terms.ForecastError) > 0.2 {
		t.Errorf("the forecast of a ramp is wrong by %.0f%%", 100*d.Terms.ForecastError)
	}
}

func TestMeasuredLatencyCorrectsTheModel(t *testing.T) {
	cfg := config()
	cfg.Tick = time.Second
	late := func(spec int) Snapshot {
		return with(healthy(20, spec), func(s *Snapshot) { s.Signals.LatencyQuantile = Value(0.8) })
	}
	state, n := State{}, 3
	var d Decision
	corrected := 0
	for i := range 600 {
		state, d = Decide(cfg, state, late(n), noon.Add(time.Duration(i)*time.Second))
		if d.Replicas > n {
			corrected++
			if d.Reason != Latency || !strings.Contains(d.Sentence, "corrected by") {
				t.Fatalf("at %d s: %s: %s", i, d.Reason, d.Sentence)
			}
		}
		n = d.Replicas
	}
	if corrected == 0 || d.Terms.Correction != maxCorrection || n > 6 {
		t.Errorf("after 600 s of broken promises: %d replicas, correction %.2f", n, d.Terms.Correction)
	}
	for i := range 3600 {
		state, d = Decide(cfg, state, healthy(20, n), noon.Add(time.Duration(600+i)*time.Second))
		n = d.Replicas
	}
	if d.Terms.Correction != 1 || n != 3 {
		t.Errorf("an hour of low latency later: %d replicas, correction %.2f", n, d.Terms.Correction)
	}
}

// The correction is let go once the promise is kept, also where what is asked for
// can't be there, or where by the corrected service time nothing could keep it.
func TestTheCorrectionIsLetGoWhereNoMoreCanBeHad(t *testing.T) {
	cfg := config()
	cfg.Tick = time.Second
	for name, change := range map[string]func(*Config, *Snapshot){
		"at the most allowed": func(c *Config, _ *Snapshot) { c.Max = 4 },
		"under a ceiling":     func(_ *Config, s *Snapshot) { s.Controls.Ceiling = new(4) },
		"when paused":         func(_ *Config, s *Snapshot) { s.Controls.PauseOut = true },
		"slow":                func(_ *Config, s *Snapshot) { s.Signals.ServiceP99 = Value(0.3) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			state, n, at := State{}, 4, noon
			look := func(latency float64) Decision {
				snap := healthy(20, n)
				snap.Signals.LatencyQuantile = Value(latency)
				change(&cfg, &snap)
				var d Decision
				state, d = Decide(cfg, state, snap, at)
				n, at = d.Replicas, at.Add(time.Second)
				return d
			}
			for range 300 {
				look(0.8)
			}
			if state.Correction < 1.4 {
				t.Fatalf("after 300 s of broken promises the correction is %.2f only", state.Correction)
			}
			var last Decision
			for range 900 {
				last = look(0.25)
			}
			if state.Correction != 1 || last.Terms.Recommended != 3 {
				t.Errorf("after 900 s of promises kept the correction is %.2f: %s", state.Correction, last.Sentence)
			}
		})
	}
}

// From 50 replicas on a few more than there are may be wanted for long; measured
// latency is judged all the same.
func TestCloseEnoughIsJudged(t *testing.T) {
	cfg := config()
	cfg.Max = 200
	var state State
	var d Decision
	at := noon
	look := func(snap Snapshot) {
		state, d = Decide(cfg, state, snap, at)
		at = at.Add(cfg.Tick)
	}
	for range 60 {
		look(healthy(810, 150))
	}
	wanted := d.Terms.Recommended
	snap := healthy(810, wanted-1)
	for range 30 {
		snap.Signals.LatencyQuantile = Value(0.45)
		if look(snap); d.Replicas != wanted-1 || d.Terms.Recommended != wanted {
			t.Fatalf("%d replicas are not close enough to %d: %s", wanted-1, wanted, d.Sentence)
		}
	}
	for range 30 {
		snap.Signals.LatencyQuantile = Value(0.8)
		look(snap)
	}
	if d.Terms.Correction == 1 {
		t.Errorf("a minute of broken promises, and no correction: %s", d.Sentence)
	}
}

// Where what would be late is given up early, latency is good whatever is lost.
func TestLostRequestsCorrectTheModel(t *testing.T) {
	for _, tc := range []struct {
		name     string
		rate     float64
		replicas int
		lost     float64
		corrects bool
	}{
		{"3% of 200 requests a window are three times what is allowed", 20, 3, 0.03, true},
		{"1% of them is what is promised", 20, 3, 0.01, false},
		{"one of 70 is 1.4%, and no proof", 7, 2, 1.0 / 70, false},
		{"five of 70 are", 7, 2, 5.0 / 70, true},
		{"a share that can't be told proves nothing", 20, 3, math.NaN(), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var state State
			var d Decision
			for at := time.Duration(0); at < 5*time.Minute; at += 2 * time.Second {
				state, d = Decide(config(), state, with(healthy(tc.rate, tc.replicas), func(s *Snapshot) { s.Signals.Lost = Value(tc.lost) }), noon.Add(at))
			}
			if got := d.Terms.Correction > 1; got != tc.corrects {
				t.Errorf("the correction is %.2f: %s", d.Terms.Correction, d.Sentence)
			}
		})
	}
}

// Of 200 requests, the 99th percentile is now and then above the promise where it
// is really below it: that alone is no reason for a replica more.
func TestChanceIsNoReasonToCorrectTheModel(t *testing.T) {
	rng := seeded()
	var state State
	var d Decision
	above := 0
	for at := time.Duration(0); at < time.Hour; at += 2 * time.Second {
		latency := 0.45 * math.Exp(0.084*rng.NormFloat64()) // σ of 0.32, by which 200 requests show it
		if latency > 0.5 {
			above++
		}
		state, d = Decide(config(), state, with(healthy(20, 3), func(s *Snapshot) { s.Signals.LatencyQuantile = Value(latency) }), noon.Add(at))
		if d.Terms.Correction != 1 {
			t.Fatalf("after %s and %d looks above the promise the correction is %g", at, above, d.Terms.Correction)
		}
	}
	if above < 50 {
		t.Fatalf("%d of 1800 looks are above the promise: this proves nothing", above)
	}
	// Twice the promise is none: it takes the time that latency needs to show the
	// present count, and two windows.
	for at := time.Duration(0); d.Terms.Correction == 1; at += 2 * time.Second {
		if at > 20*time.Second {
			t.Fatalf("twice the promise for %s, and no correction", at)
		}
		state, d = Decide(config(), state, with(healthy(20, 3), func(s *Snapshot) { s.Signals.LatencyQuantile = Value(1) }), noon.Add(time.Hour+at))
	}
}

// A few hundred requests show another service time with every look, and a mean of
// them is what counts; one that changes is followed at once.
func TestServiceTimesAreMeansSinceTheyLastChanged(t *testing.T) {
	rng := seeded()
	var state State
	var d Decision
	at := noon
	look := func(p99 float64) {
		at = at.Add(2 * time.Second)
		// 600 requests stand behind a look: the percentile's error is σ·3.733/√600.
		seen := p99 * math.Exp(0.32*3.733/math.Sqrt(600)*rng.NormFloat64())
		state, d = Decide(config(), state, with(healthy(20, 3), func(s *Snapshot) {
			s.Signals.ServiceMean, s.Signals.ServiceP99 = Value(p99/2), Value(seen)
		}), at)
	}
	for range 150 {
		look(0.2)
	}
	lowest, highest := math.Inf(1), 0.0
	for range 600 {
		look(0.2)
		lowest, highest = math.Min(lowest, d.Terms.ServiceP99), math.Max(highest, d.Terms.ServiceP99)
	}
	if lowest < 0.19 || highest > 0.21 {
		t.Errorf("a 99th percentile of 0.2 s is planned with as %g to %g", lowest, highest)
	}
	look(0.4)
	if d.Terms.ServiceP99 < 0.3 || d.Terms.ServiceEffective != 0.2 {
		t.Errorf("twice as slow since the last look, and planned with are %g and %g s", d.Terms.ServiceEffective, d.Terms.ServiceP99)
	}
}

func TestTheBridgeCoversWhileReplicasStart(t *testing.T) {
	cfg := config()
	cfg.Bridge.Ceiling = 3
	starting := func(ready int) func(int) Snapshot {
		return func(spec int) Snapshot {
			return with(healthy(36, spec), func(s *Snapshot) {
				s.Ready, s.Starting = ready, []Cohort{{2 * time.Second, spec - ready}}
			})
		}
	}
	state, d := Decide(cfg, State{}, healthy(5, 2), noon)
	if d.CPUFactor != 1 {
		t.Errorf("nothing starts: factor %g", d.CPUFactor)
	}
	state, d = Decide(cfg, state, healthy(36, 2), noon.Add(2*time.Second))
	if d.Replicas != 6 || d.CPUFactor != 3 {
		t.Errorf("6 are needed and 2 are there: %d replicas, factor %g", d.Replicas, d.CPUFactor)
	}
	state, d = Decide(cfg, state, starting(4)(6), noon.Add(4*time.Second))
	if d.CPUFactor != 1.25 {
		t.Errorf("5 are needed by now and 4 are ready: factor %g, want 1.25", d.CPUFactor)
	}
	// What is measured while replicas are raised is not what they usually take.
	fast := with(starting(4)(6), func(s *Snapshot) { s.Signals.CPULimit, s.Signals.ServiceMean = Value(0.45), Value(0.03) })
	state, d = Decide(cfg, state, fast, noon.Add(6*time.Second))
	if d.Replicas != 6 || math.Abs(d.Terms.ServiceEffective-0.1) > 1e-3 {
		t.Errorf("raised: %d replicas of %g s", d.Replicas, d.Terms.ServiceEffective)
	}
	_, d = Decide(cfg, state, healthy(36, 6), noon.Add(8*time.Second))
	if d.CPUFactor != 1 {
		t.Errorf("all are ready: factor %g, want the CPU given back", d.CPUFactor)
	}
	cfg.Bridge.Ceiling = 1
	if _, d = Decide(cfg, state, starting(2)(6), noon.Add(8*time.Second)); d.CPUFactor != 1 {
		t.Errorf("switched off: factor %g", d.CPUFactor)
	}
}

// A request to a cold replica on a busy machine takes long, and the bridge must
// not keep that for as long as it raises.
func TestABadMeasurementDoesNotOutliveTheBridge(t *testing.T) {
	cfg := config()
	cfg.Bridge.Ceiling = 2
	seen := func(mean float64) Snapshot {
		return with(healthy(20, 6), func(s *Snapshot) {
			s.Ready, s.Starting = 2, []Cohort{{2 * time.Second, 4}}
			s.Signals.ServiceMean, s.Signals.ServiceP99 = Value(mean), Value(2*mean)
		})
	}
	state, d := Decide(cfg, State{}, seen(0.4), noon)
	if d.CPUFactor != 2 || d.Terms.ServiceEffective != 0.4 {
		t.Fatalf("factor %g, %g s of service: want the bridge to raise what takes 0.4 s", d.CPUFactor, d.Terms.ServiceEffective)
	}
	for i, c := range []struct{ measured, want float64 }{
		{0.3, 0.4},   // what takes 0.3 s with up to twice the CPU may take 0.4 without
		{0.11, 0.22}, // but 0.11 can't come from more than 0.22
		{0.15, 0.22},
		{0.25, 0.25}, // and less CPU makes nothing faster
	} {
		state, d = Decide(cfg, state, seen(c.measured), noon.Add(time.Duration(i+1)*cfg.Tick))
		if math.Abs(d.Terms.ServiceEffective-c.want) > 1e-9 || d.Terms.ServiceP99 != 2*d.Terms.ServiceEffective {
			t.Errorf("raised, %g s measured: planned with %g and %g s, want %g and twice that", c.measured, d.Terms.ServiceEffective, d.Terms.ServiceP99, c.want)
		}
	}
}

func TestAHandfulMoreOfHundredsIsNotWorthAChange(t *testing.T) {
	cfg := config()
	cfg.Max = 1000
	_, d := Decide(cfg, State{}, healthy(1640, 200), noon)
	for _, c := range []struct {
		have, want int
		limiter    Limiter
	}{
		{d.Replicas - 1, d.Replicas - 1, ByTolerance},
		{d.Replicas - 4, d.Replicas - 4, ByTolerance},
		{d.Replicas - 5, d.Replicas, None},
	} {
		if _, d := Decide(cfg, State{}, healthy(1640, c.have), noon); d.Replicas != c.want || d.Limiter != c.limiter {
			t.Errorf("%d replicas: %d by %s (%s), want %d by %s", c.have, d.Replicas, d.Limiter, d.Sentence, c.want, c.limiter)
		}
	}
	floor := with(healthy(1, 200), func(s *Snapshot) { s.Controls.Floor = 201 })
	if _, d := Decide(cfg, State{}, floor, noon); d.Replicas != 201 {
		t.Errorf("a floor of 201 gets %d", d.Replicas)
	}
	waiting := with(healthy(1640, d.Replicas-1), func(s *Snapshot) { s.Signals.Backlog, s.Signals.OldestAge = Value(20000), Value(2) })
	if _, d := Decide(cfg, State{}, waiting, noon); d.Replicas <= waiting.Spec {
		t.Errorf("a backlog of 20000 gets %d of %d", d.Replicas, waiting.Spec)
	}
}

func TestStateSurvivesTheWayToAnotherProcess(t *testing.T) {
	var state State
	for i := range 100 {
		state, _ = Decide(config(), state, healthy(20+float64(i%7), 3), noon.Add(time.Duration(i)*2*time.Second))
	}
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	var carried State
	if err := json.Unmarshal(text, &carried); err != nil {
		t.Fatal(err)
	}
	next := noon.Add(200 * time.Second)
	for _, snap := range []Snapshot{healthy(20, 3), healthy(80, 3), {Spec: 3}} {
		_, a := Decide(config(), state, snap, next)
		_, b := Decide(config(), carried, snap, next)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("here %+v, there %+v", a, b)
		}
	}
	if len(text) > 20_000 {
		t.Errorf("the state takes %d bytes", len(text))
	}
}

func TestASnapshotSurvivesAFile(t *testing.T) {
	snap := healthy(20, 3)
	snap.Signals.ServiceP99, snap.Signals.Backlog, snap.Signals.OldestAge = Value(math.NaN()), Signal{}, Signal{Value: 3, State: Stale}
	text, err := json.Marshal(snap)
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	_, a := Decide(config(), State{}, snap, noon)
	_, b := Decide(config(), State{}, back, noon)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("before %+v, after %+v", a, b)
	}
	if err := json.Unmarshal([]byte(`{"signals":{"backlog":{"state":"great"}}}`), &back); err == nil || !strings.Contains(err.Error(), `"great"`) {
		t.Errorf("an unknown state: %v", err)
	}
}

// Whatever is measured, the count stays within bounds, the state that was handed
// in is left alone, nothing is taken away on bad data and never more than a step.
func FuzzDecide(f *testing.F) {
	f.Add(10.0, 5.0, 0.1, 0.2, 0.015, 0.15, 1.0, uint8(3), uint16(2), uint8(0))
	f.Add(math.NaN(), math.Inf(1), -1.0, 0.0, 1e300, 1e-300, 1e300, uint8(0), uint16(9999), uint8(255))
	f.Add(1e300, 1e300, 1e300, 1e300, 1e300, 1e-300, 1e9, uint8(200), uint16(1), uint8(3))
	f.Add(1e15, 1e15, 1e15, 1e15, 1e15, 1e-8, 1e9, uint8(200), uint16(1), uint8(3))
	f.Fuzz(func(t *testing.T, rate, backlog, mean, p99, cpu, limit, slots float64, spec uint8, gap uint16, states uint8) {
		cfg := config()
		cfg.Min, cfg.Bridge.Ceiling = 2, 4
		var state State
		at, n := noon, int(spec)
		for i := range 4 {
			snap := Snapshot{Spec: n, Ready: n / 2, Starting: []Cohort{{time.Second, n - n/2}}, Signals: Signals{
				ArrivalShort: Value(rate), ArrivalLong: Value(rate / 2), Backlog: Value(backlog), OldestAge: Value(p99), InFlight: Value(backlog),
				ServiceMean: Value(mean), ServiceP99: Value(p99), CPUPerRequest: Value(cpu), CPULimit: Value(limit), Slots: Value(slots),
				LatencyQuantile: Value(p99),
			}}
			if states>>i&1 == 1 {
				snap.Signals.Backlog.State = Stale
			}
			before := state
			before.Asked, before.History, before.Due = slices.Clone(state.Asked), slices.Clone(state.History), slices.Clone(state.Due)
			next, d := Decide(cfg, state, snap, at)
			switch {
			case n == 0 && (d.Replicas != 0 || d.Reason != Disabled):
				t.Fatalf("a target scaled to zero: %d (%s)", d.Replicas, d.Reason)
			case n > 0 && (d.Replicas < cfg.Min || d.Replicas > cfg.Max):
				t.Fatalf("%d replicas are out of bounds", d.Replicas)
			case n <= cfg.Max && d.Replicas < n-cfg.ScaleIn.Step:
				t.Fatalf("from %d to %d: more than a step", n, d.Replicas)
			case n <= cfg.Max && d.Replicas < n && len(d.Terms.Untrusted) > 0:
				t.Fatalf("from %d to %d on %v", n, d.Replicas, d.Terms.Untrusted)
			case !slices.Contains(Reasons(), d.Reason) || !slices.Contains(Limiters(), d.Limiter) || d.Sentence == "":
				t.Fatalf("reason %q, limiter %q, sentence %q", d.Reason, d.Limiter, d.Sentence)
			case !(d.CPUFactor >= 1 && d.CPUFactor <= cfg.Bridge.Ceiling):
				t.Fatalf("factor %g", d.CPUFactor)
			case !reflect.DeepEqual(before, state):
				t.Fatal("the state that was handed in was changed")
			case len(next.Asked) > cfg.Max || len(next.History) > maxSamples+1 || len(next.Due) > maxDue:
				t.Fatalf("the state has grown: %d asked, %d samples, %d due", len(next.Asked), len(next.History), len(next.Due))
			}
			if _, err := json.Marshal([]any{next, snap, d}); err != nil {
				t.Fatalf("what can't be saved: %v", err)
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

func BenchmarkDecide(b *testing.B) {
	cfg := config()
	cfg.Max, cfg.Tick = 100, time.Second
	w := newWatched(1)
	var state State
	for i := 0; b.Loop(); i++ {
		short, long := w.second(200)
		snap := healthy(200, 28)
		snap.Signals.ArrivalShort, snap.Signals.ArrivalLong = Value(short), Value(long)
		state, _ = Decide(cfg, state, snap, noon.Add(time.Duration(i)*time.Second))
	}
}

// rates drives the policy at its word by a rate for each second, from one replica.
// It returns the counts, and what each second's decision was.
func rates(cfg Config, seconds int, rate func(second int) float64) (counts []int, decisions []Decision) {
	var state State
	n := 1
	for i := range seconds {
		var d Decision
		state, d = Decide(cfg, state, healthy(rate(i), n), noon.Add(time.Duration(i)*time.Second))
		n = d.Replicas
		counts, decisions = append(counts, n), append(decisions, d)
	}
	return counts, decisions
}

func TestReplicasAreKeptForADemandThatComesBack(t *testing.T) {
	cfg := config()
	cfg.Tick = time.Second
	// 30 s of 36/s every 150 s, for nine times: after the first return, 120 s from the
	// demand before it, the replicas stay.
	counts, decisions := rates(cfg, 1350+2100, func(i int) float64 {
		if i < 1350 && i%150 >= 120 {
			return 36
		}
		return 5
	})
	base := counts[119]
	if counts[149] <= 2*base || counts[269] != base {
		t.Errorf("%d replicas before the first burst, %d in it, %d before the second: want them gone between the two", base, counts[149], counts[269])
	}
	for i := 300; i < 1350; i++ {
		if counts[i] < counts[299] {
			t.Fatalf("%d s: %d replicas of %d, want them kept for the next burst", i, counts[i], counts[299])
		}
	}
	// A demand that has not come back for half an hour is forgotten.
	if last := decisions[len(decisions)-1]; last.Replicas != base || last.Terms.Hold != cfg.ScaleIn.Stabilization.Seconds() {
		t.Errorf("half an hour later: %d replicas, held for %g s", last.Replicas, last.Terms.Hold)
	}
}

func TestNoMoreReplicasAreKeptThanComeBack(t *testing.T) {
	cfg := config()
	cfg.Tick, cfg.ScaleIn.Interval = time.Second, time.Second
	// A blip at first, which comes back in a far higher demand that was never seen before.
	const blip, rise, fall = 100, 300, 400
	counts, decisions := rates(cfg, fall+250, func(i int) float64 {
		switch {
		case i >= blip && i < blip+10:
			return 15
		case i >= rise && i < rise+2:
			return 15
		case i >= rise && i < fall:
			return 60
		}
		return 5
	})
	small, large := counts[blip+5], counts[fall-1]
	if large < 2*small {
		t.Fatalf("%d replicas for the blip and %d for the high demand make no story", small, large)
	}
	at := fall + 100
	if got := decisions[at]; got.Replicas != small || got.Terms.Hold <= cfg.ScaleIn.Stabilization.Seconds() {
		t.Errorf("%d replicas are kept for %g s after the high demand, want the %d that came back, for as long as it took\n%s", got.Replicas, got.Terms.Hold, small, got.Sentence)
	}
}

// A wave is followed where replicas start within a small part of it, and its peaks
// are kept for where they do not.
func TestASlowDemandIsFollowedNotKept(t *testing.T) {
	for _, c := range []struct {
		lead time.Duration
		kept bool
	}{{2 * time.Second, false}, {25 * time.Second, true}} {
		t.Run(c.lead.String(), func(t *testing.T) {
			cfg := config()
			cfg.Tick, cfg.LeadTime, cfg.ScaleIn.Interval = time.Second, c.lead, time.Second
			const period = 240
			counts, _ := rates(cfg, 5*period, func(i int) float64 {
				return 30 - 25*math.Cos(2*math.Pi*float64(i)/period)
			})
			last := counts[4*period:]
			least, most := slices.Min(last), slices.Max(last)
			if kept := least == most; kept != c.kept {
				t.Errorf("from %d to %d replicas in the fifth wave, want them kept: %t", least, most, c.kept)
			}
		})
	}
}
