package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/control/journal"
)

type explainCommand struct {
	File string `arg:"" placeholder:"FILE" help:"A recording, as the scaler's /debug/decisions answers with; - is the standard input."`
	At   string `placeholder:"TIME" xor:"which" help:"Only the decision that was the last one at this time, in RFC 3339, such as 2026-01-31T18:00:00Z."`
	Last *int   `placeholder:"N" xor:"which" help:"Only the last N decisions. Without this and --at: all of them."`
}

// Run replays the recording.
func (c *explainCommand) Run(s streams) error {
	rec, err := c.read(s.in)
	if err != nil {
		return command.AsMisuse(err)
	}
	first, last, err := c.span(rec)
	if err != nil {
		return command.AsMisuse(err)
	}
	p := printer{out: s.out}
	p.head(c.File, rec)
	var differing int
	var wrong journal.Replayed // the first that differs
	for r := range rec.Replay() {
		if len(r.Differs) > 0 {
			if differing == 0 {
				wrong = r
			}
			differing++
		}
		if r.Entry.Seq >= first && r.Entry.Seq <= last {
			p.decision(r)
		}
	}
	if p.err != nil {
		return fmt.Errorf("writing: %w", p.err)
	}
	if differing > 0 {
		return fmt.Errorf("THE REPLAY DIFFERS from the recording in %d of %d decisions, first in number %d at %s: %s (recorded by version %s)",
			differing, len(rec.Decisions), wrong.Entry.Seq, stamp(wrong.Entry.At), wrong.Differs[0], rec.Version)
	}
	fmt.Fprintf(s.out, "\nreplayed %d decisions: each is what was recorded\n", len(rec.Decisions))
	return nil
}

func (c *explainCommand) read(stdin io.Reader) (journal.Recording, error) {
	in := stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return journal.Recording{}, err
		}
		defer func() { _ = f.Close() }() // nothing was written
		in = f
	}
	rec, err := journal.Read(in)
	if err != nil {
		return rec, fmt.Errorf("%s: %w", c.File, err)
	}
	return rec, nil
}

// span is the numbers of the first and the last decision to show.
func (c *explainCommand) span(rec journal.Recording) (first, last int64, err error) {
	newest, oldest := rec.Decisions[0], rec.Decisions[len(rec.Decisions)-1]
	switch {
	case c.Last != nil && *c.Last < 1:
		return 0, 0, fmt.Errorf("--last: %d is not allowed, must be a whole number from 1", *c.Last)
	case c.Last != nil:
		return newest.Seq - int64(*c.Last) + 1, newest.Seq, nil
	case c.At == "":
		return oldest.Seq, newest.Seq, nil
	}
	at, err := time.Parse(time.RFC3339, c.At)
	if err != nil {
		return 0, 0, fmt.Errorf("--at: %q is not allowed, must be a time such as 2026-01-31T18:00:00Z", c.At)
	}
	for _, e := range rec.Decisions {
		if !e.At.After(at) {
			return e.Seq, e.Seq, nil
		}
	}
	return 0, 0, fmt.Errorf("--at: %s is not allowed, must be %s or later, when the recording begins", c.At, stamp(oldest.At))
}
