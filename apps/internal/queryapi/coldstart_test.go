package queryapi_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/reply"
)

// scaler is what is asked for a replica.
type scaler struct {
	*httptest.Server
	mu    sync.Mutex
	calls []time.Time
}

func startScaler(t *testing.T) *scaler {
	t.Helper()
	s := &scaler{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/wake" || r.ContentLength != 0 {
			t.Errorf("%s %s with %d bytes", r.Method, r.URL, r.ContentLength)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, time.Now())
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *scaler) called() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *scaler) await(t *testing.T, n int) {
	t.Helper()
	dispatchtest.Eventually(t, 20*time.Second, "a replica is asked for", func() bool { return len(s.called()) >= n })
}

// send begins a query, whose answer comes.
func (d *dispatcher) send(t *testing.T, headers ...string) <-chan answer {
	answered := make(chan answer, 1)
	go func() { answered <- d.query(t, headers...) }()
	return answered
}

// The first replica of none comes two seconds after the request, when a call has been
// made at once and one each second.
func TestFromZeroARequestIsHeldUntilAReplicaIsReady(t *testing.T) {
	asked := startScaler(t)
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{slo: 300 * time.Millisecond, coldStart: 30 * time.Second, wake: asked.URL + "/wake"})
	answered := d.send(t)
	asked.await(t, 1)
	d.fleet.Set([]fleet.Endpoint{{URL: "http://127.0.0.1:1", State: dispatch.Terminating}})
	dispatchtest.Eventually(t, 5*time.Second, "it counts as queued", func() bool { return d.metric(t, "dispatcher_queue_size") == 1 })
	replica := dispatchtest.StartReplica(t, nil)
	asked.await(t, 2)
	d.fleet.Set([]fleet.Endpoint{{URL: replica.URL, State: dispatch.Starting}})
	asked.await(t, 3)
	d.has(replica)
	expect(t, <-answered, http.StatusOK, "")
	// With a replica that is ready all is as ever.
	replica.Answer(dispatchtest.Hold(nil, nil))
	inTime(t, d.crowd(t, 3), 300*time.Millisecond)
	calls := asked.called()
	for i, call := range calls[1:] {
		if between := call.Sub(calls[i]); between < 900*time.Millisecond {
			t.Errorf("asked again after %v", between)
		}
	}
	d.expectMetrics(t, map[string]float64{
		`dispatcher_wake_calls_total{outcome="ok"}`: 3, `dispatcher_wake_calls_total{outcome="failed"}`: 0,
	})
}

func TestAReplicaIsAskedForAtOnce(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	for name, headers := range map[string][]string{
		"for who waits":      nil,
		"for who does not":   {"Prefer", "respond-async"},
		"for who may repeat": {"Idempotency-Key", "one"},
	} {
		t.Run(name, func(t *testing.T) {
			least := time.Hour
			for range 3 { // the machine may be busy
				asked := startScaler(t)
				d := start(t, redis.URL(), settings{name: t.Name(), coldStart: 20 * time.Second, wake: asked.URL + "/wake"})
				begin := time.Now()
				answered := d.send(t, headers...)
				asked.await(t, 1)
				least = min(least, asked.called()[0].Sub(begin))
				d.has(dispatchtest.StartReplica(t, nil))
				<-answered
				d.stop()
			}
			if least > 100*time.Millisecond {
				t.Errorf("it was asked for after %v", least)
			}
		})
	}
}

func TestHowLongARequestIsHeld(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	for name, test := range map[string]struct {
		settings settings
		headers  []string
		want     time.Duration
	}{
		"without an allowance as long as ever":        {settings{slo: 200 * time.Millisecond}, nil, 200 * time.Millisecond},
		"as long as is allowed":                       {settings{slo: 100 * time.Millisecond, coldStart: 700 * time.Millisecond}, nil, 700 * time.Millisecond},
		"as long for who may repeat":                  {settings{slo: 100 * time.Millisecond, coldStart: 700 * time.Millisecond}, []string{"Idempotency-Key", "held"}, 700 * time.Millisecond},
		"not shorter than ever":                       {settings{slo: 700 * time.Millisecond, coldStart: 100 * time.Millisecond}, nil, 700 * time.Millisecond},
		"as long as the caller says":                  {settings{coldStart: 20 * time.Second}, []string{"Headroom-Timeout", "300ms"}, 300 * time.Millisecond},
		"longer than the server writes for otherwise": {settings{slo: 100 * time.Millisecond, coldStart: 900 * time.Millisecond, writing: 300 * time.Millisecond}, nil, 900 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			asked := startScaler(t)
			test.settings.name = "a"
			test.settings.wake = asked.URL + "/wake"
			inTime(t, start(t, redis.URL(), test.settings).crowd(t, 1, test.headers...), test.want)
		})
	}
}

// Fifty requests wait when the first replica comes: it gets them as it answers, at
// most as many at a time as it may have, and all are answered.
func TestAFloodFromZeroIsNotLetLooseOnTheFirstReplica(t *testing.T) {
	const flood, concurrency = 50, 2
	for name, where := range map[string]struct {
		redis  bool
		metric string
	}{
		"in the queue":                     {true, "dispatcher_queue_size"},
		"in memory, Redis is out of reach": {false, "dispatcher_waiting"},
	} {
		t.Run(name, func(t *testing.T) {
			redis := dispatchtest.StartRedis(t)
			d := start(t, redis.URL(), settings{slo: 300 * time.Millisecond, coldStart: 60 * time.Second, concurrency: concurrency})
			if !where.redis {
				redis.Kill()
				dispatchtest.Eventually(t, 20*time.Second, "Redis is seen gone", func() bool { return d.metric(t, "dispatcher_queue_size") < 0 })
			}
			answers := make(chan []answer, 1)
			go func() { answers <- d.crowd(t, flood) }()
			dispatchtest.Eventually(t, 20*time.Second, "all are held", func() bool { return d.metric(t, where.metric) == flood })
			d.fleet.Set(nil)
			replica := dispatchtest.StartReplica(t, taking(5*time.Millisecond))
			d.has(replica)
			for _, a := range <-answers {
				expect(t, a, http.StatusOK, "")
			}
			if most := replica.MostInFlight(); most > concurrency {
				t.Errorf("it had %d at a time, want up to %d", most, concurrency)
			}
			if n := len(replica.Served()); n != flood {
				t.Errorf("it was sent %d, want %d", n, flood)
			}
		})
	}
}

func TestNoMoreAreHeldThanMayWait(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{slo: 300 * time.Millisecond, coldStart: 60 * time.Second, maxQueue: 3})
	answers := make(chan []answer, 1)
	go func() { answers <- d.crowd(t, 3) }()
	dispatchtest.Eventually(t, 10*time.Second, "three are held", func() bool { return d.metric(t, "dispatcher_queue_size") == 3 })
	expect(t, d.query(t), http.StatusServiceUnavailable, reply.Overloaded)
	d.has(dispatchtest.StartReplica(t, nil))
	for _, a := range <-answers {
		expect(t, a, http.StatusOK, "")
	}
}

// Nobody comes any more when the last replica goes, and a dispatcher that starts
// finds what another one has left: what waits is asked for all the same.
func TestWhatWaitsAlreadyIsAskedFor(t *testing.T) {
	t.Run("when the last replica goes", func(t *testing.T) {
		asked := startScaler(t)
		busy := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
		d := start(t, dispatchtest.StartRedis(t).URL(), settings{coldStart: 20 * time.Second, wake: asked.URL + "/wake"}, busy)
		first := d.send(t, "Headroom-Timeout", "20s")
		dispatchtest.Eventually(t, 10*time.Second, "one is in flight", func() bool { return busy.InFlight() == 1 })
		second := d.send(t, "Headroom-Timeout", "20s")
		dispatchtest.Eventually(t, 10*time.Second, "one waits", func() bool { return d.metric(t, "dispatcher_queue_size") == 1 })
		if n := len(asked.called()); n != 0 {
			t.Errorf("asked %d times while a replica is ready", n)
		}
		d.has()
		asked.await(t, 1)
		d.has(dispatchtest.StartReplica(t, nil))
		expect(t, <-second, http.StatusOK, "")
		busy.CloseClientConnections()
		<-first
	})
	t.Run("when a dispatcher starts", func(t *testing.T) {
		redis := dispatchtest.StartRedis(t)
		gone := start(t, redis.URL(), settings{name: "gone"})
		expect(t, gone.query(t, "Prefer", "respond-async"), http.StatusAccepted, "")
		gone.stop()
		asked := startScaler(t)
		start(t, redis.URL(), settings{coldStart: 20 * time.Second, wake: asked.URL + "/wake"})
		asked.await(t, 1)
	})
}
