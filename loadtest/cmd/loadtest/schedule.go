package main

import (
	"fmt"
	"time"

	"headroom.dev/loadtest/internal/pace"
	"headroom.dev/loadtest/internal/trace"
)

// schedule is when each request of a run is meant to be sent.
type schedule struct {
	trace trace.Trace
	// arrivals say how the requests are spread, and cv how much the gaps between
	// them vary: at a constant rate, or as recorded.
	arrivals pace.Arrivals
	cv       float64
	times    []time.Duration
}

// newSchedule reads the trace and works the schedule out.
func newSchedule(c *runCommand) (s schedule, err error) {
	whole, err := trace.Load(c.Trace, trace.Options{Format: trace.Format(c.TraceFormat), Column: c.TraceColumn})
	if err != nil {
		return s, err
	}
	if s.trace, err = whole.Cut(c.Start, c.Length); err != nil {
		return s, err
	}
	options := pace.Options{Scale: c.Scale, Speed: c.Speed, Arrivals: pace.Arrivals(c.Arrivals), CV: c.CV, Seed: c.Seed}
	s.arrivals = options.Arrivals
	if s.trace.Arrivals != nil {
		s.arrivals = pace.Recorded
		s.times, err = pace.Replay(s.trace.Arrivals, options)
	} else {
		s.times, err = pace.Schedule(s.trace.Rates, options)
	}
	if err != nil {
		return s, err
	}
	if len(s.times) == 0 {
		return s, fmt.Errorf("trace %s: no request in the part that is replayed at scale %v; needed is at least one", c.Trace, c.Scale)
	}
	switch s.arrivals {
	case pace.Poisson:
		s.cv = 1
	case pace.Gamma:
		s.cv = c.CV
	case pace.Recorded:
		s.cv = pace.CV(s.times)
	}
	return s, nil
}
