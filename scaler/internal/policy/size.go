package policy

import (
	"math"
	"slices"
	"time"
)

const (
	// caution is by how many standard errors the rate is planned higher than
	// measured, and inCaution the same before replicas are taken away.
	caution   = 1.0
	inCaution = 3.0
	// maxGrowth bounds a forecast: to so many times the level.
	maxGrowth = 2.0
)

// sampleSpan is how many seconds of arrivals one sample shows: what lies between the
// first and the last of three scrapes.
func (cfg Config) sampleSpan() float64 { return 2 * cfg.scrape() }

// newsAge is how old what is seen is on average when a decision is made from it: half
// of a sample, half a scrape and a tick, seconds.
func (cfg Config) newsAge() float64 { return 1.5*cfg.scrape() + cfg.Tick.Seconds() }

func (cfg Config) scrape() float64 {
	if cfg.ScrapeInterval <= 0 {
		return 1
	}
	return cfg.ScrapeInterval.Seconds()
}

// size works out what this moment asks for, before any limit.
func size(cfg Config, s *State, snap Snapshot, now time.Time) Terms {
	lead := s.Lead.expected(cfg.LeadTime)
	service := s.Known.service().times(s.Correction)
	d := estimate(s.History, cfg.sampleSpan(), lead, now)
	if long := snap.Signals.ArrivalLong; long.OK() && (!d.known || now.Sub(s.Since) < memory/4 && long.Value > d.level) {
		// Nothing else is known, or not for long enough.
		d.known, d.level, d.window = true, long.Value, math.Max(d.window, 1)
		d.err = math.Sqrt(d.level / d.window)
	}
	t := Terms{
		Level: d.level, LevelError: d.err, Trend: d.trend, Window: d.window, LeadTime: lead,
		ServiceEffective: service.Mean, ServiceP99: service.P99, Correction: s.Correction,
		ForecastError: s.ForecastError, ForecastKnown: s.ForecastKnown,
	}
	rate := d.level + caution*d.err
	t.Rate = math.Max(rate, math.Min(d.line+d.trend*(lead+cfg.newsAge()), maxGrowth*rate))
	backlog := snap.Signals.Backlog.or(0)
	t.Untrusted = untrusted(s.Known, snap, t.Rate, backlog)

	slots := s.Known.slots()
	g := goal{within: cfg.SLO.Seconds(), late: 1 - cfg.Quantile, utilization: cfg.Utilization, slots: slots, limit: cfg.Max}
	switch {
	case service.Mean > 0:
		t.ForDemand = g.replicas(Load{rate, service})
		t.ForForecast = t.ForDemand
		if t.Rate > rate {
			t.ForForecast = g.replicas(Load{t.Rate, service})
		}
		t.sizeBacklog(cfg, snap, service, slots, lead)
		t.ForScaleIn = max(g.replicas(Load{(d.level + inCaution*d.err) * (1 + cfg.ScaleIn.Tolerance), service}), t.ForForecast)
		if ready := min(snap.Ready, snap.Spec); ready > 0 && d.level > 0 {
			if latency := (Load{d.level, service}).Latency(ready*slots, cfg.Quantile); !math.IsInf(latency, 0) {
				t.LatencyModel = latency
			}
		}
	case t.Rate > 0 || backlog > 0 || !d.known:
		// There is or may be work, of unknown size.
		t.ForDemand, t.ForForecast, t.ForScaleIn = snap.Spec, snap.Spec, snap.Spec
	}
	t.Recommended = max(t.ForDemand, t.ForForecast, t.ForBacklog)
	return t
}

// sizeBacklog adds what drains the backlog.
//
// A replica ordered now is ready a lead time from now, so what counts is what the
// replicas that are there, and those that are starting, will have left by then.
// Where the oldest request is young, the queue drops what can't be answered inside
// the promise, and no more than the arrivals of one such time can be left; where it
// is much older, requests evidently wait as long as it takes. What is left is to be
// gone before the oldest expires, or within another lead time where that is longer:
// nothing ordered now acts sooner.
func (t *Terms) sizeBacklog(cfg Config, snap Snapshot, service ServiceTime, slots int, lead float64) {
	backlog, age, slo := snap.Signals.Backlog.or(0), snap.Signals.OldestAge.or(0), cfg.SLO.Seconds()
	if backlog <= 0 {
		return
	}
	each := float64(slots) / service.Mean // requests per second that one replica serves
	served := float64(min(snap.Ready, snap.Spec)) * each * lead
	for _, c := range snap.Starting {
		served += float64(c.Count) * each * math.Min(lead, c.Age.Seconds()) // ready once it is a lead time old
	}
	t.BacklogExpected = math.Max(0, backlog+t.Rate*lead-served)
	if age < patience*slo {
		t.BacklogExpected = math.Min(t.BacklogExpected, t.Rate*slo)
	}
	t.BacklogRate = t.BacklogExpected / math.Max(slo-age, lead)
	if t.BacklogRate > 0 {
		t.ForBacklog = ceil((t.Rate + t.BacklogRate) * service.Mean / float64(slots))
	}
}

// patience is how many times the promise a request must have waited to show that
// requests don't expire at it.
const patience = 2.0

// untrusted names the signals that this moment's load makes necessary and that
// can't be relied on. Without load, nobody needs to know what a request costs:
// 0/0 is then what an idle service measures, and no fault.
func untrusted(k Known, snap Snapshot, rate, backlog float64) []string {
	var names []string
	for name, s := range snap.Signals.Named() {
		needed := true
		switch name {
		case "service_mean":
			needed = rate >= lowRate || (rate > 0 || backlog > 0) && k.ServiceMean == 0
		case "service_p99", "cpu_per_request", "cpu_limit", "slots":
			needed = rate >= lowRate
		case "latency_quantile", "lost":
			needed = false // it only ever adds
		}
		if snap.Spec == 0 && !slices.Contains([]string{"arrival_short", "arrival_long", "backlog"}, name) {
			needed = false
		}
		if !needed || s.OK() {
			continue
		}
		state := s.State
		if state == OK {
			state = Invalid
		}
		names = append(names, name+" "+state.String())
	}
	return names
}
