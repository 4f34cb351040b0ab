package dispatch

import (
	"testing"
	"time"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestAdmit(t *testing.T) {
	limits := Limits{MaxQueue: 10, MaxAge: 2 * time.Second}
	for name, test := range map[string]struct {
		load Load
		want Admission
	}{
		"an empty queue has room":                               {Load{SeenAt: now}, Admitted},
		"the last place is given away":                          {Load{Queued: 9, SeenAt: now}, Admitted},
		"a full queue refuses":                                  {Load{Queued: 10, SeenAt: now}, Overloaded},
		"an overfull queue refuses":                             {Load{Queued: 25, SeenAt: now}, Overloaded},
		"those on their way count":                              {Load{Queued: 4, Arriving: 6, SeenAt: now}, Overloaded},
		"knowledge just young enough counts":                    {Load{SeenAt: now.Add(-2 * time.Second)}, Admitted},
		"a queue not seen for too long is out of reach":         {Load{SeenAt: now.Add(-2*time.Second - 1)}, Unreachable},
		"a queue never seen is out of reach":                    {Load{}, Unreachable},
		"out of reach comes before full: its length is unknown": {Load{Queued: 10, SeenAt: now.Add(-time.Minute)}, Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Admit(test.load, limits, now); got != test.want {
				t.Errorf("Admit = %v, want %v", got, test.want)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	r := Request{Deadline: now}
	if Expired(r, now.Add(-1)) {
		t.Error("expired a nanosecond before its deadline")
	}
	if !Expired(r, now) || !Expired(r, now.Add(time.Hour)) {
		t.Error("not expired at or after its deadline")
	}
}

func TestPick(t *testing.T) {
	ready := func(url string, inFlight int) Replica { return Replica{URL: url, State: Ready, InFlight: inFlight} }
	for name, test := range map[string]struct {
		replicas []Replica
		exclude  string
		turn     int
		want     string
	}{
		"no replica, no choice":           {nil, "", 3, ""},
		"the least in flight":             {[]Replica{ready("a", 2), ready("b", 1), ready("c", 2)}, "", 0, "b"},
		"of equals the one whose turn is": {[]Replica{ready("a", 0), ready("b", 0), ready("c", 0)}, "", 1, "b"},
		"the turn goes round":             {[]Replica{ready("a", 0), ready("b", 0), ready("c", 0)}, "", 5, "c"},
		"a turn on a busier one goes on":  {[]Replica{ready("a", 0), ready("b", 1), ready("c", 0)}, "", 1, "c"},
		"full ones are not chosen":        {[]Replica{ready("a", 3), ready("b", 4)}, "", 0, ""},
		"starting and terminating are not": {
			[]Replica{{URL: "a", State: Starting}, {URL: "b", State: Terminating}, ready("c", 2)}, "", 0, "c"},
		"avoided ones are not":                  {[]Replica{{URL: "a", State: Ready, AvoidUntil: now.Add(1)}, ready("b", 2)}, "", 0, "b"},
		"avoided ones are when their time ends": {[]Replica{{URL: "a", State: Ready, AvoidUntil: now}, ready("b", 2)}, "", 0, "a"},
		"the excluded one is not":               {[]Replica{ready("a", 0), ready("b", 2)}, "a", 0, "b"},
		"not even when it is the only one":      {[]Replica{ready("a", 0)}, "a", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			i, ok := Pick(test.replicas, 3, test.exclude, test.turn, now)
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

func TestFreeCountsWhatReadyReplicasCanTake(t *testing.T) {
	replicas := []Replica{
		{URL: "a", State: Ready, InFlight: 1},                         // 2 of 3
		{URL: "b", State: Ready, InFlight: 5},                         // overfull: 0, not -2
		{URL: "c", State: Ready, InFlight: 0, AvoidUntil: now.Add(1)}, // avoided
		{URL: "d", State: Starting},
		{URL: "e", State: Terminating},
		{URL: "f", State: Ready}, // 3
	}
	if got := Free(replicas, 3, now); got != 5 {
		t.Errorf("Free = %d, want 5", got)
	}
	if got := Usable(replicas, "", now); got != 3 {
		t.Errorf("Usable = %d, want 3", got)
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

func TestAvoidDoublesUpToALimit(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 3: time.Second, 5: 4 * time.Second, 6: 4 * time.Second, 1 << 30: 4 * time.Second,
	} {
		if got := Avoid(failures); got != want {
			t.Errorf("Avoid(%d) = %v, want %v", failures, got, want)
		}
	}
}

func TestRetry(t *testing.T) {
	late := now.Add(-1)
	soon := now.Add(time.Second)
	for name, test := range map[string]struct {
		mode     Mode
		deadline time.Time
		attempts int
		others   int
		want     Next
	}{
		"sync: once more on another":           {Sync, soon, 1, 2, Elsewhere},
		"sync: not twice more":                 {Sync, soon, 2, 2, GiveUp},
		"sync: not without another":            {Sync, soon, 1, 0, GiveUp},
		"sync: not past the deadline":          {Sync, late, 1, 2, GiveUp},
		"async: on another where there is one": {Async, soon, 1, 1, Elsewhere},
		"async: else waits for any":            {Async, soon, 3, 0, Anywhere},
		"async: not for ever":                  {Async, soon, 5, 3, GiveUp},
		"async: not past the deadline":         {Async, late, 1, 3, GiveUp},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Retry(Request{Mode: test.mode, Deadline: test.deadline}, test.attempts, test.others, now); got != test.want {
				t.Errorf("Retry = %v, want %v", got, test.want)
			}
		})
	}
}
