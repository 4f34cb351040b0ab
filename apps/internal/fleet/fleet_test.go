package fleet

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/apps/internal/dispatch"
)

func ready(urls ...string) []Endpoint {
	var list []Endpoint
	for _, u := range urls {
		list = append(list, Endpoint{URL: u, State: dispatch.Ready})
	}
	return list
}

// fixed bounds: what a replica is sent at a time stays the same.
func fixed(n int) dispatch.Bounds { return dispatch.Bounds{Least: n, Most: n} }

func acquire(t *testing.T, f *Fleet, exclude string) *Place {
	t.Helper()
	place, err := f.Acquire(t.Context(), dispatch.Request{}, exclude)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func TestPlacesGoToTheReplicaWithTheLeastInFlight(t *testing.T) {
	f := New(fixed(2))
	f.Set(ready("a", "b"))
	first, second := acquire(t, f, ""), acquire(t, f, "")
	if first.URL == second.URL {
		t.Errorf("both went to %s", first.URL)
	}
	acquire(t, f, "")
	acquire(t, f, "")
	if place, ok := f.TryAcquire(""); ok {
		t.Errorf("a fifth of four places, at %s", place.URL)
	}
	if f.InFlight() != 4 {
		t.Errorf("in flight %d, want 4", f.InFlight())
	}
	second.Release(dispatch.Answered, time.Millisecond)
	if place, ok := f.TryAcquire(""); !ok || place.URL != second.URL {
		t.Errorf("the place that was given back was not given away")
	}
}

func TestAcquireWaitsForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(1))
		got := make(chan string, 3)
		for range 3 {
			go func() {
				place, err := f.Acquire(t.Context(), dispatch.Request{}, "")
				if err != nil {
					got <- err.Error()
					return
				}
				time.Sleep(time.Second)
				place.Release(dispatch.Answered, time.Millisecond)
				got <- place.URL
			}()
		}
		synctest.Wait()
		begin := time.Now()
		f.Set(ready("a"))
		for range 3 {
			if url := <-got; url != "a" {
				t.Errorf("got %s", url)
			}
		}
		// One place, a second each.
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
	})
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(1))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if _, err := f.Acquire(ctx, dispatch.Request{}, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took != 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestAnExcludedReplicaIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(1))
		f.Set(append(ready("a"), Endpoint{URL: "b", State: dispatch.Starting}))
		if _, err := f.Acquire(t.Context(), dispatch.Request{}, "a"); !errors.Is(err, ErrNoOther) {
			t.Errorf("error %v, want ErrNoOther", err)
		}
		f.Set(ready("a", "b"))
		b := acquire(t, f, "a")
		go func() {
			time.Sleep(time.Second)
			b.Release(dispatch.Answered, time.Millisecond)
		}()
		if place := acquire(t, f, "a"); place.URL != "b" {
			t.Errorf("got %s, want busy b when it is free", place.URL)
		}
	})
}

func TestAFailedReplicaIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(1))
		f.Set(ready("a"))
		begin := time.Now()
		if avoided := acquire(t, f, "").Release(dispatch.Broken, time.Millisecond); avoided != 250*time.Millisecond {
			t.Errorf("avoided for %v", avoided)
		}
		if f.Usable("") != 0 {
			t.Error("still usable")
		}
		again := acquire(t, f, "")
		if took := time.Since(begin); took != 250*time.Millisecond {
			t.Errorf("back after %v, want 250ms", took)
		}
		if avoided := again.Release(dispatch.Broken, time.Millisecond); avoided != 500*time.Millisecond {
			t.Errorf("avoided for %v the second time", avoided)
		}
		n, err := f.Free(t.Context())
		if took := time.Since(begin); n != 1 || err != nil || took != 750*time.Millisecond {
			t.Errorf("free %d, %v after %v, want 1 after 750ms", n, err, took)
		}
		acquire(t, f, "").Release(dispatch.Answered, time.Millisecond)
		if avoided := acquire(t, f, "").Release(dispatch.Broken, time.Millisecond); avoided != 250*time.Millisecond {
			t.Errorf("avoided for %v after a success", avoided)
		}
		f.Set([]Endpoint{{URL: "a", State: dispatch.Starting}})
		f.Set(ready("a"))
		if _, ok := f.TryAcquire(""); !ok {
			t.Error("a replica that became ready again is still avoided")
		}
	})
}

func TestFreeLeavesPlacesForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(3))
		f.Set(ready("a"))
		if n, _ := f.Free(t.Context()); n != 3 {
			t.Errorf("free %d, want 3", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan struct{})
		f.Set([]Endpoint{{URL: "a", State: dispatch.Starting}})
		go func() {
			_, _ = f.Acquire(ctx, dispatch.Request{}, "b")
			close(waited)
		}()
		<-waited // nobody to wait for but "b"
		go func() {
			_, _ = f.Acquire(ctx, dispatch.Request{}, "")
		}()
		synctest.Wait()
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if n, err := f.Free(short); err == nil {
			t.Errorf("free %d while nobody is ready", n)
		}
		cancel()
	})
}

func TestAReplicaThatIsGoneFinishesWhatItHas(t *testing.T) {
	f := New(fixed(1))
	f.Set(ready("a", "b"))
	places := map[string]*Place{}
	for range 2 {
		place := acquire(t, f, "")
		places[place.URL] = place
	}
	f.Set([]Endpoint{{URL: "b", State: dispatch.Terminating}})
	if count := f.Count(); count[dispatch.Ready] != 0 || count[dispatch.Terminating] != 1 {
		t.Errorf("count %v: one is terminating, one is gone", count)
	}
	if f.InFlight() != 2 {
		t.Errorf("in flight %d, want 2", f.InFlight())
	}
	f.Set(ready("a"))
	if _, ok := f.TryAcquire(""); ok {
		t.Error("a came back with its request in flight and got a second one")
	}
	places["a"].Release(dispatch.Answered, time.Millisecond)
	places["b"].Release(dispatch.Answered, time.Millisecond)
	if f.InFlight() != 0 {
		t.Errorf("in flight %d, want 0", f.InFlight())
	}
	if place, ok := f.TryAcquire(""); !ok || place.URL != "a" {
		t.Error("a has no place")
	}
}

func TestTheMostUrgentOfThoseWhoWaitGetsTheNextPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(1))
		f.Set(ready("a"))
		held := acquire(t, f, "")
		soon, later := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
		var order []string
		for _, r := range []dispatch.Request{
			{ID: "low", Priority: dispatch.Low, Deadline: soon},
			{ID: "later", Priority: dispatch.Normal, Deadline: later},
			{ID: "soon", Priority: dispatch.Normal, Deadline: soon},
			{ID: "soon too", Priority: dispatch.Normal, Deadline: soon},
			{ID: "high", Priority: dispatch.High, Deadline: later},
		} {
			go func() {
				place, err := f.Acquire(t.Context(), r, "")
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, r.ID)
				place.Release(dispatch.Answered, time.Millisecond)
			}()
			synctest.Wait()
		}
		if place, ok := f.TryAcquire(""); ok {
			t.Errorf("a place at %s without waiting", place.URL)
		}
		held.Release(dispatch.Answered, time.Millisecond)
		synctest.Wait()
		if got, want := strings.Join(order, ", "), "high, soon, soon too, later, low"; got != want {
			t.Errorf("places went to %s; want %s", got, want)
		}
	})
}

func TestAPlaceGivenToWhoIsGoneIsGivenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(1))
		f.Set(ready("a"))
		for range 100 {
			held := acquire(t, f, "")
			ctx, cancel := context.WithCancel(t.Context())
			next := make(chan struct{})
			go func() {
				defer close(next)
				if place, err := f.Acquire(ctx, dispatch.Request{}, ""); err == nil {
					place.Release(dispatch.Abandoned, 0)
				}
			}()
			synctest.Wait()
			// Both at once: who waits may be given the place and see its end first.
			go cancel()
			held.Release(dispatch.Answered, time.Millisecond)
			<-next
			if f.InFlight() != 0 {
				t.Fatalf("in flight %d, want 0", f.InFlight())
			}
		}
	})
}

func TestTheFirstReplicaAfterNoneIsEasedIn(t *testing.T) {
	f := New(fixed(3))
	f.Set(nil)
	f.Set(ready("a"))
	if limit := f.Replicas()[0].Concurrency.Limit; limit != 1 {
		t.Errorf("it is sent %d at a time, want 1", limit)
	}
}

func TestReadyCountsThoseThatAreReportedSo(t *testing.T) {
	f := New(fixed(1))
	if f.Ready() != 0 {
		t.Error("one is ready before any is reported")
	}
	f.Set([]Endpoint{{URL: "a", State: dispatch.Ready}, {URL: "b", State: dispatch.Starting}, {URL: "c", State: dispatch.Terminating}})
	if n := f.Ready(); n != 1 {
		t.Errorf("%d are ready, want 1", n)
	}
	acquire(t, f, "").Release(dispatch.Unreachable, 0)
	if n := f.Ready(); n != 1 {
		t.Errorf("%d are ready where one is left alone, want 1", n)
	}
	f.Set(nil)
	if n := f.Ready(); n != 0 {
		t.Errorf("%d are ready of none", n)
	}
}

func TestAReplicaThatComesLaterIsEasedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(3))
		f.Set(ready("a"))
		f.Set(ready("a", "b"))
		if n, _ := f.Free(t.Context()); n != 4 {
			t.Errorf("free %d, want 3 at a and 1 at b", n)
		}
		for range 3 {
			acquire(t, f, "b")
		}
		acquire(t, f, "a").Release(dispatch.Answered, time.Millisecond)
		first, second := acquire(t, f, "a"), acquire(t, f, "a")
		second.Release(dispatch.Answered, time.Millisecond)
		first.Release(dispatch.Answered, time.Millisecond)
		if n, _ := f.Free(t.Context()); n != 3 {
			t.Errorf("free %d, want 3 at b after it showed that it can do with two", n)
		}
	})
}

func TestABusyReplicaIsSparedForAMomentAndSentLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(2))
		f.Set(ready("a"))
		acquire(t, f, "").Release(dispatch.Answered, 40*time.Millisecond)
		if spared := acquire(t, f, "").Release(dispatch.Busy, time.Millisecond); spared != 40*time.Millisecond {
			t.Errorf("spared for %v, want the time of one request", spared)
		}
		begin := time.Now()
		n, err := f.Free(t.Context())
		if took := time.Since(begin); n != 1 || err != nil || took != 40*time.Millisecond {
			t.Errorf("free %d, %v after %v; want 1 after 40ms", n, err, took)
		}
		if f.Replicas()[0].Failures != 0 {
			t.Error("being busy counts as a failure")
		}
	})
}

func TestAReplicaThatHangsIsAnOutlier(t *testing.T) {
	for name, test := range map[string]struct {
		took  time.Duration
		slows int // after so many in a row it is left alone
	}{
		"after twice as long as replicas seldom take":          {250 * time.Millisecond, 2},
		"also where that is more than anybody is given, later": {15 * time.Millisecond, 4},
	} {
		t.Run(name, func(t *testing.T) {
			f := New(fixed(8))
			f.Set(ready("a", "b"))
			acquire(t, f, "b").Release(dispatch.Answered, 10*time.Millisecond) // seldom over 20 ms
			for i := 1; i <= test.slows; i++ {
				avoided := acquire(t, f, "b").Release(dispatch.Slow, test.took)
				if (avoided > 0) != (i == test.slows) {
					t.Errorf("avoided for %v after %d slow answers", avoided, i)
				}
			}
			for range 3 {
				if place := acquire(t, f, ""); place.URL != "b" {
					t.Errorf("a place at %s", place.URL)
				}
			}
		})
	}
}

func TestOneFailureCostsAReplicaNothing(t *testing.T) {
	f := New(fixed(4))
	f.Set(ready("a"))
	acquire(t, f, "").Release(dispatch.Answered, 10*time.Millisecond)
	for _, o := range []dispatch.Outcome{dispatch.Erred, dispatch.Slow, dispatch.Rejected} {
		acquire(t, f, "").Release(o, time.Second)
		if n, _ := f.Free(t.Context()); n != 4 {
			t.Errorf("free %d after one that %v", n, o)
		}
		acquire(t, f, "").Release(dispatch.Answered, 10*time.Millisecond)
	}
	if service := f.Service(); service.Mean != 10*time.Millisecond {
		t.Errorf("service %v: only answers tell how long the work takes", service)
	}
}

func TestBeingBusyEndsNoOtherPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(fixed(2))
		f.Set(ready("a"))
		first, second := acquire(t, f, ""), acquire(t, f, "")
		first.Release(dispatch.Broken, time.Millisecond)
		second.Release(dispatch.Busy, time.Millisecond)
		begin := time.Now()
		if _, err := f.Free(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 250*time.Millisecond {
			t.Errorf("back after %v, want 250ms", took)
		}
	})
}

func TestTheFleetTellsHowFastItIs(t *testing.T) {
	f := New(fixed(2))
	if rate := f.Rate(1); rate != 0 {
		t.Errorf("the rate of nobody is %v", rate)
	}
	f.Set(ready("a", "b"))
	for range 50 {
		acquire(t, f, "b").Release(dispatch.Answered, 100*time.Millisecond)
	}
	if service := f.Service(); service.Mean != 100*time.Millisecond {
		t.Errorf("service %v", service)
	}
	// Two at a time at each of the two, of which one is not known yet: 40 a second.
	if rate := f.Rate(1); math.Abs(rate-40) > .1 {
		t.Errorf("rate %v, want 40", rate)
	}
}
