// Package relay carries requests from their callers through the queue to the
// model servers, and the results back. Every dispatcher does both halves: it
// queues what its own callers ask, and it works on whatever is in the queue as
// far as the replicas have room.
package relay

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchmetrics"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/tracing"
)

const (
	observeEvery = 250 * time.Millisecond
	// readBlock is how long a read waits in Redis for an entry; the end of
	// the program waits for it too.
	readBlock = 200 * time.Millisecond
	// readMost bounds the pictures that come with one read.
	readMost = 16
	// removeMost bounds the entries that leave the queue with one command.
	removeMost   = 256
	reclaimEvery = time.Second
	tidyEvery    = 5 * time.Second
	pruneEvery   = time.Minute
	// redisTimeout bounds one command that nobody waits for.
	redisTimeout = time.Second
	// keepResult is how long a result that Redis does not take is held: a
	// restart of Redis is shorter.
	keepResult = 30 * time.Second
	// queueMaxAge is how long the queue may be silent before it counts as out
	// of reach: eight looks in a row.
	queueMaxAge = 8 * observeEvery
	// trimAfter is how old an entry may be that nobody has taken out of the queue:
	// more than any dispatcher's settings let it live, and clocks differ by.
	trimAfter = time.Hour + 10*time.Minute
)

// Config bounds the relay's work.
type Config struct {
	// Name is this dispatcher's name in the queue.
	Name string
	// MaxQueue is the most entries that may wait in the queue; positive.
	MaxQueue int
	// ReclaimAfter is how long a dispatcher may be silent about an entry that
	// it has taken before another one takes it over.
	ReclaimAfter time.Duration
	// MaxDeliveries is how often an entry may be taken by dispatchers that then
	// fall silent; after that it is given up, an asynchronous one as a dead letter.
	// Positive.
	MaxDeliveries int
	// AttemptTimeout is the most that one attempt at a replica may take.
	AttemptTimeout time.Duration
	// Direct lets a synchronous request go straight to a free replica while the
	// queue is empty.
	Direct bool
	// Wake asks for a replica, where requests are held and none is ready, and returns
	// how many calls went well and how many failed; nil is off. It is called at most
	// once at a time, and has to end with its context.
	Wake func(context.Context) (ok, failed int)
	// Tracing shows how long each entry was queued, and its attempts; nil is
	// off.
	Tracing *tracing.Tracing
}

// Relay is the dispatcher's engine. Its methods may be called at the same time.
type Relay struct {
	config  Config
	limits  dispatch.Limits
	queue   *redisqueue.Queue
	fleet   *fleet.Fleet
	client  *backend.Client
	metrics *dispatchmetrics.Metrics
	log     *slog.Logger

	tickets atomic.Uint64

	mu         sync.Mutex
	started    bool          // the queue has been there
	load       dispatch.Load // an estimate between two looks at the queue
	seen       redisqueue.Observation
	taken      int                              // entries since the last look
	departures float64                          // entries a second that leave a queue that is not short; 0 for a short one
	budget     dispatch.Budget                  // of retries
	waiters    map[string]*waiter               // by ticket
	waiting    [len(dispatch.Priorities)]int    // requests that wait here for a replica: taken, or without a queue
	inHand     map[redisqueue.Place]time.Time   // what this relay works on, and since when
	expiries   map[redisqueue.Place]*time.Timer // of asynchronous requests accepted here

	removals chan redisqueue.Place
	toWake   chan struct{} // requests may be held for the lack of a replica

	giving context.Context // ends when those who still wait are to be told to go
	giveUp context.CancelFunc

	reading     context.Context // ends when no more entries are to be taken
	stopReading context.CancelFunc
	working     context.Context // ends when work in hand is to be handed back
	stopWorking context.CancelFunc
	running     context.Context // ends when everything is to end
	stopRunning context.CancelFunc
	readers     sync.WaitGroup
	hands       sync.WaitGroup
	others      sync.WaitGroup
	sweeping    sync.WaitGroup
}

// New is a relay that does nothing before Start.
func New(config Config, queue *redisqueue.Queue, fleet *fleet.Fleet, client *backend.Client, log *slog.Logger) *Relay {
	r := &Relay{
		config:   config,
		limits:   dispatch.Limits{MaxQueue: config.MaxQueue, MaxAge: queueMaxAge},
		queue:    queue,
		fleet:    fleet,
		client:   client,
		log:      log,
		waiters:  map[string]*waiter{},
		inHand:   map[redisqueue.Place]time.Time{},
		expiries: map[redisqueue.Place]*time.Timer{},
		removals: make(chan redisqueue.Place, removeMost),
		toWake:   make(chan struct{}, 1),
	}
	r.giving, r.giveUp = context.WithCancel(context.Background())
	r.metrics = dispatchmetrics.New(fleet, r.QueueState)
	r.reading, r.stopReading = context.WithCancel(context.Background())
	r.working, r.stopWorking = context.WithCancel(context.Background())
	r.running, r.stopRunning = context.WithCancel(context.Background())
	return r
}

// Metrics are the relay's metrics.
func (r *Relay) Metrics() *dispatchmetrics.Metrics { return r.metrics }

// Start begins to work. The queue must be connected.
func (r *Relay) Start() {
	// Without a first look nobody would be let in.
	if _, err := r.look(); err != nil {
		r.log.Debug("queue not seen", "error", err.Error())
	}
	r.mu.Lock()
	r.started = true
	r.mu.Unlock()
	r.readers.Go(r.read)
	r.sweeping.Go(r.sweep)
	for _, loop := range []func(){r.observe, r.extend, r.receive} {
		r.others.Go(loop)
	}
	if r.config.Wake != nil {
		r.others.Go(r.wake)
	}
}

// GiveUp tells every caller that still waits that this dispatcher ends.
func (r *Relay) GiveUp() { r.giveUp() }

// Stop takes no more entries, finishes what is in hand until ctx ends, and
// hands back what is left then. It closes the queue.
func (r *Relay) Stop(ctx context.Context) {
	r.stopReading()
	r.readers.Wait()
	done := make(chan struct{})
	go func() { r.hands.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		r.stopWorking()
		<-done
	}
	r.stopWorking()
	r.mu.Lock()
	for _, timer := range r.expiries {
		timer.Stop()
	}
	r.mu.Unlock()
	r.stopRunning()
	r.sweeping.Wait()
	leave, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if err := r.queue.Leave(leave); err != nil {
		r.log.Warn("could not sign off from the queue", "error", err.Error())
	}
	// This ends the wait for replies, which heeds no context.
	if err := r.queue.Close(); err != nil {
		r.log.Debug("connections not closed", "error", err.Error())
	}
	r.others.Wait()
}

// QueueState is what was last seen of the queue.
func (r *Relay) QueueState() dispatchmetrics.QueueState {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := dispatch.Total(r.waiting)
	return dispatchmetrics.QueueState{
		Queued: r.seen.Total() + waiting, OldestAge: r.seen.OldestAge, DeadLetters: r.seen.DeadLetters,
		Waiting: waiting, SeenAt: r.load.SeenAt,
	}
}

// observe looks at the queue until the relay ends, and keeps it tidy.
func (r *Relay) observe() {
	ticker := time.NewTicker(observeEvery)
	defer ticker.Stop()
	var tidied, pruned time.Time
	up := true
	for {
		seen, err := r.look()
		if err != nil && up && r.running.Err() == nil {
			up = false
			r.log.Error("queue out of reach", "address", r.queue.Address(), "error", err.Error())
		}
		if err == nil {
			if !up {
				up = true
				r.log.Info("queue within reach again", "address", r.queue.Address())
			}
			if now := time.Now(); now.Sub(tidied) >= tidyEvery {
				tidied = now
				r.tidy(seen.RedisTime, now.Sub(pruned) >= pruneEvery)
				if now.Sub(pruned) >= pruneEvery {
					pruned = now
				}
			}
		}
		// Some may still be held, or be since the last replica went.
		r.holding()
		select {
		case <-r.running.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *Relay) look() (redisqueue.Observation, error) {
	ctx, cancel := context.WithTimeout(r.running, 2*observeEvery)
	defer cancel()
	seen, err := r.queue.Observe(ctx)
	if err != nil {
		return seen, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// What is on its way to or from the queue right now may be counted twice
	// or not at all, until the next look.
	now := time.Now()
	r.departures = departed(r.departures, r.seen, seen, r.taken, now.Sub(r.load.SeenAt))
	r.taken = 0
	r.load.Queued, r.load.SeenAt, r.seen = seen.Queued, now, seen
	return seen, nil
}

// backlog is the number of entries from which on a queue is not short: what leaves
// it is all that can.
const backlog = 4

// departed is how many entries a second leave the queue, before and now being two
// looks at it with taken taken by this dispatcher between. Replicas that wait for a
// slow Redis answer less than their latency tells.
func departed(rate float64, before, now redisqueue.Observation, taken int, between time.Duration) float64 {
	if before.Total() < backlog || now.Total() < backlog || between <= 0 {
		return 0
	}
	// The others take as many: they have the same replicas.
	sample := float64(taken*now.Dispatchers) / between.Seconds()
	if rate == 0 {
		return sample
	}
	return rate + (sample-rate)/4
}

func (r *Relay) tidy(redisTime time.Time, prune bool) {
	ctx, cancel := context.WithTimeout(r.running, redisTimeout)
	defer cancel()
	removed, err := r.queue.Trim(ctx, redisTime.Add(-trimAfter))
	if err == nil && removed > 0 {
		r.log.Warn("removed entries past every deadline, whose dispatcher is gone", "entries", removed)
	}
	if err == nil && prune {
		err = r.queue.Prune(ctx)
	}
	if err != nil && r.running.Err() == nil {
		r.log.Warn("could not tidy the queue", "error", err.Error())
	}
}

// extend renews the claims on what is in hand for long.
func (r *Relay) extend() {
	every := r.config.ReclaimAfter / 5
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-r.running.Done():
			return
		case now := <-ticker.C:
			var places []redisqueue.Place
			r.mu.Lock()
			for place, since := range r.inHand {
				if now.Sub(since) >= every {
					places = append(places, place)
				}
			}
			r.mu.Unlock()
			if len(places) > 0 {
				r.extendClaims(places)
			}
		}
	}
}

func (r *Relay) extendClaims(places []redisqueue.Place) {
	ctx, cancel := context.WithTimeout(r.running, redisTimeout)
	defer cancel()
	lost, err := r.queue.Extend(ctx, places)
	if err != nil {
		// The queue is out of reach, which observe logs, and for everybody:
		// nobody reclaims.
		r.log.Debug("claims not extended", "error", err.Error())
		return
	}
	if len(lost) == 0 {
		return
	}
	// The answer that is there first counts.
	r.log.Warn("another dispatcher has taken entries over that this one works on", "entries", len(lost))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, place := range lost {
		delete(r.inHand, place)
	}
}

// remove takes an entry that needs no more answer out of the queue, soon. Where
// that fails, whoever reclaims it does it.
func (r *Relay) remove(place redisqueue.Place) {
	select {
	case r.removals <- place:
	default:
		// Redis is slow, which nobody has to wait for.
		go func() {
			select {
			case r.removals <- place:
			case <-r.running.Done():
			}
		}()
	}
}

// sweep removes entries, as many at once as have come while the last command was
// under way. When the relay ends it removes what is left.
func (r *Relay) sweep() {
	for {
		select {
		case place := <-r.removals:
			r.removeAll(place)
		case <-r.running.Done():
			select {
			case place := <-r.removals:
				r.removeAll(place)
			default:
				return
			}
		}
	}
}

// removeAll removes an entry and those that are to be removed by now.
func (r *Relay) removeAll(first redisqueue.Place) {
	places := []redisqueue.Place{first}
	for more := true; more && len(places) < removeMost; {
		select {
		case place := <-r.removals:
			places = append(places, place)
		default:
			more = false
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	if err := r.queue.Remove(ctx, places...); err != nil {
		r.log.Debug("entries left in the queue", "entries", len(places), "error", err.Error())
	}
}

// receive takes what other dispatchers answer to callers of this one.
func (r *Relay) receive() {
	for r.running.Err() == nil {
		replies, err := r.queue.Replies(r.running)
		if err != nil {
			r.log.Debug("no replies", "error", err.Error())
			pause(r.running, observeEvery)
			continue
		}
		for _, reply := range replies {
			if w := r.waiter(reply.Ticket); w != nil {
				w.deliver(ending{ok: true, result: reply.Result})
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (r *Relay) ticket() string { return strconv.FormatUint(r.tickets.Add(1), 36) }
