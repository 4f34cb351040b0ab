package sim

import "time"

// tally are the counters that both engines keep. They only grow; whoever wants a
// window keeps a copy and subtracts.
type tally struct {
	arrived                float64
	refused, dropped, late float64
	unavoidable            float64 // violations by requests whose own work takes longer than the SLO
	answered               float64
	serviceSum             float64 // seconds from having a slot to having the reply
	work                   float64 // slot-seconds at the usual CPU limit
	presence               float64 // seconds that requests have waited or been worked on, summed
	service, latency       histogram
	events                 int64
}

func (t *tally) violations() float64 { return t.refused + t.dropped + t.late }

func (t *tally) avoidable() float64 { return t.violations() - t.unavoidable }

// gauges are what the dispatcher shows at an instant.
type gauges struct {
	backlog, inFlight float64
	oldest            time.Duration
}

// engine plays the requests. Times that it is handed never go back.
type engine interface {
	// advance plays everything up to and including a time.
	advance(to time.Duration)
	// scale orders a number of replicas, kill ends so many ready ones, setSpeed
	// gives every replica another multiple of its usual CPU.
	scale(now time.Duration, replicas int)
	kill(now time.Duration, replicas int)
	setSpeed(now time.Duration, factor float64)
	// flush brings the tally's histograms up to the present.
	flush()
	// finish ends what has arrived: nothing comes any more, and nobody scales.
	finish()
	gauges(now time.Duration) gauges
	// workOf is the slot-seconds, at the usual limit, that a replica has worked.
	workOf(r *replica) float64
}
