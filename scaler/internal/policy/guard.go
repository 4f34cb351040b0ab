package policy

import (
	"math"
	"time"
)

const (
	// The guard acts when the ready replicas have been enough for so long by the
	// model: the latency measured before was that of fewer.
	guardAfter = 15 * time.Second
	// guardAt is the share of the promise that measured latency must exceed, and
	// guardBelow the share under which the correction is let go.
	guardAt    = 1.0
	guardBelow = 0.8
	// By so much a second the correction grows and goes back, up to maxCorrection.
	guardGrowth   = 1.02
	guardDecay    = 0.998
	maxCorrection = 2.0
)

// guard corrects the service time when measured latency breaks the promise
// although there are as many replicas as the model wants: something takes longer
// than what is measured of it.
func (s *State) guard(cfg Config, snap Snapshot, t Terms, now time.Time) {
	enough := snap.Ready >= t.Recommended && snap.Spec >= t.Recommended && t.Rate >= lowRate &&
		t.ServiceP99 < cfg.SLO.Seconds() && !s.raised(now)
	if !enough {
		s.EnoughSince = time.Time{}
		return
	}
	if s.EnoughSince.IsZero() {
		s.EnoughSince = now
	}
	latency, slo := snap.Signals.LatencyQuantile, cfg.SLO.Seconds()
	if !latency.OK() || now.Sub(s.EnoughSince) < guardAfter {
		return
	}
	ticks := cfg.Tick.Seconds()
	switch {
	case latency.Value > guardAt*slo:
		s.Correction = math.Min(maxCorrection, s.Correction*math.Pow(guardGrowth, ticks))
	case latency.Value < guardBelow*slo:
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
