package sim

// fifo is a queue in a ring whose size is a power of two.
type fifo[T any] struct {
	ring []T
	head int
	n    int
}

func (q *fifo[T]) at(i int) *T { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *fifo[T]) room() {
	if q.n < len(q.ring) {
		return
	}
	bigger := make([]T, max(16, 2*len(q.ring)))
	for i := range q.n {
		bigger[i] = *q.at(i)
	}
	q.ring, q.head = bigger, 0
}

func (q *fifo[T]) push(x T) {
	q.room()
	q.n++
	*q.at(q.n - 1) = x
}

func (q *fifo[T]) pushFront(x T) {
	q.room()
	q.head = (q.head - 1) & (len(q.ring) - 1)
	q.n++
	*q.at(0) = x
}

func (q *fifo[T]) pop() T {
	x := *q.at(0)
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return x
}
