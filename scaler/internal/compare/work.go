package compare

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// task is one run, on a player that is its own meanwhile.
type task func(*player) error

// work does all tasks of a stage, side by side, before it begins the next. It
// ends with the first error.
func work(ctx context.Context, s Settings, stages ...[]task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	players := make([]*player, max(s.Workers, 1))
	for i := range players {
		players[i] = &player{settings: s, ctx: ctx}
	}
	total := 0
	for _, tasks := range stages {
		total += len(tasks)
	}
	var done atomic.Int64
	for _, tasks := range stages {
		var next atomic.Int64
		var all sync.WaitGroup
		for _, p := range players {
			all.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(tasks)) && ctx.Err() == nil; i = next.Add(1) - 1 {
					if err := tasks[i](p); err != nil {
						cancel(err)
						return
					}
					if n := done.Add(1); s.Progress != nil {
						s.Progress(int(n), total)
					}
				}
			})
		}
		all.Wait()
	}
	err := context.Cause(ctx)
	for _, p := range players {
		if closed := p.close(); err == nil && !errors.Is(closed, context.Canceled) {
			err = closed
		}
	}
	return err
}
