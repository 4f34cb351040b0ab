package policy

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
)

// SignalState says whether a signal can be relied on. The zero value is Missing.
type SignalState int

const (
	// Missing means that nothing was read: no such series, or the read failed.
	Missing SignalState = iota
	// OK means that the value was read, is recent, finite and not negative.
	OK
	// Stale means that a value was read that is too old to act on.
	Stale
	// Invalid means that what was read is NaN, negative, infinite or as good as.
	Invalid
	// Reset means that the value covers a time in which what it counts started anew
	// or was not watched: a process or Prometheus itself has restarted, or a replica
	// was replaced.
	Reset
)

var stateNames = [...]string{Missing: "missing", OK: "ok", Stale: "stale", Invalid: "invalid", Reset: "reset"}

// SignalStates lists every state that a signal can have.
func SignalStates() []SignalState { return []SignalState{Missing, OK, Stale, Invalid, Reset} }

// String is the state in one word, as logs and metrics show it.
func (s SignalState) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return stateNames[Missing]
	}
	return stateNames[s]
}

// MarshalText writes the state as String has it.
func (s SignalState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *SignalState) UnmarshalText(text []byte) error {
	for state, name := range stateNames {
		if name == string(text) {
			*s = SignalState(state)
			return nil
		}
	}
	return fmt.Errorf("signal state %q: must be one of %v", text, stateNames)
}

// Signal is one measured number and whether it can be relied on.
type Signal struct {
	Value float64
	State SignalState
}

// Value makes a Signal of a number that was just read: OK, or Invalid where it
// is NaN, negative or above 1e15 (no signal here can be either).
func Value(v float64) Signal {
	if !valid(v) {
		return Signal{Value: v, State: Invalid}
	}
	return Signal{Value: v, State: OK}
}

func valid(v float64) bool { return v >= 0 && v <= 1e15 }

// OK tells whether the signal can be relied on: its state is [OK], and its value
// is what such a state promises.
func (s Signal) OK() bool { return s.State == OK && valid(s.Value) }

// positive leaves out what only rounding has kept from zero, which is no good to
// divide by.
func (s Signal) positive() bool { return s.OK() && s.Value > 1e-9 }

// or is the signal's value where it can be relied on.
func (s Signal) or(otherwise float64) float64 {
	if s.OK() {
		return s.Value
	}
	return otherwise
}

type signalJSON struct {
	Value *float64    `json:"value"` // null for what JSON has no number for
	State SignalState `json:"state"`
}

// MarshalJSON writes {"value": …, "state": …}, with null for NaN and infinities.
func (s Signal) MarshalJSON() ([]byte, error) {
	out := signalJSON{State: s.State}
	if !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0) {
		out.Value = &s.Value
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote; null becomes NaN.
func (s *Signal) UnmarshalJSON(text []byte) error {
	var in signalJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	s.State, s.Value = in.State, math.NaN()
	if in.Value != nil {
		s.Value = *in.Value
	}
	return nil
}

// Signals are the measurements that a decision is made from.
type Signals struct {
	// ArrivalShort and ArrivalLong are arrivals per second over a short window
	// (it shows a burst first) and over a longer one.
	ArrivalShort Signal `json:"arrival_short"`
	ArrivalLong  Signal `json:"arrival_long"`
	// Backlog is the number of requests that wait for a replica.
	Backlog Signal `json:"backlog"`
	// OldestAge is how long the oldest of them has waited, in seconds.
	OldestAge Signal `json:"oldest_age"`
	// InFlight is the number of requests sent to a replica and not answered yet.
	InFlight Signal `json:"in_flight"`
	// ServiceMean and ServiceP99 are seconds from having a slot to having the reply.
	ServiceMean Signal `json:"service_mean"`
	ServiceP99  Signal `json:"service_p99"`
	// CPUPerRequest is CPU seconds used for one answered request.
	CPUPerRequest Signal `json:"cpu_per_request"`
	// CPULimit is the CPU cores that one replica may use, as usual: without what the
	// bridge adds.
	CPULimit Signal `json:"cpu_limit"`
	// Slots is the number of requests that one replica serves at the same time.
	Slots Signal `json:"slots"`
	// LatencyQuantile is the latency, in seconds, that the share Config.Quantile of
	// the requests answered lately has stayed inside. NaN where there were none.
	LatencyQuantile Signal `json:"latency_quantile"`
	// Lost is the share (0..1) of the requests that arrived lately which were refused
	// or given up for want of capacity. NaN where there were none.
	Lost Signal `json:"lost"`
}

// Named yields every signal with the name that logs and metrics use.
func (s *Signals) Named() iter.Seq2[string, *Signal] {
	return func(yield func(string, *Signal) bool) {
		for _, n := range []struct {
			name   string
			signal *Signal
		}{
			{"arrival_short", &s.ArrivalShort},
			{"arrival_long", &s.ArrivalLong},
			{"backlog", &s.Backlog},
			{"oldest_age", &s.OldestAge},
			{"in_flight", &s.InFlight},
			{"service_mean", &s.ServiceMean},
			{"service_p99", &s.ServiceP99},
			{"cpu_per_request", &s.CPUPerRequest},
			{"cpu_limit", &s.CPULimit},
			{"slots", &s.Slots},
			{"latency_quantile", &s.LatencyQuantile},
			{"lost", &s.Lost},
		} {
			if !yield(n.name, n.signal) {
				return
			}
		}
	}
}
