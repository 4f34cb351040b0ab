package dispatch

import (
	"testing"
	"time"
)

func TestRetry(t *testing.T) {
	late, soon := now.Add(-1), now.Add(time.Second)
	service := Estimate{Mean: 100 * time.Millisecond, Deviation: 20 * time.Millisecond, At: now}
	for name, test := range map[string]struct {
		mode     Mode
		deadline time.Time
		last     Outcome
		tries    Tries
		others   int
		want     Next
	}{
		"a rejection is final":                     {Async, soon, Rejected, Tries{1, 0}, 2, GiveUp},
		"an answer is final":                       {Async, soon, Answered, Tries{1, 0}, 2, GiveUp},
		"what was ended here is final":             {Async, soon, Abandoned, Tries{1, 0}, 2, GiveUp},
		"sync: on another":                         {Sync, soon, Broken, Tries{1, 1}, 2, Elsewhere},
		"sync: also after its own failure":         {Sync, soon, Erred, Tries{1, 1}, 2, Elsewhere},
		"sync: twice more":                         {Sync, soon, Unreachable, Tries{2, 0}, 2, Elsewhere},
		"sync: not three times more":               {Sync, soon, Unreachable, Tries{3, 0}, 2, GiveUp},
		"sync: not without another":                {Sync, soon, Busy, Tries{1, 0}, 0, GiveUp},
		"sync: not past the deadline":              {Sync, late, Broken, Tries{1, 1}, 2, GiveUp},
		"sync: not without the time for it":        {Sync, now.Add(80 * time.Millisecond), Broken, Tries{1, 1}, 2, GiveUp},
		"sync: with just enough time":              {Sync, now.Add(81 * time.Millisecond), Broken, Tries{1, 1}, 2, Elsewhere},
		"async: on another where there is one":     {Async, soon, Broken, Tries{1, 1}, 1, Elsewhere},
		"async: else waits for any":                {Async, soon, Broken, Tries{2, 2}, 0, Anywhere},
		"async: as long as it takes to reach one":  {Async, soon, Unreachable, Tries{50, 0}, 0, Anywhere},
		"async: not where it may end replicas":     {Async, soon, Broken, Tries{3, 3}, 3, GiveUp},
		"async: not past the deadline":             {Async, late, Busy, Tries{1, 0}, 3, GiveUp},
		"async: in the little time that there is":  {Async, now.Add(time.Millisecond), Busy, Tries{1, 0}, 3, Elsewhere},
		"async: with ruin and refusals both there": {Async, soon, Busy, Tries{9, 2}, 3, Elsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Retry(Request{Mode: test.mode, Deadline: test.deadline}, test.last, test.tries, test.others, service, now); got != test.want {
				t.Errorf("Retry = %v, want %v", got, test.want)
			}
		})
	}
}

func TestTriesCountWhatMayHaveHarmedAReplica(t *testing.T) {
	var tries Tries
	for _, o := range Outcomes {
		tries = tries.Count(o)
	}
	if want := (Tries{Made: 8, Ruined: 3}); tries != want {
		t.Errorf("%+v, want %+v", tries, want)
	}
}

func TestHedgeAfter(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		service Estimate
		want    time.Duration
	}{
		"half of the time is left to another":     {Estimate{Mean: 100 * ms, Deviation: 10 * ms}, 250 * ms},
		"more where replicas seldom take so long": {Estimate{Mean: 20 * ms, Deviation: 5 * ms}, 120 * ms},
		"half where nothing is known of how long": {Estimate{}, 250 * ms},
		"and where everything takes long anyway":  {Estimate{Mean: time.Hour}, 250 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			if got := HedgeAfter(Request{Deadline: now.Add(500 * ms)}, test.service, now); got != test.want {
				t.Errorf("HedgeAfter = %v, want %v", got, test.want)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	for made, want := range map[int]time.Duration{
		1: 25 * time.Millisecond, 2: 50 * time.Millisecond, 6: 800 * time.Millisecond, 7: time.Second, 1 << 30: time.Second,
	} {
		if got := Backoff(Tries{Made: made}); got != want {
			t.Errorf("Backoff after %d = %v, want %v", made, got, want)
		}
	}
}

func TestABudgetOfRetries(t *testing.T) {
	var b Budget
	spend := func(at time.Time) (n int) {
		for b.Spend(at) {
			n++
		}
		return n
	}
	if got := spend(now); got != 20 {
		t.Errorf("%d retries at once, want 20", got)
	}
	for range 100 {
		b.Earn()
	}
	if got := spend(now); got != 10 {
		t.Errorf("%d retries for 100 requests, want 10", got)
	}
	if got := spend(now.Add(3 * time.Second)); got != 6 {
		t.Errorf("%d retries in three seconds without requests, want 6", got)
	}
	if got := spend(now.Add(time.Hour)); got != 20 {
		t.Errorf("%d retries after an hour, want 20 and no more", got)
	}
}

func TestEject(t *testing.T) {
	for name, test := range map[string]struct {
		outcome        Outcome
		failures       int
		little         bool
		ready, avoided int
		want           time.Duration
	}{
		"an answer":                                 {Answered, 0, false, 4, 0, 0},
		"what was ended here":                       {Abandoned, 9, false, 4, 0, 0},
		"a broken connection, at once":              {Broken, 1, false, 1, 0, 250 * time.Millisecond},
		"out of reach, and the time doubles":        {Unreachable, 3, false, 4, 3, time.Second},
		"up to a limit":                             {Unreachable, 1 << 30, false, 4, 3, 4 * time.Second},
		"one failure may be the request's fault":    {Erred, 2, false, 4, 0, 0},
		"three are its own":                         {Erred, 3, false, 4, 0, 250 * time.Millisecond},
		"and the time doubles from there":           {Erred, 5, false, 4, 0, time.Second},
		"one slow answer is one slow answer":        {Slow, 1, false, 4, 0, 0},
		"two are an outlier":                        {Slow, 2, false, 4, 1, 250 * time.Millisecond},
		"three are not where there was little time": {Slow, 3, true, 4, 0, 0},
		"four are then too":                         {Slow, 4, true, 4, 0, 250 * time.Millisecond},
		"but not where half is left alone":          {Slow, 2, false, 4, 2, 0},
		"nor where it is the only one":              {Slow, 9, false, 1, 0, 0},
		"failures: not where half is left alone":    {Erred, 3, false, 4, 2, 0},
		"a busy one has a pause of one request":     {Busy, 0, false, 1, 0, 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := Replica{Failures: test.failures, Latency: Estimate{Mean: 30 * time.Millisecond}}
			if got := Eject(r, test.outcome, test.little, test.ready, test.avoided); got != test.want {
				t.Errorf("Eject = %v, want %v", got, test.want)
			}
		})
	}
	for latency, want := range map[time.Duration]time.Duration{0: 5 * time.Millisecond, time.Second: 100 * time.Millisecond} {
		if got := Eject(Replica{Latency: Estimate{Mean: latency}}, Busy, false, 1, 0); got != want {
			t.Errorf("a busy replica with latency %v is spared for %v, want %v", latency, got, want)
		}
	}
}
