package compare

import (
	"context"
	"fmt"
	"math"
	"time"

	"headroom.dev/scaler/internal/peers"
	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/sim"
)

// Settings are the same for all policies of a comparison.
type Settings struct {
	// Policy is headroom's configuration, but for the SLO, which is the scenario's. Its Min and Max bound the HPA and the KPA
	// too; they take a Min of 0 for 1.
	Policy policy.Config
	// CPURequest is the share of the CPU limit that a pod requests, above 0 to 1.
	CPURequest float64
	// Upstream is the path of the program that runs the HPA and the KPA.
	Upstream string
	// Workers is how many scenarios are played at once, from 1.
	Workers int
	// Timelines keeps every second of every run, which takes about 90 bytes each.
	Timelines bool
	// Progress, unless nil, is told how many runs are done. It may be called from
	// several goroutines.
	Progress func(done, total int)
}

// outcome is a policy's run of a scenario.
type outcome struct {
	result sim.Result
	lost   string // why there is no result, or why it is not what it should be
	note   string // how the policy came to it
}

// Length is how long a scenario lasts.
func Length(s sim.Scenario) time.Duration {
	if s.Duration > 0 {
		return s.Duration
	}
	return time.Duration(len(s.Rates)) * time.Second
}

// player plays policies. It is for one goroutine, and holds the process that
// others' autoscalers run in.
type player struct {
	settings Settings
	ctx      context.Context
	upstream *peers.Process
}

func (p *player) close() error {
	if p.upstream == nil {
		return nil
	}
	return p.upstream.Close()
}

// play plays a policy; budget is the replica-seconds that an oracle may take.
func (p *player) play(s sim.Scenario, which Policy, budget float64) (outcome, error) {
	switch which.kind {
	case clairvoyant:
		r, ok, err := sim.Clairvoyant(s)
		if err == nil && !ok {
			return outcome{result: r, lost: "the search ended with violations left"}, nil
		}
		return outcome{result: r}, err
	case oracle:
		// The scenario is good, as others have played it: what is wrong is the budget.
		c, err := sim.OracleAt(s, budget)
		if err != nil {
			return outcome{lost: err.Error()}, nil //nolint:nilerr // a result of its own
		}
		return outcome{result: c.Result, note: fmt.Sprintf("headroom %.1f, hold %s", c.Headroom, c.Hold)}, nil
	case fixed:
		r, err := sim.Run(s, sim.Fixed(int(which.number)))
		return outcome{result: r}, err
	case headroom:
		cfg := p.settings.Policy
		cfg.SLO = s.SLO
		if which.change != nil {
			which.change(&cfg)
		}
		r, err := sim.Run(s, sim.Headroom(cfg))
		return outcome{result: r}, err
	}
	return p.peer(s, which)
}

func (p *player) peer(s sim.Scenario, which Policy) (outcome, error) {
	session, err := p.session(s, which)
	if err != nil {
		return outcome{}, err
	}
	lag, scaler := sim.RealLag, sim.Autoscaler(session)
	if which.zeroLag {
		lag = sim.ZeroLag
	}
	if which.kind == hpaQueue {
		scaler = withWork{scaler}
	}
	r, err := sim.Run(s, sim.Peer(scaler, lag))
	if ended := session.End(); err == nil {
		err = ended
	}
	return outcome{result: r}, err
}

// session starts the autoscaler. Where its period begins is the scenario's
// matter, so that no policy is always early or always late.
func (p *player) session(s sim.Scenario, which Policy) (*peers.Session, error) {
	if p.upstream == nil {
		process, err := peers.Start(p.ctx, p.settings.Upstream)
		if err != nil {
			return nil, err
		}
		p.upstream = process
	}
	slots := float64(max(s.Slots, 1))
	least := max(p.settings.Policy.Min, 1)
	if which.kind == kpa {
		return p.upstream.KPA(peers.KPAOptions{
			Target: which.number / 100 * slots, Min: least, Max: p.settings.Policy.Max, Replicas: s.Initial,
			Offset: offset(s.Seed, 2),
		})
	}
	o := peers.HPAOptions{Min: least, Max: p.settings.Policy.Max, Replicas: s.Initial, Offset: offset(s.Seed, 15)}
	if which.kind == hpaQueue {
		o.QueuePerReplica = queuePerSlot * slots
	} else {
		o.CPUPercent, o.CPURequest = int(which.number), p.settings.CPURequest*s.CPULimit
	}
	return p.upstream.HPA(o)
}

// offset is between 0 and a period, in seconds, without either.
func offset(seed uint64, period float64) float64 {
	const steps = 1009
	share := float64(seed%steps+1) / (steps + 1)
	return math.Round(share*period*1000) / 1000
}

// withWork shows an autoscaler the queue as KEDA does by default: with what is
// being worked on.
type withWork struct{ sim.Autoscaler }

func (w withWork) Observe(o peers.Observation) (int, error) {
	o.Queue = o.Concurrency
	return w.Autoscaler.Observe(o)
}
