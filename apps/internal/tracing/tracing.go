// Package tracing follows a request from process to process. The request's
// W3C Trace Context (https://www.w3.org/TR/trace-context/) goes along from hop
// to hop whether or not a process traces; one that is given a collector adds
// OpenTelemetry spans to the trace.
//
// Of Trace Context only traceparent is carried, not tracestate: nothing here
// decides by it, and a queue entry stays small.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Header carries the trace context of a request.
const Header = "traceparent"

const (
	// maxLength is more than any version of traceparent has needed: version 0
	// has 55 bytes, later ones may add fields.
	maxLength = 256

	// queueSize is the most spans that wait to be sent; more are dropped.
	queueSize = 4096
	batchSize = 512
	// batchEvery is how long a span waits for others at most.
	batchEvery = time.Second
	// exportTimeout bounds the sending of one batch, retries included.
	exportTimeout = 5 * time.Second
	firstRetry    = 500 * time.Millisecond
)

// Config says who traces, and where the spans go.
type Config struct {
	// Service is the name that spans are found by, as service.name.
	Service string
	// Version is the program's version, as service.version; may be empty.
	Version string
	// Endpoint is the collector's base URL, as CheckEndpoint takes it; spans
	// are sent to /v1/traces below it, by OTLP over HTTP. Empty turns tracing
	// off.
	Endpoint string
	// SampleRatio is the share, 0 to 1, of requests that are traced among
	// those that arrive without a trace. Those with one follow their parent.
	SampleRatio float64
	// Log is told of spans that could not be sent; nil is slog.Default().
	Log *slog.Logger
}

// CheckEndpoint says what is wrong with a collector's base URL, or nil: http
// or https, a host, and nothing after its path. The error begins with "is" or
// "has", for the caller to put the setting's name before it.
func CheckEndpoint(endpoint string) error {
	if strings.Contains(endpoint, "@") {
		// Not quoted: it may hold a password.
		return errors.New("has a user; allowed: http://host:4318 or the same with https, credentials go into OTEL_EXPORTER_OTLP_HEADERS")
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || strings.ContainsAny(endpoint, "?#") {
		return fmt.Errorf("is %q; allowed: http://host:4318 or the same with https", endpoint)
	}
	return nil
}

// CheckSampleRatio says what is wrong with a share of requests to trace, or
// nil: 0 to 1. The error begins with "is".
func CheckSampleRatio(ratio float64) error {
	// NaN is neither.
	if ratio >= 0 && ratio <= 1 {
		return nil
	}
	return fmt.Errorf("is %v; allowed: 0 to 1", ratio)
}

// Tracing makes spans and sends them. Nil and the zero value are off. Its
// methods may be called at the same time.
type Tracing struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	exporter *exporter
}

// Start begins to trace. With an empty Endpoint the result is off: its spans
// record nothing, and nothing runs. Otherwise spans are sent in batches by a
// goroutine that Shutdown ends; nobody waits for the collector, which may be
// away. The error is that of a Config out of its range, or of a variable
// OTEL_… in the environment that OpenTelemetry can't use.
//
// The headers, the compression and the certificates of OpenTelemetry's own
// variables, such as OTEL_EXPORTER_OTLP_HEADERS, apply; nothing is registered
// with OpenTelemetry for the whole process.
func Start(ctx context.Context, config Config) (*Tracing, error) {
	if err := CheckSampleRatio(config.SampleRatio); err != nil {
		return nil, fmt.Errorf("the trace sample ratio %w", err)
	}
	if config.Endpoint == "" {
		return &Tracing{}, nil
	}
	if err := CheckEndpoint(config.Endpoint); err != nil {
		return nil, fmt.Errorf("the OTLP endpoint %w", err)
	}
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(identity(config)...))
	if err != nil {
		return nil, fmt.Errorf("describing this process for its traces: %w", err)
	}
	sender, err := otlptrace.New(ctx, otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(strings.TrimRight(config.Endpoint, "/")+"/v1/traces"),
		otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: firstRetry, MaxInterval: exportTimeout, MaxElapsedTime: exportTimeout,
		}),
	))
	if err != nil {
		return nil, fmt.Errorf("sending traces to %s: %w", config.Endpoint, err)
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	t := &Tracing{exporter: &exporter{SpanExporter: sender, endpoint: config.Endpoint, log: config.Log}}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(config.SampleRatio))),
		sdktrace.WithBatcher(t.exporter,
			sdktrace.WithMaxQueueSize(queueSize), sdktrace.WithMaxExportBatchSize(batchSize),
			sdktrace.WithBatchTimeout(batchEvery), sdktrace.WithExportTimeout(exportTimeout)),
	)
	t.tracer = t.provider.Tracer("headroom.dev/apps/internal/tracing")
	return t, nil
}

func identity(config Config) []attribute.KeyValue {
	who := []attribute.KeyValue{semconv.ServiceNamespace("headroom"), semconv.ServiceName(config.Service)}
	if config.Version != "" {
		who = append(who, semconv.ServiceVersion(config.Version))
	}
	return who
}

// Shutdown sends the spans that wait, until ctx ends at the latest, and ends
// tracing: later spans are dropped. The error says that ctx ended first; that
// a span could not be sent is only logged.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t == nil || t.provider == nil {
		return nil
	}
	err := t.provider.Shutdown(ctx)
	if err != nil {
		// The goroutine still sends, and nobody waits for it any more. With
		// ctx at its end this can only say so again.
		_ = t.exporter.Shutdown(ctx)
		return fmt.Errorf("spans for %s are left unsent: %w", t.exporter.endpoint, err)
	}
	return nil
}

// off is the span of what isn't traced.
var off trace.Span = noop.Span{}

// Span begins a span of work inside this process, the child of the one in ctx
// where there is one; its End must be called. Where tracing is off, ctx comes
// back as it is, with whatever trace it has.
//
// Attributes cost memory even where nothing is recorded: where that counts,
// set them later, if the span's IsRecording says that they are wanted.
func (t *Tracing) Span(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return t.SpanOf(ctx, trace.SpanKindInternal, time.Time{}, name, attributes...)
}

// SpanOf is Span for work of another kind, such as trace.SpanKindServer for
// the answer to a request, or for work that began earlier; zero is now.
func (t *Tracing) SpanOf(ctx context.Context, kind trace.SpanKind, began time.Time, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	if t == nil || t.tracer == nil {
		return ctx, off
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(attributes...)}
	if !began.IsZero() {
		options = append(options, trace.WithTimestamp(began))
	}
	return t.tracer.Start(ctx, name, options...)
}

// carrier is one traceparent, as OpenTelemetry reads and writes it.
type carrier struct{ traceparent string }

func (c *carrier) Get(key string) string {
	if key == Header {
		return c.traceparent
	}
	return ""
}

func (c *carrier) Set(key, value string) {
	if key == Header {
		c.traceparent = value
	}
}

func (*carrier) Keys() []string { return []string{Header} }

// WithTraceParent puts the trace that a traceparent names into ctx: spans are
// its children. One that is malformed or longer than 256 bytes is ignored.
func WithTraceParent(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" || len(traceparent) > maxLength {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, &carrier{traceparent})
}

// TraceParent is the traceparent of the span in ctx, 55 bytes of version 0;
// empty where there is none. Where nothing was traced since WithTraceParent,
// it is what was put in; of a later version, the part that version 0 knows.
func TraceParent(ctx context.Context) string {
	var c carrier
	propagation.TraceContext{}.Inject(ctx, &c)
	return c.traceparent
}

// Extract puts the trace that a request's header names into ctx; see
// WithTraceParent. Of two headers neither counts.
func Extract(ctx context.Context, header http.Header) context.Context {
	if values := header.Values(Header); len(values) == 1 {
		return WithTraceParent(ctx, values[0])
	}
	return ctx
}

// Inject writes the trace in ctx into a request's header, for the next
// process to extract; nothing where there is none.
func Inject(ctx context.Context, header http.Header) {
	if traceparent := TraceParent(ctx); traceparent != "" {
		header.Set(Header, traceparent)
	}
}

// ExemplarTraceID is the id, 32 hex digits, of the trace that this process
// adds the span in ctx to, for the exemplar of a metric; empty where the span
// isn't sampled or is another process's.
func ExemplarTraceID(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() || span.IsRemote() {
		return ""
	}
	return span.TraceID().String()
}
