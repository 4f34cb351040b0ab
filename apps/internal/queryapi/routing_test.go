package queryapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/reply"
)

// taking is how long a stub works.
func taking(service time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(service):
			dispatchtest.Predict(w, r)
		case <-r.Context().Done():
		}
	}
}

func TestWhileTheQueueIsEmptyWhoWaitsGoesStraightToAFreeReplica(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, nil)
	d := start(t, server.URL(), settings{}, replica)
	for range 3 {
		expect(t, d.query(t, "Headroom-Priority", "high"), http.StatusOK, "")
	}
	expect(t, d.result(t, d.query(t, "Prefer", "respond-async").header.Get("Location")), http.StatusOK, "")
	d.expectMetrics(t, map[string]float64{
		"dispatcher_requests_straight_total": 3, "dispatcher_requests_forwarded_total": 4,
		`dispatcher_request_duration_seconds_count{outcome="answered"}`: 3, "dispatcher_backend_duration_seconds_count": 4,
	})

	// One is worked on: the next ones queue, and who comes when the place is free
	// goes behind them.
	replica.Answer(dispatchtest.Hold(gate, dispatchtest.Predict))
	answered := make(chan answer, 3)
	for i := range 3 {
		go func() { answered <- d.query(t, "X-Request-Id", fmt.Sprint("queued ", i), "Headroom-Timeout", "20s") }()
		dispatchtest.Eventually(t, 5*time.Second, "it is in flight or queued", func() bool {
			return replica.InFlight() == 1 && d.metric(t, "dispatcher_queue_size") == float64(i)
		})
	}
	close(gate)
	last := d.query(t, "X-Request-Id", "last", "Headroom-Timeout", "20s")
	expect(t, last, http.StatusOK, "")
	for range 3 {
		expect(t, <-answered, http.StatusOK, "")
	}
	if served := replica.Served(); served[len(served)-1].ID != "last" {
		t.Errorf("the last one served is %q", served[len(served)-1].ID)
	}
	queueIsEmpty(t, client)
}

func TestWhatGoesFirstIsServedFirst(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{queued: true}, replica)
	answered := make(chan answer, 8)
	send := func(id string, headers ...string) {
		queued := d.metric(t, "dispatcher_queue_size")
		busy := replica.InFlight() == 1
		go func() { answered <- d.query(t, append(headers, "X-Request-Id", id, "Headroom-Timeout", "20s")...) }()
		dispatchtest.Eventually(t, 5*time.Second, id+" is there", func() bool {
			return replica.InFlight() == 1 && (!busy || d.metric(t, "dispatcher_queue_size") == queued+1)
		})
	}
	send("first")
	// The worker may hold one already, whichever it was: these are alike.
	send("normal 1")
	send("async", "Prefer", "respond-async")
	send("low", "Headroom-Priority", "low")
	send("normal 2")
	send("high", "Headroom-Priority", "high")
	close(gate)
	for range 6 {
		<-answered
	}
	dispatchtest.Eventually(t, 5*time.Second, "all are served", func() bool { return len(replica.Served()) == 6 })
	var order []string
	for _, s := range replica.Served() {
		order = append(order, s.ID)
	}
	if got := strings.Join(order, ", "); got != "first, high, normal 1, normal 2, async, low" && got != "first, normal 1, high, normal 2, async, low" {
		t.Errorf("served %s", got)
	}
}

func TestAReplicaThatHangsDoesNotCostItsCallersTheirAnswers(t *testing.T) {
	hung, healthy := dispatchtest.StartReplica(t, taking(10*time.Millisecond)), dispatchtest.StartReplica(t, taking(10*time.Millisecond))
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{concurrency: 4}, hung, healthy)
	for range 20 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	hung.Answer(dispatchtest.Hold(nil, nil))
	for range 30 {
		expect(t, d.query(t, "Headroom-Timeout", "1s"), http.StatusOK, "")
	}
	if d.metric(t, `dispatcher_retries_total{after="slow"}`) == 0 {
		t.Error("nobody met the replica that hangs: this test shows nothing")
	}
	if n := len(hung.Served()); n > 20+8 {
		t.Errorf("the replica that hangs was sent %d more", n-20)
	}
}

func TestAReplicaThatFailsIsAnOutlier(t *testing.T) {
	sick, healthy := dispatchtest.StartReplica(t, nil), dispatchtest.StartReplica(t, nil)
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{concurrency: 4}, sick, healthy)
	sick.Answer(dispatchtest.Refuse(http.StatusInternalServerError, reply.Internal, "out of order"))
	for range 40 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	if n := len(sick.Served()); n < 3 || n > 8 {
		t.Errorf("the sick one got %d of 40, want a few", n)
	}
	if d.metric(t, fmt.Sprintf(`dispatcher_replica_avoided{replica=%q}`, sick.URL)) != 1 {
		t.Error("it is not shown as left alone")
	}
}

func TestRetriesHaveABudget(t *testing.T) {
	busy := dispatchtest.Refuse(http.StatusServiceUnavailable, reply.Overloaded, "full")
	a, b := dispatchtest.StartReplica(t, busy), dispatchtest.StartReplica(t, busy)
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{concurrency: 64, maxQueue: 1000}, a, b)
	const n = 300
	begin := time.Now()
	for range n {
		if got := d.query(t).status; got != http.StatusServiceUnavailable && got != http.StatusGatewayTimeout {
			t.Fatalf("answered %d", got)
		}
	}
	// 20 at once, one for ten requests, two a second.
	most := 20 + n/10 + 2*int(time.Since(begin).Seconds()+1)
	retries := d.metric(t, `dispatcher_retries_total{after="busy"}`)
	if retries < 20 || retries > float64(most) {
		t.Errorf("%v retries for %d requests, want at most %d", retries, n, most)
	}
}

func TestATerminatingReplicaGetsNothingMore(t *testing.T) {
	gate := make(chan struct{})
	leaving, staying := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict)), dispatchtest.StartReplica(t, nil)
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{concurrency: 4}, leaving)
	answered := make(chan answer, 1)
	go func() { answered <- d.query(t) }()
	dispatchtest.Eventually(t, 5*time.Second, "it is in flight", func() bool { return leaving.InFlight() == 1 })
	d.fleet.Set([]fleet.Endpoint{{URL: leaving.URL, State: dispatch.Terminating}, {URL: staying.URL, State: dispatch.Ready}})
	for range 10 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	close(gate)
	expect(t, <-answered, http.StatusOK, "")
	if a, b := len(leaving.Served()), len(staying.Served()); a != 1 || b != 10 {
		t.Errorf("served %d and %d, want 1 and 10", a, b)
	}
}

func TestWhatTakesLongerThanOthersIsNotCutOff(t *testing.T) {
	var list []*dispatchtest.Replica
	for range 3 {
		list = append(list, dispatchtest.StartReplica(t, func(w http.ResponseWriter, r *http.Request) {
			service := 20 * time.Millisecond
			if r.Header.Get("X-Request-Id") == "heavy" {
				service = 400 * time.Millisecond
			}
			taking(service)(w, r)
		}))
	}
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{slo: 600 * time.Millisecond}, list...)
	for range 20 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	for range 5 {
		a := d.query(t, "X-Request-Id", "heavy")
		expect(t, a, http.StatusOK, "")
		if a.took > 500*time.Millisecond {
			t.Errorf("answered after %v: the attempt that began first was thrown away", a.took)
		}
		expect(t, d.query(t), http.StatusOK, "")
	}
	for _, r := range list {
		if d.metric(t, fmt.Sprintf(`dispatcher_replica_avoided{replica=%q}`, r.URL)) != 0 {
			t.Errorf("%s is left alone", r.URL)
		}
	}
}

func TestAnIdempotentRequestIsNotSentOnAndOn(t *testing.T) {
	busy := dispatchtest.Refuse(http.StatusServiceUnavailable, reply.Overloaded, "full")
	a, b := dispatchtest.StartReplica(t, busy), dispatchtest.StartReplica(t, busy)
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{}, a, b)
	if got := d.query(t, "Idempotency-Key", "k", "Headroom-Timeout", "2s").status; got != http.StatusGatewayTimeout {
		t.Errorf("answered %d", got)
	}
	// 25 ms, 50 ms and so on up to a second between two.
	if n := len(a.Served()) + len(b.Served()); n < 4 || n > 9 {
		t.Errorf("sent %d times in two seconds", n)
	}
}
