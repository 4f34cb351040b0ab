package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"headroom.dev/scaler/internal/control/journal"
	"headroom.dev/scaler/internal/control/page"
)

// maxRecordings is how many recordings are made at a time. Each takes megabytes.
const maxRecordings = 4

// Handler answers /metrics, /healthz (the loop still turns), /readyz (it has
// decided at least once), POST /wake, and /debug/decisions: the last decisions, as
// a page for people, which is at / too, or else as a recording in JSON.
func (l *Loop) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(l.metrics.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, l.Alive(time.Now()), "the control loop does not turn")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, l.Ready(), "no decision was made yet: the target could not be read")
	})
	mux.HandleFunc("POST /wake", l.serveWake)
	mux.HandleFunc("GET /{$}", page.Serve)
	busy := make(chan struct{}, maxRecordings)
	mux.HandleFunc("GET /debug/decisions", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			page.Serve(w, r)
			return
		}
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
			l.serveDecisions(w, r)
		default:
			http.Error(w, fmt.Sprintf("%d recordings are being made already, try again", maxRecordings), http.StatusServiceUnavailable)
		}
	})
	return mux
}

func answer(w http.ResponseWriter, ok bool, otherwise string) {
	if !ok {
		http.Error(w, otherwise, http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n")) // a caller that is gone needs no answer
}

// serveDecisions answers with the last decisions: all that there are, as many as
// ?limit= says, or those after number ?after=.
func (l *Loop) serveDecisions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	whole := func(key string, otherwise, least int64) (int64, bool) {
		text := query.Get(key)
		if text == "" {
			return otherwise, true
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least {
			http.Error(w, fmt.Sprintf("%s: %.60q is not allowed, must be a whole number from %d", key, text, least), http.StatusBadRequest)
			return 0, false
		}
		return n, true
	}
	limit, ok := whole("limit", journal.Size, 1)
	if !ok {
		return
	}
	after, ok := whole("after", -1, 0)
	if !ok {
		return
	}
	var rec journal.Recording
	if after >= 0 {
		rec = l.journal.After(after)
	} else {
		rec = l.journal.Last(int(min(limit, journal.Size)))
	}
	text, err := json.Marshal(rec)
	if err != nil {
		http.Error(w, fmt.Sprintf("writing the recording: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // a caller that is gone needs no answer
}
