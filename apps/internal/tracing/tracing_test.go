package tracing_test

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"headroom.dev/apps/internal/tracing"
	"headroom.dev/apps/internal/tracing/tracingtest"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	sampled = "00-" + traceID + "-" + spanID + "-01"
	ignored = "00-" + traceID + "-" + spanID + "-00"
)

func begin(t testing.TB, config tracing.Config) *tracing.Tracing {
	t.Helper()
	config.Service = "tester"
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	traces, err := tracing.Start(t.Context(), config)
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

// flush sends what there is.
func flush(t testing.TB, traces *tracing.Tracing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := traces.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestTraceParentsComeThroughAsTheyWere(t *testing.T) {
	for name, test := range map[string]struct{ in, out string }{
		"a sampled one":                                {sampled, sampled},
		"one that isn't sampled":                       {ignored, ignored},
		"one whose id is random":                       {"00-" + traceID + "-" + spanID + "-03", "00-" + traceID + "-" + spanID + "-03"},
		"one of a later version, as far as it's known": {"01-" + traceID + "-" + spanID + "-01-more", sampled},
		"none":                               {"", ""},
		"one in capitals":                    {strings.ToUpper(sampled), ""},
		"one with more than its version has": {sampled + "-more", ""},
		"one without a trace":                {"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", ""},
		"one without a span":                 {"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", ""},
		"one of the version that is none":    {"ff-" + traceID + "-" + spanID + "-01", ""},
		"one that is cut off":                {sampled[:54], ""},
		"one that is far too long":           {"01-" + traceID + "-" + spanID + "-01-" + strings.Repeat("m", 300), ""},
		"what is none":                       {"picture", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := http.Header{}
			in.Set(tracing.Header, test.in)
			ctx := tracing.Extract(t.Context(), in)
			if got := tracing.TraceParent(ctx); got != test.out {
				t.Errorf("extracted %q, want %q", got, test.out)
			}
			if got := tracing.TraceParent(tracing.WithTraceParent(t.Context(), test.in)); got != test.out {
				t.Errorf("put in as text %q, want %q", got, test.out)
			}
			out := http.Header{}
			tracing.Inject(ctx, out)
			if got := out.Get(tracing.Header); got != test.out || len(out.Values(tracing.Header)) > 1 {
				t.Errorf("injected %q, want %q", out, test.out)
			}
		})
	}
}

func TestOfTwoTraceParentsNeitherCounts(t *testing.T) {
	header := http.Header{}
	header.Add(tracing.Header, sampled)
	header.Add(tracing.Header, ignored)
	if got := tracing.TraceParent(tracing.Extract(t.Context(), header)); got != "" {
		t.Errorf("extracted %q", got)
	}
}

func TestWhatIsOffPassesTracesOnAndCostsNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	started := begin(t, tracing.Config{SampleRatio: 1})
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines more", after-before)
	}
	for name, traces := range map[string]*tracing.Tracing{"started without an endpoint": started, "zero": {}, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			ctx := tracing.WithTraceParent(t.Context(), sampled)
			inside, span := traces.Span(ctx, "work", attribute.String("a", "b"))
			if got := tracing.TraceParent(inside); got != sampled {
				t.Errorf("traceparent %q, want %q", got, sampled)
			}
			if span.IsRecording() || tracing.ExemplarTraceID(inside) != "" {
				t.Error("it records")
			}
			if n := testing.AllocsPerRun(100, func() {
				_, span := traces.SpanOf(ctx, trace.SpanKindServer, time.Time{}, "work")
				span.End()
			}); n != 0 {
				t.Errorf("%v allocations a span", n)
			}
			if err := traces.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A span that is off must not end the one around it.
func TestWhatIsOffLeavesTheSpanAroundItAlone(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	ctx, outer := begin(t, tracing.Config{Endpoint: collector.URL, SampleRatio: 1}).Span(t.Context(), "outer")
	var none *tracing.Tracing
	_, span := none.Span(ctx, "inner")
	span.End()
	if !outer.IsRecording() {
		t.Error("the span around it has ended")
	}
}

func TestSpansReachTheCollector(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	// A base URL may have a path, and a slash at its end.
	traces := begin(t, tracing.Config{Version: "v1.2.3", Endpoint: collector.URL + "/", SampleRatio: 0})
	began := time.Now().Add(-time.Minute).Round(time.Microsecond)
	ctx, server := traces.SpanOf(tracing.WithTraceParent(t.Context(), sampled), trace.SpanKindServer, began, "answer", attribute.String("who", "me"))
	if got := tracing.ExemplarTraceID(ctx); got != traceID {
		t.Errorf("exemplar %q, want %q", got, traceID)
	}
	inside, work := traces.Span(ctx, "work", attribute.Int("n", 7))
	next := tracing.TraceParent(inside)
	work.End()
	server.End()
	flush(t, traces)

	if n := len(collector.Spans()); n != 2 {
		t.Fatalf("%d spans, want 2: %+v", n, collector.Spans())
	}
	a, b := collector.Named("answer")[0], collector.Named("work")[0]
	if a.Trace != traceID || a.Parent != spanID || b.Trace != traceID || b.Parent != a.ID {
		t.Errorf("the spans hang together wrongly: %+v, %+v", a, b)
	}
	if want := "00-" + traceID + "-" + b.ID + "-01"; next != want {
		t.Errorf("the next hop gets %q, want %q", next, want)
	}
	if a.Kind != tracepb.Span_SPAN_KIND_SERVER || b.Kind != tracepb.Span_SPAN_KIND_INTERNAL {
		t.Errorf("kinds %v and %v", a.Kind, b.Kind)
	}
	if !a.Begin.Equal(began) || b.Begin.Before(began.Add(time.Minute-time.Second)) {
		t.Errorf("began %v and %v, want %v and now", a.Begin, b.Begin, began)
	}
	if a.Attributes["who"] != "me" || b.Attributes["n"] != int64(7) {
		t.Errorf("attributes %v and %v", a.Attributes, b.Attributes)
	}
	if a.Resource["service.name"] != "tester" || a.Resource["service.version"] != "v1.2.3" || a.Resource["service.namespace"] != "headroom" {
		t.Errorf("the process is %v", a.Resource)
	}
}

func TestTheRatioIsForThoseWithoutATrace(t *testing.T) {
	for name, test := range map[string]struct {
		parent string
		ratio  float64
		want   bool
	}{
		"all, without a trace":            {"", 1, true},
		"none, without a trace":           {"", 0, false},
		"none, with a sampled trace":      {sampled, 0, true},
		"all, with a trace not to sample": {ignored, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			collector := tracingtest.StartCollector(t)
			traces := begin(t, tracing.Config{Endpoint: collector.URL, SampleRatio: test.ratio})
			ctx, span := traces.Span(tracing.WithTraceParent(t.Context(), test.parent), "work")
			if got := tracing.ExemplarTraceID(ctx) != ""; got != test.want {
				t.Errorf("exemplar %v, want %v", got, test.want)
			}
			if parent := tracing.TraceParent(ctx); strings.HasSuffix(parent, "-01") != test.want || len(parent) != 55 {
				t.Errorf("the next hop gets %q; to be sampled: %v", parent, test.want)
			}
			span.End()
			flush(t, traces)
			if got := len(collector.Spans()) == 1; got != test.want {
				t.Errorf("%d spans came", len(collector.Spans()))
			}
		})
	}
}

func TestExemplarsAreOfThisProcess(t *testing.T) {
	if got := tracing.ExemplarTraceID(tracing.WithTraceParent(t.Context(), sampled)); got != "" {
		t.Errorf("exemplar %q of a span elsewhere", got)
	}
	if got := tracing.ExemplarTraceID(t.Context()); got != "" {
		t.Errorf("exemplar %q of no span", got)
	}
}

func TestWhatCanNotWorkIsOneClearLine(t *testing.T) {
	const allowed = "; allowed: http://host:4318 or the same with https"
	for name, test := range map[string]struct {
		endpoint string
		ratio    float64
		want     string
	}{
		"no scheme":          {"collector:4318", 1, `the OTLP endpoint is "collector:4318"` + allowed},
		"only a host":        {"collector", 1, `the OTLP endpoint is "collector"` + allowed},
		"another scheme":     {"grpc://collector:4317", 1, `the OTLP endpoint is "grpc://collector:4317"` + allowed},
		"no host":            {"http://:4318", 1, `the OTLP endpoint is "http://:4318"` + allowed},
		"a query":            {"http://h?x=1", 1, `the OTLP endpoint is "http://h?x=1"` + allowed},
		"a fragment":         {"http://h#", 1, `the OTLP endpoint is "http://h#"` + allowed},
		"what isn't a URL":   {"http://h:port", 1, `the OTLP endpoint is "http://h:port"` + allowed},
		"two lines":          {"http://h\n", 1, `the OTLP endpoint is "http://h\n"` + allowed},
		"a password":         {"http://me:hidden@h", 1, "the OTLP endpoint has a user; allowed: http://host:4318 or the same with https, credentials go into OTEL_EXPORTER_OTLP_HEADERS"},
		"more than all":      {"http://h", 1.5, "the trace sample ratio is 1.5; allowed: 0 to 1"},
		"less than none":     {"http://h", -0.1, "the trace sample ratio is -0.1; allowed: 0 to 1"},
		"no number":          {"http://h", math.NaN(), "the trace sample ratio is NaN; allowed: 0 to 1"},
		"a bad ratio of off": {"", 2, "the trace sample ratio is 2; allowed: 0 to 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tracing.Start(t.Context(), tracing.Config{Service: "tester", Endpoint: test.endpoint, SampleRatio: test.ratio})
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// The queue's bound is passed several times over.
func TestACollectorThatHangsSlowsNobodyAndShutdownIsBounded(t *testing.T) {
	traces := begin(t, tracing.Config{Endpoint: tracingtest.StartBlackHole(t), SampleRatio: 1})
	const spans = 20_000
	from := time.Now()
	for range spans {
		_, span := traces.Span(t.Context(), "work")
		span.End()
	}
	if took := time.Since(from); took > 2*time.Second {
		t.Errorf("%d spans took %v", spans, took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	from = time.Now()
	err := traces.Shutdown(ctx)
	if took := time.Since(from); err == nil || !strings.Contains(err.Error(), "are left unsent: ") || took > time.Second {
		t.Errorf("shut down after %v with %v", took, err)
	}
	_, span := traces.Span(t.Context(), "late")
	span.End()
}

func TestFailuresAreLoggedOnceAMinuteAndNowhereElse(t *testing.T) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Errorf("OpenTelemetry's own handler got %v", err) }))
	defer otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	refuse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(strings.Repeat("<html>\n", 1000)))
	}))
	defer refuse.Close()
	var said bytes.Buffer
	traces := begin(t, tracing.Config{Endpoint: refuse.URL, SampleRatio: 1, Log: slog.New(slog.NewTextHandler(&said, nil))})
	// Three batches and some.
	for range 3*512 + 1 {
		_, span := traces.Span(t.Context(), "work")
		span.End()
	}
	flush(t, traces)
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 1 || !strings.Contains(lines[0], "spans could not be sent") || !strings.Contains(lines[0], "spans=512") || !strings.Contains(lines[0], "403 Forbidden") {
		t.Errorf("the log has %q", lines)
	}
	if len(said.String()) > 2048 {
		t.Errorf("the log has %d bytes", said.Len())
	}
}
