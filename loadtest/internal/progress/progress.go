// Package progress tells a person who waits how far a run has come.
package progress

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	terminalEvery = time.Second
	plainEvery    = 5 * time.Second
)

// State is a run at an instant. Unknown figures are NaN.
type State struct {
	// Elapsed and Total are since the first intended send time; Total is the schedule's length.
	Elapsed, Total time.Duration
	// Sent, Scheduled and InFlight count requests.
	Sent, Scheduled, InFlight int
	// Wanted and Reached are requests per second since the last state: by the schedule, and as sent.
	Wanted, Reached float64
	// P50 and P99 are seconds, of the answers of the last ten seconds.
	P50, P99 float64
	// Errors counts requests so far that were not answered.
	Errors int
	// Queue is how many requests wait in the service.
	Queue float64
	// Ready and Starting are numbers of replicas.
	Ready, Starting float64
	// Interrupted is true when no more is sent and what is in flight is waited for.
	Interrupted bool
}

// left is how long the schedule still takes.
func (s State) left() time.Duration { return max(s.Total-s.Elapsed, 0) }

// String is the state in one line.
func (s State) String() string {
	line := fmt.Sprintf("%s/%s  %d/%d requests  %s of %s/s  p50 %s  p99 %s  errors %d",
		clock(s.Elapsed), clock(s.Total), s.Sent, s.Scheduled,
		number(s.Reached), number(s.Wanted), milliseconds(s.P50), milliseconds(s.P99), s.Errors)
	if !math.IsNaN(s.Queue) {
		line += fmt.Sprintf("  queue %.0f", s.Queue)
	}
	if !math.IsNaN(s.Ready) {
		line += "  replicas " + s.replicas()
	}
	return line
}

func (s State) replicas() string {
	text := fmt.Sprintf("%.0f", s.Ready)
	if s.Starting > 0 {
		text += fmt.Sprintf(" + %.0f starting", s.Starting)
	}
	return text
}

// interruption says what is waited for.
func (s State) interruption() string {
	if s.InFlight == 0 {
		return "interrupted"
	}
	return fmt.Sprintf("interrupted; still under way: %d (Ctrl-C again quits at once)", s.InFlight)
}

// View is the state in several lines, none longer than width.
func (s State) View(width int) []string {
	lines := []string{s.bar(width)}
	cells := [][2]string{
		{"rate", number(s.Reached) + " of " + number(s.Wanted) + "/s"},
		{"p50, 10 s", milliseconds(s.P50)},
		{"p99, 10 s", milliseconds(s.P99)},
		{"sent", fmt.Sprintf("%d of %d", s.Sent, s.Scheduled)},
		{"in flight", fmt.Sprint(s.InFlight)},
		{"errors", fmt.Sprint(s.Errors)},
	}
	if !math.IsNaN(s.Queue) || !math.IsNaN(s.Ready) {
		queue, replicas := "–", "–"
		if !math.IsNaN(s.Queue) {
			queue = fmt.Sprintf("%.0f", s.Queue)
		}
		if !math.IsNaN(s.Ready) {
			replicas = s.replicas()
		}
		cells = append(cells, [2]string{"queue", queue}, [2]string{"replicas", replicas})
	}
	const cellWidth = 30
	line, columns := "", max(width/cellWidth, 1)
	for i, cell := range cells {
		line += fmt.Sprintf("%-9s  %-*s", cell[0], cellWidth-11, cell[1])
		if (i+1)%columns == 0 || i == len(cells)-1 {
			lines = append(lines, cut(line, width))
			line = ""
		}
	}
	if s.Interrupted {
		lines = append(lines, cut(s.interruption(), width))
	}
	return lines
}

// bar shows the share of the time that has passed.
func (s State) bar(width int) string {
	share := 1.0
	if s.Total > 0 {
		share = min(max(s.Elapsed.Seconds()/s.Total.Seconds(), 0), 1)
	}
	text := fmt.Sprintf("  %3.0f%%  %s of %s, %s left", math.Floor(share*100), clock(s.Elapsed), clock(s.Total), clock(s.left()))
	const shortest, longest = 10, 60
	room := min(width-len(text), longest)
	if room < shortest {
		return cut(strings.TrimSpace(text), width)
	}
	full := int(share * float64(room))
	return strings.Repeat("█", full) + strings.Repeat("░", room-full) + text
}

// cut shortens a line to width characters.
func cut(line string, width int) string {
	line = strings.TrimRight(line, " ")
	if runes := []rune(line); len(runes) > width {
		return string(runes[:max(width-1, 0)]) + "…"
	}
	return line
}

func clock(d time.Duration) string {
	seconds := int(max(d, 0).Round(time.Second) / time.Second)
	if seconds >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	}
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

// Print writes the state that look gives until ctx ends: on a terminal a view
// that is drawn over every second, else a line every five seconds. width is
// that of the terminal, asked for each time as a person may change it; nil
// where there is none. interrupted is closed when the run is ended early.
func Print(ctx context.Context, w io.Writer, width func() int, interrupted <-chan struct{}, look func(now time.Time) State) {
	every := plainEvery
	if width != nil {
		every = terminalEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var drawn []string
	early := false
	show := func(now time.Time) {
		state := look(now)
		state.Interrupted = early
		if width == nil {
			_, _ = fmt.Fprintln(w, state)
			return
		}
		columns := width()
		view := state.View(columns)
		_, _ = io.WriteString(w, over(drawn, columns)+strings.Join(view, "\n"))
		drawn = view
	}
	for {
		select {
		case <-ctx.Done():
			if width != nil {
				show(time.Now())
				_, _ = fmt.Fprintln(w)
			}
			return
		case <-interrupted:
			interrupted, early = nil, true
			if width == nil {
				_, _ = fmt.Fprintln(w, "loadtest:", look(time.Now()).interruption())
			} else {
				show(time.Now())
			}
		case now := <-ticker.C:
			show(now)
		}
	}
}

// over moves to where the lines began and wipes them. In a terminal that has
// become narrower they take more rows than they did.
func over(lines []string, width int) string {
	if lines == nil {
		return ""
	}
	rows := -1
	for _, line := range lines {
		rows += max((utf8.RuneCountInString(line)+width-1)/max(width, 1), 1)
	}
	const wipe = "\r\x1b[J"
	if rows == 0 {
		return wipe
	}
	return fmt.Sprintf("\x1b[%dA", rows) + wipe
}
