package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchmetrics"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// read takes entries from the queue, never more than the replicas have room
// for: what waits, waits where every dispatcher can take it.
func (r *Relay) read() {
	var reclaimed time.Time
	for {
		n, err := r.fleet.Free(r.reading)
		if err != nil {
			return
		}
		n = min(n, readMost)
		if now := time.Now(); now.Sub(reclaimed) >= reclaimEvery {
			reclaimed = now
			ctx, cancel := context.WithTimeout(r.reading, redisTimeout)
			entries, err := r.queue.Reclaim(ctx, n, r.config.ReclaimAfter)
			cancel()
			if err != nil {
				r.log.Debug("nothing reclaimed", "error", err.Error())
			}
			if len(entries) > 0 {
				r.metrics.Reclaimed(len(entries))
				r.log.Info("took over entries of a silent dispatcher", "entries", len(entries))
				r.take(entries)
				continue
			}
		}
		r.mu.Lock()
		queued := r.load.Queued
		r.mu.Unlock()
		known := queued
		entries, err := r.queue.Read(r.reading, n, &queued, readBlock)
		if err != nil {
			if r.reading.Err() != nil {
				return
			}
			r.log.Debug("nothing read", "error", err.Error())
			pause(r.reading, observeEvery)
			continue
		}
		r.mu.Lock()
		for p, n := range queued {
			if known[p] > 0 && n == 0 {
				r.load.Queued[p] = 0
			}
		}
		r.mu.Unlock()
		for _, e := range entries {
			r.dequeued(e)
		}
		r.take(entries)
	}
}

// take works on entries, the most urgent first.
func (r *Relay) take(entries []redisqueue.Entry) {
	slices.SortStableFunc(entries, func(a, b redisqueue.Entry) int { return dispatch.Urgency(a.Request, b.Request) })
	for _, e := range entries {
		r.mu.Lock()
		_, twice := r.inHand[e.Place]
		if !twice {
			r.inHand[e.Place] = time.Now()
		}
		r.mu.Unlock()
		if twice {
			// Reclaimed from this very dispatcher, which was slow to extend
			// its claim.
			continue
		}
		var place *fleet.Place
		if !dispatch.Hopeless(e.Request, r.fleet.Service(), time.Now()) {
			place, _ = r.fleet.TryAcquire("")
		}
		r.hands.Go(func() {
			r.handle(e, place)
			r.mu.Lock()
			delete(r.inHand, e.Place)
			r.mu.Unlock()
		})
	}
}

// handle brings one entry to its end: answered, dropped, buried or handed back.
// place may be nil.
func (r *Relay) handle(e redisqueue.Entry, place *fleet.Place) {
	ctx, cancel := context.WithCancel(tracing.WithTraceParent(r.working, e.TraceParent))
	defer cancel()
	r.showWait(ctx, e)
	if e.Deliveries > r.config.MaxDeliveries {
		release(place)
		silent := backend.Failure(http.StatusBadGateway, e.ID, reply.BackendFailed, "every dispatcher that took this request fell silent over it")
		if e.Mode == dispatch.Async {
			r.bury(e, fmt.Sprintf("%d dispatchers fell silent over it", r.config.MaxDeliveries), silent)
		} else {
			r.finishRemote(e, silent)
		}
		return
	}
	var w *waiter
	mine := e.Mode == dispatch.Sync && e.Waiter == r.config.Name
	if mine {
		if w = r.waiter(e.Ticket); w == nil {
			release(place)
			r.remove(e.Place)
			return
		}
		stop := context.AfterFunc(w.ctx, cancel)
		defer stop()
	}

	ending := r.forward(ctx, e.Request, place)
	switch {
	case !ending.ok && r.working.Err() != nil && !mine:
		r.handBack(e)
	case !ending.ok:
		r.remove(e.Place)
	case mine:
		w.deliver(ending)
		r.remove(e.Place)
	case e.Mode == dispatch.Async && ending.ruined != "":
		r.bury(e, ending.ruined, ending.result)
	case e.Mode == dispatch.Async:
		r.finishAsync(e, ending)
	case dispatch.Expired(e.Request, time.Now()):
		// Its caller has been told by its own dispatcher.
		r.remove(e.Place)
	default:
		r.finishRemote(e, ending.result)
	}
}

// span begins a span for a request that has a trace. One without was queued by
// a dispatcher that doesn't trace: its spans here would belong to nothing.
func (r *Relay) span(ctx context.Context, kind trace.SpanKind, began time.Time, name string) (context.Context, trace.Span) {
	traces := r.config.Tracing
	if !trace.SpanContextFromContext(ctx).IsValid() {
		traces = nil
	}
	return traces.SpanOf(ctx, kind, began, name)
}

// showWait makes the time that an entry was queued a span.
func (r *Relay) showWait(ctx context.Context, e redisqueue.Entry) {
	if e.QueuedAt.IsZero() {
		return
	}
	began := e.QueuedAt
	if now := time.Now(); began.After(now) {
		// Redis' clock is ahead of this one.
		began = now
	}
	_, span := r.span(ctx, trace.SpanKindConsumer, began, "queue")
	span.End()
}

func release(place *fleet.Place) {
	if place != nil {
		place.Release(dispatch.Abandoned, 0)
	}
}

// ending is what became of a request.
type ending struct {
	// ok says that there is a result: the work was not ended before.
	ok     bool
	result dispatch.Result
	// early says that the result is that there would have been none in time.
	early bool
	// ruined says what attempts met that may harm any replica; else it is empty.
	ruined string
}

// reason is why a request was dropped whose ending is 504.
func (e ending) reason() dispatchmetrics.Reason {
	if e.early {
		return dispatchmetrics.Hopeless
	}
	return dispatchmetrics.Deadline
}

// errOvertaken ends an attempt at a replica when another one has answered.
var errOvertaken = errors.New("another model server has answered")

// made is an attempt that has ended.
type made struct {
	url    string
	answer backend.Answer
}

// forward finds a replica for the request and gets its answer, or that of
// another one. place may be nil.
func (r *Relay) forward(ctx context.Context, request dispatch.Request, place *fleet.Place) ending {
	deadline, cancel := context.WithDeadline(ctx, request.Deadline)
	defer cancel()
	// The picture is its caller's again when this returns.
	var underWay sync.WaitGroup
	defer underWay.Wait()
	attempts, overtake := context.WithCancelCause(ctx)
	defer overtake(errOvertaken)
	ended := make(chan made)
	begin := func(place *fleet.Place, number int) {
		underWay.Go(func() {
			m := made{place.URL, r.attempt(attempts, place, request, number)}
			select {
			case ended <- m:
			case <-attempts.Done():
			}
		})
	}

	var last made
	var tries dispatch.Tries
	for begun := 0; ; {
		if begun == tries.Made {
			if place == nil {
				var err error
				place, err = r.acquire(deadline, request, last.url)
				switch {
				case errors.Is(err, fleet.ErrNoOther) && request.Mode == dispatch.Async:
					// The other one has gone too. There is time to wait for any.
					last.url = ""
					continue
				case errors.Is(err, fleet.ErrNoOther):
					return ending{ok: true, result: last.answer.Result}
				case ctx.Err() != nil:
					release(place)
					return ending{}
				case err != nil:
					return ending{ok: true, result: backend.TooLate(request.ID)}
				}
			}
			if dispatch.Hopeless(request, r.fleet.Service(), time.Now()) {
				release(place)
				return ending{ok: true, early: !dispatch.Expired(request, time.Now()), result: backend.TooLate(request.ID)}
			}
			last.url, begun = place.URL, begun+1
			begin(place, begun)
			place = nil
		}
		var ok bool
		last, ok = r.await(ctx, request, ended, begun, last.url, func(other *fleet.Place) {
			begun++
			begin(other, begun)
		})
		if !ok {
			return ending{}
		}
		tries = tries.Count(last.answer.Outcome)
		switch {
		case last.answer.Outcome.Final():
			return ending{ok: true, result: last.answer.Result}
		case begun > tries.Made:
			// Another one is under way.
			continue
		}
		switch r.next(request, last, tries) {
		case dispatch.GiveUp:
			end := ending{ok: true, result: last.answer.Result}
			if !dispatch.Expired(request, time.Now()) {
				end.ruined = fmt.Sprintf("%d attempts failed, the last one because %v", tries.Made, last.answer.Cause)
			}
			return end
		case dispatch.Elsewhere:
		case dispatch.Anywhere:
			last.url = ""
		}
		r.metrics.Retried(last.answer.Outcome)
		if request.Mode == dispatch.Async {
			pause(deadline, dispatch.Backoff(tries))
		}
	}
}

// await waits for the next attempt to end. Where the first one, at url, takes long,
// hedge begins another one beside it at a replica that is free. ok is false when ctx
// has ended.
func (r *Relay) await(ctx context.Context, request dispatch.Request, ended <-chan made, begun int, url string, hedge func(*fleet.Place)) (m made, ok bool) {
	var long <-chan time.Time
	if request.Mode == dispatch.Sync && begun == 1 {
		timer := time.NewTimer(dispatch.HedgeAfter(request, r.fleet.Service(), time.Now()))
		defer timer.Stop()
		long = timer.C
	}
	for {
		select {
		case m = <-ended:
			return m, ctx.Err() == nil
		case <-ctx.Done():
			return m, false
		case <-long:
			if place, free := r.fleet.TryAcquire(url); free {
				if !r.mayRetry() {
					release(place)
					continue
				}
				r.metrics.Retried(dispatch.Slow)
				hedge(place)
			}
		}
	}
}

// acquire waits for a place at any replica but the one at exclude.
func (r *Relay) acquire(ctx context.Context, request dispatch.Request, exclude string) (*fleet.Place, error) {
	r.count(request.Priority, 1)
	defer r.count(request.Priority, -1)
	return r.fleet.Acquire(ctx, request, exclude)
}

// next is what to do after the last of tries has ended.
func (r *Relay) next(request dispatch.Request, last made, tries dispatch.Tries) dispatch.Next {
	next := dispatch.Retry(request, last.answer.Outcome, tries, r.fleet.Usable(last.url), r.fleet.Service(), time.Now())
	if next != dispatch.GiveUp && request.Mode == dispatch.Sync && !r.mayRetry() {
		return dispatch.GiveUp
	}
	return next
}

// count keeps the number of those who wait in memory for a replica.
func (r *Relay) count(p dispatch.Priority, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[p] += n
}

// mayRetry asks the budget of retries.
func (r *Relay) mayRetry() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.budget.Spend(time.Now())
}

// attempt is the number-th, from 1 on, at this request.
func (r *Relay) attempt(ctx context.Context, place *fleet.Place, request dispatch.Request, number int) backend.Answer {
	ctx, span := r.span(ctx, trace.SpanKindClient, time.Time{}, "attempt")
	defer span.End()
	r.metrics.Forwarding()
	begin := time.Now()
	long := dispatch.HedgeAfter(request, r.fleet.Service(), begin)
	answer := r.client.Attempt(ctx, place.URL, request, r.config.AttemptTimeout)
	took := time.Since(begin)
	r.metrics.Forwarded(took)
	if answer.Outcome == dispatch.Abandoned && errors.Is(context.Cause(ctx), errOvertaken) && took >= long {
		// Another replica was asked because this one took so long, and it still
		// had no answer when that one had.
		answer.Outcome = dispatch.Slow
	}
	if span.IsRecording() {
		showAttempt(span, place.URL, number, answer)
	}
	avoided := place.Release(answer.Outcome, took)
	switch {
	case avoided > 0 && answer.Outcome != dispatch.Busy:
		r.log.Warn("replica left alone for a while", "replica", place.URL, "for_ms", avoided.Milliseconds(), "id", request.ID, "error", answer.Cause.Error())
	case answer.Status == http.StatusBadGateway && answer.Cause != nil:
		r.log.Warn("attempt failed", "replica", place.URL, "id", request.ID, "error", answer.Cause.Error())
	}
	return answer
}

// showAttempt says in an attempt's span what became of it. The status is what
// the caller is told if this attempt was the last one.
func showAttempt(span trace.Span, url string, number int, answer backend.Answer) {
	span.SetAttributes(
		attribute.String("url.full", url),
		attribute.Int("headroom.attempt", number),
		attribute.String("headroom.outcome", answer.Outcome.String()),
		attribute.Int("headroom.status", answer.Status),
	)
	if answer.Cause != nil {
		span.SetStatus(codes.Error, answer.Cause.Error())
	}
}

// finishAsync stores a result, and keeps trying while Redis is away.
func (r *Relay) finishAsync(e redisqueue.Entry, end ending) {
	var first bool
	err := r.persist(time.Now().Add(keepResult), func(ctx context.Context) (err error) {
		first, err = r.queue.FinishAsync(ctx, e.Place, e.ResultID, end.result)
		return err
	})
	if err != nil {
		// The entry is still claimed: it will be reclaimed and done again.
		r.log.Error("result not stored", "id", e.ID, "error", err.Error())
		return
	}
	r.settled(e.Place)
	if first && end.result.Status == http.StatusGatewayTimeout {
		r.metrics.Dropped(end.reason())
	}
}

// bury gives an entry up and keeps it, with the reason, for somebody to look at.
func (r *Relay) bury(e redisqueue.Entry, reason string, result dispatch.Result) {
	var first bool
	err := r.persist(time.Now().Add(keepResult), func(ctx context.Context) (err error) {
		first, err = r.queue.Bury(ctx, e, reason, result)
		return err
	})
	if err != nil {
		r.log.Error("entry not given up", "id", e.ID, "error", err.Error())
		return
	}
	r.settled(e.Place)
	if first {
		r.metrics.Buried()
		r.log.Error("request given up; it is a dead letter now", "id", e.ID, "reason", reason)
	}
}

func (r *Relay) finishRemote(e redisqueue.Entry, result dispatch.Result) {
	err := r.persist(e.Deadline, func(ctx context.Context) error {
		return r.queue.FinishRemote(ctx, e, result)
	})
	if err != nil {
		r.log.Debug("reply not sent", "id", e.ID, "error", err.Error())
	}
}

// persist calls f until it succeeds, the time is over, or work must end.
func (r *Relay) persist(until time.Time, f func(context.Context) error) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
		err := f(ctx)
		cancel()
		if err == nil || r.working.Err() != nil || !time.Now().Before(until) {
			return err
		}
		pause(r.working, 2*observeEvery)
	}
}

func (r *Relay) handBack(e redisqueue.Entry) {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if err := r.queue.HandBack(ctx, e); err != nil {
		r.log.Warn("entry not handed back; another dispatcher takes it over later", "error", err.Error())
	}
}

// Refusal is what a request is told that was not let in.
func (r *Relay) Refusal(id string, admission dispatch.Admission) dispatch.Result {
	switch admission {
	case dispatch.Overloaded:
		r.metrics.Dropped(dispatchmetrics.Overload)
		return backend.Failure(http.StatusServiceUnavailable, id, reply.Overloaded, "too many requests are waiting already")
	case dispatch.Late:
		r.metrics.Dropped(dispatchmetrics.Predicted)
		return backend.Failure(http.StatusServiceUnavailable, id, reply.Overloaded, "so many requests are waiting that this one would not be answered in time")
	case dispatch.Admitted, dispatch.NoQueue:
	}
	r.metrics.Dropped(dispatchmetrics.NoQueue)
	return backend.Failure(http.StatusServiceUnavailable, id, reply.QueueUnavailable, "the queue can't be reached at the moment")
}
