package fleet

import (
	"context"
	"errors"
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

func acquire(t *testing.T, f *Fleet, exclude string) *Place {
	t.Helper()
	place, err := f.Acquire(t.Context(), exclude)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func TestPlacesGoToTheReplicaWithTheLeastInFlight(t *testing.T) {
	f := New(2)
	f.Set(ready("a", "b"))
	first, second := acquire(t, f, ""), acquire(t, f, "")
	if first.URL == second.URL {
		t.Errorf("both went to %s", first.URL)
	}
	acquire(t, f, "")
	acquire(t, f, "")
	if place, ok := f.TryAcquire(); ok {
		t.Errorf("a fifth of four places, at %s", place.URL)
	}
	if f.InFlight() != 4 {
		t.Errorf("in flight %d, want 4", f.InFlight())
	}
	second.Release(Answered)
	if place, ok := f.TryAcquire(); !ok || place.URL != second.URL {
		t.Errorf("the place that was given back was not given away")
	}
}

func TestAcquireWaitsForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(1)
		got := make(chan string, 3)
		for range 3 {
			go func() {
				place, err := f.Acquire(t.Context(), "")
				if err != nil {
					got <- err.Error()
					return
				}
				time.Sleep(time.Second)
				place.Release(Answered)
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
		f := New(1)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if _, err := f.Acquire(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took != 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestAnExcludedReplicaIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(1)
		f.Set(append(ready("a"), Endpoint{URL: "b", State: dispatch.Starting}))
		if _, err := f.Acquire(t.Context(), "a"); !errors.Is(err, ErrNoOther) {
			t.Errorf("error %v, want ErrNoOther", err)
		}
		f.Set(ready("a", "b"))
		b := acquire(t, f, "a")
		go func() {
			time.Sleep(time.Second)
			b.Release(Answered)
		}()
		if place := acquire(t, f, "a"); place.URL != "b" {
			t.Errorf("got %s, want busy b when it is free", place.URL)
		}
	})
}

func TestAFailedReplicaIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(1)
		f.Set(ready("a"))
		begin := time.Now()
		if avoided := acquire(t, f, "").Release(Failed); avoided != 250*time.Millisecond {
			t.Errorf("avoided for %v", avoided)
		}
		if f.Usable("") != 0 {
			t.Error("still usable")
		}
		again := acquire(t, f, "")
		if took := time.Since(begin); took != 250*time.Millisecond {
			t.Errorf("back after %v, want 250ms", took)
		}
		if avoided := again.Release(Failed); avoided != 500*time.Millisecond {
			t.Errorf("avoided for %v the second time", avoided)
		}
		n, err := f.Free(t.Context())
		if took := time.Since(begin); n != 1 || err != nil || took != 750*time.Millisecond {
			t.Errorf("free %d, %v after %v, want 1 after 750ms", n, err, took)
		}
		acquire(t, f, "").Release(Answered)
		if avoided := acquire(t, f, "").Release(Failed); avoided != 250*time.Millisecond {
			t.Errorf("avoided for %v after a success", avoided)
		}
		f.Set([]Endpoint{{URL: "a", State: dispatch.Starting}})
		f.Set(ready("a"))
		if _, ok := f.TryAcquire(); !ok {
			t.Error("a replica that became ready again is still avoided")
		}
	})
}

func TestFreeLeavesPlacesForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(3)
		f.Set(ready("a"))
		if n, _ := f.Free(t.Context()); n != 3 {
			t.Errorf("free %d, want 3", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan struct{})
		f.Set([]Endpoint{{URL: "a", State: dispatch.Starting}})
		go func() {
			_, _ = f.Acquire(ctx, "b")
			close(waited)
		}()
		<-waited // nobody to wait for but "b"
		go func() {
			_, _ = f.Acquire(ctx, "")
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
	f := New(1)
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
	if _, ok := f.TryAcquire(); ok {
		t.Error("a came back with its request in flight and got a second one")
	}
	places["a"].Release(Answered)
	places["b"].Release(Answered)
	if f.InFlight() != 0 {
		t.Errorf("in flight %d, want 0", f.InFlight())
	}
	if place, ok := f.TryAcquire(); !ok || place.URL != "a" {
		t.Error("a has no place")
	}
}
