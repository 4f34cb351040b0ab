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

// Return is a time at which N replicas were asked for again after Gap with fewer.
type Return struct {
	At  time.Time     `json:"at"`
	Gap time.Duration `json:"gap"`
	N   int           `json:"n"`
}

const (
	// maxHold is the longest that replicas are kept for a demand that may come back:
	// as long as a HorizontalPodAutoscaler keeps any.
	maxHold = 5 * time.Minute
	// A demand that has come back within returnMemory is expected to come back again
	// within the longest of the gaps and a margin.
	returnMemory = 30 * time.Minute
	returnMargin = 1.25
	maxReturns   = 16
	// A demand comes back where it has risen by so much while a replica starts; a
	// slower one is followed. One of nearly as much is taken for its like.
	returnRise = 1.2
	returnLike = 0.8
)

// ask adds n to what was asked for, notes whether that is a demand come back, and
// forgets what is older than can matter.
func (s *State) ask(n int, t Terms, now time.Time, stabilization time.Duration) {
	last := s.lastAsked(n)
	if !last.IsZero() && now.Sub(last) > stabilization && t.Rate > returnRise*s.rateBefore(t.LeadTime, now) {
		s.returned(Return{now, now.Sub(last), n}, stabilization)
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

// lastAsked is the last time that n were asked for, or else nearly as many; zero
// where that is not known.
func (s *State) lastAsked(n int) time.Time {
	for _, least := range []float64{float64(n), returnLike * float64(n)} {
		for i := len(s.Asked) - 1; i >= 0; i-- {
			if float64(s.Asked[i].N) >= least {
				return s.Asked[i].At
			}
		}
	}
	return time.Time{}
}

// rateBefore is the mean arrival rate from two to one lead time ago, per second, or
// what is known that is nearest to that.
func (s *State) rateBefore(lead float64, now time.Time) float64 {
	sum, n := 0.0, 0
	for _, h := range s.History {
		switch age := now.Sub(h.At).Seconds(); {
		case age > 2*lead:
			sum, n = h.Rate, 1
		case age >= lead || n == 0:
			sum, n = sum+h.Rate, n+1
		}
	}
	return sum / float64(max(n, 1))
}

// returned notes a demand come back. As it grows it comes back once, as its most.
func (s *State) returned(r Return, stabilization time.Duration) {
	kept := make([]Return, 0, maxReturns)
	for _, old := range s.Returns[max(0, len(s.Returns)-maxReturns+1):] {
		switch age := r.At.Sub(old.At); {
		case age <= stabilization:
			r.N, r.Gap = max(r.N, old.N), max(r.Gap, old.Gap)
		case age < returnMemory:
			kept = append(kept, old)
		}
	}
	kept = append(kept, r)
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

// kept is how many replicas are kept though fewer would do, and for how long: what
// was asked for within the stabilization time; and of what was asked for earlier, as
// many as come back, for as long as they take. Where bursts follow one another,
// giving replicas up between them would cost each burst a cold start. The idea is
// that of keep-alive times learned from the times between calls (M. Shahrad et al.,
// "Serverless in the wild", USENIX ATC 2020).
func (s *State) kept(stabilization time.Duration, now time.Time) (n int, hold time.Duration) {
	n, hold = s.askedWithin(stabilization, now), stabilization
	for _, r := range s.Returns {
		back := s.back(r.N, now)
		if most := min(int(float64(r.N)/returnLike), s.askedWithin(back, now)); most > n {
			n, hold = most, back
		}
	}
	return n, hold
}

// back is within what time n replicas are expected to be asked for again, 0 where
// they have not lately been.
func (s *State) back(n int, now time.Time) time.Duration {
	var longest time.Duration
	for _, r := range s.Returns {
		if now.Sub(r.At) < returnMemory && float64(r.N) >= returnLike*float64(n) {
			longest = max(longest, r.Gap)
		}
	}
	return min(maxHold, time.Duration(math.Round(returnMargin*float64(longest))))
}
