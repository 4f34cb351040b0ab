package control

import (
	"context"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// remember loads what was saved before the first turn, which it delays by a tick
// and 2 s at most.
func (l *Loop) remember(ctx context.Context) {
	if l.memory.store == nil {
		return
	}
	l.memory.ask(time.Now())
	patience := time.NewTimer(min(l.settings.Load().Policy.Tick, 2*time.Second))
	defer patience.Stop()
	select {
	case <-ctx.Done():
	case <-patience.C:
	case f := <-l.memory.found:
		l.recall(f, time.Now())
	}
}

// succeed lets a scaler that has become the leader learn what the one before
// knew. Until it has been told, it saves nothing: what is saved is better.
func (l *Loop) succeed(now time.Time) {
	m := l.memory
	if m.store == nil {
		return
	}
	leads := l.leads()
	select {
	case f := <-m.found:
		l.recall(f, now)
	default:
	}
	if leads && (!m.led || !m.answered && !now.Before(m.askAgain)) {
		m.ask(now)
	}
	m.led = leads
}

// recall takes over what was saved, if it is of use.
func (l *Loop) recall(f found, now time.Time) {
	m := l.memory
	if f.request != m.asked || f.err != nil {
		return
	}
	m.answered = true
	if f.saved == nil {
		return
	}
	age := now.Sub(f.saved.At).Round(time.Millisecond)
	caughtUp := l.journal.CatchUp(l.settings.Load().Policy, f.saved.State)
	if age.Abs() >= savedHolds || !knowsMore(caughtUp, l.state) {
		l.log.Debug("what was saved is not needed", "age", age.String())
		return
	}
	l.state, l.replaced = caughtUp, true
	l.log.Info("taking over what was saved", "age", age.String(),
		"watched_since", caughtUp.Since, "lead_times", caughtUp.Lead.Count, "arrivals", len(caughtUp.History))
}

// knowsMore tells whether a has watched for longer than b, or as long and
// remembers more of it.
func knowsMore(a, b policy.State) bool {
	switch {
	case b.Last.IsZero():
		return true
	case !a.Since.Equal(b.Since):
		return a.Since.Before(b.Since)
	case len(a.History) != len(b.History):
		return len(a.History) > len(b.History)
	}
	return a.Lead.Count > b.Lead.Count
}

// keeps tells whether this scaler is the one to save what the policy remembers.
func (l *Loop) keeps() bool {
	return l.memory.store != nil && l.memory.answered && l.leads() && l.settings.Load().Mode == Active && l.decided.Load()
}

// keep has it saved, at once after a scaling and every now and then.
func (l *Loop) keep(scaled bool, now time.Time) {
	if !l.keeps() || !scaled && now.Before(l.memory.nextSave) {
		return
	}
	l.memory.nextSave = now.Add(saveEvery)
	replace(l.memory.saves, l.state)
}
