package control

import (
	"fmt"

	"headroom.dev/scaler/internal/policy"
)

// scaleWatch tells what others do to the scale. It knows what this scaler wrote,
// so it can only be used by one that leads.
type scaleWatch struct {
	known bool
	last  int // the count last seen or written
	// maybe is a count of which the writing failed, which doesn't mean that it
	// wasn't written; −1 for none.
	maybe int
}

// saw returns the count before, and whether somebody else has changed it since.
func (w *scaleWatch) saw(spec int) (before int, foreign bool) {
	before, foreign = w.last, w.known && spec != w.last && spec != w.maybe
	*w = scaleWatch{known: true, last: spec, maybe: -1}
	return before, foreign
}

func (w *scaleWatch) wrote(to int) { w.last = to }

// failed notes a writing that went wrong.
func (w *scaleWatch) failed(to int) { w.maybe = to }

// foreign reports that somebody else has changed the scale. What is made of it is
// the decision d, which took the new count for the present one: more than the model
// wants goes after the stabilization window, and fewer is raised again at once if
// the load needs it.
func (l *Loop) foreign(before int, seen Replicas, d policy.Decision) string {
	what := fmt.Sprintf("somebody else changed the scale from %d to %d", before, seen.Spec)
	then := "it stays so for now"
	if d.Replicas != seen.Spec {
		then = fmt.Sprintf("it is changed to %d", d.Replicas)
	}
	l.metrics.foreignChanges.WithLabelValues(direction(before, seen.Spec)).Inc()
	l.log.Info(what, "from", before, "to", seen.Spec, "decided", d.Replicas, "reason", string(d.Reason), "why", d.Sentence)
	l.target.Announce("ScaleChanged", what+"; "+then+": "+d.Sentence)
	return what
}
