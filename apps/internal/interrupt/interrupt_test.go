package interrupt_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/apps/internal/interrupt"
)

func TestACallIsEnded(t *testing.T) {
	tests := []struct {
		name          string
		deadline      time.Duration // of the context; 0 for none
		leave         time.Duration // when the caller leaves; 0 for never
		limit         time.Duration
		call          time.Duration // how long the call would take
		stopped, late bool
		after         time.Duration
	}{
		{"one that is in time", time.Second, 0, time.Second, 300 * time.Millisecond, false, false, 300 * time.Millisecond},
		{"with its context's deadline", 123 * time.Millisecond, 0, time.Second, time.Minute, true, false, 124 * time.Millisecond},
		{"with its limit", time.Second, 0, 77 * time.Millisecond, time.Minute, true, true, 77 * time.Millisecond},
		{"soon after its caller leaves", 0, 45 * time.Millisecond, 0, time.Minute, true, false, 50 * time.Millisecond},
		{"never, without any end", 0, 0, 0, time.Minute, false, false, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopped := make(chan struct{})
				g := interrupt.New(func() { close(stopped) })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				if test.leave > 0 {
					time.AfterFunc(test.leave, cancel)
				}
				begin := time.Now()
				g.Begin(ctx, test.limit)
				select {
				case <-stopped:
				case <-time.After(test.call):
				}
				took := time.Since(begin)
				isStopped, isLate := g.End()
				if isStopped != test.stopped || isLate != test.late || took > test.after || took < test.after-2*time.Millisecond {
					t.Errorf("stopped %v, late %v after %v, want %v, %v after %v", isStopped, isLate, took, test.stopped, test.late, test.after)
				}
			})
		})
	}
}

// A call that has ended is left alone, whatever becomes of its context; the next
// one is watched again.
func TestAfterTheEndNothingIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stops atomic.Int64
		g := interrupt.New(func() { stops.Add(1) })
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			g.Begin(ctx, time.Second)
			time.Sleep(5 * time.Millisecond)
			if stopped, late := g.End(); stopped || late {
				t.Errorf("stopped %v, late %v", stopped, late)
			}
			time.Sleep(time.Second)
			cancel()
		}
		if n := stops.Load(); n != 0 {
			t.Errorf("stopped %d times", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		g.Begin(ctx, 0)
		time.Sleep(time.Second)
		if stopped, _ := g.End(); !stopped || stops.Load() != 1 {
			t.Errorf("stopped %v, %d times", stopped, stops.Load())
		}
	})
}

func TestAGuardTakesNoMemory(t *testing.T) {
	g := interrupt.New(func() {})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if n := testing.AllocsPerRun(100, func() {
		g.Begin(ctx, time.Hour)
		g.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
