package sim

import (
	"math"
	"testing"
	"time"
)

func TestAQuotaIsForItsPeriod(t *testing.T) {
	const period, limit = 100 * time.Millisecond, 15 * time.Millisecond
	ms := func(x int) time.Duration { return time.Duration(x) * time.Millisecond }
	var q quota
	for _, c := range []struct{ from, cpu, done int }{
		{0, 10, 10},      // as fast as a core
		{20, 10, 105},    // 5 are left of this period, and 5 come from the next
		{110, 10, 120},   // its other 10
		{150, 31, 401},   // nothing is left; 15, 15 and 1
		{1095, 10, 1105}, // a period that ends stops nobody who has quota: 5 and 5
		{1105, 10, 1115},
	} {
		if done := q.run(ms(c.from), ms(c.cpu), period, limit); done != ms(c.done) {
			t.Errorf("%d ms of CPU from %d ms are done at %s, want %d ms", c.cpu, c.from, done, c.done)
		}
	}
}

func TestAReplicaUnderAQuotaIsFastWhileItHasLittleToDo(t *testing.T) {
	s := tale()
	s.CPULimit, s.Upkeep, s.QuotaPeriod = 0.16, 0.01, 100*time.Millisecond // 100 ms at the usual limit are 15 ms of CPU
	for second := range 20 {
		s.Times = append(s.Times, time.Duration(second)*time.Second)
	}
	s.Duration = 20 * time.Second
	r := run(t, s, Fixed(1))
	if r.Violations != 0 || math.Abs(r.LatencyP99-0.015) > 0.002 || math.Abs(r.CPUSeconds-20*(0.015+0.01)) > 1e-6 {
		t.Errorf("one a second: p99 %g s, %d violations, %g CPU seconds; want 0.015, none and 0.5", r.LatencyP99, r.Violations, r.CPUSeconds)
	}

	s.Times = nil
	for i := range 400 { // 20 a second are twice what it can sustain
		s.Times = append(s.Times, time.Duration(i)*50*time.Millisecond)
	}
	r = run(t, s, Fixed(1))
	if answered := r.Requests - r.Refused - r.Dropped; math.Abs(float64(answered)-200) > 8 || math.Abs(r.CPUSeconds-3.2) > 0.1 {
		t.Errorf("twice as much as it can do: %d of %d answered with %g CPU seconds; want 10 a second and 0.16 cores", answered, r.Requests, r.CPUSeconds)
	}
}
