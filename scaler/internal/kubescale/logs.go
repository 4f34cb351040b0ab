package kubescale

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"
)

// RouteLogs sends what client-go logs to log at level debug. It repeats itself
// with every failed try; what matters of it, the caller learns from errors.
func RouteLogs(log *slog.Logger) {
	klog.SetSlogLogger(slog.New(debugOnly{log.Handler()}))
}

type debugOnly struct{ slog.Handler }

// Enabled tells whether the handler takes debug records: all of these are.
func (h debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle passes a record on as one of level debug. It looks whether that is
// wanted: for errors, nobody has asked Enabled.
func (h debugOnly) Handle(ctx context.Context, r slog.Record) error {
	if !h.Handler.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapping.
func (h debugOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugOnly{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the wrapping.
func (h debugOnly) WithGroup(name string) slog.Handler { return debugOnly{h.Handler.WithGroup(name)} }

// trouble logs when something begins to fail and when it works again: once each,
// however often it is tried meanwhile.
type trouble struct {
	log  *slog.Logger
	what string // completes "… fails" and "… works again"

	mu      sync.Mutex
	failing bool
}

// note takes the outcome of the last try.
func (t *trouble) note(err error, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	args = append([]any{"source", "kubernetes"}, args...)
	switch {
	case err != nil && !t.failing:
		t.log.Warn(t.what+" fails, going on without", append(args, "error", err.Error())...)
	case err == nil && t.failing:
		t.log.Info(t.what+" works again", args...)
	}
	t.failing = err != nil
}
