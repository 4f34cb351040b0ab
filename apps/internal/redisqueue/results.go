package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"headroom.dev/apps/internal/dispatch"
)

// ErrNoResult is the error of a result that nobody asked for, or that is not
// kept any more.
var ErrNoResult = errors.New("no such result")

// Stored is an asynchronous request's state.
type Stored struct {
	// Pending says that there is no result yet; Result is empty then.
	Pending bool
	// Deadline is when the request ends without one.
	Deadline time.Time
	dispatch.Result
}

// Submission is what became of an asynchronous request that was submitted.
type Submission struct {
	// Place is where it was queued; zero where its result exists.
	Place Place
	// Queued says that it was queued.
	Queued bool
	// Conflict says that another request has its result.
	Conflict bool
}

// SubmitAsync queues an asynchronous request and opens its result. Where the
// result exists, open or not, nothing is done, unless the request had failed
// (5xx): then it is tried anew. The fingerprint tells whether the result is that of
// the same picture.
func (q *Queue) SubmitAsync(ctx context.Context, r dispatch.Request) (Submission, error) {
	argv := append([]any{q.keep(r.Deadline).Milliseconds(), r.Deadline.UnixMilli(), r.Fingerprint}, fields(r)...)
	answer, err := submitAsync.Run(ctx, q.submissions, []string{queueKey(r.Priority), resultPrefix + r.ResultID}, argv...).Text()
	if err != nil {
		return Submission{}, fmt.Errorf("queue asynchronous request %q: %w", r.ID, fullOr(err))
	}
	q.saw(r.Picture)
	switch answer {
	case "known":
		return Submission{}, nil
	case "conflict":
		return Submission{Conflict: true}, nil
	}
	return Submission{Place: Place{r.Priority, answer}, Queued: true}, nil
}

// keep is for how long a result is kept that may be there until a deadline.
func (q *Queue) keep(deadline time.Time) time.Duration {
	return max(0, time.Until(deadline)) + q.config.ResultTTL
}

// FinishAsync stores the result of an asynchronous request unless it has one,
// and takes its entry out of the queue. first says that this call stored it.
func (q *Queue) FinishAsync(ctx context.Context, place Place, resultID string, result dispatch.Result) (first bool, err error) {
	n, err := finishAsync.Run(ctx, q.work, []string{queueKey(place.Priority), resultPrefix + resultID},
		group, place.ID, q.config.ResultTTL.Milliseconds(), result.Status, result.Body, doneChannel, resultID).Int()
	if err != nil {
		return false, fmt.Errorf("store the result of %q: %w", resultID, err)
	}
	return n == 1, nil
}

// End stores a result unless there is one, and returns the one that there is then.
// Its entry, where there still is one, is left to those who work on it. The error
// is ErrNoResult for one that is not kept any more.
func (q *Queue) End(ctx context.Context, resultID string, result dispatch.Result) (Stored, error) {
	err := endResult.Run(ctx, q.work, []string{resultPrefix + resultID},
		q.config.ResultTTL.Milliseconds(), result.Status, result.Body, doneChannel, resultID).Err()
	if err != nil {
		return Stored{}, fmt.Errorf("end the result of %q: %w", resultID, err)
	}
	return q.Result(ctx, resultID)
}

// Result is the state of an asynchronous request; ErrNoResult for one that
// was never accepted or is not kept any more.
func (q *Queue) Result(ctx context.Context, resultID string) (Stored, error) {
	hash, err := q.submissions.HGetAll(ctx, resultPrefix+resultID).Result()
	if err != nil {
		return Stored{}, fmt.Errorf("read the result of %q: %w", resultID, err)
	}
	if len(hash) == 0 {
		return Stored{}, ErrNoResult
	}
	status, err := strconv.Atoi(hash["status"])
	if err != nil {
		return Stored{}, fmt.Errorf("read the result of %q: status %q is not a number", resultID, hash["status"])
	}
	ms, err := strconv.ParseInt(hash["deadline"], 10, 64)
	if err != nil {
		return Stored{}, fmt.Errorf("read the result of %q: deadline %q is not Unix milliseconds", resultID, hash["deadline"])
	}
	return Stored{
		Pending: status == 0, Deadline: time.UnixMilli(ms),
		Result: dispatch.Result{Status: status, Body: []byte(hash["body"])},
	}, nil
}

// Done tells of a result: the channel gets a value when it is stored, by any
// dispatcher, and when a message may have been missed. Who waits looks now and
// then all the same: messages are lost on the way from a Redis that is going.
// stop ends it.
func (q *Queue) Done(resultID string) (done <-chan struct{}, stop func()) {
	told := make(chan struct{}, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.awaited[resultID] == nil {
		q.awaited[resultID] = map[chan struct{}]struct{}{}
	}
	q.awaited[resultID][told] = struct{}{}
	q.listen.Do(func() { go hear(q.listening, q.work, doneChannel, q.tellAll, q.tell) })
	return told, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.awaited[resultID], told)
		if len(q.awaited[resultID]) == 0 {
			delete(q.awaited, resultID)
		}
	}
}

// tell wakes those who wait for a result.
func (q *Queue) tell(resultID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wake(q.awaited[resultID])
}

// tellAll wakes everybody who waits.
func (q *Queue) tellAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, waiting := range q.awaited {
		wake(waiting)
	}
}

func wake(waiting map[chan struct{}]struct{}) {
	for told := range waiting {
		select {
		case told <- struct{}{}:
		default:
		}
	}
}
