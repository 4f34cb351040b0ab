package dispatch

import (
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

func TestAReplicaThatBecameSlowerIsNotTakenForAFullOne(t *testing.T) {
	b := Bounds{1, 2}
	c := serve(Trusted(b), 400, 2, 10*time.Millisecond, b)
	if c.Limit != 2 {
		t.Fatalf("the limit is %d", c.Limit)
	}
	// Twice as slow looks like one more that waits; three times like two.
	c = serve(c, 8, 2, 30*time.Millisecond, b)
	for n := 0; c.Limit < 2; n += window {
		if n > 10_000 {
			t.Fatal("the limit never rises again")
		}
		c = serve(c, window, 2, 30*time.Millisecond, b)
	}
}
