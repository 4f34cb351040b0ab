package control

import (
	"time"

	"headroom.dev/scaler/internal/policy"
)

// Mode is what a loop does with its decisions.
type Mode string

// The modes.
const (
	// Active carries decisions out.
	Active Mode = "active"
	// DryRun only tells them: nothing is written to Kubernetes, not even an event.
	DryRun Mode = "dry-run"
)

// Settings are what may change while a loop runs.
type Settings struct {
	Policy  policy.Config
	Mode    Mode
	Signals Signals
	// Floor is the least count that a schedule wants at a time, and the schedule's
	// name; nil where there are no schedules.
	Floor func(time.Time) (least int, name string)
}

// Configure makes the loop go on with other settings: from the next turn on, which
// it makes at once. What the policy remembers is kept.
func (l *Loop) Configure(s Settings) {
	l.set(s)
	signal(l.changed)
}

func (l *Loop) set(s Settings) {
	l.settings.Store(&s)
	l.metrics.dryRun.Set(bit(s.Mode == DryRun))
}

// signal puts something into a channel of one place, where there is nothing yet.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
