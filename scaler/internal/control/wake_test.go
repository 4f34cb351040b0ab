package control

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func asleep(w *world) {
	w.settings.Policy.Min = 0
	w.settings.Policy.IdleAfter = time.Minute
	w.replicas = Replicas{}
}

func (w *world) wake(t *testing.T) {
	t.Helper()
	if code := w.request(http.MethodPost, "/wake", "").Code; code != http.StatusAccepted {
		t.Fatalf("POST /wake: %d, want 202", code)
	}
}

func TestAWakeMakesATurnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, asleep)
		w.pass(9 * time.Second)
		w.wantScaled(t)
		w.wake(t)
		w.pass(0)
		w.wantScaled(t, "0→1")
		w.wantMetric(t, 1, "decisions_total", "woken")
		w.wantMetric(t, 1, "wakes_total")
		w.pass(1 * time.Second)
		if last := w.reads[len(w.reads)-1]; last != 10*time.Second {
			t.Errorf("the next turn after %s, want when it was due, after 10 s", last)
		}
	})
}

func TestManyWakesShareTenTurnsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, asleep)
		w.scaleErr = errors.New("forbidden")
		w.pass(500 * time.Millisecond)
		before := len(w.reads)
		for range 1000 {
			w.wake(t)
			w.pass(time.Millisecond)
		}
		if turns := len(w.reads) - before; turns < 9 || turns > 11 {
			t.Errorf("%d turns for 1000 wakes in a second, want 10", turns)
		}
	})
}

func TestATurnThatIsDueIsAWakesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, asleep)
		w.scaleErr = errors.New("forbidden")
		w.pass(1950 * time.Millisecond)
		w.wake(t)
		w.pass(10 * time.Millisecond)
		w.wake(t) // too soon for a turn of its own
		w.pass(time.Second)
		want := []time.Duration{0, 1950 * time.Millisecond, 2 * time.Second}
		if !slices.Equal(w.reads, want) {
			t.Errorf("turns at %v, want %v", w.reads, want)
		}
	})
}

func TestAWakeOutlivesAFailureAndAChangeOfLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { asleep(w); w.leader.Store(false) })
		w.pass(time.Second)
		w.wake(t)
		w.pass(0)
		w.wantScaled(t)
		w.leader.Store(true)
		w.pass(2 * time.Second)
		w.wantScaled(t, "0→1")
	})
}

func TestAWakeIsNoReasonWhereReplicasAreReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(time.Second)
		w.wake(t)
		w.pass(time.Second)
		w.wantScaled(t)
		w.wantMetric(t, 0, "decisions_total", "woken")
		if last := w.recording(t, "/debug/decisions?limit=1").Decisions[0]; last.Snapshot.Woken {
			t.Error("the policy was told that no replica is there")
		}
	})
}
