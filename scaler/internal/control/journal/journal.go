package journal

import (
	"slices"
	"sync"

	"headroom.dev/scaler/internal/policy"
)

// Size is how many decisions a [Journal] keeps at least, once there are so many.
const Size = 1000

// segmentSize is after how many decisions a State is kept. One is as large as some
// ten decisions, so those between are had by deciding again.
const segmentSize = 50

// Journal keeps the last decisions. It may be used by several goroutines.
type Journal struct {
	head Recording

	mu       sync.Mutex
	segments []segment // oldest first, none of them empty
	config   policy.Config
	seq      int64
}

// segment is a part of the journal with what its first decision was made from.
type segment struct {
	config  policy.Config
	before  policy.State
	entries []Entry // oldest first
}

// New makes a journal whose recordings start as head does.
func New(head Recording) *Journal {
	head.Format = Format
	return &Journal{head: head}
}

// Add appends a decision that was made from before with config. replaced says
// that before is not what the decision added last has left.
func (j *Journal) Add(config policy.Config, before policy.State, replaced bool, e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.Config, e.State = j.seq, nil, nil
	if j.seq > 1 && config != j.config {
		e.Config = &config
	}
	if replaced {
		e.State = &before
	}
	j.config = config
	if last := len(j.segments) - 1; last < 0 || len(j.segments[last].entries) == segmentSize {
		if len(j.segments) > Size/segmentSize { // without the oldest there are still enough
			j.segments = slices.Delete(j.segments, 0, 1)
		}
		j.segments = append(j.segments, segment{config: config, before: before, entries: make([]Entry, 0, segmentSize)})
	}
	s := &j.segments[len(j.segments)-1]
	s.entries = append(s.entries, e)
}

// Last is a recording of the last n decisions, of fewer where there aren't so many.
func (j *Journal) Last(n int) Recording {
	rec, segments := j.copy()
	for i := len(segments) - 1; i >= 0 && n > 0; i-- {
		s := segments[i]
		skipped := max(0, len(s.entries)-n)
		n -= len(s.entries)
		rec.prepend(s.entries[skipped:])
		if n <= 0 || i == 0 {
			config, state := follow(s.config, s.before, s.entries[:skipped])
			rec.Config, rec.State = config, &state
		}
	}
	return rec
}

// After is a recording of the decisions with a higher number, without a State.
func (j *Journal) After(seq int64) Recording {
	rec, segments := j.copy()
	for i := len(segments) - 1; i >= 0; i-- {
		entries := segments[i].entries
		newer := slices.IndexFunc(entries, func(e Entry) bool { return e.Seq > seq })
		if newer < 0 {
			break
		}
		rec.prepend(entries[newer:])
	}
	return rec
}

// CatchUp brings a state up to date: to what it would be if it had seen what this
// journal has of later times, with that config.
func (j *Journal) CatchUp(config policy.Config, state policy.State) policy.State {
	_, segments := j.copy()
	from := state.Last
	for _, s := range segments {
		for _, e := range s.entries {
			if e.At.After(from) {
				state, _ = policy.Decide(config, state, e.Snapshot, e.At)
			}
		}
	}
	return state
}

// copy is what the recordings start with, and the segments as they are now.
func (j *Journal) copy() (Recording, []segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	rec := j.head
	rec.Config, rec.Decisions = j.config, []Entry{}
	return rec, slices.Clone(j.segments) // entries are only ever added, behind what a copy sees
}

// prepend adds older entries, which are oldest first, to the recording's end.
func (rec *Recording) prepend(older []Entry) {
	for _, e := range slices.Backward(older) {
		rec.Decisions = append(rec.Decisions, e)
	}
}
