package compare

import (
	"context"
	"fmt"
	"time"

	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/sim"
)

// FaultRun is what headroom's policy did in a scenario while metrics were broken.
type FaultRun struct {
	Scenario string          `json:"scenario"`
	Kind     sim.FaultKind   `json:"kind"`
	Signals  sim.SignalGroup `json:"signals"`
	From     time.Duration   `json:"from"`
	To       time.Duration   `json:"to"`
	// ScaleIns are orders for fewer replicas while signals could not be trusted.
	ScaleIns int `json:"scaleIns"`
	// Beyond are orders, while signals could not be trusted, for over a tenth and over
	// one replica more than Envelope.
	Beyond int `json:"beyond"`
	// Highest is the most that was ordered while signals could not be trusted, and
	// Envelope the most that was without the fault, from two minutes before it to its end.
	Highest  int `json:"highest"`
	Envelope int `json:"envelope"`
}

// WrongWay is how many orders went the wrong way.
func (f FaultRun) WrongWay() int { return f.ScaleIns + f.Beyond }

const (
	// envelopeSlack is the share by which an order may be above the envelope: what is
	// remembered of service times may differ from what is measured.
	envelopeSlack = 0.1
	// envelopeBefore is how far before a fault its envelope begins: the policy
	// remembers arrivals for so long.
	envelopeBefore = 2 * time.Minute
	// lagUnnoticed is how long signals that don't move any more pass for recent, as
	// Prometheus' newest sample is not old enough yet. What is ordered in that time
	// is ordered in good faith.
	lagUnnoticed = 10 * time.Second
)

// metricFaults are the ways in which metrics break.
func metricFaults() []sim.FaultKind {
	return []sim.FaultKind{sim.Lag, sim.Vanish, sim.NotANumber, sim.CounterReset}
}

func signalGroups() []sim.SignalGroup {
	return []sim.SignalGroup{sim.AllSignals, sim.DispatcherSignals, sim.ModelServerSignals}
}

// Faults plays headroom's policy in every scenario once as it is and once with
// each kind of fault of each group of signals for the sixth of it that is in the middle.
func Faults(ctx context.Context, scenarios []sim.Scenario, s Settings) ([]FaultRun, error) {
	each := len(metricFaults()) * len(signalGroups())
	out := make([]FaultRun, len(scenarios)*each)
	tasks := make([]task, len(scenarios))
	for i, scenario := range scenarios {
		tasks[i] = func(*player) error { return faultsOf(scenario, s.Policy, out[i*each:(i+1)*each]) }
	}
	return out, work(ctx, s, tasks)
}

// order is a decision of headroom's policy that changed the count.
type order struct {
	at       time.Duration
	from, to int
}

func ordersOf(s sim.Scenario, cfg policy.Config) ([]order, error) {
	cfg.SLO = s.SLO
	scaler := sim.Headroom(cfg)
	var out []order
	scaler.Trace = func(at time.Duration, snap policy.Snapshot, d policy.Decision) {
		if d.Replicas != snap.Spec {
			out = append(out, order{at, snap.Spec, d.Replicas})
		}
	}
	_, err := sim.Run(s, scaler)
	return out, err
}

func faultsOf(s sim.Scenario, cfg policy.Config, out []FaultRun) error {
	length := Length(s)
	from, to := (length * 5 / 12).Truncate(time.Second), (length * 7 / 12).Truncate(time.Second)
	s.Duration = to
	sound, err := ordersOf(s, cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	envelope := highest(sound, s.Initial, from-envelopeBefore, to)
	for i := range out {
		kind, group := metricFaults()[i/len(signalGroups())], signalGroups()[i%len(signalGroups())]
		broken := s
		broken.Faults = append(broken.Faults[:len(broken.Faults):len(broken.Faults)], sim.Fault{Kind: kind, From: from, To: to, Signals: group})
		orders, err := ordersOf(broken, cfg)
		if err != nil {
			return fmt.Errorf("%s, fault %s: %w", s.Name, kind, err)
		}
		untrusted := from
		if kind == sim.Lag {
			untrusted += lagUnnoticed
		}
		run := FaultRun{
			Scenario: s.Name, Kind: kind, Signals: group, From: from, To: to,
			Envelope: envelope, Highest: highest(orders, s.Initial, untrusted, to),
		}
		for _, o := range orders {
			switch {
			case o.at <= untrusted || o.at >= to:
			case o.to < o.from:
				run.ScaleIns++
			case o.to > envelope+max(1, int(envelopeSlack*float64(envelope))):
				run.Beyond++
			}
		}
		out[i] = run
	}
	return nil
}

// highest is the most that was ordered at any time from from to to.
func highest(orders []order, initial int, from, to time.Duration) int {
	most, before := 0, initial
	for _, o := range orders {
		switch {
		case o.at < from:
			before = o.to
		case o.at < to:
			most = max(most, o.to)
		}
	}
	return max(most, before)
}
