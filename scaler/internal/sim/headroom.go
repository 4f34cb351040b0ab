package sim

import (
	"time"

	"headroom.dev/scaler/internal/policy"
)

// HeadroomScaler is headroom's own policy.
type HeadroomScaler struct {
	// Trace, unless nil, is told of every decision.
	Trace func(at time.Duration, snap policy.Snapshot, d policy.Decision)

	cfg   policy.Config
	state policy.State
}

// Headroom is headroom's own policy, from a fresh start. It decides every
// cfg.Tick, every second where that is 0.
func Headroom(cfg policy.Config) *HeadroomScaler {
	if cfg.Tick <= 0 {
		cfg.Tick = time.Second
	}
	return &HeadroomScaler{cfg: cfg}
}

// Every is the tick.
func (h *HeadroomScaler) Every() time.Duration { return h.cfg.Tick }

// epoch is where virtual time starts on the calendar; any day would do.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Decide asks the policy.
func (h *HeadroomScaler) Decide(at time.Duration, w *World) Order {
	snap := w.Snapshot()
	state, d := policy.Decide(h.cfg, h.state, snap, epoch.Add(at))
	h.state = state
	if h.Trace != nil {
		h.Trace(at, snap, d)
	}
	return Order{Replicas: d.Replicas, CPUFactor: d.CPUFactor}
}
