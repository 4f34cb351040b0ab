package queryapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
	"headroom.dev/apps/internal/tracing/tracingtest"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	traceparent  = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// heard keeps the traceparent of each request that a replica got.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) before(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.lines = append(h.lines, strings.Join(r.Header.Values("traceparent"), " and "))
		h.mu.Unlock()
		next(w, r)
	}
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

func startTracing(t testing.TB, service, endpoint string, ratio float64) *tracing.Tracing {
	t.Helper()
	traces, err := tracing.Start(t.Context(), tracing.Config{
		Service: service, Endpoint: endpoint, SampleRatio: ratio, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = traces.Shutdown(ended)
	})
	return traces
}

// collected are the spans of a name, once there are n of them.
func collected(t testing.TB, c *tracingtest.Collector, name string, n int) []tracingtest.Span {
	t.Helper()
	dispatchtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d spans %q", n, name), func() bool { return len(c.Named(name)) >= n })
	spans := c.Named(name)
	if len(spans) != n {
		t.Fatalf("%d spans %q, want %d: %+v", len(spans), name, n, spans)
	}
	slices.SortFunc(spans, func(a, b tracingtest.Span) int { return a.Begin.Compare(b.Begin) })
	return spans
}

func TestATraceLeadsFromTheCallerToTheModelServer(t *testing.T) {
	for name, headers := range map[string][]string{
		"one who waits":   nil,
		"one who doesn't": {"Prefer", "respond-async"},
	} {
		t.Run(name, func(t *testing.T) {
			collector := tracingtest.StartCollector(t)
			var at heard
			replica := dispatchtest.StartReplica(t, at.before(dispatchtest.Predict))
			d := start(t, dispatchtest.StartRedis(t).URL(), settings{queued: true, traces: startTracing(t, "dispatcher", collector.URL, 0)}, replica)
			a := d.query(t, append(headers, "traceparent", traceparent, "X-Request-Id", "traced")...)
			if location := a.header.Get("Location"); location != "" {
				a = d.result(t, location)
			}
			expect(t, a, http.StatusOK, "")

			query, queue, attempt := collected(t, collector, "query", 1)[0], collected(t, collector, "queue", 1)[0], collected(t, collector, "attempt", 1)[0]
			if query.Trace != callersTrace || query.Parent != callersSpan {
				t.Errorf("the query's span hangs from %s of %s, want %s of %s", query.Parent, query.Trace, callersSpan, callersTrace)
			}
			for _, s := range []tracingtest.Span{queue, attempt} {
				if s.Trace != callersTrace || s.Parent != query.ID {
					t.Errorf("%q hangs from %s of %s, want the query's %s of %s", s.Name, s.Parent, s.Trace, query.ID, callersTrace)
				}
			}
			if got, want := at.all(), []string{"00-" + callersTrace + "-" + attempt.ID + "-01"}; !slices.Equal(got, want) {
				t.Errorf("the model server got %q, want the attempt's %q", got, want)
			}

			kinds := []tracepb.Span_SpanKind{query.Kind, queue.Kind, attempt.Kind}
			if want := []tracepb.Span_SpanKind{tracepb.Span_SPAN_KIND_SERVER, tracepb.Span_SPAN_KIND_CONSUMER, tracepb.Span_SPAN_KIND_CLIENT}; !slices.Equal(kinds, want) {
				t.Errorf("kinds %v, want %v", kinds, want)
			}
			status := int64(http.StatusOK)
			if headers != nil {
				status = http.StatusAccepted
			}
			says(t, query, tracingtest.Attributes{
				"http.request.method": "POST", "http.route": "/query", "http.response.status_code": status,
				"headroom.request_id": "traced", "headroom.async": headers != nil, "headroom.outcome": "answered",
			})
			says(t, attempt, tracingtest.Attributes{
				"url.full": replica.URL, "headroom.attempt": int64(1), "headroom.outcome": "answered", "headroom.status": int64(http.StatusOK),
			})
			if query.Failed || queue.Failed || attempt.Failed {
				t.Error("a span says that something failed")
			}
			// The queue counts whole milliseconds.
			if queue.Begin.Before(query.Begin.Add(-time.Millisecond)) || queue.End.After(attempt.Begin) || attempt.End.Before(attempt.Begin) {
				t.Errorf("query %v, queue %v to %v, attempt %v to %v", query.Begin, queue.Begin, queue.End, attempt.Begin, attempt.End)
			}
		})
	}
}

func says(t testing.TB, s tracingtest.Span, want tracingtest.Attributes) {
	t.Helper()
	for key, value := range want {
		if s.Attributes[key] != value {
			t.Errorf("%q: %s is %v, want %v", s.Name, key, s.Attributes[key], value)
		}
	}
}

func TestATraceLeadsThroughTheDispatcherThatHasRoom(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	var at heard
	server := dispatchtest.StartRedis(t)
	door := start(t, server.URL(), settings{name: "door", traces: startTracing(t, "door", collector.URL, 1)})
	start(t, server.URL(), settings{name: "worker", traces: startTracing(t, "worker", collector.URL, 1)}, dispatchtest.StartReplica(t, at.before(dispatchtest.Predict)))
	expect(t, door.query(t), http.StatusOK, "")

	query, attempt := collected(t, collector, "query", 1)[0], collected(t, collector, "attempt", 1)[0]
	if query.Resource["service.name"] != "door" || attempt.Resource["service.name"] != "worker" {
		t.Errorf("query by %v, attempt by %v", query.Resource, attempt.Resource)
	}
	if query.Parent != "" || attempt.Trace != query.Trace || attempt.Parent != query.ID {
		t.Errorf("the attempt hangs from %s of %s, want %s of %s, a root (%q)", attempt.Parent, attempt.Trace, query.ID, query.Trace, query.Parent)
	}
	if got, want := at.all(), []string{"00-" + query.Trace + "-" + attempt.ID + "-01"}; !slices.Equal(got, want) {
		t.Errorf("the model server got %q, want %q", got, want)
	}
}

func TestEachAttemptHasASpan(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	var first, second heard
	busy := dispatchtest.Refuse(503, reply.Overloaded, "busy")
	replicas := []*dispatchtest.Replica{dispatchtest.StartReplica(t, first.before(busy)), dispatchtest.StartReplica(t, second.before(busy))}
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{traces: startTracing(t, "dispatcher", collector.URL, 1)}, replicas...)
	expect(t, d.query(t), http.StatusServiceUnavailable, reply.Overloaded)

	attempts := collected(t, collector, "attempt", 2)
	var urls, headers []string
	for i, s := range attempts {
		says(t, s, tracingtest.Attributes{"headroom.attempt": int64(i + 1), "headroom.outcome": "busy"})
		if !s.Failed {
			t.Errorf("attempt %d does not say that it failed", i+1)
		}
		urls = append(urls, fmt.Sprint(s.Attributes["url.full"]))
		headers = append(headers, "00-"+s.Trace+"-"+s.ID+"-01")
	}
	if want := []string{replicas[0].URL, replicas[1].URL}; !slices.Equal(slices.Sorted(slices.Values(urls)), slices.Sorted(slices.Values(want))) {
		t.Errorf("attempts at %q, want one at each of %q", urls, want)
	}
	if got := append(first.all(), second.all()...); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(headers))) {
		t.Errorf("the model servers got %q, want each its attempt's of %q", got, headers)
	}
	query := collected(t, collector, "query", 1)[0]
	says(t, query, tracingtest.Attributes{"headroom.outcome": "refused", "http.response.status_code": int64(503)})
	if !query.Failed {
		t.Error("the query does not say that it failed")
	}
}

func TestWithoutTracingACallersTraceComesThroughUnchanged(t *testing.T) {
	for name, test := range map[string]struct{ sent, want string }{
		"a trace":                         {traceparent, traceparent},
		"a trace that is not sampled":     {traceparent[:53] + "00", traceparent[:53] + "00"},
		"no trace":                        {"", ""},
		"what is no trace":                {"00-picture-01", ""},
		"more than a trace can ever have": {strings.Repeat("0", 4096), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var at heard
			server := dispatchtest.StartRedis(t)
			client := server.Client()
			defer func() { _ = client.Close() }()
			d := start(t, server.URL(), settings{}, dispatchtest.StartReplica(t, at.before(dispatchtest.Predict)))
			var headers []string
			if test.sent != "" {
				headers = []string{"traceparent", test.sent}
			}
			expect(t, d.query(t, headers...), http.StatusOK, "")
			a := d.query(t, append(headers, "Prefer", "respond-async")...)
			expect(t, d.result(t, a.header.Get("Location")), http.StatusOK, "")
			if got := at.all(); !slices.Equal(got, []string{test.want, test.want}) {
				t.Errorf("the model server got %q, want %q twice", got, test.want)
			}
			queueIsEmpty(t, client)
		})
	}
}

// An entry may come from a dispatcher of another version, or be spoilt.
func TestEntriesAreServedWhateverTheirTrace(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	var at heard
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	start(t, server.URL(), settings{traces: startTracing(t, "dispatcher", collector.URL, 1)}, dispatchtest.StartReplica(t, at.before(dispatchtest.Predict)))
	entries := []any{nil, "", "00-picture-01", strings.Repeat("0", 1<<16), traceparent}
	for i, trace := range entries {
		values := map[string]any{
			"id": fmt.Sprint("entry-", i), "mode": "async", "result": "r", "picture": "p", "deadline": time.Now().Add(10 * time.Second).UnixMilli(),
		}
		if trace != nil {
			values["traceparent"] = trace
		}
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "{headroom}:queue:normal", Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	queueIsEmpty(t, client)

	// Without a trace there is nothing for spans to belong to.
	queue, attempt := collected(t, collector, "queue", 1)[0], collected(t, collector, "attempt", 1)[0]
	if queue.Parent != callersSpan || attempt.Parent != callersSpan {
		t.Errorf("the spans hang from %s and %s, want %s", queue.Parent, attempt.Parent, callersSpan)
	}
	if got, want := at.all(), []string{"", "", "", "", "00-" + callersTrace + "-" + attempt.ID + "-01"}; !slices.Equal(got, want) {
		t.Errorf("the model server got %q, want %q", got, want)
	}
}

func TestAnEntryFromTheFutureHasWaitedForNoTime(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	start(t, server.URL(), settings{traces: startTracing(t, "dispatcher", collector.URL, 1)}, dispatchtest.StartReplica(t, nil))
	// As if Redis' clock were an hour ahead.
	place := fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli())
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "{headroom}:queue:normal", ID: place, Values: map[string]any{
		"id": "early", "mode": "async", "result": "r", "picture": "p", "deadline": time.Now().Add(10 * time.Second).UnixMilli(), "traceparent": traceparent,
	}}).Err(); err != nil {
		t.Fatal(err)
	}
	queue := collected(t, collector, "queue", 1)[0]
	if took := queue.End.Sub(queue.Begin); took < 0 || took > time.Second || queue.Begin.After(time.Now()) {
		t.Errorf("queued from %v to %v", queue.Begin, queue.End)
	}
}

func TestASampledRequestIsAnExemplar(t *testing.T) {
	scrape := func(d *dispatcher) string {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
		w := httptest.NewRecorder()
		d.metrics.ServeHTTP(w, r)
		return w.Body.String()
	}
	exemplar := `# {trace_id="` + callersTrace + `"}`
	for name, test := range map[string]struct {
		endpoint, sent string
		want           bool
	}{
		"of a trace that is sampled":            {tracingtest.StartCollector(t).URL, traceparent, true},
		"but not of one that isn't":             {tracingtest.StartCollector(t).URL, traceparent[:53] + "00", false},
		"nor of one that only the caller keeps": {"", traceparent, false},
	} {
		t.Run(name, func(t *testing.T) {
			traces := startTracing(t, "dispatcher", test.endpoint, 1)
			d := start(t, dispatchtest.StartRedis(t).URL(), settings{traces: traces}, dispatchtest.StartReplica(t, nil))
			expect(t, d.query(t, "traceparent", test.sent), http.StatusOK, "")
			if got := strings.Contains(scrape(d), exemplar); got != test.want {
				t.Errorf("exemplar %v, want %v", got, test.want)
			}
			d.expectMetrics(t, map[string]float64{`dispatcher_request_duration_seconds_count{outcome="answered"}`: 1})
		})
	}
}

// With nobody at the endpoint and with somebody who never answers.
func TestRequestsDoNotWaitForTheCollector(t *testing.T) {
	median := func(endpoint string) time.Duration {
		traces := startTracing(t, "dispatcher", endpoint, 1)
		d := start(t, dispatchtest.StartRedis(t).URL(), settings{traces: traces}, dispatchtest.StartReplica(t, nil))
		var took []time.Duration
		for range 100 {
			a := d.query(t)
			expect(t, a, http.StatusOK, "")
			took = append(took, a.took)
		}
		slices.Sort(took)
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		// What it says is tested where it is made.
		_ = traces.Shutdown(ctx)
		if late := time.Since(begin); late > time.Second {
			t.Errorf("%q: shut down after %v", endpoint, late)
		}
		return took[len(took)/2]
	}
	off := median("")
	for _, endpoint := range []string{"http://" + dispatchtest.FreeAddress(t), tracingtest.StartBlackHole(t)} {
		if on := median(endpoint); on > off+20*time.Millisecond {
			t.Errorf("a request takes %v with %s, and %v without tracing", on, endpoint, off)
		}
	}
}
