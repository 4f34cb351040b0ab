package control

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSomebodyElsesChangeIsSeenReportedAndReconciled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.settings.Policy.Min = 3 })
		w.wantScaled(t, "1→3")
		w.pass(20 * time.Second)
		if len(w.announced) != 0 {
			t.Fatalf("its own change was reported: %q", w.announced)
		}

		// More than the model wants stays for the stabilization window.
		w.replicas.Spec, w.replicas.Ready = 5, 5
		w.pass(2 * time.Second)
		w.wantMetric(t, 1, "foreign_changes_total", "out")
		if len(w.announced) != 1 || !strings.HasPrefix(w.announced[0], "ScaleChanged: somebody else changed the scale from 3 to 5; it stays so for now: ") {
			t.Errorf("announced %q", w.announced)
		}
		w.wantScaled(t, "1→3")
		w.pass(2 * time.Minute)
		w.wantScaled(t, "1→3", "5→4", "4→3")

		// Fewer is raised again at once.
		w.replicas.Spec, w.replicas.Ready = 2, 2
		w.pass(2 * time.Second)
		w.wantScaled(t, "1→3", "5→4", "4→3", "2→3")
		w.wantMetric(t, 1, "foreign_changes_total", "in")
		if len(w.announced) != 2 || !strings.Contains(w.announced[1], "from 3 to 2; it is changed to 3: ") {
			t.Errorf("announced %q", w.announced)
		}
		if w.logged("somebody else changed the scale") != 2 {
			t.Errorf("log:\n%s", w.log.String())
		}
	})
}

func TestAFollowerCallsNoChangeForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.leader.Store(false) })
		w.replicas.Spec = 4
		w.pass(4 * time.Second)
		w.leader.Store(true) // what happened before, the leader before may have done
		w.pass(4 * time.Second)
		w.leader.Store(false)
		w.pass(4 * time.Second)
		w.replicas.Spec = 5
		w.pass(4 * time.Second)
		w.leader.Store(true)
		w.pass(4 * time.Second)
		w.wantMetric(t, 0, "foreign_changes_total", "out")
		if len(w.announced) != 0 {
			t.Errorf("announced %q", w.announced)
		}
	})
}

func TestAWriteWhoseAnswerWasLostIsNotForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.settings.Policy.Min = 3; w.lostErr = errors.New("connection reset") })
		w.wantScaled(t, "1→3")
		w.pass(10 * time.Second)
		w.wantScaled(t, "1→3")
		w.wantMetric(t, 0, "foreign_changes_total", "out")
	})
}
