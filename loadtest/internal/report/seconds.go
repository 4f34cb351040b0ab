package report

import (
	"math"
	"slices"
	"time"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/timeline"
)

// clientWindow is how many seconds a client-side p99 looks back, as the server-side one does.
const clientWindow = 10

// Seconds is a run second by second, on the wall clock's whole seconds.
type Seconds struct {
	// Start is the instant of second 0, Count how many there are.
	Start time.Time
	Count int
	// Offered is how many requests were due in each second.
	Offered timeline.Values
	// Violations is how many of those got no prediction inside the SLO.
	Violations timeline.Values
	// Unanswered is how many of those got no prediction at all: refused, failed or not sent.
	Unanswered timeline.Values
	// Answered is how many predictions came in each second.
	Answered timeline.Values
	// SendLag is how late the latest request due in each second was sent, in
	// seconds; NaN where none was sent.
	SendLag timeline.Values
	// ClientP99 is of the requests answered in the ten seconds up to each, in seconds.
	ClientP99 timeline.Values
	// due is how many requests were due in each second from the run's start, which
	// is up to a second after Start.
	due demand
	// LoadEnds is when the last request was over, in seconds from Start.
	LoadEnds float64
	// Measured is what Prometheus knew, from the same instant on; nil when it was not asked.
	Measured *timeline.Timeline
}

// collector sorts records into seconds.
type collector struct {
	offset     time.Duration // from the first whole second to the run's start
	start      time.Time
	slo        time.Duration
	offered    []float64
	due        demand
	violations []float64
	unanswered []float64
	lag        []float64
	answers    [][]float64
	last       time.Duration
}

func newCollector(started time.Time, slo time.Duration) *collector {
	first := started.Truncate(time.Second)
	return &collector{offset: started.Sub(first), start: first.UTC(), slo: slo}
}

func (c *collector) add(r record.Record) {
	due := int((c.offset + r.Intended) / time.Second)
	over := int((c.offset + r.End()) / time.Second)
	for len(c.offered) <= max(due, over) {
		c.offered = append(c.offered, 0)
		c.violations = append(c.violations, 0)
		c.unanswered = append(c.unanswered, 0)
		c.lag = append(c.lag, math.NaN())
		c.answers = append(c.answers, nil)
	}
	c.offered[due]++
	for len(c.due) <= int(r.Intended/time.Second) {
		c.due = append(c.due, 0)
	}
	c.due[r.Intended/time.Second]++
	if r.Outcome != record.Answered || r.Latency > c.slo {
		c.violations[due]++
	}
	if r.Outcome != record.Answered {
		c.unanswered[due]++
	}
	if r.Outcome != record.Unsent && !(c.lag[due] >= r.Lag.Seconds()) {
		c.lag[due] = r.Lag.Seconds()
	}
	if r.Outcome == record.Answered {
		c.answers[over] = append(c.answers[over], r.Latency.Seconds())
	}
	c.last = max(c.last, c.offset+r.End())
}

func (c *collector) seconds(measured *timeline.Timeline) Seconds {
	s := Seconds{
		Start: c.start, Count: len(c.offered), Offered: c.offered, due: c.due, Violations: c.violations,
		Unanswered: c.unanswered, SendLag: c.lag, Answered: make(timeline.Values, len(c.offered)),
		ClientP99: make(timeline.Values, len(c.offered)), LoadEnds: c.last.Seconds(), Measured: measured,
	}
	for i := range c.answers {
		s.Answered[i] = float64(len(c.answers[i]))
		s.ClientP99[i] = nearestRank(Quantile, slices.Concat(c.answers[max(0, i-clientWindow+1):i+1]...))
	}
	if measured != nil {
		s.Count = max(s.Count, measured.Seconds)
	}
	return s
}

// nearestRank returns the lowest value that a share q of all are at or below; NaN when there are none.
func nearestRank(q float64, values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[int(math.Ceil(q*float64(len(values))-1e-9))-1]
}
