package redisqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
)

func fields(r dispatch.Request) []any {
	list := []any{
		"id", r.ID,
		"deadline", r.Deadline.UnixMilli(),
		"priority", r.Priority.String(),
		"mode", string(r.Mode),
		"picture", r.Picture,
	}
	for _, optional := range []struct{ field, value string }{
		{"waiter", r.Waiter}, {"ticket", r.Ticket}, {"result", r.ResultID}, {"print", r.Fingerprint}, {"type", r.ContentType}, {"traceparent", r.TraceParent},
	} {
		if optional.value != "" {
			list = append(list, optional.field, optional.value)
		}
	}
	return list
}

// ErrFull is the error of submitting to a Redis whose memory is full.
var ErrFull = errors.New("redis is full")

func fullOr(err error) error {
	if redis.IsOOMError(err) {
		return ErrFull
	}
	return err
}

// readBytes is about how much is read at once: an answer that takes too long is
// lost, and the entries in it are this dispatcher's nevertheless.
const readBytes = 4 << 20

// saw takes a picture's size into account.
func (q *Queue) saw(picture []byte) {
	// Races between two of these cost a sample.
	usual := q.usual.Load()
	q.usual.Store(usual + (int64(len(picture))-usual)/8)
}

// atOnce is how many of n entries may be read at once.
func (q *Queue) atOnce(n int) int { return min(n, int(max(1, readBytes/max(1, q.usual.Load())))) }

// Submit queues a synchronous request and returns its place. After an error
// the request may be in the queue nevertheless.
func (q *Queue) Submit(ctx context.Context, r dispatch.Request) (Place, error) {
	id, err := q.submissions.XAdd(ctx, &redis.XAddArgs{Stream: queueKey(r.Priority), Values: fields(r)}).Result()
	if err != nil {
		return Place{}, fmt.Errorf("queue request %q: %w", r.ID, fullOr(err))
	}
	q.saw(r.Picture)
	return Place{r.Priority, id}, nil
}

// Read takes up to n entries from the queue and waits for the first for at most
// block. None is no error. It looks first where queued says that there are
// entries, a higher priority before a lower one, and takes those of one priority
// only; where it finds none it sets queued to 0. When it has to wait it takes up
// to n of each priority. Of large pictures it takes fewer.
//
// A script would need no such help, and read twice as slowly: what it returns is
// copied into Lua and out again.
func (q *Queue) Read(ctx context.Context, n int, queued *[len(dispatch.Priorities)]int, block time.Duration) ([]Entry, error) {
	// Without the margin an answer at the last moment would be lost on its
	// way; the library's own margin of ten seconds is too much here.
	ctx, cancel := context.WithTimeout(ctx, block+ioTimeout)
	defer cancel()
	n = q.atOnce(n)
	for _, p := range dispatch.Priorities {
		if queued[p] <= 0 {
			continue
		}
		entries, err := q.read(ctx, n, -1, queueKey(p))
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		queued[p] = 0
	}
	return q.read(ctx, n, block, queueKeys...)
}

// read reads streams; it does not wait where block is negative.
func (q *Queue) read(ctx context.Context, n int, block time.Duration, keys ...string) ([]Entry, error) {
	args := &redis.XReadGroupArgs{Group: group, Consumer: q.config.Name, Streams: slices.Clone(keys), Count: int64(n), Block: block}
	for range keys {
		args.Streams = append(args.Streams, ">")
	}
	var streams []redis.XStream
	err := q.withGroups(ctx, func() (err error) {
		streams, err = q.work.XReadGroup(ctx, args).Result()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the queue: %w", err)
	}
	var entries []Entry
	for _, stream := range streams {
		p := dispatch.Priorities[slices.Index(queueKeys, stream.Stream)]
		for _, m := range stream.Messages {
			entries = q.decode(ctx, entries, Place{p, m.ID}, 1, func(field string) string { s, _ := m.Values[field].(string); return s })
		}
	}
	return entries, nil
}

// Reclaim takes up to n entries that some dispatcher has had for longer than
// idle without extending its claim.
func (q *Queue) Reclaim(ctx context.Context, n int, idle time.Duration) ([]Entry, error) {
	var found []any
	err := q.withGroups(ctx, func() (err error) {
		found, err = reclaim.Run(ctx, q.work, queueKeys, group, q.config.Name, q.atOnce(n), idle.Milliseconds()).Slice()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reclaim entries: %w", err)
	}
	entries := make([]Entry, 0, len(found))
	for _, f := range found {
		// number of the stream, id, deliveries, fields and values
		parts, _ := f.([]any)
		if len(parts) != 4 {
			continue
		}
		stream, _ := parts[0].(int64)
		id, _ := parts[1].(string)
		deliveries, _ := parts[2].(int64)
		values, _ := parts[3].([]any)
		if stream < 1 || int(stream) > len(dispatch.Priorities) {
			continue
		}
		entries = q.decode(ctx, entries, Place{dispatch.Priorities[stream-1], id}, int(deliveries), func(field string) string {
			for i := 0; i+1 < len(values); i += 2 {
				if values[i] == any(field) {
					s, _ := values[i+1].(string)
					return s
				}
			}
			return ""
		})
	}
	return entries, nil
}

// decode appends an entry; it removes instead what no dispatcher wrote.
func (q *Queue) decode(ctx context.Context, entries []Entry, place Place, deliveries int, text func(field string) string) []Entry {
	r, err := decodeRequest(text)
	if err != nil {
		// A failure leaves it to the next reclaim.
		_ = q.Remove(ctx, place)
		return entries
	}
	r.Priority = place.Priority
	q.saw(r.Picture)
	return append(entries, Entry{Place: place, QueuedAt: queuedAt(place.ID), Deliveries: deliveries, Request: r})
}

func decodeRequest(text func(field string) string) (dispatch.Request, error) {
	ms, err := strconv.ParseInt(text("deadline"), 10, 64)
	if err != nil {
		return dispatch.Request{}, fmt.Errorf("deadline %q is not Unix milliseconds", text("deadline"))
	}
	r := dispatch.Request{
		ID: text("id"), Deadline: time.UnixMilli(ms), Mode: dispatch.Mode(text("mode")),
		Waiter: text("waiter"), Ticket: text("ticket"), ResultID: text("result"), Fingerprint: text("print"),
		ContentType: text("type"), Picture: bytesOf(text("picture")), TraceParent: text("traceparent"),
	}
	switch {
	case r.ID == "":
		return r, errors.New("there is no id")
	case len(r.Picture) == 0:
		return r, errors.New("there is no picture")
	case r.Mode == dispatch.Sync && (r.Waiter == "" || r.Ticket == ""):
		return r, errors.New("it is synchronous and nobody waits for it")
	case r.Mode == dispatch.Async && r.ResultID == "":
		return r, errors.New("it is asynchronous and has no place for its result")
	case r.Mode != dispatch.Sync && r.Mode != dispatch.Async:
		return r, fmt.Errorf("mode %q is neither %q nor %q", r.Mode, dispatch.Sync, dispatch.Async)
	}
	return r, nil
}

// bytesOf is what text consists of, to be read and not written. A copy of every
// picture would be a tenth of what its way through the queue costs.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// queuedAt reads the time in a place: Redis makes it of Unix milliseconds and a
// number.
func queuedAt(streamID string) time.Time {
	text, _, _ := strings.Cut(streamID, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Extend renews this dispatcher's claim on entries that it is working on, and
// returns those that it has no claim on any more.
func (q *Queue) Extend(ctx context.Context, places []Place) (lost []Place, err error) {
	argv := []any{group, q.config.Name}
	for _, p := range places {
		argv = append(argv, len(dispatch.Priorities)-int(p.Priority), p.ID)
	}
	numbers, err := extend.Run(ctx, q.work, queueKeys, argv...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("extend claims: %w", err)
	}
	for _, n := range numbers {
		if n >= 1 && int(n) <= len(places) {
			lost = append(lost, places[n-1])
		}
	}
	return lost, nil
}

// Remove takes entries out of the queue, taken by a worker or not.
func (q *Queue) Remove(ctx context.Context, places ...Place) error {
	_, err := q.work.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, p := range dispatch.Priorities {
			var ids []string
			for _, place := range places {
				if place.Priority == p {
					ids = append(ids, place.ID)
				}
			}
			if len(ids) > 0 {
				pipe.XAck(ctx, queueKey(p), group, ids...)
				pipe.XDel(ctx, queueKey(p), ids...)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %d entries: %w", len(places), err)
	}
	return nil
}

type wireReply struct {
	Ticket string          `json:"ticket"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// FinishRemote sends the result of a synchronous request to the dispatcher
// that waits for it, and takes its entry out of the queue.
func (q *Queue) FinishRemote(ctx context.Context, e Entry, result dispatch.Result) error {
	message, err := json.Marshal(wireReply{Ticket: e.Ticket, Status: result.Status, Body: result.Body})
	if err != nil {
		return fmt.Errorf("reply to %q: %w", e.ID, err)
	}
	err = finishRemote.Run(ctx, q.work, []string{queueKey(e.Place.Priority), repliesPrefix + e.Waiter},
		group, e.Place.ID, replyTTL.Milliseconds(), message).Err()
	if err != nil {
		return fmt.Errorf("reply to %q: %w", e.ID, err)
	}
	return nil
}

// HandBack returns an entry to the queue for any dispatcher to take.
func (q *Queue) HandBack(ctx context.Context, e Entry) error {
	if err := handBack.Run(ctx, q.work, []string{queueKey(e.Place.Priority), resultPrefix + e.ResultID}, group, e.Place.ID).Err(); err != nil {
		return fmt.Errorf("hand back entry %s: %w", e.Place.ID, err)
	}
	return nil
}

// Replies takes results that other dispatchers have for callers of this one;
// it waits for the first for about a second.
func (q *Queue) Replies(ctx context.Context) ([]Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	key := repliesPrefix + q.config.Name
	first, err := q.work.BLPop(ctx, time.Second, key).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wait for replies: %w", err)
	}
	messages := first[1:]
	more, err := q.work.LPopCount(ctx, key, replyBatch).Result()
	if err == nil {
		messages = append(messages, more...)
	}
	replies := make([]Reply, 0, len(messages))
	for _, m := range messages {
		var w wireReply
		if json.Unmarshal([]byte(m), &w) == nil {
			replies = append(replies, Reply{Ticket: w.Ticket, Result: dispatch.Result{Status: w.Status, Body: w.Body}})
		}
	}
	return replies, nil
}
