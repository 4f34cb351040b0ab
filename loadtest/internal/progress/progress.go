// Package progress tells a person who waits how far a run has come.
package progress

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

const (
	terminalEvery = time.Second
	plainEvery    = 5 * time.Second
)

// State is a run at an instant. Unknown figures are NaN.
type State struct {
	// Elapsed and Total are since the first intended send time; Total is the schedule's length.
	Elapsed, Total time.Duration
	// Sent and Scheduled count requests.
	Sent, Scheduled int
	// Wanted and Reached are requests per second since the last state: by the schedule, and as sent.
	Wanted, Reached float64
	// P50 and P99 are seconds, of the answered requests so far.
	P50, P99 float64
	// Errors counts requests so far that were not answered.
	Errors int
	// Ready is the number of ready replicas.
	Ready float64
}

// String is the state in one line.
func (s State) String() string {
	line := fmt.Sprintf("%s/%s  %d/%d requests  %s of %s/s  p50 %s  p99 %s  errors %d",
		clock(s.Elapsed), clock(s.Total), s.Sent, s.Scheduled,
		number(s.Reached), number(s.Wanted), milliseconds(s.P50), milliseconds(s.P99), s.Errors)
	if !math.IsNaN(s.Ready) {
		line += fmt.Sprintf("  replicas %.0f", s.Ready)
	}
	return line
}

func clock(d time.Duration) string {
	seconds := int(max(d, 0).Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}

func number(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf("%.1f", x)
}

func milliseconds(seconds float64) string {
	if math.IsNaN(seconds) {
		return "–"
	}
	return fmt.Sprintf("%.0f ms", seconds*1000)
}

// Print writes the state that look gives until ctx ends: on a terminal one line
// that is written over every second, else a line every five seconds.
func Print(ctx context.Context, w io.Writer, terminal bool, look func(now time.Time) State) {
	every := plainEvery
	if terminal {
		every = terminalEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	width := 0
	for {
		select {
		case <-ctx.Done():
			if terminal && width > 0 {
				_, _ = fmt.Fprintln(w)
			}
			return
		case now := <-ticker.C:
			line := look(now).String()
			if !terminal {
				_, _ = fmt.Fprintln(w, line)
				continue
			}
			// Blanks wipe what is left of a longer line before.
			_, _ = fmt.Fprint(w, "\r"+line+strings.Repeat(" ", max(width-len(line), 0)))
			width = len(line)
		}
	}
}
