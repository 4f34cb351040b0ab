package relay

import (
	"context"
	"net/http"
	"sync"
	"time"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchmetrics"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// waiter is a caller that holds a connection open.
type waiter struct {
	// ctx ends when the caller does not wait any more.
	ctx    context.Context
	leave  context.CancelFunc
	result chan dispatch.Result

	mu       sync.Mutex
	streamID string
	left     bool
}

// deliver gives the caller a result; the first one counts.
func (w *waiter) deliver(result dispatch.Result) {
	select {
	case w.result <- result:
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
	leave func()
}

// Enter decides whether a request is let in. The visit is nil where it is not.
func (r *Relay) Enter() (*Visit, dispatch.Admission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	admission := dispatch.Admit(r.load, r.limits, time.Now())
	if admission != dispatch.Admitted {
		return nil, admission
	}
	r.load.Arriving++
	return &Visit{relay: r, leave: sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.load.Arriving--
	})}, admission
}

// Leave gives the right back, used or not.
func (v *Visit) Leave() { v.leave() }

// queued counts an entry of this dispatcher until the next look at the queue.
func (v *Visit) queued() {
	v.relay.mu.Lock()
	v.relay.load.Queued++
	v.relay.mu.Unlock()
	v.Leave()
}

// Query queues a request, with the trace in ctx, and waits for its result, at
// most until the deadline, however long Redis takes to answer. When ctx ends
// first, ok is false: nobody wants the result.
func (v *Visit) Query(ctx context.Context, id string, deadline time.Time, picture []byte) (result dispatch.Result, ok bool) {
	r := v.relay
	request := dispatch.Request{
		ID: id, Deadline: deadline, Mode: dispatch.Sync, Waiter: r.config.Name, Ticket: r.ticket(), Picture: picture,
		TraceParent: tracing.TraceParent(ctx),
	}
	w := &waiter{result: make(chan dispatch.Result, 1)}
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
		place := w.streamID
		w.mu.Unlock()
		if place != "" && !answered {
			go r.remove(place)
		}
	}()

	failed := make(chan error, 1)
	go func() {
		defer v.Leave()
		submission, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		defer cancel()
		place, err := r.queue.Submit(submission, request)
		if err != nil {
			failed <- err
			return
		}
		v.queued()
		w.mu.Lock()
		w.streamID = place
		left := w.left
		w.mu.Unlock()
		if left {
			r.remove(place)
		}
	}()

	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case result := <-w.result:
		answered = true
		if result.Status == http.StatusGatewayTimeout {
			// Whoever worked on it saw the deadline first.
			r.metrics.Dropped(dispatchmetrics.Deadline)
		}
		return result, true
	case err := <-failed:
		if dispatch.Expired(request, time.Now()) {
			break
		}
		return r.unavailable(id, err), true
	case <-timer.C:
	case <-ctx.Done():
		return dispatch.Result{}, false
	case <-r.givingUp:
		r.metrics.Dropped(dispatchmetrics.Shutdown)
		return backend.Failure(http.StatusServiceUnavailable, id, reply.NotReady, "the dispatcher is shutting down; send the request again"), true
	}
	r.metrics.Dropped(dispatchmetrics.Deadline)
	return backend.TooLate(id), true
}

// unavailable logs why and is what the caller is told.
func (r *Relay) unavailable(id string, err error) dispatch.Result {
	r.log.Debug("request not queued", "id", id, "error", err.Error())
	return backend.Failure(http.StatusServiceUnavailable, id, reply.QueueUnavailable, "the queue can't take requests at the moment")
}

// remove takes an entry that nobody waits for out of the queue. Where that
// fails, whoever reads it next does it.
func (r *Relay) remove(streamID string) {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if err := r.queue.Remove(ctx, streamID); err != nil {
		r.log.Debug("entry left in the queue", "error", err.Error())
	}
}

// Accept queues an asynchronous request, with the trace in ctx. A request whose id is known already
// is accepted again and not queued again. ok is false when the request could
// not be queued; the result says why then.
func (v *Visit) Accept(ctx context.Context, id string, deadline time.Time, picture []byte) (result dispatch.Result, ok bool) {
	r := v.relay
	defer v.Leave()
	request := dispatch.Request{ID: id, Deadline: deadline, Mode: dispatch.Async, Picture: picture, TraceParent: tracing.TraceParent(ctx)}
	// The caller's leaving must not end an exchange with Redis halfway.
	submission, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTimeout)
	defer cancel()
	place, err := r.queue.SubmitAsync(submission, request)
	if err != nil {
		return r.unavailable(id, err), false
	}
	if place == "" {
		return dispatch.Result{}, true
	}
	v.queued()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expiries[place] = time.AfterFunc(time.Until(deadline), func() { r.expire(place, id) })
	return dispatch.Result{}, true
}

// expire ends an asynchronous request that has no result at its deadline.
func (r *Relay) expire(streamID, id string) {
	r.mu.Lock()
	delete(r.expiries, streamID)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	first, err := r.queue.FinishAsync(ctx, streamID, id, backend.TooLate(id))
	if err != nil {
		r.log.Debug("expiry not stored", "id", id, "error", err.Error())
	}
	if first {
		r.metrics.Dropped(dispatchmetrics.Deadline)
	}
}

// settled ends the watch over an asynchronous request's deadline.
func (r *Relay) settled(streamID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if timer, ok := r.expiries[streamID]; ok {
		timer.Stop()
		delete(r.expiries, streamID)
	}
}

// Result is the state of an asynchronous request. A request past its deadline
// has a result, whether or not anybody has stored one. The error is
// redisqueue.ErrNoResult for an unknown id.
func (r *Relay) Result(ctx context.Context, id string) (redisqueue.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	stored, err := r.queue.Result(ctx, id)
	if err != nil {
		return stored, err
	}
	if stored.Pending && time.Now().After(stored.Deadline.Add(redisTimeout)) {
		stored.Pending, stored.Result = false, backend.TooLate(id)
	}
	return stored, nil
}
