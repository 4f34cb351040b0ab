// Package redisqueue keeps the dispatcher's queue in Redis: a stream with one
// consumer group, so that every entry is worked on by one dispatcher, and by
// another one when that dispatcher is gone. It is the only package that knows
// Redis.
//
// The keys, all under one hash tag:
//
//	{headroom}:queue          stream of what waits or is worked on
//	{headroom}:result:ID      hash of an asynchronous request's result
//	{headroom}:replies:NAME   list of results for callers of dispatcher NAME
//
// An entry leaves the stream when it is answered, so the stream is as long as
// the work in hand. Scripts and transactions make each step whole: no crash
// leaves an entry half answered. It needs Redis 6.2 or later.
package redisqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"headroom.dev/apps/internal/dispatch"
)

const (
	queueKey      = "{headroom}:queue"
	resultPrefix  = "{headroom}:result:"
	repliesPrefix = "{headroom}:replies:"
	group         = "dispatchers"

	// replyTTL is how long replies wait for a dispatcher that may be gone.
	replyTTL = time.Minute
	// goneAfter is how long a consumer without entries may be silent.
	goneAfter = 10 * time.Minute
	// ioTimeout bounds one exchange with Redis where the caller has more time.
	ioTimeout = time.Second
	// replyBatch is the most replies that are taken at once.
	replyBatch = 64
)

// ErrNoResult is the error of a result that nobody asked for, or that is not
// kept any more.
var ErrNoResult = errors.New("no such result")

// Config says where the queue is and how long things are kept.
type Config struct {
	// URL is redis://[user:password@]host:port[/db], or rediss:// for TLS.
	URL string
	// Password is used where the URL has none; may be empty.
	Password string
	// Name is this dispatcher's name; no two that run may share one.
	Name string
	// ResultTTL is how long an asynchronous result is kept after the
	// request's deadline; positive.
	ResultTTL time.Duration
	// Connections is the most connections for submitting; positive.
	Connections int
}

// Queue is the queue as one dispatcher uses it. Its methods may be called at
// the same time.
type Queue struct {
	name      string
	address   string
	resultTTL time.Duration
	// submissions and work have connections of their own, so that a crowd at
	// the door does not keep workers from taking entries out.
	submissions *redis.Client
	work        *redis.Client
}

// Entry is a request that this dispatcher has taken from the queue.
type Entry struct {
	// StreamID is its place in the queue.
	StreamID string
	// QueuedAt is when it came into the queue, by Redis' clock and in whole
	// milliseconds; after a HandBack, when it came back. Zero where the place
	// does not tell.
	QueuedAt time.Time
	dispatch.Request
}

// Reply is a result for one of this dispatcher's callers.
type Reply struct {
	// Ticket names the caller.
	Ticket string
	dispatch.Result
}

// Stored is an asynchronous request's state.
type Stored struct {
	// Pending says that there is no result yet; Result is empty then.
	Pending bool
	// Deadline is when the request ends without one.
	Deadline time.Time
	dispatch.Result
}

// Observation is a look at the queue.
type Observation struct {
	// Queued is the number of entries that no worker has taken.
	Queued int
	// OldestAge is how long the oldest of them has waited; 0 for none.
	OldestAge time.Duration
	// RedisTime is Redis' own clock at that moment.
	RedisTime time.Time
}

// New prepares a queue; it does not connect. The error never holds the
// password.
func New(config Config) (*Queue, error) {
	options, err := redis.ParseURL(config.URL)
	if err != nil {
		// The error may quote the URL, and the URL may hold a password.
		return nil, errors.New("is not a Redis URL; allowed: redis://[user:password@]host:port[/db], the same with rediss:// for TLS, or unix:///path")
	}
	if options.Password == "" {
		options.Password = config.Password
	}
	options.Protocol = 2
	options.ContextTimeoutEnabled = true
	options.DialTimeout = ioTimeout
	options.ReadTimeout = ioTimeout
	options.WriteTimeout = ioTimeout
	// A command that got no answer may have been executed: whoever sent it
	// knows what to do about that.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	submissions := *options
	submissions.PoolSize = config.Connections
	work := *options
	work.PoolSize = config.Connections
	return &Queue{
		name:        config.Name,
		address:     options.Addr,
		resultTTL:   config.ResultTTL,
		submissions: redis.NewClient(&submissions),
		work:        redis.NewClient(&work),
	}, nil
}

// UseLogger sends what the Redis client library itself logs to log, at level
// debug: every failure is also an error of a method here. It applies to the
// whole process.
func UseLogger(log *slog.Logger) {
	redis.SetLogger(libraryLog{log})
}

type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, v...), "from", "go-redis")
}

// Address is where Redis is, without the password.
func (q *Queue) Address() string { return q.address }

// Connect waits until Redis answers and the queue is there, for at most wait.
// A refused password ends the wait at once.
func (q *Queue) Connect(ctx context.Context, wait time.Duration, log *slog.Logger) error {
	begin := time.Now()
	deadline, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	pause := 100 * time.Millisecond
	for {
		attempt, done := context.WithTimeout(deadline, 2*time.Second)
		err := q.createGroup(attempt)
		done()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("redis at %s: %w", q.address, context.Cause(ctx))
		case redis.IsAuthError(err), redis.IsPermissionError(err):
			return fmt.Errorf("redis at %s refuses this user and password: %w", q.address, err)
		}
		log.Warn("waiting for Redis", "address", q.address, "error", err.Error(),
			"waited_s", math.Round(time.Since(begin).Seconds()*10)/10, "limit_s", wait.Seconds())
		select {
		case <-deadline.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("redis at %s: %w", q.address, context.Cause(ctx))
			}
			return fmt.Errorf("redis at %s can't be reached within %v: %w", q.address, wait, err)
		case <-time.After(pause):
			pause = min(2*pause, 3*time.Second)
		}
	}
}

// createGroup makes the queue, empty, where there is none. The group starts
// at the stream's beginning: what was queued while the group was missing is
// still work.
func (q *Queue) createGroup(ctx context.Context) error {
	err := q.work.XGroupCreateMkStream(ctx, queueKey, group, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return err
	}
	return nil
}

// withGroup runs f, and once more where the group was missing: Redis may have
// come back empty.
func (q *Queue) withGroup(ctx context.Context, f func() error) error {
	err := f()
	if err == nil || !strings.HasPrefix(err.Error(), "NOGROUP") {
		return err
	}
	if err := q.createGroup(ctx); err != nil {
		return err
	}
	return f()
}

func fields(r dispatch.Request) []any {
	list := []any{
		"id", r.ID,
		"deadline", r.Deadline.UnixMilli(),
		"mode", string(r.Mode),
		"waiter", r.Waiter,
		"ticket", r.Ticket,
		"picture", r.Picture,
	}
	if r.TraceParent != "" {
		list = append(list, "traceparent", r.TraceParent)
	}
	return list
}

// Submit queues a synchronous request and returns its place. After an error
// the request may be in the queue nevertheless.
func (q *Queue) Submit(ctx context.Context, r dispatch.Request) (streamID string, err error) {
	streamID, err = q.submissions.XAdd(ctx, &redis.XAddArgs{Stream: queueKey, Values: fields(r)}).Result()
	if err != nil {
		return "", fmt.Errorf("queue request %q: %w", r.ID, err)
	}
	return streamID, nil
}

// SubmitAsync queues an asynchronous request and opens its result. The place
// is empty when the id has a result, open or not: then nothing is done.
func (q *Queue) SubmitAsync(ctx context.Context, r dispatch.Request) (streamID string, err error) {
	keep := max(0, time.Until(r.Deadline)) + q.resultTTL
	argv := append([]any{keep.Milliseconds(), r.Deadline.UnixMilli()}, fields(r)...)
	streamID, err = submitAsync.Run(ctx, q.submissions, []string{queueKey, resultPrefix + r.ID}, argv...).Text()
	if err != nil {
		return "", fmt.Errorf("queue asynchronous request %q: %w", r.ID, err)
	}
	return streamID, nil
}

// Read takes up to n entries from the queue and waits for the first for at
// most block. None is no error.
func (q *Queue) Read(ctx context.Context, n int, block time.Duration) ([]Entry, error) {
	// Without the margin an answer at the last moment would be lost on its
	// way; the library's own margin of ten seconds is too much here.
	ctx, cancel := context.WithTimeout(ctx, block+ioTimeout)
	defer cancel()
	var streams []redis.XStream
	err := q.withGroup(ctx, func() (err error) {
		streams, err = q.work.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: group, Consumer: q.name, Streams: []string{queueKey, ">"}, Count: int64(n), Block: block,
		}).Result()
		return err
	})
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the queue: %w", err)
	}
	var entries []Entry
	for _, stream := range streams {
		entries = append(entries, q.decode(ctx, stream.Messages)...)
	}
	return entries, nil
}

// Reclaim takes up to n entries that some dispatcher has had for longer than
// idle without extending its claim.
func (q *Queue) Reclaim(ctx context.Context, n int, idle time.Duration) ([]Entry, error) {
	var messages []redis.XMessage
	err := q.withGroup(ctx, func() (err error) {
		messages, _, err = q.work.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: queueKey, Group: group, Consumer: q.name, MinIdle: idle, Start: "0-0", Count: int64(n),
		}).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reclaim entries: %w", err)
	}
	return q.decode(ctx, messages), nil
}

// decode skips and removes what no dispatcher wrote.
func (q *Queue) decode(ctx context.Context, messages []redis.XMessage) []Entry {
	entries := make([]Entry, 0, len(messages))
	for _, m := range messages {
		e, err := decodeEntry(m)
		if err != nil {
			// A failure leaves it to the next reclaim.
			_ = q.Remove(ctx, m.ID)
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

func decodeEntry(m redis.XMessage) (Entry, error) {
	text := func(field string) string {
		s, _ := m.Values[field].(string)
		return s
	}
	ms, err := strconv.ParseInt(text("deadline"), 10, 64)
	if err != nil {
		return Entry{}, fmt.Errorf("entry %s: deadline %q is not Unix milliseconds", m.ID, text("deadline"))
	}
	e := Entry{StreamID: m.ID, QueuedAt: queuedAt(m.ID), Request: dispatch.Request{
		ID: text("id"), Deadline: time.UnixMilli(ms), Mode: dispatch.Mode(text("mode")),
		Waiter: text("waiter"), Ticket: text("ticket"), Picture: []byte(text("picture")), TraceParent: text("traceparent"),
	}}
	switch {
	case e.ID == "":
		return Entry{}, fmt.Errorf("entry %s has no id", m.ID)
	case len(e.Picture) == 0:
		return Entry{}, fmt.Errorf("entry %s has no picture", m.ID)
	case e.Mode == dispatch.Sync && (e.Waiter == "" || e.Ticket == ""):
		return Entry{}, fmt.Errorf("entry %s is synchronous and nobody waits for it", m.ID)
	case e.Mode != dispatch.Sync && e.Mode != dispatch.Async:
		return Entry{}, fmt.Errorf("entry %s: mode %q is neither %q nor %q", m.ID, e.Mode, dispatch.Sync, dispatch.Async)
	}
	return e, nil
}

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

// Extend renews this dispatcher's claim on entries that it is working on.
func (q *Queue) Extend(ctx context.Context, streamIDs []string) error {
	err := q.work.XClaimJustID(ctx, &redis.XClaimArgs{
		Stream: queueKey, Group: group, Consumer: q.name, MinIdle: 0, Messages: streamIDs,
	}).Err()
	if err != nil {
		return fmt.Errorf("extend claims: %w", err)
	}
	return nil
}

// Remove takes an entry out of the queue, taken by a worker or not.
func (q *Queue) Remove(ctx context.Context, streamID string) error {
	_, err := q.work.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.XAck(ctx, queueKey, group, streamID)
		p.XDel(ctx, queueKey, streamID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove entry %s: %w", streamID, err)
	}
	return nil
}

// FinishAsync stores the result of an asynchronous request unless it has one,
// and takes its entry out of the queue. first says that this call stored it.
func (q *Queue) FinishAsync(ctx context.Context, streamID, id string, result dispatch.Result) (first bool, err error) {
	n, err := finishAsync.Run(ctx, q.work, []string{queueKey, resultPrefix + id},
		group, streamID, q.resultTTL.Milliseconds(), result.Status, result.Body).Int()
	if err != nil {
		return false, fmt.Errorf("store the result of %q: %w", id, err)
	}
	return n == 1, nil
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
	err = finishRemote.Run(ctx, q.work, []string{queueKey, repliesPrefix + e.Waiter},
		group, e.StreamID, replyTTL.Milliseconds(), message).Err()
	if err != nil {
		return fmt.Errorf("reply to %q: %w", e.ID, err)
	}
	return nil
}

// HandBack returns an entry to the queue for any dispatcher to take.
func (q *Queue) HandBack(ctx context.Context, streamID string) error {
	if err := handBack.Run(ctx, q.work, []string{queueKey}, group, streamID).Err(); err != nil {
		return fmt.Errorf("hand back entry %s: %w", streamID, err)
	}
	return nil
}

// Replies takes results that other dispatchers have for callers of this one;
// it waits for the first for about a second.
func (q *Queue) Replies(ctx context.Context) ([]Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	key := repliesPrefix + q.name
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

// Result is the state of an asynchronous request; ErrNoResult for one that
// was never accepted or is not kept any more.
func (q *Queue) Result(ctx context.Context, id string) (Stored, error) {
	hash, err := q.submissions.HGetAll(ctx, resultPrefix+id).Result()
	if err != nil {
		return Stored{}, fmt.Errorf("read the result of %q: %w", id, err)
	}
	if len(hash) == 0 {
		return Stored{}, ErrNoResult
	}
	status, err := strconv.Atoi(hash["status"])
	if err != nil {
		return Stored{}, fmt.Errorf("read the result of %q: status %q is not a number", id, hash["status"])
	}
	ms, err := strconv.ParseInt(hash["deadline"], 10, 64)
	if err != nil {
		return Stored{}, fmt.Errorf("read the result of %q: deadline %q is not Unix milliseconds", id, hash["deadline"])
	}
	return Stored{
		Pending: status == 0, Deadline: time.UnixMilli(ms),
		Result: dispatch.Result{Status: status, Body: []byte(hash["body"])},
	}, nil
}

// Observe looks at the queue.
func (q *Queue) Observe(ctx context.Context) (Observation, error) {
	var numbers []int64
	err := q.withGroup(ctx, func() (err error) {
		numbers, err = observe.Run(ctx, q.work, []string{queueKey}, group).Int64Slice()
		return err
	})
	if err != nil {
		return Observation{}, fmt.Errorf("observe the queue: %w", err)
	}
	if len(numbers) != 3 {
		return Observation{}, fmt.Errorf("observe the queue: %d numbers, want 3", len(numbers))
	}
	return Observation{
		Queued:    int(numbers[0]),
		OldestAge: time.Duration(numbers[1]) * time.Millisecond,
		RedisTime: time.UnixMilli(numbers[2]),
	}, nil
}

// Trim removes entries that were queued before an instant of Redis' clock.
// Entries past every deadline stay in the queue where no replica is there to
// read them for, and their dispatcher is gone.
func (q *Queue) Trim(ctx context.Context, before time.Time) (removed int64, err error) {
	removed, err = q.work.XTrimMinID(ctx, queueKey, strconv.FormatInt(before.UnixMilli(), 10)).Result()
	if err != nil {
		return 0, fmt.Errorf("trim the queue: %w", err)
	}
	return removed, nil
}

// Prune forgets dispatchers that have no entries and have been silent for ten
// minutes.
func (q *Queue) Prune(ctx context.Context) error {
	return q.prune(ctx, "")
}

// Leave forgets this dispatcher, unless it still has entries: those are
// reclaimed by others.
func (q *Queue) Leave(ctx context.Context) error {
	return q.prune(ctx, q.name)
}

func (q *Queue) prune(ctx context.Context, leaving string) error {
	if err := prune.Run(ctx, q.work, []string{queueKey}, group, leaving, goneAfter.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("prune consumers: %w", err)
	}
	return nil
}

// Close ends all connections.
func (q *Queue) Close() error {
	return errors.Join(q.submissions.Close(), q.work.Close())
}
