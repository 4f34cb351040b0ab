package queryapi_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/apikeys"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/reply"
)

// counting answers with a prediction that tells the how-manieth it is.
func counting() http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		body := fmt.Sprintf(`{"model":"number %d","predictions":[{"class":1,"probability":1}]}`, n)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}
}

func TestRequestsWithTheSameIdempotencyKeyAreOne(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, counting()))
	first := start(t, server.URL(), settings{name: "a"}, replica)
	second := start(t, server.URL(), settings{name: "b"}, replica)
	answers := make(chan answer, 6)
	for i := range 6 {
		d := []*dispatcher{first, second}[i%2]
		go func() { answers <- d.query(t, "Idempotency-Key", "order 66", "Headroom-Timeout", "20s") }()
	}
	dispatchtest.Eventually(t, 5*time.Second, "it is in flight", func() bool { return replica.InFlight() == 1 })
	close(gate)
	one := <-answers
	expect(t, one, http.StatusOK, "")
	for range 5 {
		if a := <-answers; a.status != http.StatusOK || string(a.body) != string(one.body) {
			t.Errorf("answered %d %s, want %s", a.status, a.body, one.body)
		}
	}
	if a := second.query(t, "Idempotency-Key", "order 66"); string(a.body) != string(one.body) {
		t.Errorf("later answered %d %s, want %s", a.status, a.body, one.body)
	}
	if n := len(replica.Served()); n != 1 {
		t.Errorf("worked on %d times", n)
	}
	// Whether the answer is waited for or fetched is another question.
	a := first.query(t, "Idempotency-Key", "order 66", "Prefer", "respond-async")
	if got := first.result(t, a.header.Get("Location")); string(got.body) != string(one.body) {
		t.Errorf("fetched %d %s, want %s", got.status, got.body, one.body)
	}
	if a := first.query(t, "Idempotency-Key", "order 67"); a.status != http.StatusOK || string(a.body) == string(one.body) {
		t.Errorf("another key: %d %s", a.status, a.body)
	}
}

func TestAnotherPictureUnderTheSameNameIsAConflict(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{}, dispatchtest.StartReplica(t, nil))
	other := func(headers ...string) answer {
		return d.do(t, newRequest(t, http.MethodPost, d.URL+"/query", []byte("another picture"), headers...))
	}
	expect(t, d.query(t, "Idempotency-Key", "k"), http.StatusOK, "")
	expect(t, other("Idempotency-Key", "k"), http.StatusUnprocessableEntity, reply.Conflict)
	expect(t, d.query(t, "Prefer", "respond-async", "X-Request-Id", "r"), http.StatusAccepted, "")
	expect(t, other("Prefer", "respond-async", "X-Request-Id", "r"), http.StatusConflict, reply.Conflict)
	// Who waits and may not repeat has nothing kept, and no conflict.
	expect(t, other("X-Request-Id", "r"), http.StatusOK, "")
}

func TestWhatFailedMayBeRepeatedUnderItsKey(t *testing.T) {
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{}, replica)
	inTime(t, []answer{d.query(t, "Idempotency-Key", "k", "Headroom-Timeout", "200ms")}, 200*time.Millisecond)
	dispatchtest.Eventually(t, 5*time.Second, "the end is stored", func() bool {
		a := d.query(t, "Idempotency-Key", "k", "Prefer", "respond-async", "Headroom-Timeout", "200ms")
		return d.result(t, a.header.Get("Location")).status == http.StatusGatewayTimeout
	})
	replica.Answer(dispatchtest.Predict)
	expect(t, d.query(t, "Idempotency-Key", "k"), http.StatusOK, "")
}

func TestBadNamesOfWhatIsKeptAreToldWhy(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{})
	for name, headers := range map[string][]string{
		"an empty key":          {"Idempotency-Key", ""},
		"a key that is long":    {"Idempotency-Key", strings.Repeat("k", 256)},
		"a key with a letter ü": {"Idempotency-Key", "schlüssel"},
		"a priority":            {"Headroom-Priority", "urgent"},
		"an async timeout":      {"Prefer", "respond-async", "Headroom-Timeout", "20001ms"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, d.query(t, headers...), http.StatusBadRequest, reply.BadRequest) })
	}
	two := newRequest(t, http.MethodPost, d.URL+"/query", picture)
	two.Header["Idempotency-Key"] = []string{"a", "b"}
	expect(t, d.do(t, two), http.StatusBadRequest, reply.BadRequest)
	for _, wait := range []string{"-1s", "61s", "10", "soon"} {
		expect(t, d.do(t, newRequest(t, http.MethodGet, d.URL+"/result/x?wait="+wait, nil)), http.StatusBadRequest, reply.BadRequest)
	}
}

func TestWhoPollsLongIsAnsweredWhenTheResultIsThere(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{name: "a"}, replica)
	other := start(t, server.URL(), settings{name: "b"})
	a := d.query(t, "Prefer", "respond-async")
	poll := func(d *dispatcher, wait string) answer {
		return d.do(t, newRequest(t, http.MethodGet, d.URL+a.header.Get("Location")+"?wait="+wait, nil))
	}
	if p := poll(other, "200ms"); p.status != http.StatusAccepted || p.took < 190*time.Millisecond || p.took > 700*time.Millisecond {
		t.Errorf("answered %d %s after %v, want 202 after 200ms", p.status, p.body, p.took)
	}
	type told struct {
		answer
		at time.Time
	}
	answers := make(chan told, 4)
	for i := range 4 {
		go func() { p := poll([]*dispatcher{d, other}[i%2], "30s"); answers <- told{p, time.Now()} }()
	}
	dispatchtest.Eventually(t, 5*time.Second, "it is in flight", func() bool { return replica.InFlight() == 1 })
	// Until then they may look themselves; a message must reach those who don't.
	time.Sleep(300 * time.Millisecond)
	close(gate)
	begin := time.Now()
	for range 4 {
		p := <-answers
		expect(t, p.answer, http.StatusOK, "")
		if late := p.at.Sub(begin); late > 500*time.Millisecond {
			t.Errorf("told %v after the result was there", late)
		}
	}
	expect(t, poll(other, "30s"), http.StatusOK, "")
	expect(t, d.do(t, newRequest(t, http.MethodGet, d.URL+"/result/nobody?wait=30s", nil)), http.StatusNotFound, reply.NotFound)
}

func TestAnAsyncRequestHasItsOwnTimeout(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{})
	begin := time.Now()
	a := d.query(t, "Prefer", "respond-async", "Headroom-Timeout", "300ms")
	expect(t, d.do(t, newRequest(t, http.MethodGet, d.URL+a.header.Get("Location")+"?wait=30s", nil)), http.StatusGatewayTimeout, reply.DeadlineExceeded)
	if took := time.Since(begin); took < 295*time.Millisecond || took > 3*time.Second {
		t.Errorf("ended after %v, want 300ms", took)
	}
}

func TestARequestThatRuinsReplicasIsADeadLetter(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	replica := dispatchtest.StartReplica(t, dispatchtest.Die)
	d := start(t, server.URL(), settings{}, replica)
	a := d.query(t, "Prefer", "respond-async", "X-Request-Id", "poison")
	expect(t, d.result(t, a.header.Get("Location")), http.StatusBadGateway, reply.BackendFailed)
	if n := len(replica.Served()); n != 3 {
		t.Errorf("tried %d times, want 3", n)
	}
	d.expectMetrics(t, map[string]float64{"dispatcher_dead_letters_total": 1, `dispatcher_retries_total{after="broken"}`: 2})
	dispatchtest.Eventually(t, 5*time.Second, "it is seen", func() bool { return d.metric(t, "dispatcher_dead_letters") == 1 })
}

func TestARequestThatSilencesDispatchersIsADeadLetter(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	stuck := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	// Those who fall silent are played: a dispatcher that ends here signs off.
	silent, err := redisqueue.New(redisqueue.Config{
		Connection: redisqueue.Connection{URL: server.URL(), Password: dispatchtest.RedisPassword}, Name: "silent", ResultTTL: time.Minute, Connections: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	door := start(t, server.URL(), settings{name: "door"})
	a := door.query(t, "Prefer", "respond-async", "X-Request-Id", "poison")
	if entries, err := silent.Read(t.Context(), 1, new([3]int), time.Second); err != nil || len(entries) != 1 {
		t.Fatalf("read %v, %v", entries, err)
	}
	dispatchtest.Eventually(t, 5*time.Second, "two more fall silent", func() bool {
		entries, err := silent.Reclaim(t.Context(), 1, time.Millisecond)
		return err == nil && len(entries) == 1 && entries[0].Deliveries == 3
	})
	start(t, server.URL(), settings{name: "last", reclaim: time.Second, deliveries: 3}, stuck)
	expect(t, door.result(t, a.header.Get("Location")), http.StatusBadGateway, reply.BackendFailed)
	if n := len(stuck.Served()); n != 0 {
		t.Errorf("a model server got it %d times", n)
	}
	queueIsEmpty(t, client)
}

func TestAResultIsOnlyForWhoseKeyAskedForIt(t *testing.T) {
	var entries []string
	key := map[string]string{}
	for _, name := range []string{"web", "app"} {
		secret, hash := apikeys.Generate()
		key[name] = "Bearer " + secret
		entries = append(entries, fmt.Sprintf(`{"name":%q,"sha256":%q}`, name, hash))
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(`{"keys":[`+strings.Join(entries, ",")+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := apikeys.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	replica := dispatchtest.StartReplica(t, counting())
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{keys: keys}, replica)

	expect(t, d.query(t), http.StatusUnauthorized, reply.Unauthorized)
	expect(t, d.query(t, "Authorization", "Bearer hr_wrong"), http.StatusUnauthorized, reply.Unauthorized)
	var bodies []string
	for _, name := range []string{"web", "app"} {
		a := d.query(t, "Authorization", key[name], "Prefer", "respond-async", "X-Request-Id", "same")
		expect(t, a, http.StatusAccepted, "")
		location := d.URL + a.header.Get("Location") + "?wait=10s"
		got := d.do(t, newRequest(t, http.MethodGet, location, nil, "Authorization", key[name]))
		expect(t, got, http.StatusOK, "")
		bodies = append(bodies, string(got.body))
		expect(t, d.do(t, newRequest(t, http.MethodGet, location, nil)), http.StatusUnauthorized, reply.Unauthorized)
	}
	if bodies[0] == bodies[1] {
		t.Errorf("both got %s", bodies[0])
	}
	a := d.query(t, "Authorization", key["web"], "Prefer", "respond-async", "X-Request-Id", "web's own")
	expect(t, d.do(t, newRequest(t, http.MethodGet, d.URL+a.header.Get("Location"), nil, "Authorization", key["app"])), http.StatusNotFound, reply.NotFound)
	// Probes and the description are for everybody.
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		if a := d.do(t, newRequest(t, http.MethodGet, d.URL+path, nil)); a.status != http.StatusOK {
			t.Errorf("%s answered %d", path, a.status)
		}
	}
}

func TestEveryIDHasAResult(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{}, dispatchtest.StartReplica(t, nil))
	for _, id := range []string{"a/b c?%41", "a+b/c", "a,b+c", "1+1=2;x", "+/==", "%", "#x", "a%2Fb", "..a", "~"} {
		a := d.query(t, "Prefer", "respond-async", "X-Request-Id", id)
		got := d.do(t, newRequest(t, http.MethodGet, d.URL+a.header.Get("Location")+"?wait=10s", nil))
		if got.status != http.StatusOK || got.id() != id {
			t.Errorf("%q at %s: %d %s", id, a.header.Get("Location"), got.status, got.body)
		}
	}
}

func TestAFrozenRedisHoldsNobodyWhoMayRepeat(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	defer close(gate)
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{}, replica)
	accepted := make(chan answer, 1)
	go func() { accepted <- d.query(t, "Idempotency-Key", "accepted", "Headroom-Timeout", "700ms") }()
	dispatchtest.Eventually(t, 5*time.Second, "one is in flight", func() bool { return replica.InFlight() == 1 })
	server.Freeze()
	defer server.Thaw()
	inTime(t, []answer{d.query(t, "Idempotency-Key", "k", "Headroom-Timeout", "200ms")}, 200*time.Millisecond)
	inTime(t, []answer{<-accepted}, 700*time.Millisecond)
}

func TestWhatIsAcceptedIsNotKeptInMemory(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	d := start(t, server.URL(), settings{maxBody: 4 << 20, maxQueue: 1000})
	memory := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := memory()
	for range 40 {
		a := d.do(t, newRequest(t, http.MethodPost, d.URL+"/query", make([]byte, 2<<20), "Prefer", "respond-async"))
		expect(t, a, http.StatusAccepted, "")
	}
	if grown := memory() - before; grown > 20<<20 {
		t.Errorf("40 pictures of 2 MiB in Redis take %d MiB here", grown>>20)
	}
}
