package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"headroom.dev/loadtest/internal/timeline"
)

// level is a number of seconds at a rate.
type level struct {
	seconds int
	rate    float64
}

func offered(levels ...level) demand {
	var d demand
	for _, l := range levels {
		for range l.seconds {
			d = append(d, l.rate)
		}
	}
	return d
}

func TestStepsInDemand(t *testing.T) {
	tests := []struct {
		name string
		due  demand
		want []step
	}{
		{"flat", offered(level{60, 20}), nil},
		{"a step is where it is", offered(level{30, 6}, level{30, 24}), []step{{30, 6, 24}}},
		// The 10 s of the burst tell it best: 18/√(6/15 + 24/10).
		{"a burst of ten seconds", offered(level{30, 6}, level{10, 24}, level{60, 6}), []step{{30, 6, 24}}},
		{"up, and up again", offered(level{30, 6}, level{30, 24}, level{60, 40}), []step{{30, 6, 24}, {60, 24, 40}}},
		{"down is none", offered(level{30, 24}, level{30, 6}), nil},
		{"after nothing", offered(level{20, 0}, level{20, 5}), []step{{20, 0, 5}}},
		// 30 → 36 is less than a quarter.
		{"a small one is noise", offered(level{60, 30}, level{60, 36}), nil},
		// Each side has 15 s: (15 − 12)/√(12/15 + 15/15) is 2.2 standard errors.
		{"a quarter of few may be chance", offered(level{60, 12}, level{60, 15}), nil},
		// (0.9 − 0) · 15 = 13.5 requests, which is far from chance, but less than one per second.
		{"less than one per second is none", offered(level{60, 0}, level{60, 0.9}), nil},
		// Five seconds before it: (24 − 6)/√(6/5 + 24/15).
		{"near the start there are fewer seconds to tell from", offered(level{5, 6}, level{30, 24}), []step{{5, 6, 24}}},
		// Of the first five, four had 6 and one 24.
		{"nearer it is seen when it can be told", offered(level{4, 6}, level{30, 24}), []step{{5, 9.6, 24}}},
		{"a short run", offered(level{3, 6}), nil},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.due.steps(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestARampIsOneStepWhereItBegins(t *testing.T) {
	ramp := offered(level{60, 5})
	for i := range 30 {
		ramp = append(ramp, 5+float64(i+1)) // to 35
	}
	ramp = append(ramp, offered(level{60, 35})...)
	got := ramp.steps()
	if len(got) != 1 || got[0].at < 60 || got[0].at > 70 {
		t.Errorf("steps %v, want one in the ramp's first third, from second 60 to 70", got)
	}
}

func TestNoiseIsNoStep(t *testing.T) {
	const runs, seconds, rate = 100, 600, 8.0
	found := 0
	for seed := range runs {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		due := make(demand, seconds)
		for at := random.ExpFloat64() / rate; at < seconds; at += random.ExpFloat64() / rate {
			due[int(at)]++
		}
		found += len(due.steps())
	}
	// Four standard errors are exceeded once in 30,000 looks, of which 60,000 overlap.
	if found > runs/10 {
		t.Errorf("%d steps in %d runs of ten minutes at a constant rate, want one in ten runs at most", found, runs)
	}
}

func TestIntegral(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		name    string
		values  timeline.Values
		seconds float64
		want    float64
		known   bool
	}{
		{"the last second counts by its part", timeline.Values{1, 2, 4, 8}, 2.5, 1 + 2 + 2, true},
		{"a gap goes on with the value before it", timeline.Values{1, nan, nan, 4}, 4, 1 + 1 + 1 + 4, true},
		{"at the start, with the first", timeline.Values{nan, 3}, 2, 3 + 3, true},
		{"where the timeline ends before the run, with the last", timeline.Values{1, 2}, 4.5, 1 + 2 + 2.5*2, true},
		{"what comes after the run does not count", timeline.Values{1, 1, 100}, 2, 2, true},
		{"what is known only after the run is not known", timeline.Values{nan, nan, 3}, 2, 0, false},
		{"nothing is known", timeline.Values{nan}, 1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, known := integral(tt.values, tt.seconds); got != tt.want || known != tt.known {
				t.Errorf("got %v, %t; want %v, %t", got, known, tt.want, tt.known)
			}
		})
	}
}

func out(at float64, from, to int) timeline.Decision {
	return timeline.Decision{AtS: at, From: from, To: to}
}

func TestReactions(t *testing.T) {
	twoSteps := offered(level{30, 6}, level{30, 24}, level{60, 40}, level{20, 6})
	ready := func(changes ...level) timeline.Values { return timeline.Values(offered(changes...)) }
	tests := []struct {
		name      string
		due       demand
		decisions []timeline.Decision
		ready     timeline.Values
		offset    float64
		want      string // ordered and ready after each step; and the median
	}{
		{
			"ordered 3 s after the first step and 2 s after the second, ready 9 s and 12 s after them", twoSteps,
			[]timeline.Decision{out(33, 1, 3), out(62, 3, 5)}, ready(level{39, 1}, level{33, 3}, level{60, 5}), 0,
			"3 9; 2 12; 10.5",
		},
		{
			"the run started half a second after the timeline", twoSteps,
			[]timeline.Decision{out(33, 1, 3), out(62, 3, 5)}, ready(level{39, 1}, level{33, 3}, level{60, 5}), 0.5,
			"2.5 8.5; 1.5 11.5; 10",
		},
		{
			"what was there before the step is no reaction", twoSteps,
			[]timeline.Decision{out(20, 1, 3)}, ready(level{25, 1}, level{115, 3}), 0,
			"- -; - -; -",
		},
		{
			"after the next step it is the next one's", twoSteps,
			[]timeline.Decision{out(65, 1, 3)}, ready(level{80, 1}, level{60, 3}), 0,
			"- -; 5 20; 20",
		},
		{
			"one that went away and came back counts from when it came back", twoSteps,
			[]timeline.Decision{out(25, 2, 1), out(36, 1, 2)}, ready(level{32, 2}, level{10, 1}, level{98, 2}), 0,
			"6 12; - -; 12",
		},
		{
			// From second 33 on, the mean of the next 15 s is below 15, half way back: 7 s at 24 and 8 s at 6 make 14.4.
			// So second 93 is too late, and 92 is not.
			"a minute after demand has gone back it is too late", offered(level{30, 6}, level{10, 24}, level{100, 6}),
			[]timeline.Decision{out(92, 1, 2)}, ready(level{93, 1}, level{50, 2}), 0,
			"62 -; -",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line := &timeline.Timeline{Decisions: tt.decisions, Signals: map[timeline.Signal]timeline.Values{timeline.Ready: tt.ready}}
			got := scalingOver(line, tt.due, tt.offset)
			text := ""
			for _, r := range got.Reactions {
				text += fmt.Sprintf("%s %s; ", orDash(r.OrderedS), orDash(r.ReadyS))
			}
			if text += orDash(got.ReactionS); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
}

func orDash(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprint(*x)
}

func TestFlaps(t *testing.T) {
	const up, down = 3, 1 // the counts that a decision goes to, from 2
	change := func(at float64, to int) timeline.Decision { return out(at, 2, to) }
	tests := []struct {
		name       string
		due        demand
		decisions  []timeline.Decision
		outs, ins  int
		flaps      int
		neverKnown bool
	}{
		{"in the same direction is none", offered(level{100, 10}), []timeline.Decision{change(40, up), change(50, up)}, 2, 0, 0, false},
		{"out and in at a constant rate", offered(level{100, 10}), []timeline.Decision{change(40, up), change(80, down)}, 1, 1, 1, false},
		{"in and out at a constant rate", offered(level{100, 10}), []timeline.Decision{change(40, down), change(80, up)}, 1, 1, 1, false},
		{"there and back and there", offered(level{100, 10}), []timeline.Decision{change(40, up), change(60, down), change(80, up)}, 2, 1, 2, false},
		{"301 s later it is a new decision", offered(level{400, 10}), []timeline.Decision{change(40, up), change(341, down)}, 1, 1, 0, false},
		{"300 s later it is not", offered(level{400, 10}), []timeline.Decision{change(40, up), change(340, down)}, 1, 1, 1, false},
		// At 65 the last 15 s had 10 at 10 and 5 at 7, 9 a second: a tenth less.
		{"demand has fallen by a tenth", offered(level{60, 10}, level{40, 7}), []timeline.Decision{change(40, up), change(65, down)}, 1, 1, 0, false},
		{"it has fallen by less", offered(level{60, 10}, level{40, 7}), []timeline.Decision{change(40, up), change(64, down)}, 1, 1, 1, false},
		// At 65 they had 10 at 10 and 5 at 13, 11 a second: a tenth more.
		{"demand has risen by a tenth", offered(level{60, 10}, level{40, 13}), []timeline.Decision{change(40, down), change(65, up)}, 1, 1, 0, false},
		{"it has risen by less", offered(level{60, 10}, level{40, 13}), []timeline.Decision{change(40, down), change(64, up)}, 1, 1, 1, false},
		{"it had fallen, and is back where it was", offered(level{50, 10}, level{15, 5}, level{40, 10}), []timeline.Decision{change(66, down), change(85, up)}, 1, 1, 0, false},
		{"after the run there is no demand", offered(level{50, 10}), []timeline.Decision{change(40, up), change(70, down)}, 1, 1, 0, false},
		{"decisions are not known", offered(level{50, 10}), nil, 0, 0, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := scalingOver(&timeline.Timeline{Decisions: tt.decisions}, tt.due, 0)
			if tt.neverKnown {
				if got != nil {
					t.Errorf("got %+v, want none", got)
				}
				return
			}
			if got.Outs != tt.outs || got.Ins != tt.ins || got.Flaps != tt.flaps {
				t.Errorf("%d outs, %d ins, %d flaps; want %d, %d, %d", got.Outs, got.Ins, got.Flaps, tt.outs, tt.ins, tt.flaps)
			}
		})
	}
}
