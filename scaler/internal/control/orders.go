package control

import (
	"fmt"
	"time"

	"headroom.dev/scaler/internal/controls"
	"headroom.dev/scaler/internal/policy"
)

// ordersWatch remembers what people ordered, to tell only what is new.
type ordersWatch struct {
	controls policy.Controls
	schedule string
	// problems are those that there were last, and whether an event told of each.
	problems map[controls.Problem]bool
}

// ordered is what people order at the time now, by annotations and schedules, and
// what is new about it. tell says whether this scaler publishes events.
func (l *Loop) ordered(annotations map[string]string, set *Settings, now time.Time, tell bool) (policy.Controls, []string) {
	orders := controls.Parse(annotations, set.Policy.Max, now)
	notes := l.complain(orders.Problems, tell)

	c, schedule := orders.Controls, ""
	if set.Floor != nil {
		if floor, name := set.Floor(now); floor > c.Floor {
			c.Floor, schedule = floor, name
		}
	}
	if !controls.Equal(c, l.orders.controls) || schedule != l.orders.schedule {
		what := controls.Describe(c)
		if schedule != "" {
			what += fmt.Sprintf(" (by schedule %s)", schedule)
		}
		notes = append(notes, "ordered: "+what)
		l.log.Info("orders have changed", "ordered", what, "until", until(orders.Next))
		l.orders.controls, l.orders.schedule = c, schedule
	}
	return c, notes
}

// complain tells of annotations that are ignored, of each once.
func (l *Loop) complain(problems []controls.Problem, tell bool) (notes []string) {
	l.metrics.badAnnotations.WithLabelValues().Set(float64(len(problems)))
	present := map[controls.Problem]bool{}
	for _, problem := range problems {
		told, known := l.orders.problems[problem]
		if !known {
			notes = append(notes, problem.String())
			l.log.Warn("an annotation is ignored", "problem", problem.String())
		}
		if tell && !told {
			l.target.Announce("BadAnnotation", problem.String())
		}
		present[problem] = told || tell
	}
	l.orders.problems = present
	return notes
}

func until(t time.Time) string {
	if t.IsZero() {
		return "further notice"
	}
	return t.UTC().Format(time.RFC3339)
}
