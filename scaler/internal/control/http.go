package control

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler answers /metrics, /healthz (the loop still turns) and /readyz (it has
// decided at least once).
func (l *Loop) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(l.metrics.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, l.Alive(time.Now()), "the control loop does not turn")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, l.Ready(), "no decision was made yet: the target could not be read")
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
