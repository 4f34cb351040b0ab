package inference

import "time"

// smoothing is the weight of the newest measurement in a mean: about the last
// ten count.
const smoothing = 0.2

// estimate is how long one step takes.
type estimate struct {
	mean, fastest time.Duration
}

func (e *estimate) observe(took time.Duration) {
	if e.mean == 0 {
		e.mean, e.fastest = took, took
		return
	}
	e.mean += time.Duration(smoothing * float64(took-e.mean))
	e.fastest = min(e.fastest, took)
}

// load is what an arriving request finds.
type load struct {
	prepare, run estimate
	// slots is how many may be prepared at a time, and how many run.
	slots int
	// inFlight is how many are being prepared or run, ahead how many wait and
	// go first.
	inFlight, ahead int
}

// finish is in what time a request that arrives now will be done, at best.
//
// With a free place it is its own service time. Else each request before it
// takes its share of the narrower of the two steps, prepare and run, and so
// does the one that has to leave first. Where nothing at all is under way, the
// fastest ever seen counts: after a stall the means are high, and with no
// request admitted they would stay so.
func (l load) finish() time.Duration {
	if l.inFlight == 0 && l.ahead == 0 {
		return l.prepare.fastest + l.run.fastest
	}
	own := l.prepare.mean + l.run.mean
	if l.inFlight < l.slots {
		return own
	}
	narrower := max(l.prepare.mean, l.run.mean) / time.Duration(l.slots)
	return own + time.Duration(l.ahead+1)*narrower
}
