package policy

import (
	"math"
	"time"
)

// Lead is the learned time from ordering a replica to its being ready: a moving
// mean and mean deviation, in seconds, as TCP has them of its round-trip time
// (V. Jacobson, "Congestion avoidance and control", 1988).
type Lead struct {
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"deviation"`
	Count     int     `json:"count"`
}

// maxLead bounds what one replica teaches: one that had to wait an hour for a
// node says nothing of the next.
const maxLead = 10 * time.Minute

func (l Lead) learn(became []Cohort) Lead {
	for _, c := range became {
		if c.Count <= 0 || c.Age <= 0 {
			continue
		}
		took := min(c.Age, maxLead).Seconds()
		if l.Count == 0 {
			l.Mean, l.Deviation = took, took/4
		} else {
			l.Deviation += (math.Abs(took-l.Mean) - l.Deviation) / 4
			l.Mean += (took - l.Mean) / 8
		}
		l.Count += c.Count
	}
	return l
}

// expected is the lead time to plan with, seconds.
func (l Lead) expected(otherwise time.Duration) float64 {
	if l.Count == 0 {
		return otherwise.Seconds()
	}
	return l.Mean + l.Deviation
}
