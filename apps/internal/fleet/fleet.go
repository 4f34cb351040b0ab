// Package fleet keeps count of the model server replicas and of what each is
// working on, and lends out their places.
package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"headroom.dev/apps/internal/dispatch"
)

// ErrNoOther is the error of waiting for another replica where there is none.
var ErrNoOther = errors.New("no other replica is ready")

// Endpoint is a replica as the cluster, or a probe, reports it.
type Endpoint struct {
	// URL is its base URL.
	URL string
	// State is its state.
	State dispatch.State
}

// Fleet is the set of replicas. Its methods may be called at the same time.
type Fleet struct {
	concurrency int

	mu       sync.Mutex
	replicas []dispatch.Replica // ordered by URL
	failures map[string]int     // failed attempts in a row, by URL
	reported []Endpoint
	waiting  int // callers of Acquire that wait
	inFlight int
	turn     int
	changed  chan struct{} // closed, and replaced, at every change
}

// New is a fleet without replicas; each that it will have works on at most
// concurrency requests at a time for this dispatcher.
func New(concurrency int) *Fleet {
	return &Fleet{concurrency: concurrency, failures: map[string]int{}, changed: make(chan struct{})}
}

// Set replaces the replicas. One that is gone keeps its count until its
// requests have ended, and gets no more.
func (f *Fleet) Set(endpoints []Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.replicas
	f.reported = slices.Clone(endpoints)
	f.replicas = make([]dispatch.Replica, 0, len(endpoints))
	known := map[string]bool{}
	for _, e := range endpoints {
		if known[e.URL] {
			continue
		}
		known[e.URL] = true
		r := dispatch.Replica{URL: e.URL, State: e.State}
		if i := slices.IndexFunc(old, func(o dispatch.Replica) bool { return o.URL == e.URL }); i >= 0 {
			r.InFlight, r.AvoidUntil = old[i].InFlight, old[i].AvoidUntil
			if old[i].State != dispatch.Ready && e.State == dispatch.Ready {
				// It says that it is well again.
				r.AvoidUntil = time.Time{}
				delete(f.failures, r.URL)
			}
		}
		f.replicas = append(f.replicas, r)
	}
	for _, o := range old {
		if known[o.URL] {
			continue
		}
		delete(f.failures, o.URL)
		if o.InFlight > 0 {
			o.State = dispatch.Terminating
			f.replicas = append(f.replicas, o)
		}
	}
	slices.SortFunc(f.replicas, func(a, b dispatch.Replica) int { return strings.Compare(a.URL, b.URL) })
	f.notify()
}

// notify wakes whoever waits. The caller holds mu.
func (f *Fleet) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Count is the number of reported replicas in each state.
func (f *Fleet) Count() map[dispatch.State]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := map[dispatch.State]int{}
	for _, e := range f.reported {
		count[e.State]++
	}
	return count
}

// InFlight is the number of requests that replicas are working on.
func (f *Fleet) InFlight() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inFlight
}

// Free waits until replicas can take requests that nobody waits to place, and
// returns how many. The only error is ctx's.
func (f *Fleet) Free(ctx context.Context) (int, error) {
	for {
		now := time.Now()
		f.mu.Lock()
		n := dispatch.Free(f.replicas, f.concurrency, now) - f.waiting
		changed, back := f.changed, f.nextReturn(now)
		f.mu.Unlock()
		if n > 0 {
			return n, ctx.Err()
		}
		if err := wait(ctx, changed, back); err != nil {
			return 0, err
		}
	}
}

// Usable is the number of replicas but the one at exclude that are ready.
func (f *Fleet) Usable(exclude string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return dispatch.Usable(f.replicas, exclude, time.Now())
}

// nextReturn is the time until an avoided replica may be used again, or
// negative. The caller holds mu.
func (f *Fleet) nextReturn(now time.Time) time.Duration {
	at, ok := dispatch.NextReturn(f.replicas, now)
	if !ok {
		return -1
	}
	return at.Sub(now)
}

func wait(ctx context.Context, changed <-chan struct{}, back time.Duration) error {
	var timer <-chan time.Time
	if back >= 0 {
		t := time.NewTimer(back)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer:
	}
	return nil
}

// Place is the right to send one request to a replica. It must be released.
type Place struct {
	// URL is the replica's base URL.
	URL string

	fleet *Fleet
}

// TryAcquire is Acquire without waiting.
func (f *Fleet) TryAcquire() (*Place, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.take("", time.Now())
}

// Acquire waits for a place at any replica but the one at exclude, which may
// be empty. With an exclude, the error is ErrNoOther when no other is ready;
// else it is ctx's.
func (f *Fleet) Acquire(ctx context.Context, exclude string) (*Place, error) {
	f.mu.Lock()
	f.waiting++
	defer func() {
		f.waiting--
		f.mu.Unlock()
	}()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		now := time.Now()
		if place, ok := f.take(exclude, now); ok {
			return place, nil
		}
		if exclude != "" && dispatch.Usable(f.replicas, exclude, now) == 0 {
			return nil, ErrNoOther
		}
		changed, back := f.changed, f.nextReturn(now)
		f.mu.Unlock()
		err := wait(ctx, changed, back)
		f.mu.Lock()
		if err != nil {
			// A reader that counted this caller in may go on.
			f.notify()
			return nil, err
		}
	}
}

// take gives a place away. The caller holds mu.
func (f *Fleet) take(exclude string, now time.Time) (*Place, bool) {
	i, ok := dispatch.Pick(f.replicas, f.concurrency, exclude, f.turn, now)
	if !ok {
		return nil, false
	}
	f.turn = i + 1
	f.replicas[i].InFlight++
	f.inFlight++
	return &Place{URL: f.replicas[i].URL, fleet: f}, true
}

// Use is what became of a place.
type Use int

const (
	// Unused places say nothing about their replica.
	Unused Use = iota
	// Answered is a replica that did what it could.
	Answered
	// Failed is a replica that could not be reached or would not take the
	// request: it is left alone for a while.
	Failed
)

// Release gives the place back. After Failed it returns how long the replica
// is left alone, else 0.
func (p *Place) Release(use Use) (avoided time.Duration) {
	f := p.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.notify()
	f.inFlight--
	i := slices.IndexFunc(f.replicas, func(r dispatch.Replica) bool { return r.URL == p.URL })
	if i < 0 {
		return 0
	}
	r := &f.replicas[i]
	r.InFlight--
	switch use {
	case Failed:
		f.failures[p.URL]++
		avoided = dispatch.Avoid(f.failures[p.URL])
		r.AvoidUntil = time.Now().Add(avoided)
	case Answered:
		delete(f.failures, p.URL)
		r.AvoidUntil = time.Time{}
	case Unused:
	}
	if r.InFlight == 0 && !slices.ContainsFunc(f.reported, func(e Endpoint) bool { return e.URL == p.URL }) {
		f.replicas = slices.Delete(f.replicas, i, i+1)
		delete(f.failures, p.URL)
	}
	return avoided
}
