package policy

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is everything that one decision sees.
type Snapshot struct {
	Signals Signals `json:"signals"`
	// Spec is the number of replicas that the target is told to have.
	Spec int `json:"spec"`
	// Ready is how many are ready. A rollout may have more than Spec.
	Ready int `json:"ready"`
	// Starting are the replicas that exist and are not ready yet, without those
	// that are ending. A replica that was ready before counts as starting too.
	Starting []Cohort `json:"starting,omitempty"`
	// BecameReady are replicas that became ready since the last snapshot, each with
	// the time from its being ordered to its being ready: how the lead time is
	// learned. On a first snapshot, those that are ready already.
	BecameReady []Cohort `json:"becameReady,omitempty"`
	// Woken says that a request is known to wait and that no replica is there: the
	// news arrives before any metric does.
	Woken    bool     `json:"woken,omitempty"`
	Controls Controls `json:"controls,omitzero"`
}

// Cohort is some replicas of about the same Age, or that took the same time.
type Cohort struct {
	Age   time.Duration `json:"age"`
	Count int           `json:"count"`
}

// Cohorts groups durations that are the same when rounded to the unit, shortest
// first. One below zero, by a clock that is behind, counts as zero.
func Cohorts(durations []time.Duration, unit time.Duration) []Cohort {
	counts := map[time.Duration]int{}
	for _, d := range durations {
		counts[max(d, 0).Round(unit)]++
	}
	var out []Cohort
	for age, n := range counts {
		out = append(out, Cohort{Age: age, Count: n})
	}
	slices.SortFunc(out, func(a, b Cohort) int { return cmp.Compare(a.Age, b.Age) })
	return out
}

// Controls are what people have ordered at present, by annotation or schedule.
// What has expired is left out by whoever reads them.
type Controls struct {
	// PauseIn and PauseOut forbid a direction.
	PauseIn  bool `json:"pauseIn,omitempty"`
	PauseOut bool `json:"pauseOut,omitempty"`
	// Floor is the least count, 0 for none; Ceiling the most, nil for none. They
	// move within Config.Min and Config.Max; where they contradict each other the
	// floor wins.
	Floor   int  `json:"floor,omitempty"`
	Ceiling *int `json:"ceiling,omitempty"`
}
