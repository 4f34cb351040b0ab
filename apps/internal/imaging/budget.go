package imaging

import (
	"context"
	"math"

	"golang.org/x/sync/semaphore"
)

// Budget is memory that the pictures of several Decoders share. Nil has no end.
type Budget struct {
	bytes int64
	free  *semaphore.Weighted
}

// NewBudget makes a Budget of a number of bytes.
func NewBudget(bytes int64) *Budget { return &Budget{bytes: bytes, free: semaphore.NewWeighted(bytes)} }

func (b *Budget) size() int64 {
	if b == nil {
		return math.MaxInt64
	}
	return b.bytes
}

// acquire waits for n bytes, at most size, in the order of arrival.
func (b *Budget) acquire(ctx context.Context, n int64) error {
	if b == nil {
		return nil
	}
	return b.free.Acquire(ctx, n)
}

func (b *Budget) release(n int64) {
	if b != nil && n > 0 {
		b.free.Release(n)
	}
}
