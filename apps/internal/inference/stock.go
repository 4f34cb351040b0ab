package inference

// stock is what there is of one kind of part.
type stock[T Part] struct {
	free []T
	// all is how many there are, free or in use, and wanted how many there should
	// be: fewer for as long as too many are in use.
	all, wanted int
}

func (s *stock[T]) add(n int) {
	s.all += n
	s.wanted += n
}

// take takes a free part out.
func (s *stock[T]) take() (part T, ok bool) {
	last := len(s.free) - 1
	if last < 0 {
		return part, false
	}
	part = s.free[last]
	s.free = s.free[:last]
	return part, true
}

// surplus says that there are more than there should be.
func (s *stock[T]) surplus() bool { return s.all > s.wanted }

// drain takes out those that are free and too many, which are to be closed.
func (s *stock[T]) drain() []T {
	n := min(len(s.free), s.all-s.wanted)
	s.all -= n
	kept := len(s.free) - n
	drained := append([]T(nil), s.free[kept:]...)
	s.free = s.free[:kept]
	return drained
}

func closeAll[T Part](parts []T) {
	for _, part := range parts {
		part.Close()
	}
}
