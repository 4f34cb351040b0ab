package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// FaultKind is what breaks.
type FaultKind string

// The faults. Kill and CounterReset happen at From, the others last until To.
const (
	// Kill ends Replicas ready replicas, those that have been ready longest. Their
	// requests go back to the head of the queue, each once; others are ordered.
	Kill FaultKind = "kill"
	// Lag keeps signals at what was last read before From. They are stale from ten seconds on.
	Lag FaultKind = "lag"
	// Vanish makes signals missing.
	Vanish FaultKind = "vanish"
	// NotANumber makes signals NaN, and thereby invalid.
	NotANumber FaultKind = "nan"
	// CounterReset gives signals made of counters the state Reset, for as long as
	// their windows reach back to the time from From to To.
	CounterReset FaultKind = "reset"
)

// SignalGroup is whose signals a fault is about.
type SignalGroup string

// The groups, by who exports the metrics.
const (
	AllSignals         SignalGroup = "all"
	DispatcherSignals  SignalGroup = "dispatcher"
	ModelServerSignals SignalGroup = "model-server"
)

// Fault is one thing that goes wrong.
type Fault struct {
	Kind FaultKind     `json:"kind"`
	From time.Duration `json:"from"`
	To   time.Duration `json:"to,omitempty"`
	// Signals is what a fault of metrics is about. Default [AllSignals].
	Signals SignalGroup `json:"signals,omitempty"`
	// Replicas is how many Kill ends, from 1.
	Replicas int `json:"replicas,omitempty"`
}

func (f Fault) validate() error {
	kinds := []FaultKind{Kill, Lag, Vanish, NotANumber, CounterReset}
	groups := []SignalGroup{"", AllSignals, DispatcherSignals, ModelServerSignals}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("kind: %q must be one of %v", f.Kind, kinds)
	case f.From < 0:
		return fmt.Errorf("from: %s must be at least 0s", f.From)
	case f.Kind == Kill && f.Replicas < 1:
		return fmt.Errorf("replicas: %d must be at least 1", f.Replicas)
	case f.Kind != Kill && f.Kind != CounterReset && f.To <= f.From:
		return fmt.Errorf("to: %s must be after from, %s", f.To, f.From)
	case !slices.Contains(groups, f.Signals):
		return fmt.Errorf("signals: %q must be one of %v", f.Signals, groups[1:])
	}
	return nil
}

// staleAfter is the age of the newest sample from which a signal is stale, as
// in promsource.
const staleAfter = 10 * time.Second

// about tells whether the fault is about a signal of this group.
func (f Fault) about(group SignalGroup) bool {
	return f.Signals == "" || f.Signals == AllSignals || f.Signals == group
}

// apply makes of what would be read what is read. before is what was last read
// before the fault, window how far back the signal's counters are looked at.
func (f Fault) apply(now time.Duration, s, before policy.Signal, window time.Duration) policy.Signal {
	if f.Kind == CounterReset {
		if window > 0 && now >= f.From && now < max(f.From, f.To)+window && s.State != policy.Missing {
			s.State = policy.Reset
		}
		return s
	}
	if now < f.From || now >= f.To {
		return s
	}
	switch f.Kind {
	case Vanish:
		return policy.Signal{}
	case NotANumber:
		return policy.Value(math.NaN())
	case Lag:
		if before.State != policy.Missing && now-f.From > staleAfter {
			before.State = policy.Stale
		}
		return before
	}
	return s
}
