// Package redisqueue keeps the dispatcher's queue in Redis: a stream for each
// priority with one consumer group, so that every entry is worked on by one
// dispatcher, and by another one when that dispatcher is gone. It is the only
// package that knows Redis.
//
// The keys, all under one hash tag, so that they lie on one node of a cluster:
//
//	{headroom}:queue:PRIORITY   stream of what waits or is worked on
//	{headroom}:result:ID        hash of an asynchronous request's result
//	{headroom}:done             channel on which the ID of a new result is told
//	{headroom}:replies:NAME     list of results for callers of dispatcher NAME
//	{headroom}:dead             stream of what was given up
//	{headroom}:dispatchers      sorted set of the dispatchers that are there
//
// An entry leaves its stream when it is answered, so the streams are as long as
// the work in hand. Scripts and transactions make each step whole: no crash
// leaves an entry half answered. It needs Redis 6.2 or later.
package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
)

const (
	queuePrefix   = "{headroom}:queue:"
	resultPrefix  = "{headroom}:result:"
	repliesPrefix = "{headroom}:replies:"
	doneChannel   = "{headroom}:done"
	deadKey       = "{headroom}:dead"
	hereKey       = "{headroom}:dispatchers"
	group         = "dispatchers"

	// replyTTL is how long replies wait for a dispatcher that may be gone.
	replyTTL = time.Minute
	// goneAfter is how long a consumer without entries may be silent.
	goneAfter = 10 * time.Minute
	// hereFor is how long a dispatcher counts that was last heard of.
	hereFor = 5 * time.Second
	// ioTimeout bounds one exchange with Redis where the caller has more time.
	ioTimeout = time.Second
	// replyBatch is the most replies that are taken at once.
	replyBatch = 64
)

// queueKeys are the streams, from the one that is read first.
var queueKeys = func() (keys []string) {
	for _, p := range dispatch.Priorities {
		keys = append(keys, queueKey(p))
	}
	return keys
}()

func queueKey(p dispatch.Priority) string { return queuePrefix + p.String() }

// Config says where the queue is and how long things are kept.
type Config struct {
	Connection
	// Name is this dispatcher's name; no two that run may share one.
	Name string
	// ResultTTL is how long an asynchronous result is kept after the
	// request's deadline; positive.
	ResultTTL time.Duration
	// Connections is the most connections for submitting; positive.
	Connections int
	// DeadLetterBytes is about how much memory in Redis what was given up may
	// take; the oldest goes first.
	DeadLetterBytes int64
}

// Queue is the queue as one dispatcher uses it. Its methods may be called at
// the same time.
type Queue struct {
	config  Config
	address string
	// submissions and work have connections of their own, so that a crowd at
	// the door does not keep workers from taking entries out.
	submissions redis.UniversalClient
	work        redis.UniversalClient

	usual atomic.Int64 // about how many bytes a picture has

	listen        sync.Once // hears of new results, from when somebody waits for one
	listening     context.Context
	stopListening context.CancelFunc

	mu      sync.Mutex
	awaited map[string]map[chan struct{}]struct{} // by result id, who waits for it
}

// Place is where an entry stands.
type Place struct {
	// Priority names its stream.
	Priority dispatch.Priority
	// ID is its id in the stream.
	ID string
}

// Entry is a request that this dispatcher has taken from the queue.
type Entry struct {
	// Place is where it stands.
	Place Place
	// QueuedAt is when it came into the queue, by Redis' clock and in whole
	// milliseconds; after a HandBack, when it came back. Zero where the place
	// does not tell.
	QueuedAt time.Time
	// Deliveries is how often it was taken, this time included.
	Deliveries int
	dispatch.Request
}

// Reply is a result for one of this dispatcher's callers.
type Reply struct {
	// Ticket names the caller.
	Ticket string
	dispatch.Result
}

// Observation is a look at the queue.
type Observation struct {
	// Queued is the number of entries of each priority that no worker has
	// taken.
	Queued [len(dispatch.Priorities)]int
	// OldestAge is how long the oldest of them has waited; 0 for none.
	OldestAge time.Duration
	// Dispatchers is the number of dispatchers that observed lately, this one
	// included.
	Dispatchers int
	// DeadLetters is the number of entries that were given up and kept.
	DeadLetters int
	// RedisTime is Redis' own clock at that moment.
	RedisTime time.Time
}

// Total is the number of entries that no worker has taken.
func (o Observation) Total() int { return dispatch.Total(o.Queued) }

// New prepares a queue; it does not connect. Its errors are those of
// Connection.Check.
func New(config Config) (*Queue, error) {
	submissions, work, address, err := config.clients(config.Connections)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		config: config, address: address, submissions: submissions, work: work,
		awaited: map[string]map[chan struct{}]struct{}{},
	}
	q.listening, q.stopListening = context.WithCancel(context.Background())
	return q, nil
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
		err := q.createGroups(attempt)
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

// createGroups makes the queue, empty, where there is none. The groups start
// at their streams' beginnings: what was queued while a group was missing is
// still work.
func (q *Queue) createGroups(ctx context.Context) error {
	for _, key := range queueKeys {
		err := q.work.XGroupCreateMkStream(ctx, key, group, "0").Err()
		if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
			return err
		}
	}
	return nil
}

// withGroups runs f, and once more where a group was missing: Redis may have
// come back empty.
func (q *Queue) withGroups(ctx context.Context, f func() error) error {
	err := f()
	// Where a script met it, Redis 6.2 puts it into words of its own.
	if err == nil || !strings.Contains(err.Error(), "NOGROUP") {
		return err
	}
	if err := q.createGroups(ctx); err != nil {
		return err
	}
	return f()
}

// Observe looks at the queue, and lets the other dispatchers know of this one.
func (q *Queue) Observe(ctx context.Context) (Observation, error) {
	var numbers []int64
	err := q.withGroups(ctx, func() (err error) {
		numbers, err = observe.Run(ctx, q.work, append([]string{hereKey, deadKey}, queueKeys...), group, q.config.Name, hereFor.Milliseconds()).Int64Slice()
		return err
	})
	if err != nil {
		return Observation{}, fmt.Errorf("observe the queue: %w", err)
	}
	const before = 4 // numbers before those of the streams
	if want := before + len(queueKeys); len(numbers) != want {
		return Observation{}, fmt.Errorf("observe the queue: %d numbers, want %d", len(numbers), want)
	}
	o := Observation{
		Dispatchers: int(numbers[0]),
		DeadLetters: int(numbers[1]),
		RedisTime:   time.UnixMilli(numbers[2]),
		OldestAge:   time.Duration(numbers[3]) * time.Millisecond,
	}
	for i, p := range dispatch.Priorities {
		o.Queued[p] = int(numbers[before+i])
	}
	return o, nil
}

// Trim removes entries that were queued before an instant of Redis' clock.
// Entries past every deadline stay in the queue where no replica is there to
// read them for, and their dispatcher is gone.
func (q *Queue) Trim(ctx context.Context, before time.Time) (removed int64, err error) {
	for _, key := range queueKeys {
		n, err := q.work.XTrimMinID(ctx, key, fmt.Sprint(before.UnixMilli())).Result()
		if err != nil {
			return removed, fmt.Errorf("trim the queue: %w", err)
		}
		removed += n
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
	return q.prune(ctx, q.config.Name)
}

func (q *Queue) prune(ctx context.Context, leaving string) error {
	if err := prune.Run(ctx, q.work, append([]string{hereKey}, queueKeys...), group, leaving, goneAfter.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("prune consumers: %w", err)
	}
	return nil
}

// Close ends all connections.
func (q *Queue) Close() error {
	q.stopListening()
	return errors.Join(q.submissions.Close(), q.work.Close())
}
