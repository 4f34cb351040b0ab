package control

import (
	"context"
	"errors"
	"time"

	"headroom.dev/scaler/internal/control/journal"
	"headroom.dev/scaler/internal/policy"
)

// signalsShare of a turn's time is what reading the signals may take. The rest is
// for the target: without its count, there is nothing to decide about.
const signalsShare = 0.8

// turn looks, decides and acts once, and is cut off at end.
func (l *Loop) turn(parent context.Context, end time.Time) {
	began := time.Now()
	ctx, cancel := context.WithDeadline(parent, end)
	defer cancel()
	defer func() {
		l.turned.Store(time.Now().UnixNano())
		l.metrics.loopDuration.Observe(time.Since(began).Seconds())
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			l.metrics.overruns.Inc()
		}
	}()
	l.waker.taken()
	l.succeed(began)

	measured, err := l.measure(ctx, time.Duration(signalsShare*float64(end.Sub(began))))
	if parent.Err() != nil {
		return
	}
	l.prometheus.note(err)
	l.metrics.observeSignals(measured)

	// The target is read last, so that little can happen to it until it is written.
	seen, err := l.target.Read(ctx)
	if parent.Err() != nil {
		return
	}
	l.kubernetes.note(err)
	if err != nil {
		return // there is no count to decide about, and nobody to tell
	}
	l.metrics.observeReplicas(seen)
	if factor, acts := l.decide(ctx, measured, seen); acts {
		l.cover(parent, seen, factor)
	}
}

func (l *Loop) measure(ctx context.Context, within time.Duration) (Measured, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return l.settings.Load().Signals.Read(ctx)
}

// decide lets the policy decide about what was seen, and carries it out if that is
// this scaler's to do. It returns what is left to do: the CPU of each replica.
func (l *Loop) decide(ctx context.Context, measured Measured, seen Replicas) (factor float64, acts bool) {
	set := l.settings.Load()
	leads := l.leads()
	acts = leads && set.Mode == Active
	// UTC and without the monotonic clock, as it will be when it is read from JSON:
	// so the recording of a decision and a saved state mean exactly the same.
	now := time.Now().UTC().Round(0)

	ordered, notes := l.ordered(seen.Annotations, set, now, acts)
	snap := policy.Snapshot{
		Signals: measured.Signals, Spec: seen.Spec, Ready: seen.Ready,
		Starting: seen.Starting, BecameReady: seen.BecameReady,
		Woken: seen.Ready == 0 && l.waker.woken(now), Controls: ordered,
	}
	before := l.state
	var d policy.Decision
	l.state, d = policy.Decide(set.Policy, before, snap, now)
	l.metrics.observeDecision(d)
	l.decided.Store(true)
	l.logDecision(seen, d, leads, set.Mode)

	if !acts {
		l.scale = scaleWatch{}
	} else if was, foreign := l.scale.saw(seen.Spec); foreign {
		notes = append(notes, l.foreign(was, seen, d))
	}
	entry := journal.Entry{
		At: now, Snapshot: snap, Ages: measured.Ages, Decision: d, Leader: leads, Mode: string(set.Mode), Notes: notes,
	}
	if acts {
		entry.Wrote, entry.Error = l.act(ctx, measured, seen, d)
	} else if leads {
		l.pretend(seen, d)
	}
	l.keep(entry.Wrote, now)
	l.journal.Add(set.Policy, before, l.replaced, entry)
	l.replaced = false
	return d.CPUFactor, acts
}

// act tells the target what was decided.
func (l *Loop) act(ctx context.Context, measured Measured, seen Replicas, d policy.Decision) (wrote bool, failure string) {
	if d.Replicas == seen.Spec {
		return false, ""
	}
	err := l.target.Scale(ctx, seen, d.Replicas, string(d.Reason)+": "+d.Sentence, measured.Work)
	switch {
	case err == nil:
		l.scaling.note(nil)
		l.scale.wrote(d.Replicas)
		l.metrics.scalings.WithLabelValues(direction(seen.Spec, d.Replicas)).Inc()
		return true, ""
	case errors.Is(err, ErrChanged):
		l.metrics.errors.WithLabelValues(l.scaling.source).Inc()
		l.log.Info("not scaled, deciding again with the next tick", "error", err.Error())
	default:
		l.scale.failed(d.Replicas)
		l.scaling.note(err)
	}
	return false, err.Error()
}

// pretend tells what a dry run would have done.
func (l *Loop) pretend(seen Replicas, d policy.Decision) {
	if !l.would.scales(seen.Spec, d) {
		return
	}
	l.metrics.wouldHaveScaled.WithLabelValues(direction(seen.Spec, d.Replicas)).Inc()
	l.log.Info("would have scaled", "from", seen.Spec, "to", d.Replicas, "reason", string(d.Reason), "why", d.Sentence)
}

func direction(from, to int) string {
	if to > from {
		return "out"
	}
	return "in"
}
