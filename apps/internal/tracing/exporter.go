package tracing

import (
	"context"
	"log/slog"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// complainEvery is the least time between two lines of the log: a
	// collector that is away fails every batch.
	complainEvery = time.Minute
	// maxComplaint is the most bytes of an error that are logged: it may quote
	// a whole page of a wrong server.
	maxComplaint = 512
)

// exporter keeps failures from OpenTelemetry's error handler, which is one for
// the whole process, and logs them. The SDK exports one batch at a time.
type exporter struct {
	sdktrace.SpanExporter
	endpoint string
	log      *slog.Logger

	complained time.Time
	lost       int // spans since then
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	e.lost += len(spans)
	if now := time.Now(); e.complained.IsZero() || now.Sub(e.complained) >= complainEvery {
		text := err.Error()
		e.log.Warn("spans could not be sent", "endpoint", e.endpoint, "spans", e.lost, "error", text[:min(len(text), maxComplaint)])
		e.complained, e.lost = now, 0
	}
	return nil
}
