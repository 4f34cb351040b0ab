package cpuquota

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"time"
)

// Watcher knows the CPU cores that the process may use, as last read: a
// container's limit may be changed while it runs. It is for concurrent use.
type Watcher struct {
	read    func() (float64, error)
	log     *slog.Logger
	cores   atomic.Uint64 // a float64's bits
	failing bool          // the last read failed
}

// NewWatcher reads for the first time. read returns cores, as Cores does;
// fallback is taken for as long as none could be read.
func NewWatcher(read func() (float64, error), fallback float64, log *slog.Logger) *Watcher {
	w := &Watcher{read: read, log: log}
	w.cores.Store(math.Float64bits(fallback))
	w.look()
	return w
}

// Cores is what was last read.
func (w *Watcher) Cores() float64 { return math.Float64frombits(w.cores.Load()) }

// Follow reads every interval until ctx ends, and tells changed of each other
// value. What can't be read stays as it was. Only one Follow may run.
func (w *Watcher) Follow(ctx context.Context, every time.Duration, changed func(cores float64)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before := w.Cores()
		if w.look(); w.Cores() != before {
			changed(w.Cores())
		}
	}
}

// look reads once, and logs where it begins to fail or to succeed again.
func (w *Watcher) look() {
	cores, err := w.read()
	switch {
	case err != nil && !w.failing:
		w.log.Warn("the CPU limit can't be read; what was known before stands", "cores", w.Cores(), "error", err.Error())
	case err == nil && w.failing:
		w.log.Info("the CPU limit can be read again", "cores", cores)
	}
	w.failing = err != nil
	if err == nil {
		w.cores.Store(math.Float64bits(cores))
	}
}
