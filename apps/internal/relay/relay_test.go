package relay

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/redisqueue"
)

func start(t *testing.T, redis *dispatchtest.Redis, replicas ...string) *Relay {
	t.Helper()
	r := prepare(t, redis, replicas...)
	r.Start()
	return r
}

// prepare is a relay that does nothing yet.
func prepare(t *testing.T, redis *dispatchtest.Redis, replicas ...string) *Relay {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	queue, err := redisqueue.New(redisqueue.Config{
		Connection: redisqueue.Connection{URL: redis.URL(), Password: dispatchtest.RedisPassword}, Name: "a",
		ResultTTL: time.Minute, Connections: 16, DeadLetterBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Connect(t.Context(), 10*time.Second, log); err != nil {
		t.Fatal(err)
	}
	places := fleet.New(dispatch.Bounds{Least: 2, Most: 2})
	var endpoints []fleet.Endpoint
	for _, url := range replicas {
		endpoints = append(endpoints, fleet.Endpoint{URL: url, State: dispatch.Ready})
	}
	places.Set(endpoints)
	return New(Config{
		Name: "a", MaxQueue: 1000, ReclaimAfter: time.Minute, MaxDeliveries: 3, AttemptTimeout: 10 * time.Second, Direct: true,
	}, queue, places, backend.New(4), log)
}

func request(id string, mode dispatch.Mode, within time.Duration) dispatch.Request {
	return dispatch.Request{
		ID: id, Mode: mode, Priority: dispatch.Normal, ResultID: ":" + id, Picture: []byte("picture"),
		Deadline: time.Now().Add(within).Truncate(time.Millisecond),
	}
}

func enter(t *testing.T, r *Relay, mode dispatch.Mode) *Visit {
	t.Helper()
	visit, admission := r.Enter(mode, dispatch.Normal, time.Now().Add(time.Minute))
	if admission != dispatch.Admitted {
		t.Fatalf("admission %v", admission)
	}
	return visit
}

func TestNothingIsKeptOfWhoHasGone(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	r := start(t, redis, dispatchtest.StartReplica(t, nil).URL)
	r.config.Direct = false
	nobody := start(t, dispatchtest.StartRedis(t))
	var released sync.WaitGroup
	var all sync.WaitGroup
	for i := range 40 {
		relay, ctx, cancel := r, t.Context(), context.CancelFunc(func() {})
		switch i % 3 {
		case 1: // answered at their deadline
			relay = nobody
		case 2: // gone before it
			relay = nobody
			ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
		}
		released.Add(1)
		all.Go(func() {
			defer cancel()
			enter(t, relay, dispatch.Sync).Query(ctx, request("r", dispatch.Sync, 100*time.Millisecond), released.Done)
		})
	}
	all.Wait()
	released.Wait()
	for _, relay := range []*Relay{r, nobody} {
		dispatchtest.Eventually(t, 5*time.Second, "nothing is kept", func() bool {
			relay.mu.Lock()
			defer relay.mu.Unlock()
			return len(relay.waiters) == 0 && len(relay.inHand) == 0 && relay.load.Arriving == [3]int{} && relay.waiting == [3]int{}
		})
		relay.Stop(t.Context())
	}
}

func TestTheExpiryOfWhatIsAnsweredIsForgotten(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	r := start(t, redis, dispatchtest.StartReplica(t, nil).URL)
	defer r.Stop(t.Context())
	if a, _ := enter(t, r, dispatch.Async).Accept(t.Context(), request("one", dispatch.Async, time.Minute)); a != Accepted {
		t.Fatalf("acceptance %v", a)
	}
	stored, err := r.Result(t.Context(), ":one", "one", time.Now().Add(10*time.Second))
	if err != nil || stored.Status != http.StatusOK {
		t.Fatalf("%+v, %v", stored, err)
	}
	dispatchtest.Eventually(t, 5*time.Second, "its expiry is forgotten", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.expiries) == 0
	})
}

func TestWhileAnythingIsQueuedNobodyGoesStraight(t *testing.T) {
	r := prepare(t, dispatchtest.StartRedis(t), dispatchtest.StartReplica(t, nil).URL)
	defer func() { _ = r.queue.Close() }()
	visit := &Visit{relay: r}
	queued := func(p dispatch.Priority, n int) { r.load.Queued[p] = n }
	for _, p := range dispatch.Priorities {
		queued(p, 1)
		if got, free := visit.straight(); free {
			t.Errorf("straight past one of priority %v", p)
			got.Release(dispatch.Abandoned, 0)
		}
		queued(p, 0)
	}
	got, free := visit.straight()
	if !free {
		t.Fatal("not straight to a free replica while nothing is queued")
	}
	got.Release(dispatch.Abandoned, 0)
}

func TestTheEndRemovesWhatIsLeftToRemove(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	client := redis.Client()
	defer func() { _ = client.Close() }()
	r := start(t, redis)
	const n = 50
	for range n {
		place, err := r.queue.Submit(t.Context(), dispatch.Request{
			ID: "r", Mode: dispatch.Sync, Waiter: "a", Ticket: "t", Picture: []byte("p"), Deadline: time.Now().Add(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		r.remove(place)
	}
	r.Stop(t.Context())
	if entries, _ := dispatchtest.QueueLength(t, client); entries != 0 {
		t.Errorf("%d of %d entries are left", entries, n)
	}
}

func TestDepartures(t *testing.T) {
	look := func(queued, dispatchers int) redisqueue.Observation {
		o := redisqueue.Observation{Dispatchers: dispatchers}
		o.Queued[dispatch.Normal] = queued
		return o
	}
	for name, test := range map[string]struct {
		rate        float64
		before, now redisqueue.Observation
		taken       int
		want        float64
	}{
		"what leaves a long queue is what can":     {0, look(10, 1), look(9, 1), 5, 20},
		"and as much by every other dispatcher":    {0, look(10, 3), look(9, 3), 5, 60},
		"it is smoothed":                           {40, look(10, 1), look(9, 1), 5, 35},
		"a short queue says nothing":               {40, look(10, 1), look(3, 1), 5, 0},
		"nor does one that was short a moment ago": {40, look(3, 1), look(10, 1), 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := departed(test.rate, test.before, test.now, test.taken, 250*time.Millisecond); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
