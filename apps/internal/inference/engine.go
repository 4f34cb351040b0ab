// Package inference takes requests through a model in three steps: they wait
// in a short queue, their input is prepared (for a picture: decoded and
// scaled), and the network runs on it. Each step has its own bounded number of
// places, so that pictures that are expensive to decode hold up no network that
// is free to run, and a request that can't be done in time is refused at once.
package inference

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Reason says why a request is refused.
type Reason string

// The reasons.
const (
	// Full: as many wait as may.
	Full Reason = "full"
	// Displaced: it gave its place in the queue to one of a higher priority.
	Displaced Reason = "displaced"
	// TooLate: it can't be done before its deadline.
	TooLate Reason = "too_late"
)

// Refusal is the error for a request with which nothing is wrong, but which
// isn't served now.
type Refusal struct {
	Reason Reason
	// Message is for people.
	Message string
}

func (r *Refusal) Error() string { return r.Message }

// Job is one request. P prepares and L is where one request's input and output
// lie.
type Job[P, L any] interface {
	// Prepare writes the lane's input.
	Prepare(ctx context.Context, preparer P, lane L) error
	// Sample says whether the time that Prepare takes says something of that of
	// other jobs.
	Sample() bool
	// Continues is asked once, when the job comes, and says that it is a part of a
	// request of which another part has come before: a full queue does not refuse it,
	// which would waste the rest.
	Continues() bool
	// Finish reads the lane's output. waited is how long the job has waited for
	// its turns, in all.
	Finish(lane L, waited time.Duration) error
}

// Part is something that an Engine works with. The engine frees what it no
// longer needs.
type Part interface{ Close() }

// Runner runs the network. It is used by one goroutine at a time.
type Runner[L any] interface {
	Part
	// Batch is the most lanes that a run takes.
	Batch() int
	// Run runs the network on 1 to Batch lanes, until ctx ends.
	Run(ctx context.Context, lanes []L) error
}

// Observer is told of every run of the network: on how many lanes, and how long
// it took. It is called by many goroutines.
type Observer interface {
	Ran(lanes int, took time.Duration)
}

// Slot is what one more request at a time takes: a preparer, a runner, and the
// lanes between them, which should be as many as both together take, or one of
// them will wait for a lane.
type Slot[P, L Part] struct {
	Preparer P
	Runner   Runner[L]
	Lanes    []L
}

// Parts are what an Engine begins with. They are the engine's from then on.
type Parts[P, L Part] struct {
	// Slots are at least one. As many requests at a time are prepared, and as many
	// runs are made.
	Slots []Slot[P, L]
	// Waiting is how many requests may wait to be prepared, at least 0.
	Waiting int
	// Fastest is the time of a run of the network on one lane, measured.
	Fastest  time.Duration
	Observer Observer
}

// Engine takes jobs through the steps. It is for concurrent use.
type Engine[P, L Part] struct {
	observer Observer
	workers  sync.WaitGroup
	flights  sync.Pool

	mu         sync.Mutex
	readied    sync.Cond // something may be to run, or a worker to end
	closed     bool
	brought    []int // by each slot that there should be: how many lanes
	waitingMax int
	arrivals   uint64
	inFlight   int // jobs that have been given a preparer and are not done
	preparers  stock[P]
	lanes      stock[L]
	running    int // workers, each with a runner
	waiting    queue[*flight[P, L]]
	laneless   []*flight[P, L] // those that have a preparer and wait for a lane
	ready      queue[*flight[P, L]]

	prepare, run estimate
}

// flight is a job on its way. Its parts are used again for the next one.
type flight[P, L Part] struct {
	ctx context.Context
	// turn is its place among those that wait to be prepared. What comes of it
	// is sent to granted.
	turn    waiter[*flight[P, L]]
	granted chan grant[P]
	// laned gets the lane that it waits for.
	laned chan L
	// running is its place among those that wait to be run. What comes of it is
	// sent to done; began is when the run began.
	running waiter[*flight[P, L]]
	lane    L
	began   time.Time
	done    chan error
}

// grant is a preparer, or a refusal.
type grant[P any] struct {
	preparer P
	refusal  *Refusal
}

// New makes an Engine of parts.
func New[P, L Part](parts Parts[P, L]) *Engine[P, L] {
	e := &Engine[P, L]{
		waitingMax: parts.Waiting, observer: parts.Observer,
		run: estimate{mean: parts.Fastest, fastest: parts.Fastest},
	}
	e.readied.L = &e.mu
	e.flights.New = func() any {
		f := &flight[P, L]{granted: make(chan grant[P], 1), laned: make(chan L, 1), done: make(chan error, 1)}
		f.turn.value, f.running.value = f, f
		f.turn.index, f.running.index = -1, -1
		return f
	}
	for _, slot := range parts.Slots {
		e.Grow(slot)
	}
	return e
}

// Close ends the engine and frees its parts. No job may be under way, and none
// may come.
func (e *Engine[P, L]) Close() {
	e.mu.Lock()
	e.closed = true
	e.readied.Broadcast()
	e.mu.Unlock()
	e.workers.Wait()
	closeAll(e.preparers.free)
	closeAll(e.lanes.free)
}

// Do takes a job through the steps, in the order of priority and then of
// deadline, which is ctx's. It returns the job's own error, a *Refusal, or
// ctx's error when that ends first.
func (e *Engine[P, L]) Do(ctx context.Context, priority Priority, job Job[P, L]) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f := e.flights.Get().(*flight[P, L])
	f.ctx = ctx
	defer func() {
		var none L
		f.ctx, f.lane = nil, none
		e.flights.Put(f)
	}()

	begin := time.Now()
	preparer, err := e.enter(f, priority, job.Continues(), begin)
	if err != nil {
		return err
	}
	defer e.leave()
	preparing, err := e.fill(f, preparer, job)
	if err != nil {
		return err
	}
	defer e.giveLane(f.lane)
	if err := e.await(f); err != nil {
		return err
	}
	ended := time.Now()
	return job.Finish(f.lane, ended.Sub(begin)-preparing-ended.Sub(f.began))
}

// Check says what Do would refuse at once, so that a caller need not read a
// request's body for nothing. deadline is zero where there is none.
func (e *Engine[P, L]) Check(priority Priority, deadline time.Time) *Refusal {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := rank{priority: priority, deadline: deadline, arrival: e.arrivals + 1}
	refusal, _ := e.admit(r, false, time.Now())
	return refusal
}

// enter waits for a preparer, or refuses.
func (e *Engine[P, L]) enter(f *flight[P, L], priority Priority, continues bool, now time.Time) (preparer P, err error) {
	deadline, _ := f.ctx.Deadline()
	e.mu.Lock()
	e.arrivals++
	r := rank{priority: priority, deadline: deadline, arrival: e.arrivals}
	f.turn.rank, f.running.rank = r, r
	refusal, displaced := e.admit(r, continues, now)
	if refusal != nil {
		e.mu.Unlock()
		return preparer, refusal
	}
	if displaced != nil {
		e.waiting.remove(displaced)
		displaced.value.granted <- grant[P]{refusal: &Refusal{Displaced, "a request of a higher priority took the place in the queue"}}
	}
	if preparer, free := e.preparers.take(); free { // then nobody waits
		e.inFlight++
		e.mu.Unlock()
		return preparer, nil
	}
	e.waiting.add(&f.turn)
	e.mu.Unlock()

	var granted grant[P]
	select {
	case granted = <-f.granted:
	case <-f.ctx.Done():
		e.mu.Lock()
		gone := e.waiting.remove(&f.turn)
		e.mu.Unlock()
		if gone {
			return preparer, f.ctx.Err()
		}
		granted = <-f.granted
	}
	if granted.refusal != nil {
		return preparer, granted.refusal
	}
	return granted.preparer, nil
}

// admit decides whether a request may enter. Where the queue is full, one of a
// higher priority may displace the last.
func (e *Engine[P, L]) admit(r rank, continues bool, now time.Time) (refusal *Refusal, displaced *waiter[*flight[P, L]]) {
	if !r.deadline.IsZero() {
		left := r.deadline.Sub(now)
		finish := load{
			prepare: e.prepare, run: e.run, slots: len(e.brought),
			inFlight: e.inFlight, ahead: e.waiting.ahead(r),
		}.finish()
		if finish > left {
			return &Refusal{TooLate, fmt.Sprintf("the deadline is in %v and the answer is expected to take %v", ms(left), ms(finish))}, nil
		}
	}
	if continues || len(e.preparers.free) > 0 || len(e.waiting) < e.waitingMax {
		return nil, nil
	}
	if last := e.waiting.last(); last != nil && last.rank.priority < r.priority {
		return nil, last
	}
	return &Refusal{Full, fmt.Sprintf("%d requests wait already, the most that may", e.waitingMax)}, nil
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// leave ends a flight that had been given a preparer.
func (e *Engine[P, L]) leave() {
	e.mu.Lock()
	e.inFlight--
	e.mu.Unlock()
}

// giveBack hands a preparer to the next that waits.
func (e *Engine[P, L]) giveBack(preparer P) {
	e.mu.Lock()
	kept := e.offer(preparer)
	e.mu.Unlock()
	if !kept {
		preparer.Close()
	}
}

// offer is giveBack but for closing what is one too many, where it is false. The
// caller holds mu.
func (e *Engine[P, L]) offer(preparer P) (kept bool) {
	if e.preparers.surplus() {
		e.preparers.all--
		return false
	}
	next := e.waiting.next()
	if next == nil {
		e.preparers.free = append(e.preparers.free, preparer)
		return true
	}
	e.inFlight++
	next.value.granted <- grant[P]{preparer: preparer}
	return true
}

// fill gives the flight a lane and has the job write its input.
func (e *Engine[P, L]) fill(f *flight[P, L], preparer P, job Job[P, L]) (took time.Duration, err error) {
	defer e.giveBack(preparer)
	if f.lane, err = e.takeLane(f); err != nil {
		return 0, err
	}
	filled := false
	defer func() {
		if !filled {
			e.giveLane(f.lane)
		}
	}()
	e.mu.Lock()
	needed := e.prepare.fastest + e.run.fastest
	e.mu.Unlock()
	if err := inTime(f.ctx, needed); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := job.Prepare(f.ctx, preparer, f.lane); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	e.mu.Lock()
	if job.Sample() {
		e.prepare.observe(took)
	}
	needed = e.run.fastest
	e.mu.Unlock()
	if err := inTime(f.ctx, needed); err != nil {
		return 0, err
	}
	filled = true
	return took, nil
}

// inTime refuses what can't be done any more.
func inTime(ctx context.Context, needed time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	if left := time.Until(deadline); left < needed {
		return &Refusal{TooLate, fmt.Sprintf("the deadline is in %v and at least %v are needed", ms(left), ms(needed))}
	}
	return nil
}

// await has the network run on the flight's lane.
func (e *Engine[P, L]) await(f *flight[P, L]) error {
	e.mu.Lock()
	e.ready.add(&f.running)
	e.readied.Signal()
	e.mu.Unlock()
	var err error
	select {
	case err = <-f.done:
	case <-f.ctx.Done():
		e.mu.Lock()
		gone := e.ready.remove(&f.running)
		e.mu.Unlock()
		if gone {
			return f.ctx.Err()
		}
		// The runner knows the context too, and has the lane until it answers.
		err = <-f.done
	}
	if err != nil && f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	return err
}

// work runs what is ready, as much at a time as the runner takes and there is,
// until the engine has one runner too many or ends.
func (e *Engine[P, L]) work(runner Runner[L]) {
	defer runner.Close()
	batch := make([]*flight[P, L], 0, runner.Batch())
	lanes := make([]L, 0, runner.Batch())
	for e.awaitReady() {
		batch, lanes = e.take(batch[:0], lanes[:0])
		e.mu.Unlock()
		begin := time.Now()
		for _, f := range batch {
			f.began = begin
		}
		err := e.runOn(runner, batch, lanes)
		took := time.Since(begin)
		if err == nil {
			e.observer.Ran(len(batch), took)
			e.mu.Lock()
			e.run.observe(took / time.Duration(len(batch)))
			e.mu.Unlock()
		}
		for _, f := range batch {
			f.done <- err
		}
	}
}

// awaitReady waits until something is to run, and returns true holding mu; or
// until the worker is to end, and returns false without.
func (e *Engine[P, L]) awaitReady() bool {
	e.mu.Lock()
	for {
		switch {
		case e.closed:
			e.mu.Unlock()
			return false
		case e.running > len(e.brought):
			// Whoever is left has been woken too, and sees to what is ready.
			e.running--
			e.mu.Unlock()
			return false
		case len(e.ready) > 0:
			return true
		}
		e.readied.Wait()
	}
}

// take takes the first of what is ready, and as many after it as leave each
// enough time. The caller holds mu.
func (e *Engine[P, L]) take(batch []*flight[P, L], lanes []L) ([]*flight[P, L], []L) {
	most := cap(batch)
	for len(batch) < most {
		next := e.ready.next()
		if next == nil {
			break
		}
		batch, lanes = append(batch, next.value), append(lanes, next.value.lane)
		if !next.rank.deadline.IsZero() && e.run.mean > 0 {
			most = min(most, int(time.Until(next.rank.deadline)/e.run.mean))
		}
	}
	return batch, lanes
}

func (e *Engine[P, L]) runOn(runner Runner[L], batch []*flight[P, L], lanes []L) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("running the model panicked: %v\n%s", p, debug.Stack())
		}
	}()
	ctx := batch[0].ctx
	if len(batch) > 1 {
		var stop context.CancelFunc
		ctx, stop = untilAll(batch)
		defer stop()
	}
	return runner.Run(ctx, lanes)
}

// untilAll is a context that ends when nobody waits for the batch any more.
func untilAll[P, L Part](batch []*flight[P, L]) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	var left atomic.Int64
	left.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, f := range batch {
		stops[i] = context.AfterFunc(f.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
