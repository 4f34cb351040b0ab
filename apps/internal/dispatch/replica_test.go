package dispatch

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// first draws what is there first.
func first(int) int { return 0 }

func ready(url string, inFlight int) Replica {
	return Replica{URL: url, State: Ready, InFlight: inFlight, Concurrency: Trusted(Bounds{3, 3})}
}

func slow(r Replica, latency time.Duration) Replica {
	r.Latency = Estimate{Mean: latency, At: now}
	return r
}

func TestPick(t *testing.T) {
	with := func(r Replica, change func(*Replica)) Replica { change(&r); return r }
	const typical = 100 * time.Millisecond
	for name, test := range map[string]struct {
		replicas []Replica
		exclude  string
		want     string
	}{
		"no replica, no choice":                 {nil, "", ""},
		"the one with less in flight":           {[]Replica{ready("a", 2), ready("b", 1)}, "", "b"},
		"of equals the one drawn first":         {[]Replica{ready("a", 1), ready("b", 1)}, "", "a"},
		"the one with lower latency":            {[]Replica{slow(ready("a", 1), 2*typical), slow(ready("b", 1), typical)}, "", "b"},
		"a little lower latency is not lower":   {[]Replica{slow(ready("a", 1), 14*typical/10), slow(ready("b", 1), typical)}, "", "a"},
		"a fast one with more in flight":        {[]Replica{slow(ready("a", 0), 4*typical), slow(ready("b", 1), typical)}, "", "b"},
		"a slow one without anything in flight": {[]Replica{slow(ready("a", 0), 2*typical), slow(ready("b", 2), typical)}, "", "a"},
		"an unknown one is a typical one":       {[]Replica{slow(ready("a", 0), 2*typical), ready("b", 0)}, "", "b"},
		"full ones are not chosen":              {[]Replica{ready("a", 3), ready("b", 4)}, "", ""},
		"starting and terminating are not": {
			[]Replica{with(ready("a", 0), func(r *Replica) { r.State = Starting }), with(ready("b", 0), func(r *Replica) { r.State = Terminating }), ready("c", 2)}, "", "c"},
		"avoided ones are not":                  {[]Replica{with(ready("a", 0), func(r *Replica) { r.AvoidUntil = now.Add(1) }), ready("b", 2)}, "", "b"},
		"avoided ones are when their time ends": {[]Replica{with(ready("a", 0), func(r *Replica) { r.AvoidUntil = now }), ready("b", 2)}, "", "a"},
		"the excluded one is not":               {[]Replica{ready("a", 0), ready("b", 2)}, "a", "b"},
		"not even when it is the only one":      {[]Replica{ready("a", 0)}, "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			i, ok := Pick(test.replicas, typical, test.exclude, first, now)
			got := ""
			if ok {
				got = test.replicas[i].URL
			}
			if got != test.want {
				t.Errorf("Pick = %q, want %q", got, test.want)
			}
		})
	}
}

func TestASlowReplicaIsForgivenInTime(t *testing.T) {
	replicas := []Replica{slow(ready("a", 0), 200*time.Millisecond), slow(ready("b", 0), 100*time.Millisecond)}
	pick := func(at time.Time) string {
		i, _ := Pick(replicas, 100*time.Millisecond, "", first, at)
		return replicas[i].URL
	}
	if got := pick(now.Add(9 * time.Second)); got != "b" {
		t.Errorf("after 9 s %s", got)
	}
	// 100 ms more than typical are 50 ms after ten seconds: no more than alike.
	if got := pick(now.Add(11 * time.Second)); got != "a" {
		t.Errorf("after 11 s %s", got)
	}
}

// Balls that go into the emptier of two drawn bins fill none much more than
// another (Mitzenmacher 2001); into one drawn bin they would: with a thousand
// balls in ten bins the fullest had about 130.
func TestTwoChoicesKeepReplicasEven(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	replicas := make([]Replica, 10)
	for i := range replicas {
		replicas[i] = Replica{URL: string(rune('a' + i)), State: Ready, Concurrency: Concurrency{Limit: math.MaxInt}}
	}
	for range 1000 {
		i, _ := Pick(replicas, 0, "", random.IntN, now)
		replicas[i].InFlight++
	}
	for _, r := range replicas {
		if r.InFlight < 95 || r.InFlight > 105 {
			t.Errorf("%s has %d of 1000", r.URL, r.InFlight)
		}
	}
}

func TestFreeCountsWhatReadyReplicasCanTake(t *testing.T) {
	replicas := []Replica{
		ready("a", 1), // 2 of 3
		ready("b", 5), // overfull: 0, not -2
		{URL: "c", State: Ready, Concurrency: Eased(), AvoidUntil: now.Add(1)},
		{URL: "d", State: Starting, Concurrency: Eased()},
		{URL: "e", State: Terminating, Concurrency: Eased()},
		ready("f", 0), // 3
		{URL: "g", State: Ready, Concurrency: Eased()}, // 1
	}
	if got := Free(replicas, now); got != 6 {
		t.Errorf("Free = %d, want 6", got)
	}
	if got := Usable(replicas, "", now); got != 4 {
		t.Errorf("Usable = %d, want 4", got)
	}
}

func TestNextReturn(t *testing.T) {
	replicas := []Replica{
		{State: Ready, AvoidUntil: now.Add(3 * time.Second)},
		{State: Ready, AvoidUntil: now.Add(time.Second)},
		{State: Ready, AvoidUntil: now.Add(-time.Second)},
		{State: Terminating, AvoidUntil: now.Add(time.Millisecond)},
	}
	if at, ok := NextReturn(replicas, now); !ok || !at.Equal(now.Add(time.Second)) {
		t.Errorf("NextReturn = %v, %v, want one second from now", at, ok)
	}
	if _, ok := NextReturn(replicas, now.Add(time.Minute)); ok {
		t.Error("NextReturn found one when none is avoided")
	}
}

func TestRate(t *testing.T) {
	const typical = 100 * time.Millisecond
	replicas := []Replica{
		slow(ready("a", 3), typical),   // 3 at a time: 30 a second
		slow(ready("b", 0), 2*typical), // 15
		ready("c", 0),                  // typical: 30
		{URL: "d", State: Starting, Concurrency: Trusted(Bounds{3, 3})},
	}
	if got := Rate(replicas, typical, 1, now); math.Abs(got-75) > 1e-9 {
		t.Errorf("Rate = %v, want 75", got)
	}
	if got := Rate(replicas, typical, 2, now); math.Abs(got-150) > 1e-9 {
		t.Errorf("Rate of two dispatchers = %v, want 150", got)
	}
	if got := Rate([]Replica{ready("a", 0)}, 0, 1, now); got != 0 {
		t.Errorf("Rate = %v where nothing was measured", got)
	}
}

func TestEstimate(t *testing.T) {
	const ms = time.Millisecond
	e := Estimate{}.Observe(100*ms, now)
	if e != (Estimate{100 * ms, 50 * ms, now}) {
		t.Errorf("after one sample %+v", e)
	}
	// RFC 6298: the deviation moves a quarter of the way to 80, the mean an eighth to 180.
	later := now.Add(time.Minute)
	if e = e.Observe(180*ms, later); e != (Estimate{110 * ms, 57500 * time.Microsecond, later}) {
		t.Errorf("after two %+v", e)
	}
	if e.Likely() != 225*ms {
		t.Errorf("Likely = %v", e.Likely())
	}
	if got := e.Recent(later.Add(2 * time.Second)); got != e {
		t.Errorf("after two seconds %+v", got)
	}
	if got := e.Recent(later.Add(2*time.Second + 1)); got != (Estimate{}) {
		t.Errorf("after more %+v", got)
	}
}
