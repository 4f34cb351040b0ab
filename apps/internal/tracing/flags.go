package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Flags are the settings of a program that traces, with kong's tags.
type Flags struct {
	OTLPEndpoint     string  `name:"otlp-endpoint" env:"OTLP_ENDPOINT,OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Base URL of an OpenTelemetry collector for traces, by OTLP over HTTP, such as http://host:4318. Default: requests aren't traced here, and a caller's trace goes on to the next program all the same."`
	TraceSampleRatio float64 `env:"TRACE_SAMPLE_RATIO" default:"1" help:"Share, 0 to 1, of requests to trace among those that arrive without a trace; those with one follow their parent."`
}

// Check says what is wrong with the flags, or nil.
func (f Flags) Check() error {
	if f.OTLPEndpoint != "" {
		if err := CheckEndpoint(f.OTLPEndpoint); err != nil {
			return fmt.Errorf("--otlp-endpoint %w", err)
		}
	}
	if err := CheckSampleRatio(f.TraceSampleRatio); err != nil {
		return fmt.Errorf("--trace-sample-ratio %w", err)
	}
	return nil
}

// Start begins to trace as the flags say.
func (f Flags) Start(service, version string, log *slog.Logger) (*Tracing, error) {
	return Start(context.Background(), Config{
		Service: service, Version: version, Endpoint: f.OTLPEndpoint, SampleRatio: f.TraceSampleRatio, Log: log,
	})
}

// FlushTime is how long the end of a program waits for the collector to take the
// last spans.
const FlushTime = 2 * time.Second

// Finish is Shutdown for the end of a program: it waits 2 s at most, and what is
// lost is only logged.
func (t *Tracing) Finish(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), FlushTime)
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		log.Warn("the last traces are lost", "error", err.Error())
	}
}
