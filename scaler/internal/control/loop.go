// Package control runs the policy: it looks, lets it decide, and carries out
// what it decides, again and again, whatever fails meanwhile.
package control

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"headroom.dev/scaler/internal/control/journal"
	"headroom.dev/scaler/internal/policy"
)

// Options are what a [Loop] is made of.
type Options struct {
	Settings Settings
	Target   Target
	// Store keeps what the policy remembers; nil where nothing is to be kept.
	Store Store
	// Leads tells whether this scaler is the one that may write. The others decide
	// too, so that they know the recent past when they take over.
	Leads   func() bool
	Metrics *Metrics
	Log     *slog.Logger
	// Identity and Version name this process and its program in recordings.
	Identity, Version string
}

// Loop decides every tick. Make one with [New].
type Loop struct {
	settings atomic.Pointer[Settings]
	changed  chan struct{} // settings were
	waker    waker
	target   Target
	leads    func() bool
	metrics  *Metrics
	log      *slog.Logger
	journal  *journal.Journal

	// Only the goroutine of Run uses these.
	state    policy.State
	replaced bool // state is not what the last decision left
	memory   *memory
	bridge   bridge
	scale    scaleWatch
	orders   ordersWatch
	would    would
	said     said

	prometheus, kubernetes, scaling health

	started time.Time
	turned  atomic.Int64 // time of the last finished turn, Unix nanoseconds
	decided atomic.Bool  // a decision was made at least once
}

// New makes a loop. Nothing happens until [Loop.Run].
func New(o Options) *Loop {
	l := &Loop{
		changed: make(chan struct{}, 1), waker: waker{turn: make(chan struct{}, 1)},
		target: o.Target, leads: o.Leads, metrics: o.Metrics, log: o.Log,
		started: time.Now(),
	}
	l.set(o.Settings)
	l.journal = journal.New(journal.Recording{
		Target: o.Target.String(), Scaler: o.Identity, Version: o.Version, Started: l.started.UTC().Round(0),
	})
	note := func(what, source string) health {
		return health{what: what, source: source, metrics: o.Metrics, log: o.Log}
	}
	l.prometheus = note("reading signals", "prometheus")
	l.kubernetes = note("reading the target", "kubernetes")
	l.scaling = note("scaling the target", "kubernetes")
	l.bridge.health = note("resizing replicas", "kubernetes")
	l.memory = newMemory(o.Store, note("saving what the policy remembers", "kubernetes"), note("loading what the policy remembers", "kubernetes"))
	return l
}

// Run decides at once and then on a fixed grid of ticks, and whenever it is woken
// or configured anew, until the context is done. Turns never overlap: one that
// takes longer than a tick is cut off, and what it couldn't read counts as missing.
// In the end, the leader saves what the policy remembers. So whoever gives the
// lead away does that after Run.
func (l *Loop) Run(ctx context.Context) {
	stop := l.memory.start(ctx)
	l.remember(ctx)
	g := grid{start: time.Now(), tick: l.settings.Load().Policy.Tick}
	for ctx.Err() == nil {
		l.turn(ctx, g.end(time.Now()))
		if tick := l.settings.Load().Policy.Tick; tick != g.tick {
			g = grid{start: time.Now(), tick: tick}
		}
		l.await(ctx, &g)
	}
	stop()
	l.bridge.running.Wait()
	if l.keeps() {
		l.memory.saveLast(ctx, l.state)
	}
}

// await returns when the next turn is to be made.
func (l *Loop) await(ctx context.Context, g *grid) {
	point := g.due(time.Now())
	due := time.NewTimer(time.Until(g.at(point)))
	defer due.Stop()
	for {
		wake, again := l.waker.ready()
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			g.taken = point
			return
		case <-l.changed:
			return
		case <-wake:
			l.waker.turned = time.Now()
			return
		case <-again:
		}
	}
}

// Alive tells whether turns still finish: the last one did within ten ticks, and
// at least 15 s. It is for /healthz, of leaders and others alike.
func (l *Loop) Alive(now time.Time) bool {
	last := l.started
	if at := l.turned.Load(); at != 0 {
		last = time.Unix(0, at)
	}
	return now.Sub(last) < max(10*l.settings.Load().Policy.Tick, 15*time.Second)
}

// Ready tells whether a decision was made at least once, which takes a target
// that could be read. It is for /readyz.
func (l *Loop) Ready() bool { return l.decided.Load() }
