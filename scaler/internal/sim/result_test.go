package sim

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func encode(t testing.TB, r Result) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOrdersAreCounted(t *testing.T) {
	s := tale(time.Second)
	s.Duration, s.Onset = 700*time.Second, 3*time.Second
	// Out, in within the window (a flap), in again, out after the window, out again.
	r := run(t, s, &script{last: Order{Replicas: 1}, orders: map[int]Order{
		1: {Replicas: 2}, 5: {Replicas: 5}, 200: {Replicas: 4}, 201: {Replicas: 3}, 502: {Replicas: 4}, 503: {Replicas: 6},
	}})
	if r.ScaleOuts != 4 || r.ScaleIns != 2 || r.Flaps != 1 {
		t.Errorf("%d out, %d in, %d flaps, want 4, 2, 1", r.ScaleOuts, r.ScaleIns, r.Flaps)
	}
	if r.Reaction == nil || *r.Reaction != 2.5 {
		t.Errorf("reaction is %v, want 2.5 s: from the onset at 3 s to the order at 5.5 s", r.Reaction)
	}
}

func TestTheTimelineHasEverySecond(t *testing.T) {
	s := tale(1200*ms, 1200*ms, 1200*ms, 1200*ms, 1200*ms, 1200*ms, 1200*ms, 1200*ms)
	s.Duration = 4500 * ms
	r := run(t, s, &script{last: Order{Replicas: 2}})
	var csv strings.Builder
	if err := r.WriteCSV(&csv); err != nil {
		t.Fatal(err)
	}
	want := `at,rate,ready,starting,ordered,backlog,p99,violations,unavoidable,cpu_factor
1,0,1,1,2,0,0.0000,0,0,1
2,8,1,1,2,0,0.5148,3,0,1
3,0,2,0,2,0,0.0000,0,0,1
4,0,2,0,2,0,0.0000,0,0,1
4.5,0,2,0,2,0,0.0000,0,0,1
`
	if csv.String() != want {
		t.Errorf("the timeline is\n%swant\n%s", csv.String(), want)
	}
}

func TestWhatIsInProgressAtTheEndCounts(t *testing.T) {
	// The last of six at the end starts when there is no time left for it.
	s := tale(9950*ms, 9950*ms, 9950*ms, 9950*ms, 9950*ms, 9950*ms)
	r := run(t, s, Fixed(1))
	if r.Requests != 6 || r.Dropped != 1 || r.Late != 0 {
		t.Errorf("%d requests, %d dropped, %d late, want 6, 1, 0", r.Requests, r.Dropped, r.Late)
	}
	near(t, "replica-seconds", r.ReplicaSeconds, 10, 1e-9)
	if last := r.Timeline[len(r.Timeline)-1]; last.Violations != 1 {
		t.Errorf("the last second has %d violations, want 1", last.Violations)
	}
}
