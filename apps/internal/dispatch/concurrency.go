package dispatch

import "time"

// Bounds are those of a replica's concurrency.
type Bounds struct {
	// Least is what each replica is trusted with; at least 1.
	Least int
	// Most is what measuring may raise it to; at least Least.
	Most int
}

// Concurrency is how many requests a replica is sent at a time, and what shows
// whether that is right. The zero value takes none: see Trusted and Eased.
type Concurrency struct {
	// Limit is the number.
	Limit int

	base    time.Duration // mean latency with nobody waiting, as last measured
	probes  int           // that it is the mean of
	lately  time.Duration // smoothed mean latency since
	windows int           // since
	sum     time.Duration // of the present window or probe
	samples int           // in it
	full    int           // of them, begun when the limit was reached
	restore int           // the limit after the present probe, 0 outside of one
}

const (
	// leastWindow is the least number of answers whose mean is looked at.
	leastWindow = 16
	// probeEvery and probeFor are how many windows lie between two probes, and how
	// many one takes: few enough that lowering the limit costs little.
	probeEvery, probeFor = 128, 4
	// remember is about how many probes the base is the mean of.
	remember = 4
	// fewWait and manyWait are the estimated numbers of requests that wait
	// inside the replica, below and above which the limit is changed.
	fewWait, manyWait = 0.5, 1.5
)

// Trusted is the concurrency of a replica that was there before this dispatcher.
func Trusted(b Bounds) Concurrency { return Concurrency{Limit: b.Least} }

// Eased is the concurrency of a replica that is new: it has to show what it can
// do before it gets as much as the others.
func Eased() Concurrency { return Concurrency{Limit: 1} }

// Answered takes one attempt into account that took so long and was one of
// inFlight when it began. Up to the bounds' least the limit grows with every
// answer; above it as TCP Vegas' window does (Brakmo and Peterson 1995, for
// requests Netflix' concurrency-limits): limit × (1 − base ÷ mean latency) is the
// number that wait inside the replica. One may, so that a replica has its next
// request when it is done with one; more would only wait there and not where any
// replica can take them.
func (c Concurrency) Answered(took time.Duration, inFlight int, b Bounds) Concurrency {
	if c.Limit < b.Least {
		if inFlight >= c.Limit {
			c.Limit++
		}
		return c
	}
	if c.base == 0 && c.restore == 0 {
		c = c.probe(b)
	}
	if c.restore > 0 {
		return c.probed(took, inFlight)
	}
	c.sum += took
	c.samples++
	if inFlight >= c.Limit {
		c.full++
	}
	if c.samples < window(c.Limit) {
		return c
	}
	return c.adjusted(b)
}

// window is the number of answers after which a limit is looked at again: no
// fewer than it takes to see what the last change did.
func window(limit int) int { return max(leastWindow, limit) }

// adjusted ends a window.
func (c Concurrency) adjusted(b Bounds) Concurrency {
	mean, limited := max(1, c.sum/time.Duration(c.samples)), 2*c.full > c.samples
	c.sum, c.samples, c.full = 0, 0, 0
	c.lately += (mean - c.lately) / 8
	c.windows++
	switch wait := float64(c.Limit) * (1 - float64(c.base)/float64(mean)); {
	case wait > manyWait:
		c.Limit--
	case wait < fewWait && limited:
		c.Limit++
	}
	c.Limit = min(max(c.Limit, b.Least), b.Most)
	// At the least a probe costs nothing. And one that is much faster with more
	// to do than it was with less has changed.
	if c.Limit == b.Least || c.windows >= probeEvery || 4*c.lately < 3*c.base {
		c = c.probe(b)
	}
	return c
}

// probe lowers the limit for a while, to measure the latency with nobody waiting,
// as BBR does (Cardwell et al. 2016). The best latency ever seen would not do: it
// may be from a time when the replica was faster, or of a few easy requests. As
// in BBR's second version it is lowered by half, which costs less than the least
// would. A limit so far too high that some wait even then comes down with every
// probe.
func (c Concurrency) probe(b Bounds) Concurrency {
	c.restore, c.Limit = c.Limit, max(b.Least, (c.Limit-1)/2)
	c.sum, c.samples, c.full = 0, 0, 0
	return c
}

// probed takes an answer into account that came during a probe.
func (c Concurrency) probed(took time.Duration, inFlight int) Concurrency {
	if inFlight > c.Limit {
		// Begun before it. Of what began with it the quick come first: it has to
		// wait for the slow of before to see as many as there are.
		c.sum, c.samples = 0, 0
		return c
	}
	c.sum += took
	c.samples++
	if c.samples < probeFor*window(c.restore) {
		return c
	}
	// Where some requests take much longer than most, no probe has its share of
	// them: only several together tell the mean. But a large change is one of the
	// replica's.
	mean := max(1, c.sum/time.Duration(c.samples))
	if mean > 2*c.base || 2*mean < c.base {
		c.base, c.probes = mean, 1
	} else {
		c.probes = min(c.probes+1, remember)
		c.base = max(1, c.base+(mean-c.base)/time.Duration(c.probes))
	}
	c.Limit, c.lately, c.windows = c.restore, c.base, 0
	c.sum, c.samples, c.restore = 0, 0, 0
	return c
}

// Refused takes into account that the replica would not take a request: it has
// enough.
func (c Concurrency) Refused() Concurrency {
	c.Limit = max(1, c.Limit-1)
	c.sum, c.samples, c.full, c.restore = 0, 0, 0, 0
	return c
}
