// Package journal keeps the last decisions with everything they were made from,
// so that people can look at them and replay them elsewhere.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// Format names what a [Recording] is written as.
const Format = "headroom-scaler-decisions/1"

// Recording is a series of decisions with no gap, and what the first was made
// from. /debug/decisions answers with one, and `scaler explain` reads it.
type Recording struct {
	Format string `json:"format"`
	// Target is what was scaled; Scaler names the process that decided, Version its
	// program, and Started when it began, which tells two of them apart.
	Target  string    `json:"target"`
	Scaler  string    `json:"scaler"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Config and State are what the oldest decision was made with. A recording
	// without a State can be looked at and not be replayed.
	Config policy.Config `json:"config"`
	State  *policy.State `json:"state,omitempty"`
	// Decisions are newest first.
	Decisions []Entry `json:"decisions"`
}

// Entry is one decision.
type Entry struct {
	// Seq numbers the decisions of a process, from 1.
	Seq int64     `json:"seq"`
	At  time.Time `json:"at"`
	// Config and State are what was decided with, where that is not what the
	// decision before had and left: a reloaded config, a state that was taken over.
	Config *policy.Config `json:"config,omitempty"`
	State  *policy.State  `json:"state,omitempty"`

	Snapshot policy.Snapshot `json:"snapshot"`
	// Ages are the seconds since the newest sample behind each signal.
	Ages     map[string]float64 `json:"ages,omitempty"`
	Decision policy.Decision    `json:"decision"`

	Leader bool   `json:"leader"`
	Mode   string `json:"mode"`
	// Wrote says that the target was told to have that many replicas, Error why
	// that failed.
	Wrote bool   `json:"wrote"`
	Error string `json:"error,omitempty"`
	// Notes are what else happened in the same turn.
	Notes []string `json:"notes,omitempty"`
}

// maxRecording bounds what is read, in bytes: a thousand decisions are about 3 MB.
const maxRecording = 64 << 20

// Read reads a recording. Its error is one line that says what is wrong.
func Read(r io.Reader) (Recording, error) {
	var rec Recording
	text, err := io.ReadAll(io.LimitReader(r, maxRecording+1))
	switch {
	case err != nil:
		return rec, err
	case len(text) > maxRecording:
		return rec, fmt.Errorf("larger than the %d bytes allowed", maxRecording)
	}
	if err := json.Unmarshal(text, &rec); err != nil {
		return rec, fmt.Errorf("not a recording of decisions: %w", err)
	}
	switch {
	case rec.Format != Format:
		return rec, fmt.Errorf("format: %q is not allowed, must be %q, which the scaler's /debug/decisions answers with", rec.Format, Format)
	case len(rec.Decisions) == 0:
		return rec, errors.New("decisions: there are none, must be at least one")
	case rec.State == nil && rec.Decisions[len(rec.Decisions)-1].State == nil:
		return rec, errors.New("state: missing, so nothing can be replayed; take the recording from /debug/decisions without ?after=")
	}
	for i := 1; i < len(rec.Decisions); i++ {
		if newer, older := rec.Decisions[i-1].Seq, rec.Decisions[i].Seq; older != newer-1 {
			return rec, fmt.Errorf("decisions: number %d is followed by %d, must be numbered without a gap, newest first", newer, older)
		}
	}
	return rec, nil
}
