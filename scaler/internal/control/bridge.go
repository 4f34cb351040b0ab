package control

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// resizeTimeout bounds one resizing of all replicas.
const resizeTimeout = 10 * time.Second

// bridge gives ready replicas more CPU while others start, and takes it back. It
// works beside the loop, one resizing at a time.
type bridge struct {
	health  health
	running sync.WaitGroup
	busy    atomic.Bool
}

// cover has the replicas resized as factor wants them: 1, or more while the bridge
// covers for others. It does so every turn, with the bridge off too: which replicas
// aren't as they should be, after a restart, a refusal or a change by somebody else,
// the target knows best, and where all are it does nothing.
func (l *Loop) cover(ctx context.Context, seen Replicas, factor float64) {
	b := &l.bridge
	if seen.Resizes.Unsupported || !b.busy.CompareAndSwap(false, true) {
		return
	}
	b.running.Go(func() {
		defer b.busy.Store(false)
		ctx, cancel := context.WithTimeout(ctx, resizeTimeout)
		defer cancel()
		b.health.note(l.target.Resize(ctx, factor))
	})
}
