package control

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// short makes a world in which one replica is ready, more are ordered, and the
// load needs them all.
func short(t *testing.T, change func(*world)) *world {
	return begin(t, func(w *world) {
		w.settings.Policy.Bridge.Ceiling = 2
		w.settings.Policy.Max = 4
		w.signals = busy(30)
		w.replicas = Replicas{Spec: 4, Ready: 1, Starting: []policy.Cohort{{Age: time.Second, Count: 3}}}
		if change != nil {
			change(w)
		}
	})
}

func TestTheBridgeRaisesWhileReplicasStartAndLowersAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := short(t, nil)
		w.pass(10 * time.Second)
		if !slices.Equal(w.resized, []float64{2}) {
			t.Fatalf("resized %v, want once to the ceiling", w.resized)
		}
		w.wantMetric(t, 2, "cpu_factor")
		w.wantMetric(t, 1, "resizes", "raised")
		w.replicas.Ready, w.replicas.Starting = 4, nil
		w.pass(10 * time.Second)
		if !slices.Equal(w.resized, []float64{2, 1}) {
			t.Errorf("resized %v, want back to 1 once they are ready", w.resized)
		}
		w.wantMetric(t, 1, "cpu_factor")
		w.wantMetric(t, 0, "resizes", "raised")
	})
}

func TestASlowResizingDelaysNoTurnAndIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := short(t, func(w *world) { w.resizeTakes = 5 * time.Second; w.resizeErr = errors.New("conflict") })
		w.pass(9 * time.Second)
		if len(w.reads) != 5 || len(w.resized) != 2 {
			t.Errorf("%d turns and %d resizings in 9 s, want 5 and 2", len(w.reads), len(w.resized))
		}
		w.resizeErr = nil
		w.pass(15 * time.Second)
		if w.logged("resizing replicas fails") != 1 || w.logged("resizing replicas works again") != 1 {
			t.Errorf("log:\n%s", w.log.String())
		}
	})
}

func TestWhoBecomesReadyWhileOthersStartIsRaisedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := short(t, func(w *world) { w.signals = busy(60); w.settings.Policy.Max = 8; w.replicas.Spec = 8 })
		w.replicas.Ready, w.replicas.Starting = 2, []policy.Cohort{{Age: 2 * time.Second, Count: 6}}
		w.pass(5 * time.Second)
		if !slices.Equal(w.resized, []float64{2, 2}) {
			t.Errorf("resized %v, want again when there is one more", w.resized)
		}
	})
}

func TestALoweringThatFailedIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := short(t, nil)
		w.signals = busy(8)
		w.replicas.Ready, w.replicas.Starting = 4, nil
		w.resizeErr = errors.New("conflict")
		w.pass(5 * time.Second)
		w.resizeErr = nil
		w.pass(5 * time.Second)
		if n := len(w.resized); n < 3 || w.resized[0] != 2 || w.resized[n-1] != 1 || w.logged("resizing replicas works again") != 1 {
			t.Errorf("resized %v; log:\n%s", w.resized, w.log.String())
		}
		before := len(w.resized)
		w.pass(5 * time.Second)
		if len(w.resized) != before {
			t.Errorf("resized %v, want no more once it worked", w.resized)
		}
	})
}

func TestReplicasThatWereRaisedBeforeAreLowered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.replicas.Resizes.Raised = 1 }) // by a leader before; this one has no bridge
		w.pass(10 * time.Second)
		if !slices.Equal(w.resized, []float64{1}) {
			t.Errorf("resized %v, want to 1", w.resized)
		}
	})
}

func TestTheEndInterruptsAResizingAndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := short(t, func(w *world) { w.resizeTakes = time.Hour })
		w.pass(time.Second)
		ends := time.Now()
		w.end()
		if time.Since(ends) > 0 || len(w.resized) != 1 || w.logged("WARN") != 0 {
			t.Errorf("ended after %s with the resizings %v; log:\n%s", time.Since(ends), w.resized, w.log.String())
		}
	})
}

func TestThereIsNoBridge(t *testing.T) {
	for name, change := range map[string]func(*world){
		"where it is off":          func(w *world) { w.settings.Policy.Bridge.Ceiling = 0 },
		"where it can't be":        func(w *world) { w.replicas.Resizes.Unsupported = true },
		"of one that doesn't lead": func(w *world) { w.leader.Store(false) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := short(t, change)
				w.pass(10 * time.Second)
				if len(w.resized) != 0 {
					t.Errorf("resized %v, want not at all", w.resized)
				}
			})
		})
	}
}
