// Package control runs the policy: it looks, lets it decide, and carries out
// what it decides, again and again, whatever fails meanwhile.
package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// Replicas are what a target has.
type Replicas struct {
	// Spec is how many it is told to have, Ready how many are ready.
	Spec, Ready int
	// Version identifies the state that was read, for [Target.Scale].
	Version string
}

// Signals is where measurements come from.
type Signals interface {
	// Read returns what could be read. An error says that something could not; the
	// signals concerned are then missing.
	Read(context.Context) (policy.Signals, error)
}

// Target is what is scaled.
type Target interface {
	Read(context.Context) (Replicas, error)
	// Scale tells the target to have `to` replicas, and publishes why. It returns
	// [ErrChanged] when the target is no longer as it was seen.
	Scale(ctx context.Context, seen Replicas, to int, why string) error
}

// ErrChanged means that somebody else changed the target since it was read.
var ErrChanged = errors.New("the target was changed since it was read")

// Loop decides every tick. Make one with [New].
type Loop struct {
	policy  policy.Config
	signals Signals
	target  Target
	leads   func() bool
	metrics *Metrics
	log     *slog.Logger

	state      policy.State
	prometheus health
	kubernetes health
	scaling    health
	logged     policy.Decision
	loggedLead bool
	loggedAt   time.Time

	started time.Time
	turned  atomic.Int64 // time of the last finished turn, Unix nanoseconds
	decided atomic.Bool  // a decision was made at least once
}

// logEvery is the time after which a decision is logged again although it is
// the same as the one before.
const logEvery = 30 * time.Second

// New makes a loop that decides every cfg.Tick. leads tells whether this scaler
// is the one that may write; the others decide too, so that they know the recent
// past when they take over.
func New(cfg policy.Config, signals Signals, target Target, leads func() bool, metrics *Metrics, log *slog.Logger) *Loop {
	return &Loop{
		policy: cfg, signals: signals, target: target, leads: leads, metrics: metrics, log: log,
		prometheus: health{what: "reading signals", source: "prometheus"},
		kubernetes: health{what: "reading the target", source: "kubernetes"},
		scaling:    health{what: "scaling the target", source: "kubernetes"},
		started:    time.Now(),
	}
}

// Run decides at once and then every tick until the context is done. Turns never
// overlap: one that takes longer than a tick is cut off, and what it couldn't
// read counts as missing.
func (l *Loop) Run(ctx context.Context) {
	ticker := time.NewTicker(l.policy.Tick)
	defer ticker.Stop()
	for {
		l.turn(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
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
	return now.Sub(last) < max(10*l.policy.Tick, 15*time.Second)
}

// Ready tells whether a decision was made at least once, which takes a target
// that could be read. It is for /readyz.
func (l *Loop) Ready() bool { return l.decided.Load() }

func (l *Loop) turn(parent context.Context) {
	began := time.Now()
	defer func() {
		l.turned.Store(time.Now().UnixNano())
		l.metrics.loopDuration.Observe(time.Since(began).Seconds())
	}()
	ctx, cancel := context.WithTimeout(parent, l.policy.Tick)
	defer cancel()

	signals, err := l.signals.Read(ctx)
	if parent.Err() != nil {
		return
	}
	l.note(&l.prometheus, err)
	l.metrics.observeSignals(&signals)

	// The target is read last, so that little can happen to it until it is written.
	seen, err := l.target.Read(ctx)
	if parent.Err() != nil {
		return
	}
	l.note(&l.kubernetes, err)
	if err != nil {
		return // there is no count to decide about, and nobody to tell
	}
	l.metrics.readyReplicas.WithLabelValues().Set(float64(seen.Ready))

	var d policy.Decision
	l.state, d = policy.Decide(l.policy, l.state, policy.Snapshot{Signals: signals, Spec: seen.Spec, Ready: seen.Ready}, time.Now())
	l.metrics.decisions.WithLabelValues(string(d.Reason)).Inc()
	l.metrics.desiredReplicas.WithLabelValues().Set(float64(d.Replicas))
	l.decided.Store(true)

	leads := l.leads()
	l.logDecision(seen, d, leads)
	if d.Replicas == seen.Spec || !leads {
		return
	}
	switch err := l.target.Scale(ctx, seen, d.Replicas, string(d.Reason)+": "+d.Sentence); {
	case err == nil:
		l.note(&l.scaling, nil)
		l.metrics.scalings.WithLabelValues(direction(seen.Spec, d.Replicas)).Inc()
	case errors.Is(err, ErrChanged):
		l.metrics.errors.WithLabelValues(l.scaling.source).Inc()
		l.log.Info("not scaled, deciding again with the next tick", "error", err.Error())
	case parent.Err() == nil:
		l.note(&l.scaling, err)
	}
}

func direction(from, to int) string {
	if to > from {
		return "out"
	}
	return "in"
}

// logDecision logs a decision that differs from the last logged one in count,
// reason, signals relied on or leadership, one that acts, and one in every 30 s;
// the rest, which say the same again, at level debug.
func (l *Loop) logDecision(seen Replicas, d policy.Decision, leads bool) {
	last, now := l.logged, time.Now()
	level := slog.LevelDebug
	if d.Replicas != last.Replicas || d.Reason != last.Reason || d.Replicas != seen.Spec || leads != l.loggedLead ||
		strings.Join(d.Terms.Untrusted, ",") != strings.Join(last.Terms.Untrusted, ",") || now.Sub(l.loggedAt) >= logEvery {
		level = slog.LevelInfo
		l.logged, l.loggedLead, l.loggedAt = d, leads, now
	}
	l.log.Log(context.Background(), level, "decision",
		"replicas", d.Replicas, "reason", d.Reason, "why", d.Sentence, "leader", leads,
		"spec", seen.Spec, "ready", seen.Ready,
		slog.Group("terms",
			"rate", d.Terms.Rate, "service_s", d.Terms.ServiceEffective, "wait_budget_s", d.Terms.WaitBudget,
			"backlog_rate", d.Terms.BacklogRate, "utilization", d.Terms.Utilization,
			"for_demand", d.Terms.ForDemand, "for_backlog", d.Terms.ForBacklog,
			"recommended", d.Terms.Recommended, "window_max", d.Terms.WindowMax,
		))
}

// health remembers whether something failed the last time, to log changes only.
type health struct {
	what   string
	source string    // as in headroom_scaler_errors_total
	since  time.Time // of the failure; zero while all is well
}

func (l *Loop) note(h *health, err error) {
	switch {
	case err != nil:
		l.metrics.errors.WithLabelValues(h.source).Inc()
		if h.since.IsZero() {
			h.since = time.Now()
			l.log.Warn(h.what+" fails, going on without", "source", h.source, "error", err.Error())
		}
	case !h.since.IsZero():
		l.log.Info(h.what+" works again", "source", h.source, "after", time.Since(h.since).Round(time.Millisecond).String())
		h.since = time.Time{}
	}
}
