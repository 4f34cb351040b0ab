package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limit is the most that a figure may be.
type Limit struct {
	// Text is the limit as it was given.
	Text string
	// Figure names what is limited.
	Figure string
	// Value is in seconds, a share (0 to 1) or a number, as the figure is.
	Value float64
	// share tells that it limits a share of the requests, not their number.
	share bool
}

// measure gives a figure of a run; NaN is not measured.
type measure func(Summary) float64

// limitable is a figure that may be limited.
type limitable struct {
	name   string
	amount measure
	// seconds tells that it is a time, limited by a duration.
	seconds bool
	// share is not nil where it may be limited by a percentage too.
	share measure
}

// percentiles are those that may be limited on either side.
var percentiles = []struct {
	name string
	of   func(Latency) *float64
}{
	{"p50", func(l Latency) *float64 { return l.P50 }},
	{"p90", func(l Latency) *float64 { return l.P90 }},
	{"p99", func(l Latency) *float64 { return l.P99 }},
	{"p999", func(l Latency) *float64 { return l.P999 }},
}

// limitables lists the figures in the order in which messages name them. A
// percentile alone is the server's: that is what the promise is about.
func limitables() []limitable {
	var all []limitable
	for _, prefix := range []string{"", "server_", "client_"} {
		for _, p := range percentiles {
			all = append(all, limitable{name: prefix + p.name, seconds: true, amount: func(s Summary) float64 {
				switch {
				case prefix == "client_":
					return unknownAsNaN(p.of(s.Client))
				case s.Server == nil:
					return math.NaN()
				}
				return unknownAsNaN(p.of(*s.Server))
			}})
		}
	}
	of := func(count, total int) float64 {
		if total == 0 {
			return math.NaN()
		}
		return float64(count) / float64(total)
	}
	return append(all,
		limitable{name: "lag_p99", seconds: true, amount: func(s Summary) float64 { return unknownAsNaN(s.SendLag.P99) }},
		limitable{name: "reaction", seconds: true, amount: ofScaling(func(c Scaling) float64 { return unknownAsNaN(c.ReactionS) })},
		limitable{
			name: "violations", amount: func(s Summary) float64 { return float64(s.Violations.Count) },
			share: func(s Summary) float64 { return s.Violations.Share },
		},
		limitable{
			name: "failed", amount: func(s Summary) float64 { return float64(s.Requests.Failed) },
			share: func(s Summary) float64 { return of(s.Requests.Failed, s.Requests.Sent) },
		},
		limitable{
			name: "refused", amount: func(s Summary) float64 { return float64(s.Requests.Refused) },
			share: func(s Summary) float64 { return of(s.Requests.Refused, s.Requests.Sent) },
		},
		limitable{
			name: "unsent", amount: func(s Summary) float64 { return float64(s.Requests.Unsent) },
			share: func(s Summary) float64 { return of(s.Requests.Unsent, s.Requests.Scheduled) },
		},
		limitable{name: "replica_seconds", amount: ofCost(func(c Cost) float64 { return c.ReplicaSeconds })},
		limitable{name: "cpu_limit_seconds", amount: ofCost(func(c Cost) float64 { return unknownAsNaN(c.CPULimitSeconds) })},
		limitable{name: "cpu_seconds", amount: ofCost(func(c Cost) float64 { return unknownAsNaN(c.CPUSeconds) })},
		limitable{name: "mean_replicas", amount: ofReplicas(func(r Replicas) float64 { return r.Mean })},
		limitable{name: "peak_replicas", amount: ofReplicas(func(r Replicas) float64 { return float64(r.Peak) })},
		limitable{name: "flaps", amount: ofScaling(func(c Scaling) float64 { return float64(c.Flaps) })},
	)
}

func ofCost(figure func(Cost) float64) measure {
	return func(s Summary) float64 {
		if s.Cost == nil {
			return math.NaN()
		}
		return figure(*s.Cost)
	}
}

func ofReplicas(figure func(Replicas) float64) measure {
	return func(s Summary) float64 {
		if s.Replicas == nil {
			return math.NaN()
		}
		return figure(*s.Replicas)
	}
}

func ofScaling(figure func(Scaling) float64) measure {
	return func(s Summary) float64 {
		if s.Scaling == nil {
			return math.NaN()
		}
		return figure(*s.Scaling)
	}
}

// ParseLimit reads NAME=LIMIT. The limit is a duration such as 500ms for a
// latency, a lag or a reaction; for violations, failed, refused and unsent a
// number of requests or a percentage such as 1% (of those due, sent, sent, and
// scheduled); and a number from 0 for all others. Errors name what is allowed.
func ParseLimit(text string) (Limit, error) {
	name, value, found := strings.Cut(text, "=")
	if !found {
		return Limit{}, fmt.Errorf("%q: allowed is NAME=LIMIT, such as p99=500ms", text)
	}
	var names []string
	for _, f := range limitables() {
		if f.name == name {
			limit, isShare, err := f.parse(value)
			if err != nil {
				return Limit{}, fmt.Errorf("%q: limit %q: %w", text, value, err)
			}
			return Limit{Text: text, Figure: name, Value: limit, share: isShare}, nil
		}
		names = append(names, f.name)
	}
	return Limit{}, fmt.Errorf("%q: figure %q: allowed are %s", text, name, strings.Join(names, ", "))
}

func (f limitable) parse(text string) (limit float64, isShare bool, err error) {
	if f.seconds {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return 0, false, fmt.Errorf("allowed are durations from 0s, such as 500ms")
		}
		return d.Seconds(), false, nil
	}
	digits, isShare := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(digits, 64)
	valid := err == nil && x >= 0 && !math.IsInf(x, 0)
	switch {
	case f.share == nil && (isShare || !valid):
		return 0, false, fmt.Errorf("allowed are numbers from 0")
	case f.share != nil && (!valid || isShare && x > 100):
		return 0, false, fmt.Errorf("allowed are numbers of requests from 0, and percentages from 0%% to 100%%")
	case isShare:
		return x / 100, true, nil
	}
	return x, false, nil
}

// check holds a run's figure against the limit. What was not measured misses it.
func (l Limit) check(s Summary) Threshold {
	t := Threshold{Text: l.Text, Figure: l.Figure, Limit: l.Value}
	for _, f := range limitables() {
		if f.name != l.Figure {
			continue
		}
		measured := f.amount(s)
		if l.share {
			measured = f.share(s)
		}
		t.Measured = known(measured)
		t.OK = measured <= l.Value // not when it is NaN
	}
	return t
}

// String says what became of the limit, for people.
func (t Threshold) String() string {
	if t.Measured == nil {
		return t.Text + ": was not measured"
	}
	for _, f := range limitables() {
		switch {
		case f.name != t.Figure:
		case f.seconds:
			return fmt.Sprintf("%s: is %s", t.Text, milliseconds(t.Measured))
		case strings.HasSuffix(t.Text, "%"):
			return fmt.Sprintf("%s: is %s%%", t.Text, cell(*t.Measured*100))
		}
	}
	return fmt.Sprintf("%s: is %s", t.Text, cell(*t.Measured))
}
