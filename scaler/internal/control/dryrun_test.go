package control

import (
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/controls"
	"headroom.dev/scaler/internal/policy"
)

func TestADryRunTellsEachScalingOnceAndWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) {
			w.settings.Mode = DryRun
			w.settings.Policy.Min = 3
			w.settings.Policy.Bridge.Ceiling = 3
			w.signals = busy(30)
			w.replicas.Starting = []policy.Cohort{{Age: time.Second, Count: 2}}
			w.replicas.Annotations = map[string]string{controls.Floor: "many"}
		})
		w.pass(time.Minute)
		w.wantMetric(t, 1, "dry_run")
		out, _ := w.metric(t, "headroom_scaler_would_have_scaled_total", "out")
		if out < 1 || out > 4 || w.logged("would have scaled") != int(out) {
			t.Errorf("would have scaled out %g times, want once for each count that was recommended; log:\n%s", out, w.log.String())
		}
		if n := w.logged("msg=decision"); n > 6 {
			t.Errorf("%d lines about what isn't done, want one for each change and one in 30 s", n)
		}
		w.replicas.Spec = 9 // what another scaler does
		w.pass(2 * time.Minute)
		w.end()
		w.wantScaled(t)
		if len(w.resized) > 0 || len(w.announced) > 0 || w.store.saves > 0 {
			t.Errorf("resized %v, announced %q, saved %d times, want nothing written", w.resized, w.announced, w.store.saves)
		}
		w.wantMetric(t, 0, "foreign_changes_total", "out")
	})
}

func TestWhatADryRunWouldHaveDone(t *testing.T) {
	type step struct {
		spec, to int
		limiter  policy.Limiter
		counts   bool
	}
	for name, steps := range map[string][]step{
		"nothing":                                      {{3, 3, policy.None, false}},
		"the same again is one scaling":                {{3, 5, policy.None, true}, {3, 5, policy.None, false}},
		"another count is another":                     {{3, 5, policy.None, true}, {3, 6, policy.None, true}, {3, 2, policy.None, true}},
		"wanted, not wanted and wanted are two":        {{3, 5, policy.None, true}, {3, 3, policy.None, false}, {3, 5, policy.None, true}},
		"a step that waits for its interval is no end": {{3, 2, policy.ByRate, true}, {3, 3, policy.ByRate, false}, {3, 2, policy.ByRate, false}},
		"the same count of another spec is another":    {{3, 5, policy.None, true}, {4, 5, policy.None, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var w would
			for i, s := range steps {
				if got := w.scales(s.spec, policy.Decision{Replicas: s.to, Limiter: s.limiter}); got != s.counts {
					t.Errorf("step %d counts: %t, want %t", i, got, s.counts)
				}
			}
		})
	}
}

func TestFromADryRunToActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.settings.Mode = DryRun; w.settings.Policy.Min = 3 })
		w.pass(5 * time.Second)
		w.wantScaled(t)
		w.settings.Mode = Active
		w.loop.Configure(w.settings)
		w.pass(0) // at once
		w.wantScaled(t, "1→3")
		w.wantMetric(t, 0, "dry_run")
	})
}
