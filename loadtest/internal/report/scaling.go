package report

import (
	"math"
	"slices"

	"headroom.dev/loadtest/internal/timeline"
)

// A step up in demand: the requests due in some shortestSide to stepWindow
// seconds after it are more than those in the stepWindow seconds before it by
// leastRise of their rate, by leastStep per second, and by leastErrors standard
// errors of the difference of two Poisson rates, √(n1/w1² + n2/w2²); and of all
// seconds within stepWindow it is the one where they differ by the most standard
// errors. So noise is no step, and a ramp is one, where it begins.
const (
	stepWindow    = 15 // seconds
	shortestSide  = 5  // seconds that there must be on each side
	leastRise     = 0.25
	leastStep     = 1.0
	leastErrors   = 4.0
	reactionGrace = 60 // seconds after demand has gone back in which a reaction still counts
)

// A flap: a change of direction within flapWithin seconds of the decision before,
// since which demand has moved by less than flapTolerance in its direction.
const (
	flapWithin    = 300
	flapTolerance = 0.1
)

// demand is how many requests are due in each second from the run's start.
type demand []float64

// between returns the requests due from second begin to second end; none are
// before the run and after it.
func (d demand) between(begin, end int) float64 {
	sum := 0.0
	for i := max(begin, 0); i < min(end, len(d)); i++ {
		sum += d[i]
	}
	return sum
}

// before returns the mean rate of the seconds that end at second at.
func (d demand) before(at int) float64 {
	seconds := min(max(at, 1), stepWindow)
	return d.between(at-seconds, at) / float64(seconds)
}

// step is a step up in demand at a second, from one rate to another.
type step struct {
	at       int
	from, to float64
}

// steps finds the steps up.
func (d demand) steps() []step {
	errors := make([]float64, len(d)) // by how many standard errors demand rises at each second
	candidates := make([]step, len(d))
	for i := shortestSide; i <= len(d)-shortestSide; i++ {
		before := min(i, stepWindow)
		n1 := d.between(i-before, i)
		from := n1 / float64(before)
		for after := shortestSide; after <= min(len(d)-i, stepWindow); after++ {
			n2 := d.between(i, i+after)
			to := n2 / float64(after)
			if rise := to - from; rise >= leastStep && rise >= leastRise*from {
				if z := rise / math.Sqrt(from/float64(before)+to/float64(after)); z > errors[i] {
					errors[i], candidates[i] = z, step{at: i, from: from, to: to}
				}
			}
		}
	}
	var found []step
	for i, z := range errors {
		first := slices.Max(errors[max(0, i-stepWindow):i+1]) == z && !slices.Contains(errors[max(0, i-stepWindow):i], z)
		if z >= leastErrors && first && slices.Max(errors[i:min(len(errors), i+stepWindow+1)]) == z {
			found = append(found, candidates[i])
		}
	}
	return found
}

// scalingOver works out what the scaler did. demand and the seconds of its steps
// count from the run's start, which is offset seconds after the timeline's. nil
// when no decisions are known.
func scalingOver(t *timeline.Timeline, due demand, offset float64) *Scaling {
	if t.Decisions == nil {
		return nil
	}
	s := &Scaling{Reactions: []Reaction{}}
	for i, d := range t.Decisions {
		out := d.To > d.From
		if out {
			s.Outs++
		} else {
			s.Ins++
		}
		if i > 0 && (t.Decisions[i-1].To > t.Decisions[i-1].From) != out && isFlap(due, t.Decisions[i-1].AtS-offset, d.AtS-offset, out) {
			s.Flaps++
		}
	}
	var ready []float64
	steps := due.steps()
	for i, up := range steps {
		until := reactionEnds(due, up)
		if i+1 < len(steps) {
			until = min(until, float64(steps[i+1].at))
		}
		at := float64(up.at)
		r := Reaction{AtS: at, FromPerS: up.from, ToPerS: up.to}
		r.OrderedS = known(firstOrder(t.Decisions, at+offset, until+offset) - at - offset)
		r.ReadyS = known(firstRise(t.Signal(timeline.Ready), at+offset, until+offset) - at - offset)
		if r.ReadyS != nil {
			ready = append(ready, *r.ReadyS)
		}
		s.Reactions = append(s.Reactions, r)
	}
	s.ReactionS = known(median(ready))
	return s
}

// isFlap tells whether demand fails to explain a decision at second at, against
// the direction of the one at second last.
func isFlap(due demand, last, at float64, out bool) bool {
	if at-last > flapWithin {
		return false
	}
	now := due.before(int(at))
	lowest, highest := now, now
	for i := int(last); i < int(at); i++ {
		lowest, highest = min(lowest, due.before(i)), max(highest, due.before(i))
	}
	if out {
		return now <= lowest || now < lowest*(1+flapTolerance)
	}
	return now >= highest || now > highest*(1-flapTolerance)
}

// reactionEnds returns the second up to which a replica still counts as added
// because of a step: a while after demand has gone back halfway.
func reactionEnds(due demand, up step) float64 {
	at := up.at + 1
	for ; at < len(due); at++ {
		if due.between(at, at+stepWindow)/stepWindow < (up.from+up.to)/2 {
			break
		}
	}
	return float64(at + reactionGrace)
}

// firstOrder returns when the count was first raised from one instant up to
// another; NaN when it was not.
func firstOrder(decisions []timeline.Decision, from, until float64) float64 {
	for _, d := range decisions {
		if d.To > d.From && d.AtS >= from && d.AtS < until {
			return d.AtS
		}
	}
	return math.NaN()
}

// firstRise returns the first second after one instant, up to another, in which
// a value is above its lowest since; NaN when there is none.
func firstRise(values timeline.Values, from, until float64) float64 {
	lowest := math.NaN()
	for i, x := range values {
		switch at := float64(i); {
		case at >= until:
			return math.NaN()
		case math.IsNaN(x):
		case at > from && x > lowest:
			return at
		case at <= from || !(x >= lowest):
			lowest = x
		}
	}
	return math.NaN()
}

// median is the mean of the middle two where there is an even number; NaN when there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
