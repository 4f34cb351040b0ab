package pace_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/pace"
)

const ms = time.Millisecond

func durations(milliseconds ...float64) []time.Duration {
	times := make([]time.Duration, len(milliseconds))
	for i, m := range milliseconds {
		times[i] = time.Duration(m * float64(ms))
	}
	return times
}

func TestEven(t *testing.T) {
	tests := []struct {
		name         string
		rates        []float64
		scale, speed float64
		want         []time.Duration
	}{
		{"4 a second for 1 s => one every 250 ms from the second's start", []float64{4}, 1, 1, durations(0, 250, 500, 750)},
		{"1 a second for 3 s => one at the start of each", []float64{1, 1, 1}, 1, 1, durations(0, 1000, 2000)},
		{"silence, then 2 a second => nothing before second 1", []float64{0, 2}, 1, 1, durations(1000, 1500)},
		{"half a request a second for 4 s => 2 requests, 2 s apart", []float64{0.5, 0.5, 0.5, 0.5}, 1, 1, durations(0, 2000)},
		{"1.5 a second for 2 s => 3 requests, the half carried over", []float64{1.5, 1.5}, 1, 1, durations(0, 500, 1000)},
		{"a tenth a second for 10 s => 1 request in all", slices.Repeat([]float64{0.1}, 10), 1, 1, durations(4000)},
		{"scale 2 => twice the requests in the same time", []float64{1, 2}, 2, 1, durations(0, 500, 1000, 1250, 1500, 1750)},
		{"scale 0.5 => half the requests", []float64{2, 2}, 0.5, 1, durations(0, 1000)},
		{"speed 2 => the same requests in half the time", []float64{2, 2}, 1, 2, durations(0, 250, 500, 750)},
		{"speed 0.5 => the same requests in twice the time", []float64{2}, 1, 0.5, durations(0, 1000)},
		{"silence only => nothing", []float64{0, 0}, 1, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pace.Schedule(tt.rates, pace.Options{Scale: tt.scale, Speed: tt.speed, Arrivals: pace.Even})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestEvenSendsTheRoundedSum(t *testing.T) {
	for _, rate := range []float64{0.1, 0.3, 0.7, 1.1, 3.3, 7.77, 33.34} {
		for _, seconds := range []int{1, 9, 10, 630} {
			got, err := pace.Schedule(slices.Repeat([]float64{rate}, seconds), pace.Options{Scale: 1, Speed: 1, Arrivals: pace.Even})
			if err != nil {
				t.Fatal(err)
			}
			if want := int(math.Round(math.Round(rate*float64(seconds)*1e6) / 1e6)); len(got) != want {
				t.Errorf("%v a second for %d s: %d requests, want %d", rate, seconds, len(got), want)
			}
		}
	}
}

func TestPoisson(t *testing.T) {
	rates := slices.Concat(slices.Repeat([]float64{10}, 500), slices.Repeat([]float64{40}, 500), []float64{0, 0, 0})
	schedule := func(seed int64) []time.Duration {
		times, err := pace.Schedule(rates, pace.Options{Scale: 1, Speed: 1, Arrivals: pace.Poisson, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return times
	}
	first := schedule(1)
	if !slices.Equal(first, schedule(1)) {
		t.Error("the same seed gives another schedule")
	}
	if slices.Equal(first, schedule(2)) {
		t.Error("another seed gives the same schedule")
	}
	if !slices.IsSorted(first) {
		t.Error("not sorted")
	}
	split, _ := slices.BinarySearch(first, 500*time.Second)
	// A Poisson count of mean m deviates by √m; five of those are never reached by chance.
	for _, part := range []struct {
		name string
		got  int
		mean float64
	}{{"500 s at 10 a second", split, 5000}, {"500 s at 40 a second", len(first) - split, 20000}} {
		if deviation := math.Abs(float64(part.got) - part.mean); deviation > 5*math.Sqrt(part.mean) {
			t.Errorf("%s: %d requests, want %v ± %.0f", part.name, part.got, part.mean, 5*math.Sqrt(part.mean))
		}
	}
	if last := first[len(first)-1]; last >= 1000*time.Second {
		t.Errorf("a request at %v, in the silence after second 1000", last)
	}
	// The gaps of a Poisson process vary as much as their mean: coefficient of variation 1.
	var sum, squares float64
	for i := 1; i < split; i++ {
		gap := (first[i] - first[i-1]).Seconds()
		sum += gap
		squares += gap * gap
	}
	mean := sum / float64(split-1)
	if cv := math.Sqrt(squares/float64(split-1)-mean*mean) / mean; cv < 0.93 || cv > 1.07 {
		t.Errorf("coefficient of variation of the gaps is %.3f, want about 1", cv)
	}
}

func TestScheduleRefuses(t *testing.T) {
	good := pace.Options{Scale: 1, Speed: 1, Arrivals: pace.Even}
	with := func(change func(*pace.Options)) pace.Options {
		o := good
		change(&o)
		return o
	}
	tests := []struct {
		name    string
		options pace.Options
		rates   []float64
		want    string
	}{
		{"scale 0", with(func(o *pace.Options) { o.Scale = 0 }), []float64{1}, "scale 0"},
		{"scale NaN", with(func(o *pace.Options) { o.Scale = math.NaN() }), []float64{1}, "scale NaN"},
		{"negative speed", with(func(o *pace.Options) { o.Speed = -1 }), []float64{1}, "speed -1"},
		{"infinite speed", with(func(o *pace.Options) { o.Speed = math.Inf(1) }), []float64{1}, "speed +Inf"},
		{"unknown arrivals", with(func(o *pace.Options) { o.Arrivals = "odd" }), []float64{1}, `arrivals "odd"`},
		{"more than fits in memory", good, slices.Repeat([]float64{1e6}, 21), "21000000 requests"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := pace.Schedule(tt.rates, tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
