package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
)

// maxDeadLetters is the most entries that are kept of those given up, whatever
// their size.
const maxDeadLetters = 1000

// ErrAnswered is the error of driving a dead letter again whose caller has sent it
// again and has an answer, or will have one.
var ErrAnswered = errors.New("its caller has sent it again and has an answer, or waits for one; remove it")

// ErrNoDeadLetter is the error of a dead letter that there is none of.
var ErrNoDeadLetter = errors.New("no such dead letter")

// DeadLetter is a request that was given up.
type DeadLetter struct {
	// ID names it among the dead letters.
	ID string
	// At is when it was given up, by Redis' clock.
	At time.Time
	// Reason says why.
	Reason string
	// Deliveries is how often a dispatcher had taken it.
	Deliveries int
	dispatch.Request
}

// Bury moves an asynchronous request's entry to the dead letters, with the reason,
// and stores its result unless it has one. first says that this call moved it.
func (q *Queue) Bury(ctx context.Context, e Entry, reason string, result dispatch.Result) (first bool, err error) {
	n, err := bury.Run(ctx, q.work, []string{queueKey(e.Place.Priority), deadKey, resultPrefix + e.ResultID},
		group, e.Place.ID, reason, e.Deliveries, maxDeadLetters, q.config.DeadLetterBytes,
		q.config.ResultTTL.Milliseconds(), result.Status, result.Body, doneChannel, e.ResultID).Int()
	if err != nil {
		return false, fmt.Errorf("move entry %s to the dead letters: %w", e.Place.ID, err)
	}
	return n == 1, nil
}

// deadLetterBatch is how many dead letters are read at once: they hold their
// pictures.
const deadLetterBatch = 16

// DeadLetters calls each for the dead letters, oldest first, until it returns an
// error, which is returned.
func (q *Queue) DeadLetters(ctx context.Context, each func(DeadLetter) error) error {
	from := "-"
	for {
		messages, err := q.work.XRangeN(ctx, deadKey, from, "+", deadLetterBatch).Result()
		if err != nil {
			return fmt.Errorf("read the dead letters: %w", err)
		}
		for _, m := range messages {
			letter, err := decodeDeadLetter(m)
			if err != nil {
				return err
			}
			if err := each(letter); err != nil {
				return err
			}
			from = "(" + m.ID
		}
		if len(messages) < deadLetterBatch {
			return nil
		}
	}
}

func decodeDeadLetter(m redis.XMessage) (DeadLetter, error) {
	text := func(field string) string { s, _ := m.Values[field].(string); return s }
	r, err := decodeRequest(text)
	if err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %s: %w", m.ID, err)
	}
	if r.Priority, err = dispatch.ParsePriority(text("priority")); err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %s: priority %w", m.ID, err)
	}
	deliveries, err := strconv.Atoi(text("deliveries"))
	if err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %s: deliveries %q is not a number", m.ID, text("deliveries"))
	}
	return DeadLetter{ID: m.ID, At: queuedAt(m.ID), Reason: text("reason"), Deliveries: deliveries, Request: r}, nil
}

// Redrive queues a dead letter anew, with a new deadline, and reopens its result:
// GET /result/ID answers for it again. The request is returned. The error is
// ErrNoDeadLetter where there is none, and ErrAnswered where the result is another's
// by now.
func (q *Queue) Redrive(ctx context.Context, id string, deadline time.Time) (dispatch.Request, error) {
	messages, err := q.work.XRange(ctx, deadKey, id, id).Result()
	if err != nil {
		return dispatch.Request{}, fmt.Errorf("read dead letter %s: %w", id, err)
	}
	if len(messages) == 0 {
		return dispatch.Request{}, ErrNoDeadLetter
	}
	letter, err := decodeDeadLetter(messages[0])
	if err != nil {
		return dispatch.Request{}, err
	}
	r := letter.Request
	r.Deadline = deadline
	argv := append([]any{id, q.keep(deadline).Milliseconds(), deadline.UnixMilli(), r.Fingerprint}, fields(r)...)
	answer, err := redrive.Run(ctx, q.work, []string{deadKey, queueKey(r.Priority), resultPrefix + r.ResultID}, argv...).Text()
	switch {
	case err != nil:
		return r, fmt.Errorf("queue dead letter %s anew: %w", id, err)
	case answer == "gone":
		return r, ErrNoDeadLetter
	case answer == "answered":
		return r, ErrAnswered
	}
	return r, nil
}

// Forget removes a dead letter; ErrNoDeadLetter where there is none.
func (q *Queue) Forget(ctx context.Context, id string) error {
	n, err := q.work.XDel(ctx, deadKey, id).Result()
	if err != nil {
		return fmt.Errorf("remove dead letter %s: %w", id, err)
	}
	if n == 0 {
		return ErrNoDeadLetter
	}
	return nil
}
