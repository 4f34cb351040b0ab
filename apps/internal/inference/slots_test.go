package inference

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// names are those of n jobs.
func names(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// wantEnds checks that all jobs were answered, and after how many steps: of those
// that come to the same step together either may go first.
func (w *world) wantEnds(steps ...int) {
	w.t.Helper()
	var got []int
	for name, r := range w.results {
		if r.err != nil {
			w.t.Errorf("%s: %v", name, r.err)
		}
		got = append(got, int(r.after/step))
	}
	slices.Sort(got)
	if !slices.Equal(got, steps) {
		w.t.Errorf("answered after %v steps, want %v", got, steps)
	}
}

func TestGrowingLetsWhatWaitsBeginAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		for _, name := range names(4) {
			w.send(&job{name: name, prepare: 10 * step, run: 10 * step}, 0, Normal)
		}
		time.Sleep(5 * step)
		w.Grow(w.slot())
		w.end()
		// At 5 steps the second is prepared too: both slots have two jobs each.
		w.want("0", "", 20*step)
		w.want("1", "", 25*step)
		w.want("2", "", 30*step)
		w.want("3", "", 35*step)
		if n := w.Slots(); n != 2 {
			t.Errorf("%d slots, want 2", n)
		}
	})
}

// A runner alone may be what is missing: three are prepared, one runs.
func TestGrowingLetsWhatIsReadyRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		for _, name := range names(2) {
			w.send(&job{name: name, run: 10 * step}, 0, Normal)
		}
		time.Sleep(5 * step)
		w.Grow(w.slot())
		w.end()
		w.want("1", "", 15*step)
	})
}

func TestShrinkingCutsNothingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 9)
		for _, name := range names(6) {
			w.send(&job{name: name, prepare: 10 * step, run: 10 * step}, 0, Normal)
		}
		time.Sleep(15 * step) // two run, two are prepared, two wait
		w.Shrink()
		if n := w.Slots(); n != 1 {
			t.Errorf("%d slots, want 1", n)
		}
		w.end()
		w.wantEnds(20, 20, 30, 40, 50, 60) // from then on one at a time runs
	})
}

func TestWhatIsIdleIsFreedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 9)
		synctest.Wait()
		w.Shrink()
		synctest.Wait()
		closed := 0
		for _, p := range w.parts {
			closed += int(p.closed.Load())
		}
		if closed != 4 {
			t.Errorf("%d parts were closed, want a preparer, a runner and 2 lanes", closed)
		}
		w.send(&job{name: "next", prepare: step, run: step}, 0, Normal)
		w.end()
		w.want("next", "", 2*step)
	})
}

func TestTheOnlySlotStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 0)
		w.Shrink()
		if n := w.Slots(); n != 1 {
			t.Errorf("%d slots, want 1", n)
		}
		w.send(&job{name: "a", prepare: step, run: step}, 0, Normal)
		w.end()
		w.want("a", "", 2*step)
	})
}

// Grown again before the parts of the slot that was taken away have come back,
// the engine goes on with these.
func TestShrinkingAndGrowingWhileAllIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 9)
		for _, name := range names(8) {
			w.send(&job{name: name, prepare: 10 * step, run: 10 * step}, 0, Normal)
		}
		for range 3 {
			time.Sleep(3 * step)
			w.Shrink()
			synctest.Wait()
			w.Grow(w.slot())
		}
		w.end()
		w.wantEnds(20, 20, 30, 30, 40, 40, 50, 50)
	})
}

func TestABatchIsAsLargeAfterGrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4, 9)
		w.send(&job{name: "a", run: 10 * step}, 0, Normal)
		for i, name := range names(4) {
			w.send(&job{name: name, prepare: time.Duration(i+1) * step, run: 10 * step}, 0, Normal)
		}
		w.Grow(w.slot())
		w.send(&job{name: "b", prepare: 2 * step, run: step}, 0, Normal)
		w.end()
		// The new runner takes the first that is ready alone, as nothing else is; what
		// came meanwhile goes together.
		if want := []string{"a", "0", "1+2+3+b"}; !slices.Equal(w.batches, want) {
			t.Errorf("got %v, want %v", w.batches, want)
		}
	})
}

// With two slots the answer is predicted to take half as long to wait for.
func TestWhatIsRefusedGoesByTheSlotsThatThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		w.send(&job{name: "teaches", run: 10 * step}, 0, Normal)
		w.ended.Wait()
		for _, name := range names(2) {
			w.send(&job{name: name, run: 10 * step}, 0, Normal)
		}
		within := func(d time.Duration) bool { return w.Check(Normal, time.Now().Add(d)) == nil }
		if within(20*step-1) || !within(20*step) {
			t.Error("with one slot, not: its own run and the one before it")
		}
		w.Grow(w.slot())
		if within(15*step-1) || !within(15*step) {
			t.Error("with two slots, not: its own run and half of that")
		}
		w.Shrink()
		if within(20*step-1) || !within(20*step) {
			t.Error("with one slot again, not as before")
		}
		w.end()
	})
}

func TestThoseThatWaitStayWhenFewerMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 2)
		for _, name := range names(3) {
			w.send(&job{name: name, prepare: 10 * step}, 0, Normal)
		}
		w.SetWaiting(1)
		w.send(&job{name: "one more"}, 0, Normal)
		w.want("one more", "1 requests wait already, the most that may", 0)
		w.SetWaiting(3)
		w.send(&job{name: "another", prepare: step}, 0, Normal)
		w.end()
		w.want("2", "", 30*step)
		w.want("another", "", 31*step)
	})
}

// Who gives up waiting for a lane takes none with him, given one or not.
func TestGivingUpWithoutALaneWhileSlotsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		for _, name := range names(2) { // both lanes
			w.send(&job{name: name, run: 10 * step}, 0, Normal)
		}
		w.send(&job{name: "gives up", run: step}, 5*step, Normal)
		time.Sleep(6 * step)
		synctest.Wait()
		w.want("gives up", context.DeadlineExceeded.Error(), 5*step)
		w.send(&job{name: "has time", run: step}, 0, Normal)
		w.Grow(w.slot())
		w.end()
		w.want("has time", "", 5*step)
	})
}

// A lane that is given in the very moment in which who waits for it gives up is
// not lost.
func TestALaneThatComesAsItsWaiterGivesUp(t *testing.T) {
	w := newWorld(t, 1, 0, 0) // one lane
	for range 100 {
		free, _ := w.lanes.take()
		ctx, giveUp := context.WithCancel(t.Context())
		f := w.flights.Get().(*flight[*preparer, *lane])
		f.ctx = ctx
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if lane, err := w.takeLane(f); err == nil {
				w.giveLane(lane)
			}
		}()
		waits := func() bool {
			w.Engine.mu.Lock()
			defer w.Engine.mu.Unlock()
			return len(w.laneless) == 1
		}
		for !waits() {
			runtime.Gosched()
		}
		w.Engine.mu.Lock()
		giveUp()
		for range 100 { // it sees that, and waits for mu
			runtime.Gosched()
		}
		w.offerLane(free)
		w.Engine.mu.Unlock()
		<-ended
	}
	w.end()
}

// Jobs of all kinds while slots come and go, in real time: nothing is lost,
// nothing is mixed up. The race detector watches.
func TestManyWhileSlotsChange(t *testing.T) {
	w := newWorld(t, 1, 2, 50)
	var jobs sync.WaitGroup
	for i := range 400 {
		jobs.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*time.Millisecond+time.Millisecond)
			defer cancel()
			j := &job{name: fmt.Sprint(i), prepare: time.Duration(i%5) * 100 * time.Microsecond, run: time.Duration(i%3) * 100 * time.Microsecond}
			err := w.Do(ctx, Priority(i%3-1), j)
			var refusal *Refusal
			if err != nil && !errors.As(err, &refusal) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d: %v", i, err)
			}
			if (err == nil) == j.finished.IsZero() {
				t.Errorf("%d: %v, finished %v", i, err, j.finished)
			}
		})
		switch i % 4 {
		case 0, 1:
			w.Grow(w.slot())
		case 3:
			w.Shrink()
		}
	}
	jobs.Wait()
	for w.Slots() > 3 {
		w.Shrink()
	}
	w.end()
}
