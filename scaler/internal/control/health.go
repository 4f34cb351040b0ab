package control

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// health counts failures of one kind, and logs when they begin and end. Only one
// goroutine at a time may use it.
type health struct {
	what    string
	source  string // as in headroom_scaler_errors_total
	metrics *Metrics
	log     *slog.Logger
	since   time.Time // of the failure; zero while all is well
}

// note takes in how it went. That it was cancelled, because the scaler ends, says
// nothing.
func (h *health) note(err error) {
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		h.metrics.errors.WithLabelValues(h.source).Inc()
		if h.since.IsZero() {
			h.since = time.Now()
			h.log.Warn(h.what+" fails, going on without", "source", h.source, "error", err.Error())
		}
	case !h.since.IsZero():
		h.log.Info(h.what+" works again", "source", h.source, "after", time.Since(h.since).Round(time.Millisecond).String())
		h.since = time.Time{}
	}
}
