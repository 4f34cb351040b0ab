// Package fleet keeps count of the model server replicas and of what each is
// working on, and lends out their places: to the most urgent request first.
package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
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
	bounds dispatch.Bounds
	draw   func(n int) int

	mu       sync.Mutex
	replicas []dispatch.Replica // ordered by URL
	service  dispatch.Estimate  // over all replicas
	reported []Endpoint
	told     bool // Set has been called
	inFlight int
	queue    []*ask        // of those who wait for a place, the most urgent first
	changed  chan struct{} // closed, and replaced, when places may have come free
	returns  *time.Timer   // fires when a replica that is left alone is not any more
}

// ask is a call of Acquire that waits.
type ask struct {
	request dispatch.Request
	exclude string
	place   *Place
	err     error
	done    chan struct{} // closed when place or err is set
}

// New is a fleet without replicas; each that it will have is sent as many
// requests at a time as bounds allow.
func New(bounds dispatch.Bounds) *Fleet {
	return &Fleet{bounds: bounds, draw: rand.IntN, changed: make(chan struct{})}
}

// Set replaces the replicas. One that is gone keeps its count until its
// requests have ended, and gets no more.
func (f *Fleet) Set(endpoints []Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.replicas
	// Who is ready when this dispatcher starts has been working for others. Who
	// comes after there was none has not.
	trusted := !f.told
	f.told = true
	f.reported = slices.Clone(endpoints)
	f.replicas = make([]dispatch.Replica, 0, len(endpoints))
	known := map[string]bool{}
	for _, e := range endpoints {
		if known[e.URL] {
			continue
		}
		known[e.URL] = true
		r := dispatch.Replica{URL: e.URL, State: e.State, Concurrency: dispatch.Eased()}
		if trusted && e.State == dispatch.Ready {
			r.Concurrency = dispatch.Trusted(f.bounds)
		}
		if i := f.index(old, e.URL); i >= 0 {
			r = old[i]
			r.State = e.State
			if old[i].State != dispatch.Ready && e.State == dispatch.Ready {
				// It says that it is well again.
				r.AvoidUntil, r.Failures, r.Concurrency = time.Time{}, 0, dispatch.Eased()
			}
		}
		f.replicas = append(f.replicas, r)
	}
	for _, o := range old {
		if !known[o.URL] && o.InFlight > 0 {
			o.State = dispatch.Terminating
			f.replicas = append(f.replicas, o)
		}
	}
	slices.SortFunc(f.replicas, func(a, b dispatch.Replica) int { return strings.Compare(a.URL, b.URL) })
	f.serve()
}

func (f *Fleet) index(replicas []dispatch.Replica, url string) int {
	return slices.IndexFunc(replicas, func(r dispatch.Replica) bool { return r.URL == url })
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

// Ready is the number of replicas that are reported as ready, left alone or not.
func (f *Fleet) Ready() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, e := range f.reported {
		if e.State == dispatch.Ready {
			n++
		}
	}
	return n
}

// InFlight is the number of requests that replicas are working on.
func (f *Fleet) InFlight() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inFlight
}

// Replicas are the replicas as they are now, those included that are gone and
// have requests yet.
func (f *Fleet) Replicas() []dispatch.Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.replicas)
}

// Service is how long replicas take for a request.
func (f *Fleet) Service() dispatch.Estimate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.service
}

// Rate is how many requests a second the replicas answer for as many dispatchers
// when they are never without; 0 where that isn't known.
func (f *Fleet) Rate(dispatchers int) float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return dispatch.Rate(f.replicas, f.service.Mean, dispatchers, time.Now())
}

// Usable is the number of replicas but the one at exclude that are ready.
func (f *Fleet) Usable(exclude string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return dispatch.Usable(f.replicas, exclude, time.Now())
}

// Free waits until replicas can take requests that nobody waits to place, and
// returns how many. The only error is ctx's.
func (f *Fleet) Free(ctx context.Context) (int, error) {
	for {
		f.mu.Lock()
		n := dispatch.Free(f.replicas, time.Now()) - len(f.queue)
		changed := f.changed
		f.mu.Unlock()
		if n > 0 {
			return n, ctx.Err()
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-changed:
		}
	}
}

// Place is the right to send one request to a replica. It must be released.
type Place struct {
	// URL is the replica's base URL.
	URL string

	fleet    *Fleet
	inFlight int // at the replica, this one included, when it was given
}

// TryAcquire gives a place at any replica but the one at exclude, which may be
// empty, where one is free that nobody waits for.
func (f *Fleet) TryAcquire(exclude string) (*Place, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) > 0 {
		return nil, false
	}
	return f.take(exclude, time.Now())
}

// Acquire waits for a place for request, at any replica but the one at exclude,
// which may be empty. The more urgent of those who wait gets the next place.
// With an exclude, the error is ErrNoOther when no other is ready; else it is
// ctx's.
func (f *Fleet) Acquire(ctx context.Context, request dispatch.Request, exclude string) (*Place, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a := &ask{request: request, exclude: exclude, done: make(chan struct{})}
	f.mu.Lock()
	// Behind those who are as urgent.
	i := len(f.queue)
	for i > 0 && dispatch.Urgency(request, f.queue[i-1].request) < 0 {
		i--
	}
	f.queue = slices.Insert(f.queue, i, a)
	f.serve()
	f.mu.Unlock()
	select {
	case <-a.done:
		return a.place, a.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.queue, a); i >= 0 {
		f.queue = slices.Delete(f.queue, i, i+1)
	} else if a.place != nil {
		f.giveBack(a.place)
	}
	// Whoever counted this caller in may go on.
	f.serve()
	return nil, ctx.Err()
}

// serve gives places to those who wait, and wakes who counts the free ones. The
// caller holds mu.
func (f *Fleet) serve() {
	now := time.Now()
	free := dispatch.Free(f.replicas, now)
	f.queue = slices.DeleteFunc(f.queue, func(a *ask) bool {
		var place *Place
		if free > 0 {
			place, _ = f.take(a.exclude, now)
		}
		switch {
		case place != nil:
			a.place = place
			free--
		case a.exclude != "" && dispatch.Usable(f.replicas, a.exclude, now) == 0:
			a.err = ErrNoOther
		default:
			return false
		}
		close(a.done)
		return true
	})
	if at, ok := dispatch.NextReturn(f.replicas, now); ok {
		if f.returns != nil {
			f.returns.Stop()
		}
		f.returns = time.AfterFunc(at.Sub(now), func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.serve()
		})
	}
	f.notify()
}

// notify wakes whoever counts free places. The caller holds mu.
func (f *Fleet) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// take gives a place away. The caller holds mu.
func (f *Fleet) take(exclude string, now time.Time) (*Place, bool) {
	i, ok := dispatch.Pick(f.replicas, f.service.Mean, exclude, f.draw, now)
	if !ok {
		return nil, false
	}
	f.replicas[i].InFlight++
	f.inFlight++
	return &Place{URL: f.replicas[i].URL, fleet: f, inFlight: f.replicas[i].InFlight}, true
}

// Release gives the place back after an attempt that took so long, or, with
// dispatch.Abandoned, after none. It returns how long the replica is left alone
// for it, mostly 0.
func (p *Place) Release(o dispatch.Outcome, took time.Duration) (avoided time.Duration) {
	f := p.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.index(f.replicas, p.URL); i >= 0 {
		avoided = f.learn(&f.replicas[i], p, o, took)
	}
	f.giveBack(p)
	f.serve()
	return avoided
}

// learn takes an attempt into account. The caller holds mu.
func (f *Fleet) learn(r *dispatch.Replica, p *Place, o dispatch.Outcome, took time.Duration) (avoided time.Duration) {
	now := time.Now()
	little := o == dispatch.Slow && dispatch.Little(took, f.service)
	switch o {
	case dispatch.Answered:
		r.Failures, r.AvoidUntil = 0, time.Time{}
		r.Concurrency = r.Concurrency.Answered(took, p.inFlight, f.bounds)
		r.Latency = r.Latency.Observe(took, now)
		f.service = f.service.Observe(took, now)
		return 0
	case dispatch.Rejected:
		r.Failures, r.AvoidUntil = 0, time.Time{}
		return 0
	case dispatch.Abandoned:
		return 0
	case dispatch.Busy:
		r.Concurrency = r.Concurrency.Refused()
	case dispatch.Slow:
		r.Failures++
		if !little && f.service.Mean > 0 {
			r.Latency = r.Latency.Observe(took, now)
		}
	case dispatch.Unreachable, dispatch.Broken, dispatch.Erred:
		r.Failures++
	}
	ready, avoid := 0, 0
	for _, other := range f.replicas {
		if other.State == dispatch.Ready {
			ready++
			if other.Failures > 0 && now.Before(other.AvoidUntil) {
				avoid++
			}
		}
	}
	if avoided = dispatch.Eject(*r, o, little || f.service.Mean == 0, ready, avoid); avoided == 0 {
		return 0
	}
	if o != dispatch.Busy {
		r.Concurrency = dispatch.Eased()
	}
	if until := now.Add(avoided); until.After(r.AvoidUntil) {
		r.AvoidUntil = until
	}
	return avoided
}

// giveBack ends a place. The caller holds mu.
func (f *Fleet) giveBack(p *Place) {
	f.inFlight--
	i := f.index(f.replicas, p.URL)
	if i < 0 {
		return
	}
	r := &f.replicas[i]
	r.InFlight--
	if r.InFlight == 0 && !slices.ContainsFunc(f.reported, func(e Endpoint) bool { return e.URL == p.URL }) {
		f.replicas = slices.Delete(f.replicas, i, i+1)
	}
}
