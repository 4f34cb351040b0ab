package progress_test

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"headroom.dev/loadtest/internal/progress"
)

func example() progress.State {
	return progress.State{
		Elapsed: 65*time.Second + 400*time.Millisecond, Total: 3 * time.Minute, Sent: 700, Scheduled: 3358, InFlight: 4,
		Wanted: 32, Reached: 31.96, P50: 0.0412, P99: 0.3, Errors: 2, Queue: 5, Ready: 3, Starting: 1,
	}
}

func nothingKnown() progress.State {
	state := example()
	state.P50, state.P99, state.Reached = math.NaN(), math.NaN(), math.NaN()
	state.Queue, state.Ready, state.Starting = math.NaN(), math.NaN(), math.NaN()
	return state
}

func TestLine(t *testing.T) {
	if got, want := example().String(), "1:05/3:00  700/3358 requests  32.0 of 32.0/s  p50 41 ms  p99 300 ms  errors 2  queue 5  replicas 3 + 1 starting"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := nothingKnown().String(), "1:05/3:00  700/3358 requests  – of 32.0/s  p50 –  p99 –  errors 2"; got != want {
		t.Errorf("with nothing known: got  %s\nwant %s", got, want)
	}
}

func TestView(t *testing.T) {
	interrupted := example()
	interrupted.Interrupted = true
	ended := nothingKnown()
	ended.Interrupted, ended.InFlight = true, 0
	over := nothingKnown()
	over.Elapsed, over.Total = 2*time.Hour+time.Second, 2*time.Hour
	for _, tt := range []struct {
		name  string
		state progress.State
		width int
		want  []string
	}{
		{"a usual terminal", example(), 100, []string{
			strings.Repeat("█", 21) + strings.Repeat("░", 39) + "   36%  1:05 of 3:00, 1:55 left",
			"rate       32.0 of 32.0/s     p50, 10 s  41 ms              p99, 10 s  300 ms",
			"sent       700 of 3358        in flight  4                  errors     2",
			"queue      5                  replicas   3 + 1 starting",
		}},
		{"a narrow one", interrupted, 44, []string{
			"████░░░░░░░░░   36%  1:05 of 3:00, 1:55 left",
			"rate       32.0 of 32.0/s", "p50, 10 s  41 ms", "p99, 10 s  300 ms",
			"sent       700 of 3358", "in flight  4", "errors     2", "queue      5", "replicas   3 + 1 starting",
			"interrupted; still under way: 4 (Ctrl-C aga…",
		}},
		{"interrupted, and all is answered", ended, 100, []string{
			strings.Repeat("█", 21) + strings.Repeat("░", 39) + "   36%  1:05 of 3:00, 1:55 left",
			"rate       – of 32.0/s        p50, 10 s  –                  p99, 10 s  –",
			"sent       700 of 3358        in flight  0                  errors     2",
			"interrupted",
		}},
		{"one without room for a bar", nothingKnown(), 20, []string{
			"36%  1:05 of 3:00, …",
			"rate       – of 32.…", "p50, 10 s  –", "p99, 10 s  –", "sent       700 of 3…", "in flight  4", "errors     2",
		}},
		{"all sent, after two hours", over, 60, []string{
			strings.Repeat("█", 23) + "  100%  2:00:01 of 2:00:00, 0:00 left",
			"rate       – of 32.0/s        p50, 10 s  –",
			"p99, 10 s  –                  sent       700 of 3358",
			"in flight  4                  errors     2",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.state.View(tt.width)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func FuzzViewFits(f *testing.F) {
	f.Add(80, int64(5), int64(10), 3)
	f.Add(0, int64(0), int64(0), 0)
	f.Fuzz(func(t *testing.T, width int, elapsed, total int64, count int) {
		if width < 1 || width > 1000 {
			return
		}
		s := progress.State{Elapsed: time.Duration(elapsed), Total: time.Duration(total), Sent: count, Scheduled: count, Reached: float64(count), Interrupted: true}
		for _, line := range s.View(width) {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("%q is longer than %d", line, width)
			}
		}
	})
}

// run prints for 20 s, interrupted after 7 s, and returns what was written.
func run(t *testing.T, width func() int) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
		defer cancel()
		interrupted := make(chan struct{})
		time.AfterFunc(7500*time.Millisecond, func() { close(interrupted) })
		start := time.Now()
		progress.Print(ctx, &out, width, interrupted, func(now time.Time) progress.State {
			return progress.State{Elapsed: now.Sub(start), Total: time.Minute, InFlight: 9, Ready: math.NaN(), Queue: math.NaN()}
		})
	})
	return out.String()
}

func TestPrintToAFile(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(run(t, nil)), "\n")
	var got []string
	for _, line := range lines {
		got = append(got, strings.Fields(line)[0])
	}
	if want := []string{"0:05/1:00", "loadtest:", "0:10/1:00", "0:15/1:00", "0:20/1:00"}; !slices.Equal(got, want) {
		t.Errorf("got lines of %v, want of %v", got, want)
	}
	if want := "loadtest: interrupted; still under way: 9 (Ctrl-C again quits at once)"; lines[1] != want {
		t.Errorf("got %q, want %q", lines[1], want)
	}
}

// screen is what a terminal shows in the end: it knows as much as Print uses.
func screen(text string, width int) []string {
	rows := [][]rune{{}}
	row := 0
	for len(text) > 0 {
		switch {
		case strings.HasPrefix(text, "\r\x1b[J"):
			rows = append(rows[:row], []rune{})
			text = text[len("\r\x1b[J"):]
		case strings.HasPrefix(text, "\x1b["):
			up := 0
			for text = text[2:]; text[0] != 'A'; text = text[1:] {
				up = up*10 + int(text[0]-'0')
			}
			row, text = row-up, text[1:]
		case text[0] == '\n':
			rows, row, text = append(rows, []rune{}), row+1, text[1:]
		default:
			r, size := utf8.DecodeRuneInString(text)
			if len(rows[row]) == width {
				rows, row = append(rows, []rune{}), row+1
			}
			rows[row], text = append(rows[row], r), text[size:]
		}
	}
	var shown []string
	for _, r := range rows {
		shown = append(shown, string(r))
	}
	return shown
}

func TestPrintToATerminal(t *testing.T) {
	text := run(t, func() int { return 60 })
	shown := screen(text, 60)
	// The last view, once, and the cursor below it.
	if len(shown) != 6 || !strings.Contains(shown[0], "0:20 of 1:00, 0:40 left") || !strings.HasPrefix(shown[4], "interrupted; still under way: 9") || shown[5] != "" {
		t.Errorf("the terminal shows\n%s", strings.Join(shown, "\n"))
	}
	if draws := strings.Count(text, "left"); draws != 22 {
		t.Errorf("drawn %d times, want each second, at the interruption and at the end: 22", draws)
	}
}

func TestPrintToATerminalThatBecomesNarrower(t *testing.T) {
	calls := 0
	text := run(t, func() int {
		if calls++; calls > 10 {
			return 40
		}
		return 120
	})
	// The terminal wraps what was drawn: the bar's 91 characters to 3 rows, the
	// lines of 107 and 42 to 3 and 2, the interruption's 60 to 2. From the last of
	// these 10 rows it is 9 up to the first.
	if up := strings.Count(text, "\x1b[9A\r\x1b[J"); up != 1 {
		t.Errorf("goes up 9 rows %d times, want once:\n%q", up, text)
	}
}
