package control

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/controls"
)

func TestWhatPeopleOrderIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.replicas.Annotations = map[string]string{
			controls.Floor: "4", controls.FloorUntil: w.start.Add(5 * time.Second).UTC().Format(time.RFC3339Nano),
		}
		w.pass(2 * time.Second)
		w.wantScaled(t, "1→4")
		w.wantMetric(t, 1, "limited", "floor")
		if w.logged(`ordered="at least 4"`) != 1 {
			t.Errorf("log:\n%s", w.log.String())
		}
		w.replicas.Annotations[controls.Pause] = "in"
		w.pass(3 * time.Minute) // the floor has long ended
		w.wantScaled(t, "1→4")
		w.wantMetric(t, 1, "limited", "pause")
		delete(w.replicas.Annotations, controls.Pause)
		w.pass(2 * time.Minute)
		w.wantScaled(t, "1→4", "4→3", "3→2", "2→1")
		if len(w.announced) != 0 {
			t.Errorf("announced %q", w.announced)
		}
	})
}

func TestABadAnnotationIsToldOnceByTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) {
			w.leader.Store(false)
			w.replicas.Annotations = map[string]string{controls.Ceiling: "many"}
		})
		w.pass(20 * time.Second)
		w.wantMetric(t, 1, "bad_annotations")
		if w.logged("an annotation is ignored") != 1 || len(w.announced) != 0 {
			t.Errorf("announced by a follower: %q; log:\n%s", w.announced, w.log.String())
		}
		w.leader.Store(true)
		w.pass(20 * time.Second)
		const want = `BadAnnotation: annotation headroom.dev/ceiling: "many" is not allowed, must be a whole number from 0 to 10`
		if len(w.announced) != 1 || w.announced[0] != want {
			t.Errorf("announced %q, want %q", w.announced, want)
		}
		w.replicas.Annotations[controls.Ceiling] = "none"
		w.pass(2 * time.Second)
		if len(w.announced) != 2 || w.logged("an annotation is ignored") != 2 {
			t.Errorf("announced %q, want the new value too; log:\n%s", w.announced, w.log.String())
		}
		w.replicas.Annotations = nil
		w.pass(2 * time.Second)
		w.wantMetric(t, 0, "bad_annotations")
	})
}

func TestASchedulesFloorIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) {
			w.settings.Floor = func(now time.Time) (int, string) {
				if since := now.Sub(w.start); since > 10*time.Second && since < time.Minute {
					return 3, "lunch"
				}
				return 0, ""
			}
			w.replicas.Annotations = map[string]string{controls.Floor: "2"}
		})
		w.wantScaled(t, "1→2")
		w.pass(13 * time.Second)
		w.wantScaled(t, "1→2", "2→3") // the higher of both floors
		if w.logged(`ordered="at least 3 (by schedule lunch)"`) != 1 {
			t.Errorf("log:\n%s", w.log.String())
		}
		w.pass(2 * time.Minute)
		w.wantScaled(t, "1→2", "2→3", "3→2")
		if !strings.Contains(w.log.String(), `ordered="at least 2"`) {
			t.Errorf("log:\n%s", w.log.String())
		}
	})
}
