// Package tracingtest gives tests a collector that takes OTLP over HTTP.
package tracingtest

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector keeps the spans that it is sent.
type Collector struct {
	*httptest.Server

	t     testing.TB
	mu    sync.Mutex
	spans []Span
}

// Span is one that a collector was sent.
type Span struct {
	// Name and Kind are the span's.
	Name string
	Kind tracepb.Span_SpanKind
	// Trace, ID and Parent are its ids in hex; a root has no Parent.
	Trace, ID, Parent string
	// Begin and End are its times.
	Begin, End time.Time
	// Failed says that its status is an error.
	Failed bool
	// Attributes are its own, and Resource those of its process.
	Attributes, Resource Attributes
}

// Attributes are values by their keys: text, int64, bool or nil for a kind of
// value that is not used here.
type Attributes map[string]any

// StartCollector starts a collector that ends with the test. What isn't OTLP
// fails the test.
func StartCollector(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.take)
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the collector got %s %s", r.Method, r.URL.Path)
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var request collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		c.t.Errorf("the collector got what is no OTLP: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, process := range request.GetResourceSpans() {
		about := attributes(process.GetResource().GetAttributes())
		for _, scope := range process.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, Span{
					Name: s.GetName(), Kind: s.GetKind(),
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Begin: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
					Failed:     s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
					Attributes: attributes(s.GetAttributes()), Resource: about,
				})
			}
		}
	}
}

func attributes(list []*commonpb.KeyValue) Attributes {
	a := Attributes{}
	for _, kv := range list {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			a[kv.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			a[kv.GetKey()] = v.IntValue
		case *commonpb.AnyValue_BoolValue:
			a[kv.GetKey()] = v.BoolValue
		default:
			a[kv.GetKey()] = nil
		}
	}
	return a
}

// Spans are those so far, in the order in which they came.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Named are those so far that have a name.
func (c *Collector) Named(name string) []Span {
	var named []Span
	for _, s := range c.Spans() {
		if s.Name == name {
			named = append(named, s)
		}
	}
	return named
}

// StartBlackHole is the base URL of a collector that takes connections and
// never answers; it ends with the test.
func StartBlackHole(t testing.TB) string {
	t.Helper()
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(end); server.Close() })
	return server.URL
}
