package dispatch

import (
	"testing"
	"time"
)

func TestHeld(t *testing.T) {
	const slo, minute = 500 * time.Millisecond, time.Minute
	for name, test := range map[string]struct {
		within    time.Duration
		chosen    bool
		allowance time.Duration
		ready     int
		want      time.Duration
	}{
		"while none is ready, one that starts is waited for": {slo, false, minute, 0, minute},
		"one that is ready is not":                           {slo, false, minute, 1, slo},
		"a time that the caller has chosen stays":            {slo, true, minute, 0, slo},
		"and no allowance adds none":                         {slo, false, 0, 0, slo},
		"who has longer keeps it":                            {2 * minute, false, minute, 0, 2 * minute},
	} {
		t.Run(name, func(t *testing.T) {
			got := Held(now.Add(test.within), test.chosen, test.allowance, test.ready, now)
			if got.Sub(now) != test.want {
				t.Errorf("the deadline is in %v, want %v", got.Sub(now), test.want)
			}
		})
	}
}

func TestWake(t *testing.T) {
	for name, test := range map[string]struct {
		held, ready int
		ago         time.Duration // since the last time, 0 for never
		want        bool
	}{
		"the first request that is held asks at once": {1, 0, 0, true},
		"many ask once":                             {50, 0, time.Second - 1, false},
		"after a second again":                      {1, 0, time.Second, true},
		"after long at once":                        {1, 0, time.Hour, true},
		"where a replica is ready nothing is asked": {50, 1, time.Hour, false},
		"nor where no request is held":              {0, 0, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			var last time.Time
			if test.ago > 0 {
				last = now.Add(-test.ago)
			}
			if got := Wake(test.held, test.ready, last, now); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
