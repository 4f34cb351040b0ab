package sim

import "time"

// heap is a queue of things by their time, each with four children: fewer levels
// than two, and the children share a cache line. Equal times leave in an order
// that depends only on what was pushed when.
type heap[T any] struct{ items []timed[T] }

type timed[T any] struct {
	at   time.Duration
	what T
}

func (h *heap[T]) first() time.Duration {
	if len(h.items) == 0 {
		return never
	}
	return h.items[0].at
}

func (h *heap[T]) push(at time.Duration, what T) {
	h.items = append(h.items, timed[T]{})
	i := len(h.items) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if h.items[parent].at <= at {
			break
		}
		h.items[i] = h.items[parent]
		i = parent
	}
	h.items[i] = timed[T]{at, what}
}

func (h *heap[T]) pop() (time.Duration, T) {
	top, last := h.items[0], len(h.items)-1
	moved := h.items[last]
	h.items[last] = timed[T]{}
	h.items = h.items[:last]
	if last > 0 {
		h.sink(0, moved)
	}
	return top.at, top.what
}

// replaceFirst is a pop and a push in one.
func (h *heap[T]) replaceFirst(at time.Duration, what T) { h.sink(0, timed[T]{at, what}) }

// sink puts x where it belongs at or below the free place i.
func (h *heap[T]) sink(i int, x timed[T]) {
	items := h.items
	for {
		child := 4*i + 1
		if child >= len(items) {
			break
		}
		for c := child + 1; c < min(child+4, len(items)); c++ {
			if items[c].at < items[child].at {
				child = c
			}
		}
		if items[child].at >= x.at {
			break
		}
		items[i] = items[child]
		i = child
	}
	items[i] = x
}

// order makes a heap of whatever is there.
func (h *heap[T]) order() {
	for i := len(h.items)/4 + 1; i >= 0; i-- {
		if i < len(h.items) {
			h.sink(i, h.items[i])
		}
	}
}
