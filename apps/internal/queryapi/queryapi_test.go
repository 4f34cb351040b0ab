package queryapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/apps/internal/apikeys"
	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/queryapi"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/relay"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
	"headroom.dev/apps/internal/wake"
)

const (
	// slo leaves room for a busy machine where a test does not measure it.
	slo = 5 * time.Second
	// punctual is the lateness that a reply at its deadline may have.
	punctual = 50 * time.Millisecond
)

var picture = []byte("\xff\xd8\xff picture")

// dispatcher is all of a dispatcher but its process.
type dispatcher struct {
	*httptest.Server
	relay   *relay.Relay
	fleet   *fleet.Fleet
	queue   *redisqueue.Queue
	api     *queryapi.API
	metrics http.Handler
	stop    func()
}

type settings struct {
	name        string
	concurrency int
	maxQueue    int
	slo         time.Duration
	async       time.Duration
	reclaim     time.Duration
	maxBody     int64
	maxMemory   int64
	deliveries  int
	queued      bool // every request goes through the queue
	coldStart   time.Duration
	wake        string        // a URL, or none
	writing     time.Duration // the server's own limit
	keys        *apikeys.Keys
	traces      *tracing.Tracing
}

func start(t testing.TB, url string, s settings, replicas ...*dispatchtest.Replica) *dispatcher {
	t.Helper()
	s.name = cmp.Or(s.name, "a")
	s.concurrency = cmp.Or(s.concurrency, 1)
	s.maxQueue = cmp.Or(s.maxQueue, 200)
	s.slo = cmp.Or(s.slo, slo)
	s.async = cmp.Or(s.async, 20*time.Second)
	s.reclaim = cmp.Or(s.reclaim, 5*time.Second)
	s.maxBody = cmp.Or(s.maxBody, 1<<20)
	s.maxMemory = cmp.Or(s.maxMemory, 64<<20)
	s.deliveries = cmp.Or(s.deliveries, 3)

	log := slog.New(slog.DiscardHandler)
	redisqueue.UseLogger(log)
	queue, err := redisqueue.New(redisqueue.Config{
		Connection: redisqueue.Connection{URL: url, Password: dispatchtest.RedisPassword}, Name: s.name,
		ResultTTL: time.Minute, Connections: 64, DeadLetterBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Connect(t.Context(), 10*time.Second, log); err != nil {
		t.Fatal(err)
	}
	d := &dispatcher{fleet: fleet.New(dispatch.Bounds{Least: s.concurrency, Most: s.concurrency}), queue: queue}
	d.has(replicas...)
	client := backend.New(4)
	var call func(context.Context) (ok, failed int)
	if s.wake != "" {
		u, err := wake.ParseURL(s.wake)
		if err != nil {
			t.Fatal(err)
		}
		call = wake.New(u, log).Call
	}
	d.relay = relay.New(relay.Config{
		Name: s.name, Wake: call, MaxQueue: s.maxQueue, ReclaimAfter: s.reclaim,
		MaxDeliveries: s.deliveries, AttemptTimeout: 10 * time.Second, Direct: !s.queued, Tracing: s.traces,
	}, queue, d.fleet, client, log)
	d.relay.Start()
	d.api = queryapi.New(queryapi.Config{SLO: s.slo, ColdStart: s.coldStart, AsyncTimeout: s.async, MaxBody: s.maxBody, MaxMemory: s.maxMemory, Keys: s.keys, Tracing: s.traces}, d.relay, log)
	d.api.Ready()
	d.metrics = d.relay.Metrics().Handler()
	d.Server = httptest.NewUnstartedServer(asDescribed(t, d.api.Handler()))
	d.Config.WriteTimeout = s.writing
	d.Start()
	d.stop = sync.OnceFunc(func() {
		d.relay.GiveUp()
		d.Close()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		d.relay.Stop(ended)
		client.Close()
	})
	t.Cleanup(d.stop)
	dispatchtest.Eventually(t, 10*time.Second, "the dispatcher is ready", func() bool {
		return d.do(t, newRequest(t, http.MethodGet, d.URL+"/readyz", nil)).status == http.StatusOK
	})
	return d
}

// has makes replicas, all ready, the dispatcher's.
func (d *dispatcher) has(replicas ...*dispatchtest.Replica) {
	var list []fleet.Endpoint
	for _, r := range replicas {
		list = append(list, fleet.Endpoint{URL: r.URL, State: dispatch.Ready})
	}
	d.fleet.Set(list)
}

type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (a answer) code() reply.Code {
	var f reply.Failure
	_ = json.Unmarshal(a.body, &f)
	return f.Error.Code
}

func (a answer) id() string {
	var f reply.Failure
	_ = json.Unmarshal(a.body, &f)
	return f.ID
}

func newRequest(t testing.TB, method, url string, body []byte, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (d *dispatcher) do(t testing.TB, r *http.Request) answer {
	t.Helper()
	begin := time.Now()
	response, err := d.Client().Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return answer{}
	}
	// Not after the body: the client holds its end back for 50 ms where the server
	// has answered before everything was sent.
	took := time.Since(begin)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	return answer{response.StatusCode, response.Header, body, took}
}

func (d *dispatcher) query(t testing.TB, headers ...string) answer {
	t.Helper()
	return d.do(t, newRequest(t, http.MethodPost, d.URL+"/query", picture, headers...))
}

// result waits until an asynchronous request has one.
func (d *dispatcher) result(t testing.TB, location string) answer {
	t.Helper()
	var a answer
	dispatchtest.Eventually(t, 20*time.Second, "the result of "+location, func() bool {
		a = d.do(t, newRequest(t, http.MethodGet, d.URL+location, nil))
		return a.status != http.StatusAccepted
	})
	return a
}

// metric is the value of one series, or -1 where there is none.
func (d *dispatcher) metric(t testing.TB, series string) float64 {
	t.Helper()
	w := httptest.NewRecorder()
	d.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(w.Body.String())
	if found == nil {
		return -1
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (d *dispatcher) expectMetrics(t testing.TB, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		if got := d.metric(t, series); got != value {
			t.Errorf("%s is %v, want %v", series, got, value)
		}
	}
}

func expect(t testing.TB, a answer, status int, code reply.Code) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("answered %d %s, want %d %q", a.status, a.body, status, code)
	}
	name := "error"
	if status == http.StatusOK {
		name = "reply"
	}
	if status == http.StatusAccepted {
		return
	}
	keepsContract(t, name, a.body)
	if (status == http.StatusServiceUnavailable) != (a.header.Get("Retry-After") != "") {
		t.Errorf("status %d with Retry-After %q", status, a.header.Get("Retry-After"))
	}
}

func keepsContract(t testing.TB, schema string, body []byte) {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile("../../../contract/" + schema + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Errorf("body %q is no JSON: %v", body, err)
		return
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("body %s: %v", body, err)
	}
}

// queueIsEmpty waits until nothing is left in Redis' queue.
func queueIsEmpty(t testing.TB, client *redis.Client) {
	t.Helper()
	dispatchtest.Eventually(t, 10*time.Second, "the queue is empty", func() bool {
		entries, pending := dispatchtest.QueueLength(t, client)
		return entries == 0 && pending == 0
	})
}

func TestAPictureInAnyFormIsAnswered(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	replica := dispatchtest.StartReplica(t, nil)
	d := start(t, server.URL(), settings{}, replica)

	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, err := writer.CreateFormFile("image", "p.jpg")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(picture)
	_ = writer.Close()
	asJSON, err := json.Marshal(map[string]string{"image": base64.StdEncoding.EncodeToString(picture)})
	if err != nil {
		t.Fatal(err)
	}
	forms := []struct {
		contentType string
		body        []byte
	}{{"image/jpeg", picture}, {writer.FormDataContentType(), form.Bytes()}, {"application/json", asJSON}}
	for i, f := range forms {
		id := fmt.Sprint("form ", i)
		a := d.do(t, newRequest(t, http.MethodPost, d.URL+"/query", f.body, "Content-Type", f.contentType, "X-Request-Id", id))
		expect(t, a, http.StatusOK, "")
		if a.id() != id || a.header.Get("X-Request-Id") != id {
			t.Errorf("%s: id %q, header %q, want %q", f.contentType, a.id(), a.header.Get("X-Request-Id"), id)
		}
		served := replica.Served()
		if len(served) != i+1 || string(served[i].Picture) != string(picture) || served[i].ID != id {
			t.Fatalf("%s: the replica got %+v", f.contentType, served)
		}
		ms, err := strconv.ParseInt(served[i].Deadline, 10, 64)
		if left := time.Until(time.UnixMilli(ms)); err != nil || left <= 0 || left > slo {
			t.Errorf("the replica's deadline %q is %v away, want up to %v", served[i].Deadline, left, slo)
		}
	}
	if a := d.query(t); a.id() == "" {
		t.Errorf("no id where the caller gave none: %s", a.body)
	}
	queueIsEmpty(t, client)
	d.expectMetrics(t, map[string]float64{
		"dispatcher_requests_total":                                     4,
		"dispatcher_requests_forwarded_total":                           4,
		`dispatcher_request_duration_seconds_count{outcome="answered"}`: 4,
		"dispatcher_backend_duration_seconds_count":                     4,
		"dispatcher_in_flight":                                          0,
		`dispatcher_replicas{state="ready"}`:                            1,
		`dispatcher_requests_dropped_total{reason="deadline"}`:          0,
	})
}

func TestBadRequestsAreToldWhy(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	replica := dispatchtest.StartReplica(t, nil)
	d := start(t, server.URL(), settings{maxBody: 4096}, replica)
	post := func(body []byte, headers ...string) *http.Request {
		return newRequest(t, http.MethodPost, d.URL+"/query", body, headers...)
	}
	for name, test := range map[string]struct {
		request *http.Request
		status  int
		code    reply.Code
	}{
		"nothing":                   {post(nil), 400, reply.BadRequest},
		"too much":                  {post(make([]byte, 4097)), 413, reply.TooLarge},
		"another type":              {post(picture, "Content-Type", "text/html"), 415, reply.UnsupportedMediaType},
		"an id with a tab":          {post(picture, "X-Request-Id", "a\tb"), 400, reply.BadRequest},
		"an id that is too long":    {post(picture, "X-Request-Id", strings.Repeat("x", 129)), 400, reply.BadRequest},
		"an id that is a path":      {post(picture, "X-Request-Id", ".."), 400, reply.BadRequest},
		"a timeout without unit":    {post(picture, "Headroom-Timeout", "300"), 400, reply.BadRequest},
		"a timeout that is short":   {post(picture, "Headroom-Timeout", "999us"), 400, reply.BadRequest},
		"a timeout that is long":    {post(picture, "Headroom-Timeout", "60001ms"), 400, reply.BadRequest},
		"another method":            {newRequest(t, http.MethodGet, d.URL+"/query", nil), 405, reply.MethodNotAllowed},
		"another path":              {newRequest(t, http.MethodGet, d.URL+"/", nil), 404, reply.NotFound},
		"a result nobody asked for": {newRequest(t, http.MethodGet, d.URL+"/result/nobody", nil), 404, reply.NotFound},
	} {
		t.Run(name, func(t *testing.T) { expect(t, d.do(t, test.request), test.status, test.code) })
	}
	if served := replica.Served(); len(served) != 0 {
		t.Errorf("the replica got %d of them", len(served))
	}
}

func TestABadPictureIsTheModelServersToRefuse(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	replica := dispatchtest.StartReplica(t, dispatchtest.Refuse(http.StatusBadRequest, reply.BadImage, "this is no picture"))
	d := start(t, server.URL(), settings{}, replica)
	a := d.query(t, "X-Request-Id", "bad")
	expect(t, a, http.StatusBadRequest, reply.BadImage)
	if !strings.Contains(string(a.body), "this is no picture") || a.id() != "bad" {
		t.Errorf("body %s", a.body)
	}
	d.expectMetrics(t, map[string]float64{
		"dispatcher_requests_forwarded_total":                               1,
		`dispatcher_request_duration_seconds_count{outcome="client_error"}`: 1,
	})
}

func TestABrokenModelServerIsTheOperatorsProblem(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	replica := dispatchtest.StartReplica(t, dispatchtest.Refuse(http.StatusInternalServerError, reply.Internal, "out of order"))
	d := start(t, server.URL(), settings{}, replica)
	expect(t, d.query(t), http.StatusBadGateway, reply.BackendFailed)
	d.expectMetrics(t, map[string]float64{`dispatcher_request_duration_seconds_count{outcome="failed"}`: 1})
}

// inTime checks replies at their deadline: the usual one within 50 ms, and
// none far off, for the machine that tests run on may be busy.
func inTime(t *testing.T, answers []answer, deadline time.Duration) {
	t.Helper()
	var late []time.Duration
	for _, a := range answers {
		expect(t, a, http.StatusGatewayTimeout, reply.DeadlineExceeded)
		late = append(late, a.took-deadline)
	}
	slices.Sort(late)
	t.Logf("lateness: least %v, median %v, most %v", late[0], late[len(late)/2], late[len(late)-1])
	if late[0] < -2*time.Millisecond {
		t.Errorf("a reply came %v before its deadline", -late[0])
	}
	if late[len(late)/2] > punctual || late[len(late)-1] > 10*punctual {
		t.Errorf("replies came %v late", late)
	}
}

func (d *dispatcher) crowd(t *testing.T, n int, headers ...string) []answer {
	t.Helper()
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = d.query(t, headers...) })
	}
	all.Wait()
	return answers
}

func TestASlowModelServerCostsNoMoreThanTheDeadline(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	d := start(t, server.URL(), settings{}, replica)
	first := make(chan answer, 1)
	go func() { first <- d.query(t, "Headroom-Timeout", "600ms") }()
	dispatchtest.Eventually(t, 5*time.Second, "one is in flight", func() bool { return replica.InFlight() == 1 })
	inTime(t, d.crowd(t, 9, "Headroom-Timeout", "200ms"), 200*time.Millisecond)
	inTime(t, []answer{<-first}, 600*time.Millisecond)
	queueIsEmpty(t, client)
	dispatchtest.Eventually(t, 5*time.Second, "the replica is told that nobody waits", func() bool { return replica.InFlight() == 0 })
	d.expectMetrics(t, map[string]float64{
		`dispatcher_requests_dropped_total{reason="deadline"}`:         10,
		`dispatcher_request_duration_seconds_count{outcome="dropped"}`: 10,
	})
	// One place: one of them was tried, the others were too late before it
	// was free.
	if served := replica.Served(); len(served) != 1 {
		t.Errorf("%d were forwarded, want 1", len(served))
	}
}

func TestWithoutReplicasRequestsWaitForOneUntilTheirDeadline(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	d := start(t, server.URL(), settings{})
	inTime(t, d.crowd(t, 5, "Headroom-Timeout", "200ms"), 200*time.Millisecond)
	queueIsEmpty(t, client)
	d.expectMetrics(t, map[string]float64{"dispatcher_requests_forwarded_total": 0})

	answered := make(chan answer)
	go func() { answered <- d.query(t) }()
	dispatchtest.Eventually(t, 5*time.Second, "the queue's length is seen", func() bool { return d.metric(t, "dispatcher_queue_size") == 1 })
	dispatchtest.Eventually(t, 5*time.Second, "its age is seen", func() bool { return d.metric(t, "dispatcher_queue_oldest_age_seconds") > 0 })
	d.has(dispatchtest.StartReplica(t, nil))
	expect(t, <-answered, http.StatusOK, "")
}

func TestASlowSenderGetsItsAnswerAtItsDeadline(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{}, dispatchtest.StartReplica(t, nil))
	for name, length := range map[string]int64{"who says how much comes": 1000, "who doesn't": -1} {
		for _, timeout := range []time.Duration{time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, %v", name, timeout), func(t *testing.T) {
				body, writer := io.Pipe()
				defer func() { _ = writer.Close() }()
				request, err := http.NewRequest(http.MethodPost, d.URL+"/query", body)
				if err != nil {
					t.Fatal(err)
				}
				request.ContentLength = length
				request.Header.Set("Headroom-Timeout", timeout.String())
				inTime(t, []answer{d.do(t, request)}, timeout)
			})
		}
	}
}

func TestASlowSenderWhoIsRefusedIsToldAtOnce(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{maxQueue: 1})
	go d.query(t, "Headroom-Timeout", "10s")
	dispatchtest.Eventually(t, 5*time.Second, "one waits", func() bool { return d.metric(t, "dispatcher_queue_size") == 1 })
	body, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	request, err := http.NewRequest(http.MethodPost, d.URL+"/query", body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1 << 20
	a := d.do(t, request)
	expect(t, a, http.StatusServiceUnavailable, reply.Overloaded)
	if a.took > 200*time.Millisecond {
		t.Errorf("told after %v", a.took)
	}
	d.relay.GiveUp()
}

func TestSlowSendersAreInNobodysWay(t *testing.T) {
	replica := dispatchtest.StartReplica(t, taking(50*time.Millisecond))
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{maxQueue: 4, slo: 500 * time.Millisecond}, replica)
	expect(t, d.query(t), http.StatusOK, "")
	var senders sync.WaitGroup
	for range 12 {
		body, writer := io.Pipe()
		request, err := http.NewRequest(http.MethodPost, d.URL+"/query", body)
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = 1000
		request.Header.Set("Headroom-Timeout", "3s")
		senders.Go(func() { d.do(t, request) })
		defer func() { _ = writer.Close() }()
	}
	defer senders.Wait()
	dispatchtest.Eventually(t, 5*time.Second, "all have come", func() bool { return d.metric(t, "dispatcher_requests_total") == 13 })
	for range 5 {
		expect(t, d.query(t), http.StatusOK, "")
	}
}

func TestAFullQueueRefusesAtTheDoor(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{maxQueue: 3}, replica)
	answered := make(chan answer, 4)
	send := func() {
		a := d.query(t, "Headroom-Timeout", "60s")
		for a.status == http.StatusServiceUnavailable {
			// While the queue fills its length is an estimate.
			a = d.query(t, "Headroom-Timeout", "60s")
		}
		answered <- a
	}
	go send()
	dispatchtest.Eventually(t, 5*time.Second, "the replica has one", func() bool { return replica.InFlight() == 1 })
	for range 3 {
		go send()
	}
	dispatchtest.Eventually(t, 5*time.Second, "three wait", func() bool { return d.metric(t, "dispatcher_queue_size") == 3 })
	arrived, dropped := d.metric(t, "dispatcher_requests_total"), d.metric(t, `dispatcher_requests_dropped_total{reason="overload"}`)
	for range 5 {
		expect(t, d.query(t), http.StatusServiceUnavailable, reply.Overloaded)
		expect(t, d.query(t, "Prefer", "respond-async"), http.StatusServiceUnavailable, reply.Overloaded)
	}
	d.expectMetrics(t, map[string]float64{
		"dispatcher_requests_total":                            arrived + 10,
		`dispatcher_requests_dropped_total{reason="overload"}`: dropped + 10,
	})
	close(gate)
	for range 4 {
		expect(t, <-answered, http.StatusOK, "")
	}
	dispatchtest.Eventually(t, 5*time.Second, "the queue is seen empty", func() bool { return d.metric(t, "dispatcher_queue_size") == 0 })
	expect(t, d.query(t), http.StatusOK, "")
}

func TestACrowdAtOnceFillsTheQueueAndNoMore(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{maxQueue: 10})
	count := map[int]int{}
	for _, a := range d.crowd(t, 60, "Headroom-Timeout", "3s") {
		count[a.status]++
	}
	// Nobody works: ten wait for their deadline, the rest is refused. A look at
	// the queue in the middle of the crowd makes the count inexact.
	late, refused := count[http.StatusGatewayTimeout], count[http.StatusServiceUnavailable]
	if late < 5 || late > 15 || late+refused != 60 {
		t.Errorf("answered %v, want about ten 504 and fifty 503", count)
	}
}

func TestRequestsGoToTheReplicaWithTheLeastInFlight(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	busy := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{concurrency: 3}, busy)
	var held sync.WaitGroup
	for range 2 {
		held.Go(func() { expect(t, d.query(t), http.StatusOK, "") })
	}
	dispatchtest.Eventually(t, 5*time.Second, "two are held", func() bool { return busy.InFlight() == 2 })
	idle := dispatchtest.StartReplica(t, nil)
	d.has(busy, idle)
	for range 6 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	if a, b := len(busy.Served()), len(idle.Served()); a != 2 || b != 6 {
		t.Errorf("the busy one got %d, the idle one %d; want 2 and 6", a, b)
	}
	close(gate)
	held.Wait()
}

func TestNoReplicaGetsMoreThanItWorksOn(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	work := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Millisecond)
		dispatchtest.Predict(w, r)
	}
	a, b := dispatchtest.StartReplica(t, work), dispatchtest.StartReplica(t, work)
	d := start(t, server.URL(), settings{concurrency: 2}, a, b)
	for _, answer := range d.crowd(t, 100, "Headroom-Timeout", "30s") {
		expect(t, answer, http.StatusOK, "")
	}
	if a.MostInFlight() > 2 || b.MostInFlight() > 2 {
		t.Errorf("at most %d and %d in flight, want 2", a.MostInFlight(), b.MostInFlight())
	}
	if len(a.Served()) < 20 || len(b.Served()) < 20 {
		t.Errorf("served %d and %d: not shared", len(a.Served()), len(b.Served()))
	}
}

func TestARequestOfADyingReplicaIsTriedOnAnother(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	for name, answer := range map[string]http.HandlerFunc{
		"it breaks the connection": dispatchtest.Die,
		"it is shutting down":      dispatchtest.Refuse(http.StatusServiceUnavailable, reply.NotReady, "draining"),
	} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan struct{})
			dying := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, answer))
			d := start(t, server.URL(), settings{}, dying)
			answered := make(chan answerOf)
			go func() { answered <- answerOf{d.query(t)} }()
			dispatchtest.Eventually(t, 5*time.Second, "the request is in flight", func() bool { return dying.InFlight() == 1 })
			healthy := dispatchtest.StartReplica(t, nil)
			d.has(dying, healthy)
			close(gate)
			expect(t, (<-answered).answer, http.StatusOK, "")
			d.expectMetrics(t, map[string]float64{"dispatcher_requests_forwarded_total": 2})
			// It is left alone now, though it has nothing in flight.
			expect(t, d.query(t), http.StatusOK, "")
			if n := len(dying.Served()); n != 1 {
				t.Errorf("the dying replica got %d requests, want 1", n)
			}
			d.stop()
		})
	}
}

type answerOf struct{ answer }

func TestWithoutAnotherReplicaASyncRequestFailsAtOnce(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	d := start(t, server.URL(), settings{}, dispatchtest.StartReplica(t, dispatchtest.Die))
	a := d.query(t)
	expect(t, a, http.StatusBadGateway, reply.BackendFailed)
	d.expectMetrics(t, map[string]float64{"dispatcher_requests_forwarded_total": 1})
}

func TestAsyncRequestsAreAnsweredLater(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{}, replica)
	const id = "a/b c?%41"
	a := d.query(t, "Prefer", "respond-async, wait=10", "X-Request-Id", id)
	location := a.header.Get("Location")
	if a.status != http.StatusAccepted || a.id() != id || !strings.HasPrefix(location, "/result/") {
		t.Fatalf("answered %d %s, Location %q", a.status, a.body, location)
	}
	if a := d.do(t, newRequest(t, http.MethodGet, d.URL+location, nil)); a.status != http.StatusAccepted || a.id() != id {
		t.Errorf("while it is pending: %d %s", a.status, a.body)
	}
	if a := d.query(t, "Prefer", "respond-async", "X-Request-Id", id); a.status != http.StatusAccepted || a.header.Get("Location") != location {
		t.Errorf("sent again: %d %s", a.status, a.body)
	}
	close(gate)
	for range 2 {
		result := d.result(t, location)
		expect(t, result, http.StatusOK, "")
		if result.id() != id {
			t.Errorf("the result's id is %q", result.id())
		}
	}
	if n := len(replica.Served()); n != 1 {
		t.Errorf("worked on %d times", n)
	}
	queueIsEmpty(t, client)
	d.expectMetrics(t, map[string]float64{
		"dispatcher_requests_total": 2,
		// The SLO is about callers who wait.
		`dispatcher_request_duration_seconds_count{outcome="answered"}`: 0,
	})
}

func TestAnAsyncErrorKeepsItsStatus(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	d := start(t, server.URL(), settings{}, dispatchtest.StartReplica(t, dispatchtest.Refuse(http.StatusBadRequest, reply.BadImage, "no picture")))
	a := d.query(t, "Prefer", "respond-async")
	expect(t, d.result(t, a.header.Get("Location")), http.StatusBadRequest, reply.BadImage)
}

func TestAnAsyncRequestEndsAtItsDeadlineWithoutReplicas(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	d := start(t, server.URL(), settings{async: 300 * time.Millisecond})
	a := d.query(t, "Prefer", "respond-async")
	expect(t, d.result(t, a.header.Get("Location")), http.StatusGatewayTimeout, reply.DeadlineExceeded)
	queueIsEmpty(t, client)
	dispatchtest.Eventually(t, 5*time.Second, "it is counted", func() bool {
		return d.metric(t, `dispatcher_requests_dropped_total{reason="deadline"}`) == 1
	})
}

func TestAnAsyncRequestOutlivesItsReplica(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	replica := dispatchtest.StartReplica(t, dispatchtest.Die)
	d := start(t, server.URL(), settings{}, replica)
	a := d.query(t, "Prefer", "respond-async")
	dispatchtest.Eventually(t, 5*time.Second, "it was tried", func() bool { return len(replica.Served()) > 0 })
	replica.Answer(dispatchtest.Predict)
	expect(t, d.result(t, a.header.Get("Location")), http.StatusOK, "")
}

func TestTwoDispatchersShareTheWork(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	replica := dispatchtest.StartReplica(t, nil)
	door := start(t, server.URL(), settings{name: "door"})
	start(t, server.URL(), settings{name: "worker", concurrency: 4}, replica)
	for _, a := range door.crowd(t, 20) {
		expect(t, a, http.StatusOK, "")
	}
	a := door.query(t, "Prefer", "respond-async")
	expect(t, door.result(t, a.header.Get("Location")), http.StatusOK, "")
	queueIsEmpty(t, client)
	door.expectMetrics(t, map[string]float64{"dispatcher_requests_forwarded_total": 0})
}

func TestWhenTheCallerGoesTheWorkStops(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	d := start(t, server.URL(), settings{}, replica)
	ctx, cancel := context.WithCancel(t.Context())
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			response, err := d.Client().Do(newRequest(t, http.MethodPost, d.URL+"/query", picture, "Headroom-Timeout", "60s").WithContext(ctx))
			if err == nil {
				_ = response.Body.Close()
				t.Errorf("answered %d", response.StatusCode)
			}
		})
	}
	dispatchtest.Eventually(t, 5*time.Second, "one is in flight and one waits", func() bool {
		return replica.InFlight() == 1 && d.metric(t, "dispatcher_queue_size") == 1
	})
	cancel()
	both.Wait()
	queueIsEmpty(t, client)
	dispatchtest.Eventually(t, 5*time.Second, "the replica is free", func() bool { return replica.InFlight() == 0 })
}

func TestAFrozenRedisHoldsNobody(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	d := start(t, server.URL(), settings{queued: true}, dispatchtest.StartReplica(t, nil))
	server.Freeze()
	defer server.Thaw()
	inTime(t, d.crowd(t, 10, "Headroom-Timeout", "300ms"), 300*time.Millisecond)
}

func TestWithoutRedisThoseWhoWaitAreAnswered(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, nil)
	d := start(t, server.URL(), settings{queued: true, maxQueue: 4}, replica)
	server.Freeze()
	defer server.Thaw()
	dispatchtest.Eventually(t, 10*time.Second, "the queue's length is unknown", func() bool { return d.metric(t, "dispatcher_queue_size") == -1 })
	expect(t, d.query(t, "Prefer", "respond-async"), http.StatusServiceUnavailable, reply.QueueUnavailable)
	expect(t, d.query(t, "Idempotency-Key", "k"), http.StatusServiceUnavailable, reply.QueueUnavailable)
	if a := d.do(t, newRequest(t, http.MethodGet, d.URL+"/readyz", nil)); a.status != http.StatusOK {
		t.Errorf("readyz answered %d: others can't do better without Redis", a.status)
	}
	for range 3 {
		expect(t, d.query(t), http.StatusOK, "")
	}
	// They wait their turn, and no more of them than may wait in the queue.
	replica.Answer(dispatchtest.Hold(gate, dispatchtest.Predict))
	answered := make(chan answer, 5)
	for i := range 5 {
		go func() { answered <- d.query(t, "Headroom-Timeout", "30s") }()
		dispatchtest.Eventually(t, 5*time.Second, "it waits", func() bool {
			return replica.InFlight() == 1 && d.metric(t, "dispatcher_waiting") == float64(i)
		})
	}
	expect(t, d.query(t, "Headroom-Timeout", "30s"), http.StatusServiceUnavailable, reply.Overloaded)
	close(gate)
	for range 5 {
		expect(t, <-answered, http.StatusOK, "")
	}
	server.Thaw()
	dispatchtest.Eventually(t, 10*time.Second, "the queue's length is known again", func() bool { return d.metric(t, "dispatcher_queue_size") == 0 })
	expect(t, d.query(t, "Prefer", "respond-async"), http.StatusAccepted, "")
}

func TestARestartedRedisKeepsAsyncRequests(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	d := start(t, server.URL(), settings{reclaim: time.Second}, replica)
	var locations []string
	for range 5 {
		a := d.query(t, "Prefer", "respond-async")
		if a.status != http.StatusAccepted {
			t.Fatalf("answered %d %s", a.status, a.body)
		}
		locations = append(locations, a.header.Get("Location"))
	}
	dispatchtest.Eventually(t, 5*time.Second, "one is in flight", func() bool { return replica.InFlight() == 1 })
	server.Kill()
	expect(t, d.query(t, "Prefer", "respond-async"), http.StatusServiceUnavailable, reply.QueueUnavailable)
	// The result comes when there is no Redis to store it.
	close(gate)
	dispatchtest.Eventually(t, 5*time.Second, "the replica is done", func() bool { return replica.InFlight() == 0 })
	dispatchtest.Eventually(t, 10*time.Second, "the queue is out of reach", func() bool { return d.metric(t, "dispatcher_queue_size") == -1 })
	server.Start()
	for _, location := range locations {
		expect(t, d.result(t, location), http.StatusOK, "")
	}
	if n := len(replica.Served()); n != 5 {
		t.Errorf("worked on %d requests, want 5", n)
	}
}

func TestAFullRedisRefuses(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	d := start(t, server.URL(), settings{queued: true}, dispatchtest.StartReplica(t, nil))
	limit := func(bytes string) {
		if err := client.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	expect(t, d.query(t), http.StatusServiceUnavailable, reply.QueueUnavailable)
	expect(t, d.query(t, "Prefer", "respond-async"), http.StatusServiceUnavailable, reply.QueueUnavailable)
	limit("0")
	expect(t, d.query(t), http.StatusOK, "")
}

func TestALongAttemptIsNotTakenOver(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	first := start(t, server.URL(), settings{name: "a", reclaim: time.Second}, replica)
	a := first.query(t, "Prefer", "respond-async")
	dispatchtest.Eventually(t, 5*time.Second, "it is in flight", func() bool { return replica.InFlight() == 1 })
	other := dispatchtest.StartReplica(t, nil)
	second := start(t, server.URL(), settings{name: "b", reclaim: time.Second}, other)
	begin := time.Now()
	dispatchtest.Eventually(t, 10*time.Second, "several times the reclaim time passes", func() bool { return time.Since(begin) > 3*time.Second })
	close(gate)
	expect(t, second.result(t, a.header.Get("Location")), http.StatusOK, "")
	if n := len(other.Served()); n != 0 {
		t.Errorf("the other dispatcher took it over %d times", n)
	}
}

func TestStopHandsBackWhatItCannotFinish(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	stuck := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	first := start(t, server.URL(), settings{name: "a", reclaim: time.Minute}, stuck)
	a := first.query(t, "Prefer", "respond-async")
	dispatchtest.Eventually(t, 5*time.Second, "it is in flight", func() bool { return stuck.InFlight() == 1 })
	first.stop()
	second := start(t, server.URL(), settings{name: "b", reclaim: time.Minute}, dispatchtest.StartReplica(t, nil))
	expect(t, second.result(t, a.header.Get("Location")), http.StatusOK, "")
}

func TestThoseWhoStillWaitAreToldOfTheEnd(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{})
	answered := make(chan answer)
	go func() { answered <- d.query(t, "Headroom-Timeout", "60s") }()
	dispatchtest.Eventually(t, 5*time.Second, "it waits", func() bool { return d.metric(t, "dispatcher_queue_size") == 1 })
	d.api.Drain()
	expect(t, d.do(t, newRequest(t, http.MethodGet, d.URL+"/readyz", nil)), http.StatusServiceUnavailable, reply.NotReady)
	d.relay.GiveUp()
	expect(t, <-answered, http.StatusServiceUnavailable, reply.NotReady)
	d.expectMetrics(t, map[string]float64{`dispatcher_requests_dropped_total{reason="shutdown"}`: 1})
}

func TestTheContractsNamesAreTheOnesHere(t *testing.T) {
	text, err := os.ReadFile("../../../contract/request.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Paths   struct{ Dispatcher, Result string }
		Headers struct {
			Deadline, Timeout, Async struct{ Name, Format string }
			RequestID                struct{ Name string } `json:"request_id"`
			Idempotency              struct{ Name string } `json:"idempotency_key"`
			Trace, Priority          struct{ Name string }
		}
	}
	if err := json.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	got := []string{
		contract.Paths.Dispatcher, contract.Paths.Result, contract.Headers.Deadline.Name, contract.Headers.Timeout.Name,
		contract.Headers.RequestID.Name, contract.Headers.Async.Name, contract.Headers.Async.Format,
		contract.Headers.Trace.Name, contract.Headers.Priority.Name, contract.Headers.Idempotency.Name,
	}
	want := []string{"/query", "/result/{id}", backend.DeadlineHeader, queryapi.TimeoutHeader, reply.IDHeader, "Prefer", "respond-async", tracing.Header,
		queryapi.PriorityHeader, queryapi.IdempotencyHeader}
	if !slices.Equal(got, want) {
		t.Errorf("contract %q, here %q", got, want)
	}
}

// BenchmarkOverhead is what a request costs on its way through the dispatcher,
// beside the same request sent to the model server itself: 200 a second, at
// even intervals, each with a picture of 60 KB.
func BenchmarkOverhead(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 60<<10/16)
	work := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(5 * time.Millisecond)
		dispatchtest.Predict(w, r)
	}
	replicas := []*dispatchtest.Replica{dispatchtest.StartReplica(b, work), dispatchtest.StartReplica(b, work)}
	server := dispatchtest.StartRedis(b)
	control := server.Client()
	defer func() { _ = control.Close() }()
	// As a Redis is usually run; the tests' own writes each change to disk.
	if err := control.ConfigSet(b.Context(), "appendfsync", "everysec").Err(); err != nil {
		b.Fatal(err)
	}
	d := start(b, server.URL(), settings{concurrency: 4}, replicas...)
	transport := &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext:         (&net.Dialer{}).DialContext,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for name, url := range map[string]string{"direct": replicas[0].URL + "/", "dispatched": d.URL + "/query"} {
		b.Run(name, func(b *testing.B) {
			took := make([]time.Duration, b.N)
			var all sync.WaitGroup
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				all.Go(func() {
					begin := time.Now()
					response, err := client.Post(url, "image/jpeg", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
					if response.StatusCode != http.StatusOK {
						b.Errorf("answered %d", response.StatusCode)
					}
					took[i] = time.Since(begin)
				})
			}
			all.Wait()
			slices.Sort(took)
			ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
			b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
			b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
		})
	}
}
