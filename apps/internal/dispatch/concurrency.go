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

	base    time.Duration // mean latency of the best window, or near it
	sum     time.Duration // of the present window
	samples int           // in it
	full    int           // of them, begun when the limit was reached
}

const (
	// window is the number of attempts whose mean is looked at.
	window = 8
	// forget makes what was best once weigh less with every window, or a
	// replica that has become slower would be taken for a full one for ever.
	forget = 1.001
	// fewWait and manyWait are the estimated numbers of requests that wait
	// inside the replica, below and above which the limit is changed.
	fewWait, manyWait = 1, 2
)

// Trusted is the concurrency of a replica that was there before this dispatcher.
func Trusted(b Bounds) Concurrency { return Concurrency{Limit: b.Least} }

// Eased is the concurrency of a replica that is new: it has to show what it can
// do before it gets as much as the others.
func Eased() Concurrency { return Concurrency{Limit: 1} }

// Answered takes one attempt into account that took so long and was one of
// inFlight when it began. Up to the bounds' least the limit grows with every
// answer; above it as TCP Vegas' window does (Brakmo and Peterson 1995, for
// requests Netflix' concurrency-limits): limit × (1 − best ÷ mean latency) is the
// number that wait inside the replica. One may, so that a replica has its next
// request when it is done with one; more would only wait there and not where any
// replica can take them.
func (c Concurrency) Answered(took time.Duration, inFlight int, b Bounds) Concurrency {
	full := inFlight >= c.Limit
	if c.Limit < b.Least {
		if full {
			c.Limit++
		}
		return c
	}
	c.sum += took
	c.samples++
	if full {
		c.full++
	}
	if c.samples < window {
		return c
	}
	mean, limited := c.sum/window, 2*c.full > window
	c.sum, c.samples, c.full = 0, 0, 0
	if c.base = time.Duration(float64(c.base) * forget); c.base == 0 || mean < c.base {
		c.base = mean
	}
	if mean <= 0 {
		return c
	}
	switch wait := float64(c.Limit) * (1 - float64(c.base)/float64(mean)); {
	case wait > manyWait:
		c.Limit--
	case wait < fewWait && limited:
		c.Limit++
	}
	c.Limit = min(max(c.Limit, b.Least), b.Most)
	return c
}

// Refused takes into account that the replica would not take a request: it has
// enough.
func (c Concurrency) Refused() Concurrency {
	c.Limit = max(1, c.Limit-1)
	c.sum, c.samples, c.full = 0, 0, 0
	return c
}
