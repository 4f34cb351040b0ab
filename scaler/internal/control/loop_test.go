package control

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/policy"
)

func TestABurstIsAnsweredWithinATickAndTakenBackSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(9 * time.Second)
		w.signals = busy(36)
		w.pass(2 * time.Second)
		if len(w.scaled) != 1 || w.replicas.Spec < 4 || w.replicas.Spec > 7 {
			t.Fatalf("scaled %v, want at once to about what 3.6 erlangs need", w.scaled)
		}
		top := w.replicas.Spec
		w.signals = busy(0)
		w.pass(55 * time.Second)
		if len(w.scaled) != 1 {
			t.Fatalf("scaled %v within the stabilization window", w.scaled)
		}
		w.pass(2 * time.Minute)
		if len(w.scaled) != top || w.replicas.Spec != 1 {
			t.Fatalf("scaled %v, want a step at a time to 1", w.scaled)
		}
		w.wantMetric(t, 1, "scalings_total", "out")
		w.wantMetric(t, float64(top-1), "scalings_total", "in")
		w.wantMetric(t, 1, "desired_replicas")
		w.wantMetric(t, float64(top-1), "decisions_total", "scale_in")
		if w.worked["10.0.0.1"] != 2 {
			t.Errorf("which replica has work: %v, want what was measured", w.worked)
		}
	})
}

func TestTurnsKeepToTheirGrid(t *testing.T) {
	seconds := func(s ...float64) (times []time.Duration) {
		for _, x := range s {
			times = append(times, time.Duration(x*float64(time.Second)))
		}
		return times
	}
	for name, tc := range map[string]struct {
		takes    time.Duration
		want     []time.Duration
		overruns float64
	}{
		"a short turn": {300 * time.Millisecond, seconds(0, 2, 4, 6, 8), 0},
		"signals that come too late are done without":              {1900 * time.Millisecond, seconds(0, 2, 4, 6, 8), 0},
		"signals that never come leave time to read the target in": {time.Hour, seconds(0, 2, 4, 6, 8), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := begin(t, func(w *world) { w.readTakes = tc.takes })
				w.pass(9 * time.Second)
				if !slices.Equal(w.reads, tc.want) || w.overlapped {
					t.Errorf("read at %v (overlapped: %t), want %v", w.reads, w.overlapped, tc.want)
				}
				w.wantMetric(t, tc.overruns, "loop_overruns_total")
				if got, _ := w.metric(t, "headroom_scaler_desired_replicas"); got != 1 {
					t.Errorf("%g replicas desired, want the present count", got)
				}
			})
		})
	}
}

func TestATurnThatOverrunsIsCutOffAndShiftsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.settings.Policy.Min = 3; w.targetTakes = time.Hour })
		w.pass(9 * time.Second)
		if want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second, 8 * time.Second}; !slices.Equal(w.reads, want) || w.overlapped {
			t.Errorf("read at %v (overlapped: %t), want %v", w.reads, w.overlapped, want)
		}
		w.wantMetric(t, 4, "loop_overruns_total") // and the fifth is under way
		w.wantScaled(t)
		w.targetTakes = 0
		w.pass(3 * time.Second)
		w.wantScaled(t, "1→3")
		if last := w.reads[len(w.reads)-1]; last != 12*time.Second || !w.loop.Alive(time.Now()) {
			t.Errorf("the last turn after %s, want after 12 s", last)
		}
	})
}

func TestTheGrid(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for name, tc := range map[string]struct {
		taken    int64
		now      float64 // with a tick of 1 s
		due, end float64
	}{
		"a turn at its point is cut off at the next":           {0, 0, 1, 1},
		"a short turn is followed by the next point":           {1, 1.2, 2, 2},
		"one that was cut off is followed at once":             {1, 2.001, 2, 3},
		"one that is late by less than half a tick is made":    {1, 3.4, 3, 4},
		"one that is later is left out, and has a tick anyway": {1, 3.6, 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			g := grid{start: start, tick: time.Second, taken: tc.taken}
			if got := g.at(g.due(at(tc.now))); !got.Equal(at(tc.due)) {
				t.Errorf("due after %s, want %g s", got.Sub(start), tc.due)
			}
			if got := g.end(at(tc.now)); !got.Equal(at(tc.end)) {
				t.Errorf("cut off after %s, want %g s", got.Sub(start), tc.end)
			}
		})
	}
}

func TestOnlyTheLeaderWritesAndItsFollowerKnowsThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.leader.Store(false); w.replicas = Replicas{Spec: 3, Ready: 3} })
		w.pass(90 * time.Second)
		w.wantScaled(t)
		w.wantMetric(t, 0, "leader")
		if w.store.saves != 0 {
			t.Errorf("a follower has saved %d times", w.store.saves)
		}
		w.leader.Store(true)
		w.pass(8 * time.Second) // neither another minute nor the interval after what it was not to do
		w.wantScaled(t, "3→2")
		w.wantMetric(t, 1, "leader")
	})
}

func TestPrometheusGoneTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.replicas = Replicas{Spec: 4, Ready: 4} })
		w.pass(30 * time.Second)
		w.signals, w.signalsErr, w.ages = policy.Signals{}, errors.New("connection refused"), nil
		w.pass(10 * time.Minute)
		w.wantScaled(t)
		if w.logged("connection refused") != 1 || w.logged("level=WARN") != 1 {
			t.Fatalf("want one line about it:\n%s", w.log.String())
		}
		w.wantMetric(t, 0, "signal_up", "backlog")
		w.wantMetric(t, 1, "signal_state", "backlog", "missing")
		w.wantMetric(t, 0, "signal_state", "backlog", "ok")
		w.wantMetric(t, 300, "decisions_total", "hold_untrusted")
		w.wantMetric(t, 300, "errors_total", "prometheus")
		w.wantMetric(t, 1, "limited", "trust")
		if _, ok := w.metric(t, "headroom_scaler_signal_age_seconds", "backlog"); ok {
			t.Error("a signal that is missing has an age")
		}
		if !w.loop.Alive(time.Now()) {
			t.Error("not alive")
		}
		w.signals, w.signalsErr, w.ages = busy(60), nil, map[string]float64{"backlog": 0.25}
		w.pass(2 * time.Second)
		if len(w.scaled) != 1 || w.logged("reading signals works again") != 1 {
			t.Errorf("scaled %v, log:\n%s", w.scaled, w.log.String())
		}
		w.wantMetric(t, 1, "signal_up", "backlog")
		w.wantMetric(t, 0.25, "signal_age_seconds", "backlog")
		if _, ok := w.metric(t, "headroom_scaler_signal_age_seconds", "slots"); ok {
			t.Error("a signal of unknown age has one")
		}
	})
}

func TestKubernetesGoneIsSaidOnceAndSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.signals, w.targetErr = busy(36), errors.New("no route to host") })
		w.pass(time.Minute)
		if w.logged("no route to host") != 1 || w.loop.Ready() || !w.loop.Alive(time.Now()) {
			t.Fatalf("ready %t, alive %t, log:\n%s", w.loop.Ready(), w.loop.Alive(time.Now()), w.log.String())
		}
		if v, ok := w.metric(t, "headroom_scaler_desired_replicas"); ok {
			t.Errorf("%g replicas desired before anything was decided", v)
		}
		w.wantMetric(t, 31, "errors_total", "kubernetes")
		w.targetErr = nil
		w.pass(2 * time.Second)
		if len(w.scaled) != 1 || w.logged("reading the target works again") != 1 || !w.loop.Ready() {
			t.Errorf("scaled %v, log:\n%s", w.scaled, w.log.String())
		}
	})
}

func TestARefusedOrConflictingWriteIsTriedAgainWithTheNextTick(t *testing.T) {
	for name, refusal := range map[string]error{
		"changed meanwhile": fmt.Errorf("scaling: %w", ErrChanged),
		"forbidden":         errors.New("forbidden"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := begin(t, func(w *world) { w.settings.Policy.Min = 3; w.scaleErr = refusal })
				w.wantScaled(t)
				if w.logged(refusal.Error()) != 1 {
					t.Fatalf("log:\n%s", w.log.String())
				}
				w.wantMetric(t, 0, "scalings_total", "out")
				w.wantMetric(t, 1, "errors_total", "kubernetes")
				w.scaleErr = nil
				w.replicas.Spec = 2 // what somebody else did meanwhile
				w.pass(2 * time.Second)
				w.wantScaled(t, "2→3")
			})
		})
	}
}

func TestAWriteThatIsRefusedForGoodIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.settings.Policy.Min = 3; w.scaleErr = errors.New("forbidden") })
		w.pass(19 * time.Second)
		if w.logged("forbidden") != 1 || w.logged("works again") != 0 {
			t.Errorf("want it said once:\n%s", w.log.String())
		}
		w.wantMetric(t, 10, "errors_total", "kubernetes")
		w.scaleErr = nil
		w.pass(2 * time.Second)
		if w.logged("scaling the target works again") != 1 {
			t.Errorf("want its end said:\n%s", w.log.String())
		}
	})
}

func TestTheSameDecisionIsLoggedEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(119 * time.Second)
		if n := w.logged("msg=decision"); n != 4 {
			t.Errorf("%d lines in two minutes, want 4 (at 0, 30, 60 and 90 s)", n)
		}
		w.signals.Backlog = policy.Signal{}
		w.pass(2 * time.Second)
		if n := w.logged("reason=hold_untrusted"); n != 1 {
			t.Errorf("a new reason was logged %d times at once, want 1", n)
		}
		w.leader.Store(false)
		w.pass(2 * time.Second)
		if n := w.logged("leader=false"); n != 1 {
			t.Errorf("a lost lead was logged %d times at once, want 1", n)
		}
	})
}

func TestALoopThatHangsIsNotAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(2 * time.Second)
		w.end()
		w.pass(19 * time.Second)
		if w.get("/healthz").Code != http.StatusOK || w.get("/readyz").Code != http.StatusOK {
			t.Error("19 s after the last turn of a loop of 2 s: want still alive and ready")
		}
		w.pass(2 * time.Second)
		if w.get("/healthz").Code != http.StatusServiceUnavailable {
			t.Error("21 s after the last turn: want not alive")
		}
	})
}
