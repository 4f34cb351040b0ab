package realrun

import (
	"fmt"
	"strings"
	"time"

	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/sim"
)

// quotaPeriod is Linux's CFS period, as Kubernetes leaves it.
const quotaPeriod = 100 * time.Millisecond

// Assumptions are what a run does not tell of its service.
type Assumptions struct {
	// ServiceCV is the coefficient of variation of what requests cost, from 0.
	ServiceCV float64
	// ColdStart is the mean time from ordering a replica to its being ready, and
	// ColdStartCV its coefficient of variation. A ColdStart of 0 takes the run's own.
	ColdStart   time.Duration
	ColdStartCV float64
	// Seed is that of all random numbers. The arrivals are the run's own.
	Seed uint64
}

// Scenario is the run's world: the same arrivals, replicas of the same CPU quota
// and upkeep, requests of the same price, one at a time and one replica at the
// start.
func (r Run) Scenario(a Assumptions) (sim.Scenario, Price, error) {
	p, err := r.price()
	if err != nil {
		return sim.Scenario{}, Price{}, err
	}
	cold := a.ColdStart
	if cold == 0 {
		cold = r.ColdStart
	}
	if cold == 0 {
		return sim.Scenario{}, Price{}, fmt.Errorf("cold start: none was seen in the run, so it must be told")
	}
	s := sim.Scenario{
		Name: "real run", Seed: a.Seed, Times: r.Arrivals,
		Duration: r.Arrivals[len(r.Arrivals)-1].Truncate(time.Second) + time.Second,
		Service:  sim.Service{Mean: time.Duration(p.Request / (r.CPULimit - p.Upkeep) * float64(time.Second)), CV: a.ServiceCV},
		Slots:    1, CPULimit: r.CPULimit, Upkeep: p.Upkeep, QuotaPeriod: quotaPeriod, SLO: r.SLO, Initial: 1,
		ColdStart: sim.ColdStart{Mean: cold, CV: a.ColdStartCV},
		Engine:    sim.Requests,
	}
	return s, p, s.Validate()
}

// PolicyName is the simulator's name of what scaled.
func (r Run) PolicyName() (string, error) {
	switch {
	case r.Scaler == "custom":
		return "headroom", nil
	case r.Scaler == "custom-bridge":
		return "headroom-bridge", nil
	case strings.HasPrefix(r.Scaler, "hpa") && len(r.Scaler) > len("hpa"):
		return r.Scaler, nil
	}
	return "", fmt.Errorf("run.scaler is %q; allowed are custom, custom-bridge and hpaN", r.Scaler)
}

// Simulated are the figures of a run that was simulated with its timeline.
func Simulated(s compare.Row) Figures {
	f := Figures{
		P50: s.LatencyP50, P99: s.LatencyP99, ViolationShare: s.ViolationShare,
		ReplicaSeconds: s.ReplicaSeconds, CPUSeconds: s.CPUSeconds,
	}
	for _, point := range s.Timeline {
		f.Peak = max(f.Peak, float64(point.Ready))
	}
	return f
}

// Margin is how far a simulation may be from its run.
type Margin struct {
	// Cost is the share (0..1) by which replica-seconds and CPU-seconds may differ.
	Cost float64
	// Violations is by how many percent of all requests violations may.
	Violations float64
	// P99 is by which share of the promise the 99th percentile may.
	P99 float64
}

// Outside names what is farther apart than the margin, one sentence each.
func (m Margin) Outside(real, simulated Figures, slo time.Duration) []string {
	var out []string
	apart := func(name string, difference, most float64, unit string) {
		if !(difference <= most && difference >= -most) { // NaN is outside
			out = append(out, fmt.Sprintf("%s: %+.3g%s simulated, at most %.3g%s apart are allowed", name, difference, unit, most, unit))
		}
	}
	apart("replica-seconds", 100*(simulated.ReplicaSeconds/real.ReplicaSeconds-1), 100*m.Cost, "%")
	apart("CPU-seconds", 100*(simulated.CPUSeconds/real.CPUSeconds-1), 100*m.Cost, "%")
	apart("violations", 100*(simulated.ViolationShare-real.ViolationShare), m.Violations, " percent of requests")
	apart("p99", 1000*(simulated.P99-real.P99), 1000*m.P99*slo.Seconds(), " ms")
	return out
}
