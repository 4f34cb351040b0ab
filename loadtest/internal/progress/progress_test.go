package progress_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/loadtest/internal/progress"
)

func TestLine(t *testing.T) {
	state := progress.State{
		Elapsed: 65*time.Second + 400*time.Millisecond, Total: 3 * time.Minute, Sent: 700, Scheduled: 3358,
		Wanted: 32, Reached: 31.96, P50: 0.0412, P99: 0.3, Errors: 2, Ready: 3,
	}
	if got, want := state.String(), "1:05/3:00  700/3358 requests  32.0 of 32.0/s  p50 41 ms  p99 300 ms  errors 2  replicas 3"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	state.P50, state.P99, state.Reached, state.Ready = math.NaN(), math.NaN(), math.NaN(), math.NaN()
	if got, want := state.String(), "1:05/3:00  700/3358 requests  – of 32.0/s  p50 –  p99 –  errors 2"; got != want {
		t.Errorf("with nothing known: got  %s\nwant %s", got, want)
	}
}

func TestPrint(t *testing.T) {
	for _, tt := range []struct {
		name         string
		terminal     bool
		lines, turns int
	}{
		{"a file gets a line every five seconds", false, 4, 0},
		{"a terminal gets one line, written over every second", true, 1, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
				defer cancel()
				var out bytes.Buffer
				start := time.Now()
				progress.Print(ctx, &out, tt.terminal, func(now time.Time) progress.State {
					return progress.State{Elapsed: now.Sub(start), Total: time.Minute}
				})
				if lines, turns := strings.Count(out.String(), "\n"), strings.Count(out.String(), "\r"); lines != tt.lines || turns != tt.turns {
					t.Errorf("%d lines and %d overwritten, want %d and %d:\n%q", lines, turns, tt.lines, tt.turns, out.String())
				}
				if !strings.Contains(out.String(), "0:20/1:00") {
					t.Errorf("the 20th second is not there: %q", out.String())
				}
			})
		})
	}
}
