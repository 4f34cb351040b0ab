package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// broken loses every span.
type broken struct{ sdktrace.SpanExporter }

func (broken) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("nobody there")
}

func TestAFailureThatLastsIsLoggedOnceAMinuteWithWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		e := &exporter{SpanExporter: broken{}, log: slog.New(slog.NewTextHandler(&said, nil))}
		// Every second for two minutes, the first second included.
		for range 121 {
			if err := e.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, 2)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for _, spans := range []string{"spans=2 ", "spans=120 "} {
			if !strings.Contains(said.String(), spans) {
				t.Errorf("the log lacks %q", spans)
			}
		}
		if n := strings.Count(said.String(), "\n"); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, said.String())
		}
	})
}
