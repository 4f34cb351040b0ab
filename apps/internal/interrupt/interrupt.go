// Package interrupt ends calls into C that outlast their context. Go can't end
// such a call itself, but the libraries behind them can be told to return.
package interrupt

import (
	"context"
	"sync"
	"time"
)

// every is how often a context is looked at during a call. A goroutine that
// waits for it would be told sooner, but it has to be woken for every call, and
// on a core that the call itself needs.
const every = 10 * time.Millisecond

// Guard watches calls, one at a time. It takes no memory for a call.
type Guard struct {
	stop  func()
	timer *time.Timer

	mu sync.Mutex
	// ctx is the call's, nil between calls; end is when its time is over, zero
	// for never; late says that it was ended for that, stopped that it was ended.
	ctx           context.Context
	end           time.Time
	late, stopped bool
}

// New makes a Guard that ends a call by stop, which may be called while the call
// runs in another thread.
func New(stop func()) *Guard {
	g := &Guard{stop: stop}
	g.timer = time.AfterFunc(time.Hour, g.look)
	g.timer.Stop()
	return g
}

// Begin is called before a call that may take as long as ctx and limit, 0 for no
// limit, let it.
func (g *Guard) Begin(ctx context.Context, limit time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctx, g.end, g.late, g.stopped = ctx, time.Time{}, false, false
	if limit > 0 {
		g.end = time.Now().Add(limit)
	}
	g.timer.Reset(g.next())
}

// End is called after it, and tells whether the call was ended, and whether
// because it had taken its limit. When it returns, stop is not called any more.
func (g *Guard) End() (stopped, late bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer.Stop()
	g.ctx = nil
	return g.stopped, g.late
}

// next is the time to the next look.
func (g *Guard) next() time.Duration {
	next := every
	if deadline, ok := g.ctx.Deadline(); ok {
		next = min(next, time.Until(deadline))
	}
	if !g.end.IsZero() {
		next = min(next, time.Until(g.end))
	}
	return max(next, 0)
}

func (g *Guard) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx == nil || g.stopped {
		return
	}
	g.late = !g.end.IsZero() && !time.Now().Before(g.end)
	if g.late || g.ctx.Err() != nil {
		g.stopped = true
		g.stop()
		return
	}
	// A deadline's context may be told a moment after the deadline.
	g.timer.Reset(max(g.next(), time.Millisecond))
}
