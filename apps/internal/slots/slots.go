// Package slots bounds work: a few slots in which it is done, a few places in
// which it may wait for one, and a refusal at once beyond that.
package slots

import "context"

// Pool holds slots of type T. It is for concurrent use.
type Pool[T any] struct {
	free   chan T
	places chan struct{}
}

// NewPool makes a pool of the given slots, with room for waiting more.
func NewPool[T any](slots []T, waiting int) *Pool[T] {
	p := &Pool[T]{free: make(chan T, len(slots)), places: make(chan struct{}, len(slots)+waiting)}
	for _, slot := range slots {
		p.free <- slot
	}
	return p
}

// Enter takes a place and reports whether there was one. Who got one leaves
// it with Leave.
func (p *Pool[T]) Enter() bool {
	select {
	case p.places <- struct{}{}:
		return true
	default:
		return false
	}
}

// Leave gives a place back.
func (p *Pool[T]) Leave() { <-p.places }

// Get waits for a slot, in the order of arrival, until ctx is done: then it
// returns ctx's error, also when a slot is free. A slot is given back with
// Put.
func (p *Pool[T]) Get(ctx context.Context) (T, error) {
	var none T
	select {
	case slot := <-p.free:
		if err := ctx.Err(); err != nil {
			p.free <- slot
			return none, err
		}
		return slot, nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Put gives a slot back.
func (p *Pool[T]) Put(slot T) { p.free <- slot }

// Capacity is how many may have a place at the same time.
func (p *Pool[T]) Capacity() int { return cap(p.places) }
