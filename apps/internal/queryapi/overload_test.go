package queryapi_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
)

func TestWhoWouldWaitTooLongIsRefusedAtTheDoor(t *testing.T) {
	// One at a time, 50 ms each: ten wait for half a second.
	replica := dispatchtest.StartReplica(t, taking(50*time.Millisecond))
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{maxQueue: 1000, slo: 500 * time.Millisecond}, replica)
	for range 10 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	var patient sync.WaitGroup
	for range 30 {
		patient.Go(func() { expect(t, d.query(t, "Headroom-Timeout", "30s"), http.StatusOK, "") })
	}
	dispatchtest.Eventually(t, 5*time.Second, "many wait", func() bool { return d.metric(t, "dispatcher_queue_size") >= 20 })
	a := d.query(t)
	expect(t, a, http.StatusServiceUnavailable, reply.Overloaded)
	if a.took > 100*time.Millisecond {
		t.Errorf("told after %v", a.took)
	}
	if d.metric(t, `dispatcher_requests_dropped_total{reason="predicted"}`) != 1 {
		t.Error("it is not counted")
	}
	// What goes first has nobody before it.
	expect(t, d.query(t, "Headroom-Priority", "high"), http.StatusOK, "")
	patient.Wait()
	expect(t, d.query(t), http.StatusOK, "")
}

func TestWhatCanNotBeMetAnyMoreCostsNoReplicaItsTime(t *testing.T) {
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, taking(100*time.Millisecond))
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{queued: true}, replica)
	for range 5 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	replica.Answer(dispatchtest.Hold(gate, dispatchtest.Predict))
	answered := make(chan answer, 2)
	go func() { answered <- d.query(t, "Headroom-Timeout", "20s") }()
	dispatchtest.Eventually(t, 5*time.Second, "one is in flight", func() bool { return replica.InFlight() == 1 })
	go func() { answered <- d.query(t, "Headroom-Timeout", "300ms") }()
	begin := time.Now()
	dispatchtest.Eventually(t, 5*time.Second, "the other one has less time left than the work takes", func() bool {
		return time.Since(begin) > 270*time.Millisecond
	})
	served := len(replica.Served())
	close(gate)
	for range 2 {
		if a := <-answered; a.status == http.StatusGatewayTimeout {
			expect(t, a, http.StatusGatewayTimeout, reply.DeadlineExceeded)
		} else {
			expect(t, a, http.StatusOK, "")
		}
	}
	if n := len(replica.Served()); n != served {
		t.Errorf("the replica was sent %d that were hopeless", n-served)
	}
}

func TestPicturesThatWaitTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{concurrency: 4, maxMemory: 1 << 20}, replica)
	large := make([]byte, 300<<10)
	send := func() answer {
		return d.do(t, newRequest(t, http.MethodPost, d.URL+"/query", large, "Headroom-Timeout", "20s"))
	}
	answered := make(chan answer, 3)
	for i := range 3 {
		go func() { answered <- send() }()
		dispatchtest.Eventually(t, 5*time.Second, "it is in flight", func() bool { return replica.InFlight() == i+1 })
	}
	expect(t, send(), http.StatusServiceUnavailable, reply.Overloaded)
	close(gate)
	for range 3 {
		expect(t, <-answered, http.StatusOK, "")
	}
	expect(t, send(), http.StatusOK, "")
}

// At twice what the replicas can do, what is answered in time must not become
// less than at what they can do, and what is let in is answered in time.
func TestGoodputHoldsAtTwiceTheCapacity(t *testing.T) {
	const (
		service  = 40 * time.Millisecond
		replicas = 2
		slo      = 400 * time.Millisecond
		stretch  = 3 * time.Second
	)
	var list []*dispatchtest.Replica
	for range replicas {
		// A model server has one place: what it is sent more waits inside it.
		place := make(chan struct{}, 1)
		list = append(list, dispatchtest.StartReplica(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case place <- struct{}{}:
			case <-r.Context().Done():
				return
			}
			defer func() { <-place }()
			taking(service)(w, r)
		}))
	}
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{maxQueue: 1000, slo: slo}, list...)
	goodput := func(load float64) (good, late, refused int) {
		var mu sync.Mutex
		var all sync.WaitGroup
		every := time.Duration(float64(service) / replicas / load)
		begin := time.Now()
		for i := 0; time.Duration(i)*every < stretch; i++ {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * every)))
			all.Go(func() {
				a := d.query(t)
				mu.Lock()
				defer mu.Unlock()
				switch a.status {
				case http.StatusOK:
					good++
				case http.StatusGatewayTimeout:
					late++
				default:
					refused++
				}
			})
		}
		all.Wait()
		return good, late, refused
	}
	goodput(.5)
	atCapacity, lateAt, refusedAt := goodput(1)
	atTwice, late, refused := goodput(2)
	t.Logf("at capacity %d answered, %d late, %d refused; at twice %d, %d, %d", atCapacity, lateAt, refusedAt, atTwice, late, refused)
	if float64(atTwice) < .9*float64(atCapacity) {
		t.Errorf("%d answered at twice the capacity, %d at capacity", atTwice, atCapacity)
	}
	// A busy machine makes some late at any load.
	share := func(late, good int) float64 { return float64(late) / float64(late+good) }
	if share(late, atTwice) > share(lateAt, atCapacity)+.05 {
		t.Errorf("%d of %d were let in and answered too late; at capacity %d of %d", late, late+atTwice, lateAt, lateAt+atCapacity)
	}
}
