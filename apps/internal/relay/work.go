package relay

import (
	"context"
	"errors"
	"net/http"
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
				r.log.Info("took over entries of a silent dispatcher", "entries", len(entries))
				r.take(entries)
				continue
			}
		}
		entries, err := r.queue.Read(r.reading, n, readBlock)
		if err != nil {
			if r.reading.Err() != nil {
				return
			}
			r.log.Debug("nothing read", "error", err.Error())
			pause(r.reading, observeEvery)
			continue
		}
		r.mu.Lock()
		r.load.Queued = max(0, r.load.Queued-len(entries))
		r.mu.Unlock()
		r.take(entries)
	}
}

func (r *Relay) take(entries []redisqueue.Entry) {
	for _, e := range entries {
		r.mu.Lock()
		_, twice := r.inHand[e.StreamID]
		if !twice {
			r.inHand[e.StreamID] = time.Now()
		}
		r.mu.Unlock()
		if twice {
			// Reclaimed from this very dispatcher, which was slow to extend
			// its claim.
			continue
		}
		var place *fleet.Place
		if !dispatch.Expired(e.Request, time.Now()) {
			place, _ = r.fleet.TryAcquire()
		}
		r.hands.Go(func() {
			r.handle(e, place)
			r.mu.Lock()
			delete(r.inHand, e.StreamID)
			r.mu.Unlock()
		})
	}
}

// handle brings one entry to its end: answered, dropped or handed back. place
// may be nil.
func (r *Relay) handle(e redisqueue.Entry, place *fleet.Place) {
	ctx, cancel := context.WithCancel(tracing.WithTraceParent(r.working, e.TraceParent))
	defer cancel()
	r.showWait(ctx, e)
	var w *waiter
	mine := e.Mode == dispatch.Sync && e.Waiter == r.config.Name
	if mine {
		if w = r.waiter(e.Ticket); w == nil {
			release(place)
			r.remove(e.StreamID)
			return
		}
		stop := context.AfterFunc(w.ctx, cancel)
		defer stop()
	}

	result, ok := r.forward(ctx, e.Request, place)
	switch {
	case !ok && r.working.Err() != nil && !mine:
		r.handBack(e.StreamID)
	case !ok:
		r.remove(e.StreamID)
	case mine:
		w.deliver(result)
		r.remove(e.StreamID)
	case e.Mode == dispatch.Async:
		r.finishAsync(e, result)
	case dispatch.Expired(e.Request, time.Now()):
		// Its caller has been told by its own dispatcher.
		r.remove(e.StreamID)
	default:
		r.finishRemote(e, result)
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
		place.Release(fleet.Unused)
	}
}

// forward finds a replica for the request and gets its answer. ok is false
// when ctx ended before there was one.
func (r *Relay) forward(ctx context.Context, request dispatch.Request, place *fleet.Place) (result dispatch.Result, ok bool) {
	deadline, cancel := context.WithDeadline(ctx, request.Deadline)
	defer cancel()
	var answer backend.Answer
	exclude := ""
	for attempts := 1; ; attempts++ {
		if place == nil {
			var err error
			place, err = r.fleet.Acquire(deadline, exclude)
			switch {
			case errors.Is(err, fleet.ErrNoOther):
				return answer.Result, true
			case ctx.Err() != nil:
				release(place)
				return dispatch.Result{}, false
			case err != nil:
				return backend.TooLate(request.ID), true
			}
		}
		if dispatch.Expired(request, time.Now()) {
			release(place)
			return backend.TooLate(request.ID), true
		}

		url := place.URL
		answer = r.attempt(ctx, place, request, attempts)
		place = nil
		if ctx.Err() != nil {
			return dispatch.Result{}, false
		}
		if !answer.Unable {
			return answer.Result, true
		}
		switch dispatch.Retry(request, attempts, r.fleet.Usable(url), time.Now()) {
		case dispatch.Elsewhere:
			exclude = url
		case dispatch.Anywhere:
			exclude = ""
		case dispatch.GiveUp:
			return answer.Result, true
		}
	}
}

// attempt is the number-th, from 1 on, at this request.
func (r *Relay) attempt(ctx context.Context, place *fleet.Place, request dispatch.Request, number int) backend.Answer {
	ctx, span := r.span(ctx, trace.SpanKindClient, time.Time{}, "attempt")
	defer span.End()
	r.metrics.Forwarding()
	begin := time.Now()
	answer := r.client.Attempt(ctx, place.URL, request)
	r.metrics.Forwarded(time.Since(begin))
	if span.IsRecording() {
		showAttempt(ctx, span, place.URL, number, answer)
	}
	use := fleet.Answered
	switch {
	case answer.Unable:
		use = fleet.Failed
	case ctx.Err() != nil:
		use = fleet.Unused
	}
	avoided := place.Release(use)
	switch {
	case avoided > 0:
		r.log.Warn("replica left alone for a while", "replica", place.URL, "for_ms", avoided.Milliseconds(), "id", request.ID, "error", answer.Cause.Error())
	case answer.Status == http.StatusBadGateway && answer.Cause != nil:
		r.log.Warn("attempt failed", "replica", place.URL, "id", request.ID, "error", answer.Cause.Error())
	}
	return answer
}

// showAttempt says in an attempt's span what became of it. The status is what
// the caller is told if this attempt was the last one.
func showAttempt(ctx context.Context, span trace.Span, url string, number int, answer backend.Answer) {
	outcome := "answered"
	switch {
	case answer.Unable:
		outcome = "unable"
	case ctx.Err() != nil:
		outcome = "abandoned"
	case answer.Cause != nil:
		outcome = "failed"
	}
	span.SetAttributes(
		attribute.String("url.full", url),
		attribute.Int("headroom.attempt", number),
		attribute.String("headroom.outcome", outcome),
		attribute.Int("headroom.status", answer.Status),
	)
	if answer.Cause != nil {
		span.SetStatus(codes.Error, answer.Cause.Error())
	}
}

// finishAsync stores a result, and keeps trying while Redis is away.
func (r *Relay) finishAsync(e redisqueue.Entry, result dispatch.Result) {
	var first bool
	err := r.persist(time.Now().Add(keepResult), func(ctx context.Context) (err error) {
		first, err = r.queue.FinishAsync(ctx, e.StreamID, e.ID, result)
		return err
	})
	if err != nil {
		// The entry is still claimed: it will be reclaimed and done again.
		r.log.Error("result not stored", "id", e.ID, "error", err.Error())
		return
	}
	r.settled(e.StreamID)
	if first && result.Status == http.StatusGatewayTimeout {
		r.metrics.Dropped(dispatchmetrics.Deadline)
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

func (r *Relay) handBack(streamID string) {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if err := r.queue.HandBack(ctx, streamID); err != nil {
		r.log.Warn("entry not handed back; another dispatcher takes it over later", "error", err.Error())
	}
}

// Refusal is what a request is told that was not let in.
func (r *Relay) Refusal(id string, admission dispatch.Admission) dispatch.Result {
	if admission == dispatch.Overloaded {
		r.metrics.Dropped(dispatchmetrics.Overload)
		return backend.Failure(http.StatusServiceUnavailable, id, reply.Overloaded, "too many requests are waiting already")
	}
	return backend.Failure(http.StatusServiceUnavailable, id, reply.QueueUnavailable, "the queue can't be reached at the moment")
}
