package dispatch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// serve plays attempts at a replica that has slots and is kept as full as its
// limit allows: with n in flight each takes n ÷ slots times its service.
func serve(c Concurrency, attempts, slots int, service time.Duration, b Bounds) Concurrency {
	for range attempts {
		c = c.Answered(time.Duration(max(c.Limit, slots))*service/time.Duration(slots), c.Limit, b)
	}
	return c
}

func TestConcurrencySettlesWhereOneRequestWaits(t *testing.T) {
	for name, test := range map[string]struct {
		slots, want int
	}{
		"one slot: one served, one waits":     {1, 2},
		"four slots: four served, one waits":  {4, 5},
		"more slots than it may ever be sent": {40, 16},
	} {
		t.Run(name, func(t *testing.T) {
			b := Bounds{1, 16}
			c := serve(Trusted(b), 400, test.slots, 20*time.Millisecond, b)
			if c.Limit < test.want || c.Limit > test.want+1 {
				t.Errorf("the limit is %d, want %d or one more", c.Limit, test.want)
			}
		})
	}
}

func TestConcurrencyStaysWithinItsBounds(t *testing.T) {
	b := Bounds{4, 6}
	// Its service takes longer the more it has: with any limit some wait.
	c := Trusted(b)
	for range 400 {
		c = c.Answered(time.Duration(c.Limit*c.Limit*c.Limit)*time.Millisecond, c.Limit, b)
	}
	if c.Limit != 4 {
		t.Errorf("the limit is %d, want the least, 4", c.Limit)
	}
	if c = serve(Trusted(b), 400, 40, time.Millisecond, b); c.Limit != 6 {
		t.Errorf("the limit is %d, want the most, 6", c.Limit)
	}
}

func TestConcurrencyIsNotRaisedForWhoIsSentLittle(t *testing.T) {
	b := Bounds{2, 8}
	c := Trusted(b)
	for range 400 {
		c = c.Answered(10*time.Millisecond, 1, b)
	}
	if c.Limit != 2 {
		t.Errorf("the limit is %d", c.Limit)
	}
}

func TestANewReplicaIsEasedIn(t *testing.T) {
	b := Bounds{4, 8}
	c := Eased()
	var limits []int
	for range 4 {
		limits = append(limits, c.Limit)
		c = c.Answered(10*time.Millisecond, c.Limit, b)
	}
	for i, want := range []int{1, 2, 3, 4} {
		if limits[i] != want {
			t.Errorf("limits %v, want 1 2 3 4", limits)
			break
		}
	}
	if c = Eased().Answered(10*time.Millisecond, 0, b); c.Limit != 1 {
		t.Errorf("the limit is %d without being reached", c.Limit)
	}
}

func TestARefusalLowersTheLimitAndAnswersRaiseItAgain(t *testing.T) {
	b := Bounds{2, 8}
	c := Trusted(b).Refused()
	if c.Limit != 1 || c.Refused().Limit != 1 {
		t.Errorf("limits %d and %d, want 1", c.Limit, c.Refused().Limit)
	}
	if c = c.Answered(time.Millisecond, 1, b); c.Limit != 2 {
		t.Errorf("the limit is %d after an answer", c.Limit)
	}
}

// mixes are service times, of which random is from 0 to 1.
var mixes = map[string]func(random float64) time.Duration{
	"always the same": func(float64) time.Duration { return 20 * time.Millisecond },
	"one in twenty is slow": func(random float64) time.Duration {
		if random < 0.05 {
			return 100 * time.Millisecond
		}
		return 5 * time.Millisecond
	},
	"half are slow": func(random float64) time.Duration {
		if random < 0.5 {
			return 100 * time.Millisecond
		}
		return 5 * time.Millisecond
	},
}

// shared is a replica that works on all it has at once, each with its share.
func shared(c Concurrency, attempts, slots int, service func(float64) time.Duration, b Bounds, see func(Concurrency)) {
	r := rand.New(rand.NewPCG(1, 2))
	for range attempts {
		see(c)
		c = c.Answered(time.Duration(max(c.Limit, slots))*service(r.Float64())/time.Duration(slots), c.Limit, b)
	}
}

// inTurn is a replica that works on as many as it has slots, first come first
// served. Unlike at a shared one, requests still run that began at another limit,
// and answers come in another order than their requests.
func inTurn(c Concurrency, attempts, slots int, service func(float64) time.Duration, b Bounds, see func(Concurrency)) {
	type request struct {
		begin, end time.Duration
		inFlight   int
	}
	r := rand.New(rand.NewPCG(1, 2))
	var flying []request
	free, now := make([]time.Duration, slots), time.Duration(0)
	for range attempts {
		see(c)
		for len(flying) < c.Limit {
			first := 0
			for i := range free {
				if free[i] < free[first] {
					first = i
				}
			}
			free[first] = max(now, free[first]) + service(r.Float64())
			flying = append(flying, request{now, free[first], len(flying) + 1})
		}
		next := 0
		for i := range flying {
			if flying[i].end < flying[next].end {
				next = i
			}
		}
		done := flying[next]
		flying = append(flying[:next], flying[next+1:]...)
		now = done.end
		c = c.Answered(done.end-done.begin, done.inFlight, b)
	}
}

func TestConcurrencyStaysWhereOneRequestWaits(t *testing.T) {
	for replica, serve := range map[string]func(Concurrency, int, int, func(float64) time.Duration, Bounds, func(Concurrency)){
		"shared": shared, "in turn": inTurn,
	} {
		for mix, service := range mixes {
			for _, slots := range []int{1, 4, 8} {
				t.Run(fmt.Sprint(replica, ", ", mix, ", slots: ", slots), func(t *testing.T) {
					sum, n, lowered, few, many := 0, 0, 0, 0, 0
					b := Bounds{1, 64}
					serve(Trusted(b), 60_000, slots, service, b, func(c Concurrency) {
						if c.Limit < 1 || c.Limit > 64 {
							t.Fatalf("the limit is %d", c.Limit)
						}
						if n++; c.Limit < c.restore {
							lowered++
							return
						}
						sum += c.Limit
						if 2*c.Limit < slots {
							few++
						}
						if c.Limit > 2*slots+3 {
							many++
						}
					})
					mean := float64(sum) / float64(n-lowered)
					if want := float64(slots + 1); mean < want-2 || mean > want+2 {
						t.Errorf("the limit is %.1f in the mean, want about %v", mean, want)
					}
					if few > n/10 || many > n/100 {
						t.Errorf("of %d limits %d are far too low and %d far too high", n, few, many)
					}
					if lowered > n/20 {
						t.Errorf("the limit is lowered for %d of %d answers", lowered, n)
					}
				})
			}
		}
	}
}

func TestAFewFastAnswersDoNotHoldTheLimitDown(t *testing.T) {
	b := Bounds{1, 64}
	for _, fast := range []int{8, 100, 1000} {
		for name, before := range map[string]int{"at first": 0, "later": 10_000} {
			c := serve(Trusted(b), before, 4, 20*time.Millisecond, b)
			for range fast {
				c = c.Answered(time.Millisecond, c.Limit, b)
			}
			c = serve(c, 3000, 4, 20*time.Millisecond, b)
			for c.restore > 0 {
				c = serve(c, 1, 4, 20*time.Millisecond, b)
			}
			if c.Limit < 4 || c.Limit > 7 {
				t.Errorf("3000 answers after %d fast ones %s the limit is %d, want about 5", fast, name, c.Limit)
			}
		}
	}
}

func TestAReplicaThatBecomesSlowerOrFasterIsMeasuredAnew(t *testing.T) {
	b := Bounds{1, 64}
	for name, test := range map[string]struct {
		after   time.Duration
		answers int
	}{
		"three times slower": {60 * time.Millisecond, 4000},
		"three times faster": {20 * time.Millisecond / 3, 4000},
		// Might be chance, and takes several probes.
		"half as slow again": {30 * time.Millisecond, 12_000},
		"a third faster":     {15 * time.Millisecond, 12_000},
	} {
		for _, slots := range []int{2, 8} {
			c := serve(Trusted(b), 10_000, slots, 20*time.Millisecond, b)
			highest := 0
			for range test.answers {
				c = serve(c, 1, slots, test.after, b)
				highest = max(highest, c.Limit)
			}
			for c.restore > 0 {
				c = serve(c, 1, slots, test.after, b)
			}
			if c.Limit < slots || c.Limit > slots+3 {
				t.Errorf("%d answers after %d slots became %s the limit is %d", test.answers, slots, name, c.Limit)
			}
			if highest > 2*slots+6 {
				t.Errorf("meanwhile it is %d", highest)
			}
		}
	}
}

func TestALimitFarTooHighComesDown(t *testing.T) {
	b := Bounds{1, 64}
	c := serve(Trusted(b), 20_000, 60, 20*time.Millisecond, b)
	if c.Limit < 60 {
		t.Fatalf("the limit is %d", c.Limit)
	}
	// It has lost most of its slots.
	c = serve(c, 10_000, 4, 20*time.Millisecond, b)
	for c.restore > 0 {
		c = serve(c, 1, 4, 20*time.Millisecond, b)
	}
	if c.Limit < 4 || c.Limit > 7 {
		t.Errorf("the limit is %d, want about 5", c.Limit)
	}
}

func TestARefusalEndsAProbe(t *testing.T) {
	b := Bounds{1, 64}
	c := serve(Trusted(b), 1000, 8, 20*time.Millisecond, b)
	for c.restore == 0 {
		c = serve(c, 1, 8, 20*time.Millisecond, b)
	}
	lowered := c.Limit
	if c = c.Refused(); c.restore != 0 || c.Limit != lowered-1 {
		t.Errorf("the limit is %d, to be %d after the probe; want %d for good", c.Limit, c.restore, lowered-1)
	}
	if c = serve(c, 4000, 8, 20*time.Millisecond, b); c.Limit < 4 || c.Limit > 10 {
		t.Errorf("the limit is %d", c.Limit)
	}
}
