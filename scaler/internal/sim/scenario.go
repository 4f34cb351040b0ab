// Package sim plays an autoscaler against a modelled service in virtual time:
// the dispatcher's queue, replicas with cold starts, and the metrics as they
// would be scraped. Equal scenarios give equal results to the last byte; there is no clock
// and no goroutine in it.
package sim

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Engine says how a scenario is computed.
type Engine string

// The engines. Auto takes Aggregate where the highest rate keeps more than
// [AutoReplicas] replicas busy, and Requests elsewhere.
const (
	Auto      Engine = "auto"
	Requests  Engine = "requests"
	Aggregate Engine = "aggregate"
)

// AutoReplicas is the number of replicas' work from which [Auto] means [Aggregate].
const AutoReplicas = 50

// Scenario is a world to scale in. The zero value of what says so is its default.
type Scenario struct {
	Name string `json:"name"`
	// Seed chooses the random numbers. Arrivals, service times and cold starts have
	// streams of their own: what a scaler does changes none of the others' draws.
	Seed uint64 `json:"seed"`

	// Rates are arrivals per second, one entry for each second. Times, instead, are
	// the arrivals themselves, in order.
	Rates []float64       `json:"rates,omitempty"`
	Times []time.Duration `json:"times,omitempty"`
	// Duration is how long the world lasts. Default: as long as Rates.
	Duration time.Duration `json:"duration"`

	Service Service `json:"service"`
	// Slots is the number of requests that a replica works on at once, from 1.
	Slots int `json:"slots"`
	// CPULimit is the cores that a replica may use as usual. All of its slots
	// together use them up, but for the Upkeep: a request of d seconds costs
	// d·(CPULimit−Upkeep)/Slots.
	CPULimit float64 `json:"cpuLimit"`
	// Upkeep is the cores that a ready replica uses by itself, whatever it is sent.
	Upkeep float64 `json:"upkeep,omitempty"`
	// QuotaPeriod makes a replica work as a container under CFS bandwidth control
	// does: at the speed of one core until its quota of the period is used up, then
	// not at all until the next begins. So a replica that is hardly used answers
	// faster than it can sustain. It needs one slot, a CPULimit of at most 1, and the
	// engine [Requests]. 0: at an even speed. Linux's own is 100 ms.
	QuotaPeriod time.Duration `json:"quotaPeriod,omitempty"`

	// SLO is the latency above which an answer is a violation. Timeout is when the
	// dispatcher gives up; default, and the least, is the SLO.
	SLO     time.Duration `json:"slo"`
	Timeout time.Duration `json:"timeout"`
	// ColdStartAllowance is how long a request may wait that finds no replica.
	// 0: it is refused as the ordinary rule has it.
	ColdStartAllowance time.Duration `json:"coldStartAllowance"`

	// Initial is the number of replicas that are ready at the start.
	Initial int `json:"initial"`
	// ColdStart is the time from ordering a replica to its being ready, EndpointLag
	// the time from then until the dispatcher sends it something. A replica that
	// starts uses no CPU.
	ColdStart   ColdStart     `json:"coldStart"`
	EndpointLag time.Duration `json:"endpointLag"`
	// ResizeDelay is the time from ordering another CPU limit to its being in force.
	// Default 1 s.
	ResizeDelay time.Duration `json:"resizeDelay"`

	// ScrapeInterval is Prometheus' own, default 1 s, and ScrapeOffset the time of
	// the first scrape. MetricsResolution is metrics-server's, default 15 s.
	ScrapeInterval    time.Duration `json:"scrapeInterval"`
	ScrapeOffset      time.Duration `json:"scrapeOffset"`
	MetricsResolution time.Duration `json:"metricsResolution"`
	// TickOffset is the time of the scaler's first look. Default: half a
	// ScrapeInterval after the first scrape.
	TickOffset time.Duration `json:"tickOffset"`

	Faults []Fault `json:"faults,omitempty"`
	// Onset marks the start of a step in the load, for [Result].Reaction. 0: none.
	Onset time.Duration `json:"onset,omitempty"`
	// Engine is how it is computed. Default [Auto].
	Engine Engine `json:"engine"`
}

// ColdStart is lognormal with this mean and coefficient of variation; a CV of 0
// means that every start takes the mean.
type ColdStart struct {
	Mean time.Duration `json:"mean"`
	CV   float64       `json:"cv"`
}

// Validate tells what is wrong with a scenario: one line that names the key, its
// value and what is allowed. Defaults are taken before it is judged.
func (s Scenario) Validate() error {
	s = s.withDefaults()
	if err := s.validateArrivals(); err != nil {
		return err
	}
	if err := s.Service.Validate(); err != nil {
		return err
	}
	durations := []struct {
		key        string
		value, min time.Duration
	}{
		{"duration", s.Duration, 1}, {"slo", s.SLO, 1}, {"timeout", s.Timeout, s.SLO},
		{"coldStartAllowance", s.ColdStartAllowance, 0},
		{"coldStart.mean", s.ColdStart.Mean, 0}, {"endpointLag", s.EndpointLag, 0},
		{"resizeDelay", s.ResizeDelay, 0},
		{"scrapeInterval", s.ScrapeInterval, time.Millisecond}, {"scrapeOffset", s.ScrapeOffset, 0},
		{"metricsResolution", s.MetricsResolution, time.Millisecond},
		{"tickOffset", s.TickOffset, 0}, {"onset", s.Onset, 0},
	}
	for _, d := range durations {
		if d.value < d.min {
			return fmt.Errorf("%s: %s must be at least %s", d.key, d.value, d.min)
		}
	}
	switch {
	case s.Slots < 1:
		return fmt.Errorf("slots: %d must be at least 1", s.Slots)
	case !(s.CPULimit > 0) || math.IsInf(s.CPULimit, 0):
		return fmt.Errorf("cpuLimit: %v must be above 0", s.CPULimit)
	case !(s.Upkeep >= 0 && s.Upkeep < s.CPULimit):
		return fmt.Errorf("upkeep: %v must be at least 0 and below cpuLimit, which is %v", s.Upkeep, s.CPULimit)
	case s.Initial < 0:
		return fmt.Errorf("initial: %d must be at least 0", s.Initial)
	case !(s.ColdStart.CV >= 0) || math.IsInf(s.ColdStart.CV, 0):
		return fmt.Errorf("coldStart.cv: %v must be at least 0", s.ColdStart.CV)
	case s.QuotaPeriod < 0 || s.QuotaPeriod > time.Second:
		return fmt.Errorf("quotaPeriod: %s must be from 0s to 1s", s.QuotaPeriod)
	case s.QuotaPeriod > 0 && (s.Slots != 1 || s.CPULimit > 1 || s.Engine == Aggregate):
		return fmt.Errorf("quotaPeriod: %s needs 1 slot, which are %d, a cpuLimit of at most 1, which is %v, and the engine %s, which is %s",
			s.QuotaPeriod, s.Slots, s.CPULimit, Requests, s.Engine)
	case s.TickOffset%s.ScrapeInterval == s.ScrapeOffset%s.ScrapeInterval:
		return fmt.Errorf("tickOffset: %s must not fall on a scrape (every %s from %s)", s.TickOffset, s.ScrapeInterval, s.ScrapeOffset)
	case !slices.Contains([]Engine{Auto, Requests, Aggregate}, s.Engine):
		return fmt.Errorf("engine: %q must be one of %s, %s, %s", s.Engine, Auto, Requests, Aggregate)
	case s.Engine == Aggregate && len(s.Times) > 0:
		return fmt.Errorf("engine: %q must be %s or %s where times are given", s.Engine, Auto, Requests)
	}
	for i, f := range s.Faults {
		if err := f.validate(); err != nil {
			return fmt.Errorf("faults[%d].%w", i, err)
		}
	}
	return nil
}

func (s *Scenario) validateArrivals() error {
	if len(s.Rates) > 0 == (len(s.Times) > 0) {
		return fmt.Errorf("rates: %d and times: %d entries: exactly one of them must be given", len(s.Rates), len(s.Times))
	}
	for i, r := range s.Rates {
		if !(r >= 0) || math.IsInf(r, 0) {
			return fmt.Errorf("rates[%d]: %v must be finite and at least 0", i, r)
		}
	}
	for i, t := range s.Times {
		if t < 0 || i > 0 && t < s.Times[i-1] {
			return fmt.Errorf("times[%d]: %s must be at least 0 and not before the one ahead of it", i, t)
		}
	}
	return nil
}

func (s Scenario) withDefaults() Scenario {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	set(&s.Duration, time.Duration(len(s.Rates))*time.Second)
	set(&s.Timeout, s.SLO)
	set(&s.ResizeDelay, time.Second)
	set(&s.ScrapeInterval, time.Second)
	set(&s.MetricsResolution, 15*time.Second)
	set(&s.TickOffset, s.ScrapeOffset+s.ScrapeInterval/2)
	if s.Engine == "" {
		s.Engine = Auto
	}
	return s
}

// engineToUse is the engine that Auto stands for here.
func (s *Scenario) engineToUse() Engine {
	if s.Engine != Auto {
		return s.Engine
	}
	if s.QuotaPeriod > 0 || len(s.Rates) == 0 || slices.Max(s.Rates)*s.Service.mean()/float64(s.Slots) <= AutoReplicas {
		return Requests
	}
	return Aggregate
}

// perSlot is the cores that a request uses while it has a slot.
func (s *Scenario) perSlot() float64 { return (s.CPULimit - s.Upkeep) / float64(s.Slots) }

// rate is the true arrival rate at a time, per second. Where the arrivals
// themselves are given, it is their number in that second.
func (s *Scenario) rate(at time.Duration) float64 {
	if len(s.Rates) > 0 {
		if i := int(at / time.Second); i < len(s.Rates) {
			return s.Rates[i]
		}
		return 0
	}
	from, _ := slices.BinarySearch(s.Times, at.Truncate(time.Second))
	to, _ := slices.BinarySearch(s.Times, at.Truncate(time.Second)+time.Second)
	return float64(to - from)
}
