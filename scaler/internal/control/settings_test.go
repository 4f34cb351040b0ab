package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// other is another source of signals, which tells of a busy service.
type other struct{}

func (other) Read(context.Context) (Measured, error) { return Measured{Signals: busy(36)}, nil }

func TestOtherSettingsHoldAtOnceAndTheStateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.replicas = Replicas{Spec: 3, Ready: 3} })
		w.pass(31 * time.Second)
		since := w.loop.state.Since
		w.settings.Policy.ScaleIn.Stabilization = 10 * time.Second
		w.settings.Policy.Tick = 4 * time.Second
		w.loop.Configure(w.settings)
		w.pass(0)
		w.wantScaled(t, "3→2")
		w.pass(8 * time.Second)
		if got := w.reads[len(w.reads)-2:]; got[0] != 35*time.Second || got[1] != 39*time.Second || !w.loop.state.Since.Equal(since) {
			t.Errorf("read at %v, watched since %s, want at 35 and 39 s, since %s", got, w.loop.state.Since, since)
		}
		w.settings.Signals = other{}
		w.loop.Configure(w.settings)
		w.pass(0)
		if len(w.scaled) != 2 || w.replicas.Spec < 3 {
			t.Errorf("scaled %v, want by what the other source tells", w.scaled)
		}
	})
}
