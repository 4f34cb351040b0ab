package inference

import (
	"container/heap"
	"fmt"
	"strings"
	"time"
)

// Priority orders requests before their deadlines do.
type Priority int8

// The priorities.
const (
	Low Priority = iota - 1
	Normal
	High
)

var priorities = map[string]Priority{"low": Low, "normal": Normal, "high": High}

// ParsePriority reads low, normal or high, in any case; nothing is normal.
func ParsePriority(s string) (Priority, error) {
	if s == "" {
		return Normal, nil
	}
	if len(s) > 64 {
		s = s[:64]
	}
	if p, ok := priorities[strings.ToLower(s)]; ok {
		return p, nil
	}
	return Normal, fmt.Errorf("%q is not allowed; allowed: low, normal, high", s)
}

// rank is a request's place in a queue: by priority, then by deadline, then by
// arrival.
type rank struct {
	priority Priority
	deadline time.Time // zero for none, which is after all others
	arrival  uint64
}

// before says whether a goes first.
func (a rank) before(b rank) bool {
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	if !a.deadline.Equal(b.deadline) {
		if a.deadline.IsZero() || b.deadline.IsZero() {
			return b.deadline.IsZero()
		}
		return a.deadline.Before(b.deadline)
	}
	return a.arrival < b.arrival
}

// queue holds what waits, in the order of its rank.
type queue[T any] []*waiter[T]

// waiter is one place in a queue.
type waiter[T any] struct {
	rank  rank
	value T
	// index is the place in the heap, -1 outside of it.
	index int
}

func (q queue[T]) Len() int           { return len(q) }
func (q queue[T]) Less(i, j int) bool { return q[i].rank.before(q[j].rank) }

func (q queue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is container/heap's.
func (q *queue[T]) Push(x any) {
	w := x.(*waiter[T])
	w.index = len(*q)
	*q = append(*q, w)
}

// Pop is container/heap's.
func (q *queue[T]) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}

func (q *queue[T]) add(w *waiter[T]) { heap.Push(q, w) }

// next takes the first out, nil where there is none.
func (q *queue[T]) next() *waiter[T] {
	if len(*q) == 0 {
		return nil
	}
	return heap.Pop(q).(*waiter[T])
}

// remove takes w out and says whether it was there.
func (q *queue[T]) remove(w *waiter[T]) bool {
	if w.index < 0 {
		return false
	}
	heap.Remove(q, w.index)
	return true
}

// ahead is how many go before r.
func (q queue[T]) ahead(r rank) int {
	n := 0
	for _, w := range q {
		if w.rank.before(r) {
			n++
		}
	}
	return n
}

// last is the one that goes last, nil where there is none.
func (q queue[T]) last() *waiter[T] {
	var last *waiter[T]
	for _, w := range q {
		if last == nil || last.rank.before(w.rank) {
			last = w
		}
	}
	return last
}
