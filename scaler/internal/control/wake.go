package control

import (
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// wakeSpacing is the least time between turns that are made because of a wake.
	wakeSpacing = 100 * time.Millisecond
	// wakeHolds is how long a wake is believed: over a turn that fails, and over a
	// change of leader.
	wakeHolds = 5 * time.Second
	// maxWakeBody is how much of a body is taken, and thrown away.
	maxWakeBody = 4 << 10
)

// waker takes the news that a request waits while there is no replica.
type waker struct {
	turn   chan struct{}
	last   atomic.Int64 // time of the last wake, Unix nanoseconds
	turned time.Time    // when the last turn was made because of one; Run's goroutine only
}

// Wake tells the loop that a request waits. It makes a turn at once, of which
// several wakes share one, at most ten a second.
func (l *Loop) Wake() {
	l.waker.last.Store(time.Now().UnixNano())
	l.metrics.wakes.Inc()
	signal(l.waker.turn)
}

// ready is what announces a wake for which a turn may be made now, or else what
// announces that one may be made.
func (w *waker) ready() (wake <-chan struct{}, again <-chan time.Time) {
	if rest := wakeSpacing - time.Since(w.turned); rest > 0 {
		return nil, time.After(rest)
	}
	return w.turn, nil
}

// taken forgets a wake that hasn't had its turn: this is one.
func (w *waker) taken() {
	select {
	case <-w.turn:
	default:
	}
}

// woken tells whether there was a wake that still holds.
func (w *waker) woken(now time.Time) bool {
	last := w.last.Load()
	return last != 0 && now.Sub(time.Unix(0, last)) < wakeHolds
}

// serveWake answers POST /wake. It doesn't wait for the turn.
func (l *Loop) serveWake(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxWakeBody)
	l.Wake()
	w.WriteHeader(http.StatusAccepted)
}
