package dispatch

import (
	"testing"
	"time"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func queued(low, normal, high int) [len(Priorities)]int {
	return [len(Priorities)]int{Low: low, Normal: normal, High: high}
}

func TestAdmit(t *testing.T) {
	limits := Limits{MaxQueue: 10, MaxAge: 2 * time.Second}
	service := Estimate{Mean: 100 * time.Millisecond, Deviation: 50 * time.Millisecond, At: now} // seldom over 200 ms
	for name, test := range map[string]struct {
		load     Load
		priority Priority
		within   time.Duration
		want     Admission
	}{
		"an empty queue has room":                               {Load{SeenAt: now}, Normal, time.Second, Admitted},
		"the last place is given away":                          {Load{Queued: queued(0, 9, 0), SeenAt: now}, Normal, time.Second, Admitted},
		"a full queue refuses":                                  {Load{Queued: queued(0, 10, 0), SeenAt: now}, Normal, time.Second, Overloaded},
		"of what goes before it":                                {Load{Queued: queued(0, 5, 5), SeenAt: now}, Normal, time.Second, Overloaded},
		"but not of what goes behind it":                        {Load{Queued: queued(10, 9, 0), SeenAt: now}, Normal, time.Second, Admitted},
		"those on their way count":                              {Load{Queued: queued(0, 4, 0), Arriving: queued(0, 4, 2), SeenAt: now}, Normal, time.Second, Overloaded},
		"knowledge just young enough counts":                    {Load{SeenAt: now.Add(-2 * time.Second)}, Normal, time.Second, Admitted},
		"a queue not seen for too long is out of reach":         {Load{SeenAt: now.Add(-2*time.Second - 1)}, Normal, time.Second, NoQueue},
		"a queue never seen is out of reach":                    {Load{}, Normal, time.Second, NoQueue},
		"out of reach comes before full: its length is unknown": {Load{Queued: queued(0, 10, 0), SeenAt: now.Add(-time.Minute)}, Normal, time.Second, NoQueue},
		// 4 wait, 10 leave in a second: 5 have to, which takes 550 ms with the margin;
		// and 200 ms for the work.
		"the wait and the work just fit":   {Load{Queued: queued(0, 4, 0), SeenAt: now, Rate: 10, Service: service}, Normal, 750 * time.Millisecond, Admitted},
		"the wait and the work do not fit": {Load{Queued: queued(0, 4, 0), SeenAt: now, Rate: 10, Service: service}, Normal, 749 * time.Millisecond, Late},
		"who is not queued yet waits too":  {Load{Queued: queued(0, 1, 0), Arriving: queued(0, 4, 0), SeenAt: now, Rate: 10, Service: service}, Normal, 750 * time.Millisecond, Late},
		"what goes later is not waited for": {
			Load{Queued: queued(4, 4, 0), SeenAt: now, Rate: 10, Service: service}, Normal, 750 * time.Millisecond, Admitted},
		"what goes earlier is waited for": {
			Load{Queued: queued(0, 2, 3), SeenAt: now, Rate: 10, Service: service}, Normal, 750 * time.Millisecond, Late},
		"nobody waits in an empty queue, however short the time is": {Load{SeenAt: now, Rate: 10, Service: service}, Normal, time.Millisecond, Admitted},
		"without a rate no wait is predicted":                       {Load{Queued: queued(0, 9, 0), SeenAt: now, Service: service}, Normal, time.Millisecond, Admitted},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Admit(test.load, limits, test.priority, now.Add(test.within), now); got != test.want {
				t.Errorf("Admit = %v, want %v", got, test.want)
			}
		})
	}
}

func TestAWaitBeyondMeasureIsLong(t *testing.T) {
	if wait := (Load{Queued: queued(0, 1, 0), Rate: 1e-300}).Wait(Normal); wait < 24*time.Hour {
		t.Errorf("the wait is %v", wait)
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

func TestHopelessIsWhatEvenAFastReplicaCanNotDo(t *testing.T) {
	service := Estimate{Mean: 100 * time.Millisecond, Deviation: 40 * time.Millisecond, At: now}
	for left, want := range map[time.Duration]bool{61 * time.Millisecond: false, 60 * time.Millisecond: true, -1: true} {
		if got := Hopeless(Request{Deadline: now.Add(left)}, service, now); got != want {
			t.Errorf("with %v left: %v, want %v", left, got, want)
		}
	}
	if Hopeless(Request{Deadline: now.Add(time.Minute)}, Estimate{Mean: time.Hour, At: now.Add(-3 * time.Second)}, now) {
		t.Error("hopeless by what was true three seconds ago: nobody would ever find out that it isn't any more")
	}
	if Hopeless(Request{Deadline: now.Add(1)}, Estimate{}, now) {
		t.Error("hopeless where nothing is known of the replicas")
	}
	if !Hopeless(Request{Deadline: now}, Estimate{Mean: 1, Deviation: 9, At: now}, now) {
		t.Error("there is hope at the deadline where replicas vary much")
	}
}

func TestUrgency(t *testing.T) {
	soon, later := now.Add(time.Second), now.Add(time.Minute)
	for name, test := range map[string]struct {
		a, b Request
		want int
	}{
		"a higher priority goes first, whatever the deadlines": {Request{Priority: High, Deadline: later}, Request{Priority: Normal, Deadline: soon}, -1},
		"of one priority the earlier deadline":                 {Request{Priority: Low, Deadline: soon}, Request{Priority: Low, Deadline: later}, -1},
		"and both alike":                                       {Request{Deadline: soon}, Request{Deadline: soon}, 0},
	} {
		if got, back := Urgency(test.a, test.b), Urgency(test.b, test.a); got != test.want || back != -test.want {
			t.Errorf("%s: %d, and %d the other way round", name, got, back)
		}
	}
}

func TestPrioritiesAreReadAsTheyAreWritten(t *testing.T) {
	for _, p := range Priorities {
		if got, err := ParsePriority(p.String()); err != nil || got != p {
			t.Errorf("%v is read as %v, %v", p, got, err)
		}
	}
	if got, err := ParsePriority("HIGH"); err != nil || got != High {
		t.Errorf("HIGH is read as %v, %v", got, err)
	}
	if _, err := ParsePriority("urgent"); err == nil || err.Error() != `"urgent" is none of low, normal and high` {
		t.Errorf("urgent: %v", err)
	}
}
