package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"sync"
	"time"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchmetrics"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// waiter is a caller that holds a connection open.
type waiter struct {
	// ctx ends when the caller does not wait any more.
	ctx    context.Context
	leave  context.CancelFunc
	result chan ending

	// counted says that its entry counts as queued, taken that it was taken from
	// the queue: by this dispatcher it may be before Redis has said that it is
	// there. The relay's mu guards both.
	counted, taken bool

	mu    sync.Mutex
	place redisqueue.Place
	left  bool
}

// deliver gives the caller a result; the first one counts.
func (w *waiter) deliver(e ending) {
	select {
	case w.result <- e:
	default:
	}
}

func (r *Relay) waiter(ticket string) *waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiters[ticket]
}

// Visit is a request's right to be queued. Leave ends it.
type Visit struct {
	relay *Relay
	// local says that there is no queue to reach: the request waits here for a
	// replica.
	local bool
	leave func()
}

// Check says what Enter would decide now.
func (r *Relay) Check(mode dispatch.Mode, priority dispatch.Priority, deadline time.Time) dispatch.Admission {
	r.mu.Lock()
	defer r.mu.Unlock()
	admission, _ := r.admit(mode, priority, deadline)
	return admission
}

// Enter decides whether a request is let in. The visit is nil where it is not.
// While the queue is out of reach a caller that waits is let in all the same, and
// waits in this dispatcher's memory: its connection would not outlive it either.
func (r *Relay) Enter(mode dispatch.Mode, priority dispatch.Priority, deadline time.Time) (*Visit, dispatch.Admission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	admission, local := r.admit(mode, priority, deadline)
	if admission != dispatch.Admitted {
		return nil, admission
	}
	r.budget.Earn()
	r.load.Arriving[priority]++
	r.holding()
	return &Visit{relay: r, local: local, leave: sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.load.Arriving[priority]--
	})}, admission
}

// admit decides; local says that there is no queue to reach. The caller holds mu.
func (r *Relay) admit(mode dispatch.Mode, priority dispatch.Priority, deadline time.Time) (admission dispatch.Admission, local bool) {
	now := time.Now()
	load := r.load
	for p, n := range r.waiting {
		load.Queued[p] += n
	}
	load.Service, load.Rate = r.fleet.Service(), r.fleet.Rate(r.seen.Dispatchers)
	if r.departures > 0 {
		load.Rate = min(load.Rate, r.departures)
	}
	admission = dispatch.Admit(load, r.limits, priority, deadline, now)
	if admission == dispatch.NoQueue && mode == dispatch.Sync && r.started {
		load.Queued, load.SeenAt, load.Rate = r.waiting, now, r.fleet.Rate(1)
		return dispatch.Admit(load, r.limits, priority, deadline, now), true
	}
	return admission, false
}

// Leave gives the right back, used or not.
func (v *Visit) Leave() { v.leave() }

// queued counts an entry of this dispatcher until the next look at the queue,
// unless it has been taken out again by now. w is who waits for it, or nil.
func (v *Visit) queued(place redisqueue.Place, w *waiter) {
	defer v.Leave()
	r := v.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.inHand[place]; taken || w != nil && w.taken {
		return
	}
	r.load.Queued[place.Priority]++
	if w != nil {
		w.counted = true
	}
}

// dequeued is the other side of it, for an entry that was taken out.
func (r *Relay) dequeued(e redisqueue.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken++
	if w := r.waiters[e.Ticket]; w != nil && e.Waiter == r.config.Name {
		w.taken = true
		if !w.counted {
			return
		}
	}
	r.load.Queued[e.Priority] = max(0, r.load.Queued[e.Priority]-1)
}

// Query answers a synchronous request, which belongs to the trace in ctx, at its deadline at
// the latest, however long Redis takes to answer. When ctx ends first, ok is
// false: nobody wants the result.
//
// A request that finds a free replica and an empty queue goes straight there.
// Another one is queued. release is called, once, as soon as nothing uses the
// request's picture any more, which may be after the return.
func (v *Visit) Query(ctx context.Context, request dispatch.Request, release func()) (result dispatch.Result, ok bool) {
	if place, ok := v.straight(); ok || v.local {
		defer release()
		v.Leave()
		return v.relay.here(ctx, request, place)
	}
	return v.through(ctx, request, release)
}

// straight is a place at a replica, where one is free that nobody has waited for
// longer.
func (v *Visit) straight() (*fleet.Place, bool) {
	r := v.relay
	if !r.config.Direct && !v.local {
		return nil, false
	}
	r.mu.Lock()
	queued := dispatch.Total(r.load.Queued)
	r.mu.Unlock()
	if queued > 0 && !v.local {
		return nil, false
	}
	return r.fleet.TryAcquire("")
}

// here finds a replica without the queue. place may be nil.
func (r *Relay) here(ctx context.Context, request dispatch.Request, place *fleet.Place) (result dispatch.Result, ok bool) {
	r.metrics.WentStraight()
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.giving, cancel)()
	ending := r.forward(work, request, place)
	switch {
	case ctx.Err() != nil:
		return dispatch.Result{}, false
	case !ending.ok:
		return r.shuttingDown(request.ID), true
	case ending.result.Status == http.StatusGatewayTimeout:
		r.metrics.Dropped(ending.reason())
	}
	return ending.result, true
}

func (r *Relay) shuttingDown(id string) dispatch.Result {
	r.metrics.Dropped(dispatchmetrics.Shutdown)
	return backend.Failure(http.StatusServiceUnavailable, id, reply.NotReady, "the dispatcher is shutting down; send the request again")
}

// through queues a request and waits for its result.
func (v *Visit) through(ctx context.Context, request dispatch.Request, release func()) (result dispatch.Result, ok bool) {
	r := v.relay
	request.Waiter, request.Ticket = r.config.Name, r.ticket()
	request.TraceParent = tracing.TraceParent(ctx)
	w := &waiter{result: make(chan ending, 1)}
	w.ctx, w.leave = context.WithCancel(context.Background())
	r.mu.Lock()
	r.waiters[request.Ticket] = w
	r.mu.Unlock()
	answered := false
	defer func() {
		r.mu.Lock()
		delete(r.waiters, request.Ticket)
		r.mu.Unlock()
		w.leave()
		w.mu.Lock()
		w.left = true
		place := w.place
		w.mu.Unlock()
		if place.ID != "" && !answered {
			r.remove(place)
		}
	}()

	failed, gone := make(chan error), make(chan struct{})
	defer close(gone)
	go func() {
		defer v.Leave()
		submission, cancel := context.WithDeadline(context.WithoutCancel(ctx), request.Deadline)
		defer cancel()
		place, err := r.queue.Submit(submission, request)
		if err != nil {
			select {
			case failed <- err:
			case <-gone:
				release()
			}
			return
		}
		release()
		v.queued(place, w)
		w.mu.Lock()
		w.place = place
		left := w.left
		w.mu.Unlock()
		if left {
			r.remove(place)
		}
	}()

	timer := time.NewTimer(time.Until(request.Deadline))
	defer timer.Stop()
	select {
	case end := <-w.result:
		answered = true
		if end.result.Status == http.StatusGatewayTimeout {
			r.metrics.Dropped(end.reason())
		}
		return end.result, true
	case err := <-failed:
		defer release()
		switch {
		case dispatch.Expired(request, time.Now()):
		case errors.Is(err, redisqueue.ErrFull):
			// What waits in it has come before.
			return r.unavailable(request.ID, err), true
		default:
			// Redis has just gone, or is about to be seen gone.
			return r.here(ctx, request, nil)
		}
	case <-timer.C:
	case <-ctx.Done():
		return dispatch.Result{}, false
	case <-r.giving.Done():
		return r.shuttingDown(request.ID), true
	}
	r.metrics.Dropped(dispatchmetrics.Deadline)
	return backend.TooLate(request.ID), true
}

// unavailable logs why and is what the caller is told.
func (r *Relay) unavailable(id string, err error) dispatch.Result {
	r.log.Debug("request not queued", "id", id, "error", err.Error())
	r.metrics.Dropped(dispatchmetrics.NoQueue)
	return backend.Failure(http.StatusServiceUnavailable, id, reply.QueueUnavailable, "the queue can't take requests at the moment")
}

// Acceptance is what became of an asynchronous request.
type Acceptance int

const (
	// Accepted requests have a result, now or later.
	Accepted Acceptance = iota
	// Conflicting requests name the result of another picture.
	Conflicting
	// Unavailable is the queue.
	Unavailable
)

// Accept queues an asynchronous request, which belongs to the trace in ctx. One
// whose result exists is accepted again, and queued again only if it had failed.
// refusal is what to tell the caller where the queue is Unavailable.
func (v *Visit) Accept(ctx context.Context, request dispatch.Request) (a Acceptance, refusal dispatch.Result) {
	r := v.relay
	defer v.Leave()
	request.TraceParent = tracing.TraceParent(ctx)
	print := sha256.Sum256(request.Picture)
	request.Fingerprint = hex.EncodeToString(print[:16])
	// The caller's leaving must not end an exchange with Redis halfway.
	submission, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(redisTimeout, time.Until(request.Deadline)))
	defer cancel()
	submitted, err := r.queue.SubmitAsync(submission, request)
	switch {
	case err != nil && dispatch.Expired(request, time.Now()):
		r.metrics.Dropped(dispatchmetrics.Deadline)
		return Unavailable, backend.TooLate(request.ID)
	case err != nil:
		return Unavailable, r.unavailable(request.ID, err)
	case submitted.Conflict:
		return Conflicting, dispatch.Result{}
	case !submitted.Queued:
		return Accepted, dispatch.Result{}
	}
	v.queued(submitted.Place, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	// Not the request: its picture is no longer needed here.
	place, id, resultID := submitted.Place, request.ID, request.ResultID
	r.expiries[place] = time.AfterFunc(time.Until(request.Deadline), func() { r.expire(place, id, resultID) })
	return Accepted, dispatch.Result{}
}

// expire ends an asynchronous request that has no result at its deadline.
func (r *Relay) expire(place redisqueue.Place, id, resultID string) {
	r.mu.Lock()
	delete(r.expiries, place)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	first, err := r.queue.FinishAsync(ctx, place, resultID, backend.TooLate(id))
	if err != nil {
		r.log.Debug("expiry not stored", "id", id, "error", err.Error())
	}
	if first {
		r.metrics.Dropped(dispatchmetrics.Deadline)
	}
}

// settled ends the watch over an asynchronous request's deadline.
func (r *Relay) settled(place redisqueue.Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if timer, ok := r.expiries[place]; ok {
		timer.Stop()
		delete(r.expiries, place)
	}
}

// lookAgain is how often a result is looked for by who was not told of it.
const lookAgain = time.Second

// Result is the state of an asynchronous request, as soon as it has a result or
// at until. A request past its deadline gets one, where nobody has stored it: that it
// was too late, with id as its id. The error is redisqueue.ErrNoResult for an
// unknown one.
func (r *Relay) Result(ctx context.Context, resultID, id string, until time.Time) (redisqueue.Stored, error) {
	if !time.Now().Before(until) {
		return r.result(ctx, resultID, id)
	}
	done, stop := r.queue.Done(resultID)
	defer stop()
	var stored redisqueue.Stored
	for {
		seen, err := r.resultBy(ctx, resultID, id, until)
		left := time.Until(until)
		if err != nil && stored.Pending && left <= 0 && ctx.Err() == nil {
			// The last look came too late: it is as it was.
			return stored, nil
		}
		if stored = seen; err != nil || !stored.Pending || left <= 0 {
			return stored, err
		}
		timer := time.NewTimer(min(left, lookAgain))
		select {
		case <-done:
		case <-timer.C:
		case <-ctx.Done():
			until = time.Now()
		case <-r.giving.Done():
			until = time.Now()
		}
		timer.Stop()
		if !time.Now().Before(until) && ctx.Err() != nil {
			return stored, ctx.Err()
		}
	}
}

// resultBy is result, and gives up at until where that is soon.
func (r *Relay) resultBy(ctx context.Context, resultID, id string, until time.Time) (redisqueue.Stored, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return r.result(ctx, resultID, id)
}

func (r *Relay) result(ctx context.Context, resultID, id string) (redisqueue.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	stored, err := r.queue.Result(ctx, resultID)
	if err != nil {
		return stored, err
	}
	if stored.Pending && time.Now().After(stored.Deadline.Add(redisTimeout)) {
		// Its dispatcher is gone, or has a result and can't store it. What is
		// said here has to hold.
		return r.queue.End(ctx, resultID, backend.TooLate(id))
	}
	return stored, nil
}
