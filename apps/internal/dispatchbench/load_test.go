package dispatchbench

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A request that takes long holds up no other one, and each one's time is its
// own.
func TestOpenLoopDoesNotWait(t *testing.T) {
	var n atomic.Int64
	due := evenly(100, 200*time.Millisecond)
	begin := time.Now()
	samples, err := openLoop(t.Context(), due, func(context.Context) (int, error) {
		if n.Add(1) == 1 {
			time.Sleep(300 * time.Millisecond)
			return 0, errors.New("broken")
		}
		return 200, nil
	})
	if err != nil || len(samples) != 20 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	if s := samples[0]; s.Status != 0 || s.Took < 300*time.Millisecond {
		t.Errorf("the slow one: %+v", s)
	}
	if s := samples[19]; s.Status != 200 || s.Due != 190*time.Millisecond || s.Took > 100*time.Millisecond || s.Took < s.Lag {
		t.Errorf("the last one: %+v", s)
	}
	if took := time.Since(begin); took < 300*time.Millisecond || took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestOpenLoopEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := openLoop(ctx, evenly(100, time.Minute), func(context.Context) (int, error) { return 200, nil })
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestSummarize(t *testing.T) {
	samples := make([]sample, 200)
	for i := range samples { // the slowest first
		samples[i] = sample{Took: time.Duration(200-i) * time.Millisecond, Lag: time.Duration(i+1) * time.Microsecond, Status: 200}
	}
	samples[0].Status, samples[1].Status = 503, 0
	got := summarize(samples)
	want := phase{Sent: 200, Failed: 2, Failures: "[0:1 503:1]", Mean: 0.1005, P50: 0.1, P99: 0.198, LagP99: 0.000198}
	if got.Mean = math.Round(got.Mean*1e6) / 1e6; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := summarize(nil); got != (phase{}) {
		t.Errorf("of none: %+v", got)
	}
}

func TestFewMayFail(t *testing.T) {
	if err := (phase{Sent: 200, Failed: 2}).check("a part"); err != nil {
		t.Error(err)
	}
	err := phase{Sent: 200, Failed: 3, Failures: "[503:3]"}.check("a part")
	if err == nil || err.Error() != "a part: 3 of 200 requests were not answered with a prediction; by status: [503:3]" {
		t.Errorf("got %v", err)
	}
}

// What is done in the warm-up does not count, neither as jobs nor as CPU time.
func TestClosedLoop(t *testing.T) {
	var cpu float64
	var at []time.Time
	w, err := closedLoop(t.Context(), 4, 100*time.Millisecond, 200*time.Millisecond, func(context.Context) (int, error) {
		time.Sleep(10 * time.Millisecond)
		return 200, nil
	}, func() (float64, error) {
		at = append(at, time.Now())
		cpu += 0.25
		return cpu, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.Jobs < 4 || w.Jobs > 4*22 || w.Seconds < 0.2 || w.CPUSeconds != 0.25 {
		t.Errorf("got %+v", w)
	}
	if len(at) != 2 || at[1].Sub(at[0]) < 200*time.Millisecond {
		t.Errorf("the CPU time was looked at %v", at)
	}
	if w := (work{Jobs: 100, Seconds: 2, CPUSeconds: 0.5}); w.rate() != 50 || w.perCPU() != 200 {
		t.Errorf("%v a second, %v a CPU second", w.rate(), w.perCPU())
	}
}

func TestClosedLoopWantsPredictions(t *testing.T) {
	cpu := func() (float64, error) { return 0, nil }
	begin := time.Now()
	_, err := closedLoop(t.Context(), 2, time.Minute, time.Minute, func(context.Context) (int, error) { return 503, nil }, cpu)
	if err == nil || !strings.Contains(err.Error(), "answered 503") || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	broken := errors.New("broken")
	if _, err := closedLoop(t.Context(), 2, time.Minute, time.Minute, func(context.Context) (int, error) { return 0, broken }, cpu); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
