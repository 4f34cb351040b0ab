package promsource

import (
	"slices"
	"testing"
	"time"

	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
)

const steady = 36 // requests per second

var allNames = slices.Concat(arrivingNames, servingNames)

// newSteadyWorld has the same traffic all the time, whatever restarts.
func newSteadyWorld(t *testing.T) *world {
	return newWorld(t, false, steady)
}

// reads waits until the check has nothing to say. Whatever restarts, a rate that
// is said to be good is, on the way there too.
func (w *world) reads(t *testing.T, check func(policy.Signals) string) {
	t.Helper()
	until(t, w.source, func(m control.Measured, err error) string {
		s := m.Signals
		// Scrapes that are late move the short rate by much, at an interval of 250 ms:
		// TestWindows looks at it closely.
		good := func(rate policy.Signal, least, most float64) {
			if rate.OK() && (rate.Value < steady*least || rate.Value > steady*most) {
				t.Errorf("a rate of %g is said to be good, want %d: %+v", rate.Value, steady, m)
			}
		}
		good(s.ArrivalShort, 0, 3)
		good(s.ArrivalLong, 0.75, 1.25)
		if err != nil {
			return "an error"
		}
		return check(s)
	})
}

// recovers waits until the short window, then that of latency and then the long
// one lie after what has happened.
func (w *world) recovers(t *testing.T) {
	t.Helper()
	w.reads(t, func(s policy.Signals) string {
		return are(s, policy.OK, "arrival_short", "backlog", "in_flight") + are(s, policy.Reset, "arrival_long", "latency_quantile")
	})
	w.reads(t, func(s policy.Signals) string {
		return are(s, policy.OK, "arrival_short", "latency_quantile") + are(s, policy.Reset, "arrival_long")
	})
	w.reads(t, func(s policy.Signals) string { return are(s, policy.OK, allNames...) })
}

func TestProcessesThatRestart(t *testing.T) {
	t.Parallel()
	w := newSteadyWorld(t)
	w.reads(t, func(s policy.Signals) string { return are(s, policy.OK, allNames...) })

	t.Run("a dispatcher that restarts", func(t *testing.T) {
		w.door.Restart()
		w.reads(t, func(s policy.Signals) string {
			return are(s, policy.Reset, "arrival_short", "arrival_long", "latency_quantile") + are(s, policy.OK, "backlog", "in_flight") + are(s, policy.OK, servingNames...)
		})
		w.recovers(t)
	})

	t.Run("a dispatcher in the place of another", func(t *testing.T) {
		arrives(w.spare, steady)
		w.spare.Down(false)
		w.door.Down(true)
		w.server.Scrape(t, "dispatcher", w.spare.Address)
		w.reads(t, func(s policy.Signals) string {
			return are(s, policy.Reset, "arrival_long", "latency_quantile") + are(s, policy.OK, "backlog", "in_flight") + are(s, policy.OK, servingNames...)
		})
		w.recovers(t)
	})

	t.Run("a second dispatcher that can't be scraped is missed until it is gone", func(t *testing.T) {
		w.door.Down(false)
		w.server.Scrape(t, "dispatcher", w.door.Address, w.spare.Address)
		w.reads(t, func(s policy.Signals) string { return are(s, policy.Reset, "arrival_short", "arrival_long") })
		until(t, w.source, func(m control.Measured, _ error) string { return are(m.Signals, policy.OK, arrivingNames...) })
		w.door.Down(true)
		begin := time.Now()
		until(t, w.source, func(m control.Measured, _ error) string {
			if past := time.Since(begin); past < 2*longScrapes*scrape {
				return "it is away for " + past.String() + " only"
			}
			return are(m.Signals, policy.Reset, "arrival_long") + are(m.Signals, policy.OK, "arrival_short", "latency_quantile")
		})
		w.server.Scrape(t, "dispatcher", w.spare.Address)
		w.reads(t, func(s policy.Signals) string { return are(s, policy.OK, allNames...) })
	})

	t.Run("a model server that restarts, and what arrives is as good as ever", func(t *testing.T) {
		w.old.Restart()
		w.reads(t, func(s policy.Signals) string {
			return are(s, policy.Reset, "service_mean", "service_p99", "cpu_per_request") + are(s, policy.OK, "cpu_limit", "slots") + are(s, policy.OK, arrivingNames...)
		})
		w.reads(t, func(s policy.Signals) string { return are(s, policy.OK, allNames...) })
	})
}

func TestPrometheusRestarts(t *testing.T) {
	t.Parallel()
	w := newSteadyWorld(t)

	t.Run("a Prometheus that has just started is not believed until it has watched a whole window", func(t *testing.T) {
		w.recovers(t)
	})

	t.Run("a Prometheus that restarts and remembers", func(t *testing.T) {
		w.server.Kill()
		w.server.Again(t, true)
		// The gap ends with the first scrape, seconds after the start, and is longer than
		// what is stale. Windows that begin in it are short of samples: that of latency at
		// once, and the long one once it has moved on to the gap.
		w.reads(t, func(s policy.Signals) string {
			return are(s, policy.Stale, "backlog", "in_flight", "slots")
		})
		w.reads(t, func(s policy.Signals) string {
			return are(s, policy.OK, "arrival_short", "backlog", "in_flight") + are(s, policy.Reset, "latency_quantile")
		})
		w.reads(t, func(s policy.Signals) string {
			return are(s, policy.OK, "arrival_short") + are(s, policy.Reset, "arrival_long")
		})
		w.reads(t, func(s policy.Signals) string { return are(s, policy.OK, allNames...) })
	})

	t.Run("a Prometheus that restarts without a memory", func(t *testing.T) {
		w.server.Kill()
		w.server.Again(t, false)
		w.reads(t, func(s policy.Signals) string { return are(s, policy.Missing, allNames...) })
		w.recovers(t)
	})
}
