package queryapi_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
)

// starvedWriter is of a handler that gets no CPU between what it reads and its taking
// away of the read deadline, until that has passed. CPU quotas do that for 100 ms at a time.
type starvedWriter struct {
	http.ResponseWriter
	ctx context.Context
	by  time.Time
}

func (w *starvedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *starvedWriter) SetReadDeadline(by time.Time) error {
	if left := time.Until(w.by); by.IsZero() && left < time.Second {
		const noticed = 200 * time.Millisecond
		passed, cancel := context.WithTimeout(w.ctx, left+noticed)
		defer cancel()
		<-passed.Done()
	}
	w.by = by
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(by)
}

// What net/http takes for the caller's going ends the contexts of all requests that
// will ever come by the connection, each of which was then answered with an empty 200.
func TestAStarvedDispatcherAnswersTheNextRequestsOfAConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		status int
		code   reply.Code
		// connections that it takes: who has read all of a body needs no deadline afterwards.
		connections int32
	}{
		{"starved while it answers", nil, http.StatusOK, "", 1},
		{"starved while it refuses a body", []string{"Content-Type", "application/json"}, http.StatusBadRequest, reply.BadRequest, 1},
		{"starved while it throws a body away", []string{"Headroom-Timeout", "soon"}, http.StatusBadRequest, reply.BadRequest, 2},
		{"starved until the deadline", []string{"Headroom-Timeout", "300ms"}, http.StatusGatewayTimeout, reply.DeadlineExceeded, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := start(t, dispatchtest.StartRedis(t).URL(), settings{}, dispatchtest.StartReplica(t, nil))
			handler := d.Config.Handler
			d.Close()
			d.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Starved") != "" {
					w = &starvedWriter{ResponseWriter: w, ctx: r.Context()}
				}
				handler.ServeHTTP(w, r)
			}))
			var connections atomic.Int32
			d.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}
			d.Start()

			expect(t, d.query(t, append(c.header, "Starved", "yes")...), c.status, c.code)
			for range 3 {
				expect(t, d.query(t), http.StatusOK, "")
			}
			if n := connections.Load(); n != c.connections {
				t.Errorf("%d connections, want %d", n, c.connections)
			}
		})
	}
}
