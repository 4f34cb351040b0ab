package sim

import (
	"iter"
	"math"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// The windows of the signals, in scrapes: what rate() sees of a window of so
// many scrape intervals.
const (
	shortScrapes = 3
	longScrapes  = 30
)

// latencyWindow is over how long LatencyQuantile looks back, latencyShare which
// quantile it is.
const (
	latencyWindow = 10 * time.Second
	latencyShare  = 0.99
)

// sample is what one scrape saw.
type sample struct {
	at       time.Duration
	counters tally
	gauges   gauges
	servers  int     // that export anything
	upkeep   float64 // CPU-seconds that they have used for themselves
}

// metrics is Prometheus: the samples of the long window, and the signals made of
// them. A replica's counters are not lost when it goes, as rate() keeps what a
// series had grown by then.
type metrics struct {
	scenario       *Scenario
	samples        [longScrapes]sample
	scrapes        int
	latencyScrapes int
	frozen         []policy.Signals // by fault: last read before it
}

func newMetrics(s *Scenario) *metrics {
	scrapes := int(latencyWindow / s.ScrapeInterval)
	return &metrics{
		scenario: s, frozen: make([]policy.Signals, len(s.Faults)),
		latencyScrapes: min(max(scrapes, shortScrapes), longScrapes),
	}
}

func (m *metrics) scrape(s sample) {
	m.samples[m.scrapes%longScrapes] = s
	m.scrapes++
}

// window is the first and the last of so many samples, or of as many as there
// are. ok is false below two, of which rate() makes nothing.
func (m *metrics) window(scrapes int) (first, last *sample, ok bool) {
	n := min(scrapes, m.scrapes)
	if n < 2 {
		return nil, nil, false
	}
	return &m.samples[(m.scrapes-n)%longScrapes], &m.samples[(m.scrapes-1)%longScrapes], true
}

// read is what a decision at this time sees.
func (m *metrics) read(now time.Duration) policy.Signals {
	truth := m.signals()
	out := truth
	for i, f := range m.scenario.Faults {
		if now < f.From {
			m.frozen[i] = truth
			continue
		}
		next, stop := iter.Pull2(m.frozen[i].Named())
		for name, s := range out.Named() {
			_, before, _ := next()
			if group, scrapes := m.origin(name); f.about(group) {
				*s = f.apply(now, *s, *before, time.Duration(scrapes)*m.scenario.ScrapeInterval)
			}
		}
		stop()
	}
	return out
}

// origin is who exports what a signal is made of, and over how many scrapes its
// counters are looked at; 0 for a gauge.
func (m *metrics) origin(name string) (SignalGroup, int) {
	switch name {
	case "arrival_short":
		return DispatcherSignals, shortScrapes
	case "arrival_long":
		return DispatcherSignals, longScrapes
	case "latency_quantile", "lost":
		return DispatcherSignals, m.latencyScrapes
	case "backlog", "oldest_age", "in_flight":
		return DispatcherSignals, 0
	case "cpu_limit", "slots":
		return ModelServerSignals, 0
	}
	return ModelServerSignals, longScrapes
}

func (m *metrics) signals() policy.Signals {
	var s policy.Signals
	if m.scrapes == 0 {
		return s
	}
	now := &m.samples[(m.scrapes-1)%longScrapes]
	s.Backlog = policy.Value(now.gauges.backlog)
	s.OldestAge = policy.Value(now.gauges.oldest.Seconds())
	s.InFlight = policy.Value(now.gauges.inFlight)
	if now.servers > 0 {
		s.CPULimit = policy.Value(m.scenario.CPULimit)
		s.Slots = policy.Value(float64(m.scenario.Slots))
	}
	arrivals := func(scrapes int) policy.Signal {
		first, last, ok := m.window(scrapes)
		if !ok {
			return policy.Signal{}
		}
		return policy.Value((last.counters.arrived - first.counters.arrived) / (last.at - first.at).Seconds())
	}
	s.ArrivalShort, s.ArrivalLong = arrivals(shortScrapes), arrivals(longScrapes)
	if first, last, ok := m.window(m.latencyScrapes); ok {
		a, b := &first.counters, &last.counters
		s.LatencyQuantile = policy.Value(b.latency.quantileSince(&a.latency, latencyShare))
		s.Lost = policy.Value((b.refused + b.dropped - a.refused - a.dropped) / (b.arrived - a.arrived))
	}
	first, last, ok := m.window(longScrapes)
	if !ok {
		return s
	}
	a, b := &first.counters, &last.counters
	answered := b.answered - a.answered
	if answered <= 0 {
		// As the queries have it: 0/0 for service times, nothing for CPU.
		s.ServiceMean, s.ServiceP99 = policy.Value(math.NaN()), policy.Value(math.NaN())
		return s
	}
	s.ServiceMean = policy.Value((b.serviceSum - a.serviceSum) / answered)
	s.ServiceP99 = policy.Value(b.service.quantileSince(&a.service, 0.99))
	s.CPUPerRequest = policy.Value(((b.work-a.work)*m.scenario.perSlot() + last.upkeep - first.upkeep) / answered)
	return s
}
