package sim

import "time"

// door is the dispatcher's judgement of what can be answered in time. Both rules
// go by the mean service time.
type door struct {
	timeout, allowance time.Duration
	mean               float64 // service time at the usual CPU limit, nanoseconds

	maxWait  time.Duration // after which a request is hopeless
	maxAhead float64       // requests in the queue ahead of the last one that is let in
}

func newDoor(s *Scenario) door {
	return door{timeout: s.Timeout, allowance: s.ColdStartAllowance, mean: s.Service.mean() * float64(time.Second)}
}

// predict renews the judgement after a change of the slots or their speed. What
// is ahead takes its number times the mean service time, divided by the slots.
func (d *door) predict(slots int, speed float64) {
	mean := d.mean / speed
	d.maxWait = d.timeout - time.Duration(mean)
	d.maxAhead = float64(d.maxWait) / mean * float64(slots)
}

// hopeless tells whether a request that has waited so long is dropped. A patient
// one came when there was no replica.
func (d *door) hopeless(waited time.Duration, patient bool) bool {
	if patient && waited <= d.allowance {
		return false
	}
	return waited > d.maxWait
}
