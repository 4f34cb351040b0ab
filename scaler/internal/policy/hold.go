package policy

import (
	"math"
	"time"
)

// Asked is a count that was asked for at a time.
type Asked struct {
	At time.Time `json:"at"`
	N  int       `json:"n"`
}

// Return is a time at which as many replicas were asked for again as once before,
// after Gap with fewer.
type Return struct {
	At  time.Time     `json:"at"`
	Gap time.Duration `json:"gap"`
}

const (
	// maxHold is the longest that replicas are kept for a demand that may come back:
	// as long as a HorizontalPodAutoscaler keeps any.
	maxHold = 5 * time.Minute
	// Demand that has come back leastReturns times within returnMemory is expected to
	// come back again within the longest of those gaps and a margin.
	returnMemory = 30 * time.Minute
	leastReturns = 2
	returnMargin = 1.25
	maxReturns   = 16
	// A rise by so much counts as one, and a demand of nearly as much as its like.
	returnRise = 1.2
	returnLike = 0.9
)

// ask adds n to what was asked for, notes whether that is a demand come back, and
// forgets what is older than can matter.
func (s *State) ask(n int, now time.Time, stabilization time.Duration) {
	if float64(n) > returnRise*float64(s.askedWithin(stabilization, now)) {
		for i := len(s.Asked) - 1; i >= 0; i-- {
			if float64(s.Asked[i].N) >= returnLike*float64(n) {
				s.returned(now, now.Sub(s.Asked[i].At))
				break
			}
		}
	}
	kept := make([]Asked, 0, len(s.Asked)+1)
	for _, a := range s.Asked {
		if a.N > n && now.Sub(a.At) < max(stabilization, maxHold) {
			kept = append(kept, a)
		}
	}
	kept = append(kept, Asked{now, n})
	s.Asked = kept
}

func (s *State) returned(now time.Time, gap time.Duration) {
	kept := make([]Return, 0, maxReturns)
	for _, r := range s.Returns[max(0, len(s.Returns)-maxReturns+1):] {
		if now.Sub(r.At) < returnMemory {
			kept = append(kept, r)
		}
	}
	kept = append(kept, Return{now, gap})
	s.Returns = kept
}

// askedWithin is the most that was asked for within so long.
func (s *State) askedWithin(within time.Duration, now time.Time) int {
	for _, a := range s.Asked {
		if now.Sub(a.At) < within {
			return a.N
		}
	}
	return 0
}

// hold is how long nothing higher must have been asked for before replicas are
// taken away: the stabilization time, or as long as demand has lately taken to come
// back. Where bursts follow one another, giving replicas up between them would cost
// each burst a cold start. The idea is that of keep-alive times learned from the
// times between calls (M. Shahrad et al., "Serverless in the wild", USENIX ATC 2020).
func (s *State) hold(stabilization time.Duration, now time.Time) time.Duration {
	longest, count := time.Duration(0), 0
	for _, r := range s.Returns {
		if now.Sub(r.At) < returnMemory {
			longest, count = max(longest, r.Gap), count+1
		}
	}
	if count < leastReturns {
		return stabilization
	}
	return max(stabilization, min(maxHold, time.Duration(math.Round(returnMargin*float64(longest)))))
}
