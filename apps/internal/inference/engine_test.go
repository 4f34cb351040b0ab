package inference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// job is a request whose steps take as long as it says.
type job struct {
	name                    string
	prepare, run            time.Duration
	prepareErr, finishErr   error
	panicsWhilePreparing    bool
	unlikeOthers, continues bool
	prepared, ran, finished time.Time
	waited                  time.Duration
}

func (j *job) Prepare(ctx context.Context, _ *preparer, lane *lane) error {
	if j.panicsWhilePreparing {
		panic("a bug")
	}
	lane.job = j
	if err := wait(ctx, j.prepare); err != nil {
		return err
	}
	j.prepared = time.Now()
	return j.prepareErr
}

func (j *job) Sample() bool { return !j.unlikeOthers }

func (j *job) Continues() bool { return j.continues }

func (j *job) Finish(lane *lane, waited time.Duration) error {
	j.waited = waited
	if lane.job != j {
		return fmt.Errorf("%s finds the lane of %s", j.name, lane.job.name)
	}
	j.finished = time.Now()
	return j.finishErr
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// part counts how often it was closed.
type part struct{ closed atomic.Int32 }

func (p *part) Close() { p.closed.Add(1) }

type preparer struct{ part }

type lane struct {
	part
	job *job
}

// runner takes as long as its longest job.
type runner struct {
	part
	batch   int
	mu      *sync.Mutex
	batches *[]string
	panics  bool
}

func (r *runner) Batch() int { return r.batch }

func (r *runner) Run(ctx context.Context, lanes []*lane) error {
	if r.panics {
		panic("a bug")
	}
	var names []string
	longest := time.Duration(0)
	for _, lane := range lanes {
		names = append(names, lane.job.name)
		longest = max(longest, lane.job.run)
	}
	r.mu.Lock()
	*r.batches = append(*r.batches, strings.Join(names, "+"))
	r.mu.Unlock()
	if err := wait(ctx, longest); err != nil {
		return err
	}
	for _, lane := range lanes {
		lane.job.ran = time.Now()
	}
	return nil
}

// observed keeps what an engine tells.
type observed struct {
	mu  sync.Mutex
	ran []int
}

func (o *observed) Ran(lanes int, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ran = append(o.ran, lanes)
}

// world is an engine with fakes, in virtual time.
type world struct {
	*Engine[*preparer, *lane]
	t        *testing.T
	begin    time.Time
	batch    int
	parts    []*part // all that it ever had
	batches  []string
	observed observed
	ended    sync.WaitGroup
	mu       sync.Mutex
	results  map[string]result
}

type result struct {
	err   error
	after time.Duration
}

// newWorld makes an engine with n slots, whose runners take up to batch lanes.
func newWorld(t *testing.T, n, batch, waiting int) *world {
	w := &world{t: t, begin: time.Now(), batch: batch, results: map[string]result{}}
	parts := Parts[*preparer, *lane]{Waiting: waiting, Observer: &w.observed}
	for range n {
		parts.Slots = append(parts.Slots, w.slot())
	}
	w.Engine = New(parts)
	return w
}

// slot makes a slot.
func (w *world) slot() Slot[*preparer, *lane] {
	p, r := &preparer{}, &runner{batch: w.batch, mu: &w.mu, batches: &w.batches}
	slot := Slot[*preparer, *lane]{Preparer: p, Runner: r}
	w.parts = append(w.parts, &p.part, &r.part)
	for range 1 + w.batch {
		l := &lane{}
		slot.Lanes = append(slot.Lanes, l)
		w.parts = append(w.parts, &l.part)
	}
	return slot
}

// send lets a job arrive; deadline is from now, 0 for none.
func (w *world) send(j *job, deadline time.Duration, priority Priority) {
	ctx, cancel := w.t.Context(), context.CancelFunc(func() {})
	if deadline > 0 {
		ctx, cancel = context.WithTimeout(ctx, deadline)
	}
	begin := time.Now()
	w.ended.Go(func() {
		defer cancel()
		err := w.Do(ctx, priority, j)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.results[j.name] = result{err, time.Since(begin)}
	})
	synctest.Wait()
}

// end waits for all jobs and checks that every part is free again, and then that
// each was closed once.
func (w *world) end() {
	w.t.Helper()
	w.ended.Wait()
	w.Engine.mu.Lock()
	slots := len(w.brought)
	if len(w.preparers.free) != slots || len(w.lanes.free) != slots*(1+w.batch) || w.inFlight != 0 || len(w.waiting) != 0 || len(w.laneless) != 0 || len(w.ready) != 0 {
		w.t.Errorf("afterwards %d preparers and %d lanes of %d slots are free, %d are in flight, %d wait, %d for a lane, %d are ready",
			len(w.preparers.free), len(w.lanes.free), slots, w.inFlight, len(w.waiting), len(w.laneless), len(w.ready))
	}
	w.Engine.mu.Unlock()
	w.Close()
	for i, p := range w.parts {
		if n := p.closed.Load(); n != 1 {
			w.t.Errorf("part %d was closed %d times", i, n)
		}
	}
}

// want checks how a job ended: with "" for no error, else with a part of it.
func (w *world) want(name, message string, after time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	got, ok := w.results[name]
	w.mu.Unlock()
	if !ok {
		w.t.Errorf("%s has not ended", name)
		return
	}
	text := ""
	if got.err != nil {
		text = got.err.Error()
	}
	if (message == "") != (text == "") || !strings.Contains(text, message) || got.after != after {
		w.t.Errorf("%s: %q after %v, want %q after %v", name, text, got.after, message, after)
	}
}

const step = 10 * time.Millisecond

func TestAJobGoesThroughItsSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 0)
		j := &job{name: "a", prepare: 2 * step, run: 3 * step}
		w.send(j, 0, Normal)
		w.end()
		w.want("a", "", 5*step)
		if j.prepared.Sub(w.begin) != 2*step || j.ran.Sub(w.begin) != 5*step || j.finished.Before(j.ran) {
			t.Errorf("prepared %v, ran %v, finished %v after the beginning", j.prepared.Sub(w.begin), j.ran.Sub(w.begin), j.finished.Sub(w.begin))
		}
		if j.waited != 0 || !slices.Equal(w.observed.ran, []int{1}) {
			t.Errorf("it waited for %v, and runs of %v were observed", j.waited, w.observed.ran)
		}
	})
}

// One is prepared while another runs: 3 jobs of 2 + 2 take 2 + 3·2.
func TestPreparingAndRunningOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		jobs := []*job{{name: "a"}, {name: "b"}, {name: "c"}}
		for _, j := range jobs {
			j.prepare, j.run = 2*step, 2*step
			w.send(j, 0, Normal)
		}
		w.end()
		w.want("a", "", 4*step)
		w.want("b", "", 6*step)
		w.want("c", "", 8*step)
		for i, want := range []time.Duration{0, 2 * step, 4 * step} {
			if jobs[i].waited != want {
				t.Errorf("%s waited for %v, want %v", jobs[i].name, jobs[i].waited, want)
			}
		}
	})
}

// While one picture takes very long to decode, others with a preparer of their
// own pass.
func TestASlowPictureHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, 9)
		w.send(&job{name: "slow", prepare: 100 * step, run: step}, 0, Normal)
		for i := range 5 {
			w.send(&job{name: fmt.Sprint(i), prepare: step, run: step}, 0, Normal)
		}
		w.end()
		w.want("4", "", 6*step)
		w.want("slow", "", 101*step)
	})
}

// The order is by priority, then deadline, then arrival; no deadline is last.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		w.send(&job{name: "first", prepare: step}, 0, Normal)
		for _, j := range []struct {
			name     string
			deadline time.Duration
			priority Priority
		}{
			{"none", 0, Normal}, {"late", 90 * step, Normal}, {"low", 20 * step, Low}, {"soon", 50 * step, Normal},
			{"also none", 0, Normal}, {"high", 0, High},
		} {
			w.send(&job{name: j.name, prepare: step}, j.deadline, j.priority)
		}
		w.end()
		want := []string{"first", "high", "soon", "late", "none", "also none", "low"}
		if !slices.Equal(w.batches, want) {
			t.Errorf("got %v, want %v", w.batches, want)
		}
	})
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 1)
		w.send(&job{name: "a", prepare: step, run: step}, 0, Normal)
		w.send(&job{name: "b", prepare: step, run: step}, 0, Normal)
		for priority, want := range map[Priority]bool{Low: true, Normal: true, High: false} {
			if refusal := w.Check(priority, time.Time{}); (refusal != nil) != want {
				t.Errorf("priority %d: checking says %v", priority, refusal)
			}
		}
		w.send(&job{name: "c", prepare: step, run: step}, 0, Normal)
		w.want("c", "1 requests wait already, the most that may", 0)
		w.send(&job{name: "high", prepare: step, run: step}, 0, High)
		w.want("b", "a request of a higher priority took the place", 0)
		w.send(&job{name: "high too", prepare: step, run: step}, 0, High)
		w.want("high too", "1 requests wait already", 0)
		w.end()
		w.want("high", "", 3*step)
		var refusal *Refusal
		if !errors.As(w.results["b"].err, &refusal) || refusal.Reason != Displaced {
			t.Errorf("got %+v", w.results["b"].err)
		}
	})
}

func TestAFullQueueTakesTheRestOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 1)
		for _, name := range []string{"a", "b"} {
			w.send(&job{name: name, prepare: step}, 0, Normal)
		}
		w.send(&job{name: "the rest", prepare: step, continues: true}, 0, Normal)
		w.send(&job{name: "too late", prepare: step, continues: true}, time.Nanosecond, Normal)
		w.send(&job{name: "another"}, 0, Normal)
		w.want("another", "1 requests wait already", 0)
		w.end()
		w.want("the rest", "", 3*step)
		w.want("too late", context.DeadlineExceeded.Error(), time.Nanosecond)
	})
}

// A job takes 2 steps, of which it is known after the first one.
func TestWhatCannotBeInTimeIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		send := func(name string, deadline time.Duration) {
			w.send(&job{name: name, prepare: step, run: step}, deadline, Normal)
		}
		send("teaches", 0)
		w.ended.Wait()
		send("needs 20ms", step)
		w.want("needs 20ms", "the deadline is in 10ms and the answer is expected to take 20ms", 0)
		send("in service", 0)
		// One is in service, so it is 1 step until one leaves, and 2 for itself.
		send("needs 30ms", 25*time.Millisecond)
		w.want("needs 30ms", "the deadline is in 25ms and the answer is expected to take 30ms", 0)
		send("has 30ms", 3*step)
		// Behind that one it would take 40 ms.
		send("needs 40ms", 35*time.Millisecond)
		w.want("needs 40ms", "expected to take 40ms", 0)
		// An earlier deadline goes first, so it is not behind.
		send("goes first", 3*step-1)
		w.want("goes first", "the deadline is in 30ms and the answer is expected to take 30ms", 0)
		w.end()
		w.want("has 30ms", "", 3*step)
		var refusal *Refusal
		if !errors.As(w.results["needs 20ms"].err, &refusal) || refusal.Reason != TooLate {
			t.Errorf("got %+v", w.results["needs 20ms"].err)
		}
	})
}

// After a stall the means are high. The next request must be admitted all the
// same, as nothing is under way.
func TestAStallDoesNotShutTheDoorForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		w.send(&job{name: "quick", prepare: step, run: step}, 0, Normal)
		w.ended.Wait()
		w.send(&job{name: "stalled", prepare: step, run: 1000 * step}, 0, Normal)
		w.ended.Wait()
		w.send(&job{name: "next", prepare: step, run: step}, 5*step, Normal)
		w.end()
		w.want("next", "", 2*step)
	})
}

// What is found too late between the steps goes no further.
func TestADeadlineThatCannotBeMetAnyMoreEndsTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		w.send(&job{name: "teaches", prepare: step, run: 4 * step}, 0, Normal)
		w.ended.Wait()
		w.send(&job{name: "slow to prepare", prepare: 8 * step, run: 4 * step}, 10*step, Normal)
		w.end()
		w.want("slow to prepare", "the deadline is in 20ms and at least 40ms are needed", 8*step)
		if len(w.batches) != 1 {
			t.Errorf("the network ran for %v", w.batches)
		}
	})
}

func TestAContextThatEndsFreesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		w.send(&job{name: "runs", prepare: step, run: 100 * step}, 5*step, Normal)
		w.send(&job{name: "is ready", prepare: step, run: step}, 6*step, Normal)
		w.send(&job{name: "has no lane", prepare: step, run: step}, 4*step, Normal)
		w.send(&job{name: "waits", prepare: step, run: step}, 3*step, Low)
		w.end()
		late := context.DeadlineExceeded.Error()
		w.want("runs", late, 5*step)
		w.want("is ready", "", 6*step)
		w.want("has no lane", late, 4*step)
		w.want("waits", late, 3*step)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Do(ctx, Normal, &job{name: "gone"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// Requests that give up leave nothing behind that a later one could get stuck on:
// 2 preparers and 4 lanes, of which the only busy runner frees none, see many
// come and go.
func TestManyThatGiveUpHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, 9)
		w.send(&job{name: "blocks", run: 100 * step}, 0, Normal)
		for i := range 10 {
			name := fmt.Sprint(i)
			w.send(&job{name: name, run: step}, 2*step, Normal)
			time.Sleep(3 * step)
			synctest.Wait()
			w.want(name, context.DeadlineExceeded.Error(), 2*step)
		}
		w.end()
		w.want("blocks", "", 100*step)
	})
}

// What is no sample leaves the estimate alone.
func TestOnlySamplesTeach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 9)
		w.send(&job{name: "picture", prepare: 4 * step, run: step}, 0, Normal)
		w.ended.Wait()
		w.send(&job{name: "tensor", run: step, unlikeOthers: true}, 0, Normal)
		w.ended.Wait()
		w.send(&job{name: "picture too", prepare: 4 * step, run: step}, 3*step, Normal)
		w.want("picture too", "the answer is expected to take 50ms", 0)
		w.end()
	})
}

func TestErrorsAndPanicsFreeEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 0)
		w.send(&job{name: "no picture", prepareErr: errors.New("no picture")}, 0, Normal)
		w.ended.Wait()
		w.send(&job{name: "no answer", finishErr: errors.New("no answer")}, 0, Normal)
		w.ended.Wait()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = w.Do(t.Context(), Normal, &job{name: "panics", panicsWhilePreparing: true})
		}()
		w.end()
		w.want("no picture", "no picture", 0)
		w.want("no answer", "no answer", 0)
	})
}

func TestARunnerThatPanicsFailsItsJobOnly(t *testing.T) {
	var batches []string
	e := New(Parts[*preparer, *lane]{
		Observer: &observed{}, Slots: []Slot[*preparer, *lane]{{
			Preparer: &preparer{}, Lanes: []*lane{{}}, Runner: &runner{batch: 1, mu: &sync.Mutex{}, batches: &batches, panics: true},
		}},
	})
	defer e.Close()
	for range 2 {
		err := e.Do(t.Context(), Normal, &job{name: "a"})
		if err == nil || !strings.HasPrefix(err.Error(), "running the model panicked: a bug") {
			t.Errorf("got %v", err)
		}
	}
}

// With 1 runner of up to 4 lanes: a runs alone, as nothing else is ready; what
// became ready meanwhile runs together.
func TestABatchIsWhatIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4, 9)
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			w.send(&job{name: name, prepare: step, run: 10 * step}, 0, Normal)
		}
		w.end()
		// Of 5 lanes a has one until 11, b to e are ready by 5; f gets a's.
		if want := []string{"a", "b+c+d+e", "f"}; !slices.Equal(w.batches, want) {
			t.Errorf("got %v, want %v", w.batches, want)
		}
		w.want("e", "", 21*step)
		if !slices.Equal(w.observed.ran, []int{1, 4, 1}) {
			t.Errorf("observed runs of %v", w.observed.ran)
		}
	})
}

// A picture takes 10 steps of a run; the first that is ready after a has 25
// left, so that it takes one more with it, not three.
func TestABatchLeavesTheFirstEnoughTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4, 9)
		w.send(&job{name: "a", prepare: step, run: 10 * step}, 0, Normal)
		w.send(&job{name: "b", prepare: step, run: 10 * step}, 36*step, Normal)
		for _, name := range []string{"c", "d", "e"} {
			w.send(&job{name: name, prepare: step, run: 10 * step}, 0, Normal)
		}
		w.end()
		if want := []string{"a", "b+c", "d+e"}; !slices.Equal(w.batches, want) {
			t.Errorf("got %v, want %v", w.batches, want)
		}
	})
}

// A batch goes on while anybody waits for it, and ends when nobody does.
func TestABatchEndsWithItsLastContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4, 9)
		w.send(&job{name: "a", prepare: step, run: 4 * step}, 0, Normal)
		w.send(&job{name: "b", prepare: step, run: 100 * step}, 30*step, Normal)
		w.send(&job{name: "c", prepare: step, run: 100 * step}, 40*step, Normal)
		w.end()
		if want := []string{"a", "b+c"}; !slices.Equal(w.batches, want) {
			t.Errorf("got %v, want %v", w.batches, want)
		}
		w.want("b", context.DeadlineExceeded.Error(), 40*step)
		w.want("c", context.DeadlineExceeded.Error(), 40*step)
	})
}

// Many jobs of all kinds at the same time, in real time: nothing is lost,
// nothing is mixed up. The race detector watches.
func TestManyAtTheSameTime(t *testing.T) {
	w := newWorld(t, 3, 2, 5)
	var group sync.WaitGroup
	for i := range 400 {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*time.Millisecond+100*time.Microsecond)
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
	}
	group.Wait()
	w.end()
}

func TestParsePriority(t *testing.T) {
	for text, want := range map[string]Priority{"": Normal, "low": Low, "Normal": Normal, "HIGH": High} {
		if got, err := ParsePriority(text); got != want || err != nil {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	if _, err := ParsePriority("urgent"); err == nil || err.Error() != `"urgent" is not allowed; allowed: low, normal, high` {
		t.Errorf("got %v", err)
	}
}

func TestBestBatch(t *testing.T) {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	tests := []struct {
		name  string
		costs []BatchCost
		want  int
	}{
		{"nothing measured", nil, 1},
		{"ResNet-18, where a picture costs the same in any batch", []BatchCost{{1, ms(20.7)}, {4, ms(4 * 20.8)}, {8, ms(8 * 19.4)}}, 1},
		{"MobileNetV2, where a batch costs more", []BatchCost{{1, ms(5)}, {4, ms(4 * 5.2)}, {8, ms(8 * 6.2)}}, 1},
		{"a gain of a fifth", []BatchCost{{1, ms(10)}, {2, ms(16.6)}, {4, ms(40)}}, 2},
		{"a gain that grows", []BatchCost{{1, ms(10)}, {2, ms(17)}, {4, ms(28)}, {8, ms(48)}}, 8},
		{"a gain that no longer grows", []BatchCost{{1, ms(10)}, {2, ms(17)}, {4, ms(28)}, {8, ms(56)}}, 4},
		{"a gain below a tenth", []BatchCost{{1, ms(10)}, {2, ms(18.5)}}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := BestBatch(test.costs); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// A job that meets nobody takes no memory of the engine's.
func BenchmarkDo(b *testing.B) {
	e := New(Parts[*preparer, *lane]{
		Slots: []Slot[*preparer, *lane]{{Preparer: &preparer{}, Lanes: []*lane{{}}, Runner: nothing{}}}, Observer: nothing{},
	})
	defer e.Close()
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Do(ctx, Normal, nothing{}); err != nil {
			b.Fatal(err)
		}
	}
}

// nothing is a job, a runner and an observer that do nothing.
type nothing struct{}

func (nothing) Prepare(context.Context, *preparer, *lane) error { return nil }
func (nothing) Sample() bool                                    { return true }
func (nothing) Continues() bool                                 { return false }
func (nothing) Finish(*lane, time.Duration) error               { return nil }
func (nothing) Close()                                          {}
func (nothing) Batch() int                                      { return 1 }
func (nothing) Run(context.Context, []*lane) error              { return nil }
func (nothing) Ran(int, time.Duration)                          {}
