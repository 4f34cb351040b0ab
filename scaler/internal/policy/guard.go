package policy

import (
	"math"
	"time"
)

const (
	// The guard acts when the ready replicas have been enough for so long by the
	// model: what was measured before is of fewer.
	guardAfter = 15 * time.Second
	// latencyScrapes is how many scrapes measured latency and what was lost cover. Of
	// the standard errors by which they exceed the promise, those above guardDoubt are
	// evidence, and guardEvidence of them in sum prove that it is broken; more than
	// maxEvidence are not kept.
	latencyScrapes = 10
	guardDoubt     = 1.0
	guardEvidence  = 3.0
	maxEvidence    = 4.0
	// leastSpread is the least standard deviation of the logarithm of a latency: what
	// waits varies even where the service time does not.
	leastSpread = 0.2
	// guardBelow is the share of the promise under which the correction is let go.
	guardBelow = 0.8
	// By so much a second the correction grows and goes back, up to maxCorrection.
	guardGrowth   = 1.02
	guardDecay    = 0.998
	maxCorrection = 2.0
)

// guard corrects the service time when the promise is broken although there are
// as many replicas as the model wants: something takes longer than what is measured
// of it. It is broken by latency, and by requests that were lost: where those that
// would be late are given up early, no latency ever shows it.
//
// Of a few hundred requests, the 99th percentile is above the promise by chance
// alone again and again. So the standard errors by which it is are summed up as a
// cumulative sum (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954):
// twice the promise is evidence within one window, a little more only when it lasts.
//
// The correction is let go wherever the promise is kept: as many as the model wants
// are enough then, and so are fewer, where no more can be had.
func (s *State) guard(cfg Config, snap Snapshot, t Terms, now time.Time) {
	latency, lost, slo := snap.Signals.LatencyQuantile, snap.Signals.Lost, cfg.SLO.Seconds()
	telling := t.Rate >= lowRate && t.measuredP99() < slo && !s.raised(now)
	enough := telling && t.Recommended <= withTolerance(min(snap.Ready, snap.Spec))
	switch {
	case !enough:
		s.EnoughSince, s.Evidence = time.Time{}, 0
	case s.EnoughSince.IsZero():
		s.EnoughSince = now
	}
	if !telling || !latency.OK() && !lost.OK() {
		return
	}
	ticks := cfg.Tick.Seconds()
	if enough && now.Sub(s.EnoughSince) >= guardAfter {
		window := latencyScrapes * cfg.scrape()
		spread := math.Max(leastSpread, ServiceTime{Mean: t.ServiceEffective, P99: t.ServiceP99}.sigma())
		requests := math.Max(1, t.Level*window)
		err := spread * p99Error / math.Sqrt(requests)
		excess := math.Log(math.Max(latency.or(0), guardBelow*slo)/slo) / err
		// Of a Poisson number, the standard error is the root of what is expected; one
		// request is no evidence, however few are expected.
		allowed := (1 - cfg.Quantile) * requests
		excess = math.Max(excess, (lost.or(0)*requests-allowed)/math.Sqrt(math.Max(1, allowed)))
		s.Evidence = math.Min(math.Max(0, s.Evidence+(excess-guardDoubt)*ticks/window), maxEvidence)
	}
	switch {
	case s.Evidence >= guardEvidence:
		s.Correction = math.Min(maxCorrection, s.Correction*math.Pow(guardGrowth, ticks))
	case latency.or(0) < guardBelow*slo && lost.or(0) <= 1-cfg.Quantile:
		s.Correction = math.Max(1, s.Correction*math.Pow(guardDecay, ticks))
	}
}

// foresee notes what the arrival rate is expected to be a lead time from now, and
// judges what was expected of now.
func (s *State) foresee(t Terms, now time.Time) {
	due := make([]Sample, 0, len(s.Due)+1)
	for _, f := range s.Due {
		switch {
		case f.At.After(now):
			due = append(due, f)
		case t.Level >= lowRate:
			s.ForecastError, s.ForecastKnown = (f.Rate-t.Level)/t.Level, true
		}
	}
	at := now.Add(time.Duration(t.LeadTime * float64(time.Second)))
	if len(due) == 0 || at.Sub(due[len(due)-1].At) >= forecastSpacing && len(due) < maxDue {
		due = append(due, Sample{at, t.Rate})
	}
	s.Due = due
}

const (
	forecastSpacing = 5 * time.Second
	maxDue          = 128
)
