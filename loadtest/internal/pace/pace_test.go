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
		{"gamma with no variation", with(func(o *pace.Options) { o.Arrivals, o.CV = pace.Gamma, 0 }), []float64{1}, "coefficient of variation 0: allowed are numbers from 0.01 to 10"},
		{"gamma with NaN", with(func(o *pace.Options) { o.Arrivals, o.CV = pace.Gamma, math.NaN() }), []float64{1}, "coefficient of variation NaN"},
		{"recorded arrivals from rates", with(func(o *pace.Options) { o.Arrivals = pace.Recorded }), []float64{1}, `arrivals "recorded"`},
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

// schedule is of seconds at a rate.
func schedule(t *testing.T, rate float64, seconds int, o pace.Options) []time.Duration {
	t.Helper()
	if o.Scale == 0 {
		o.Scale, o.Speed = 1, 1
	}
	times, err := pace.Schedule(slices.Repeat([]float64{rate}, seconds), o)
	if err != nil {
		t.Fatal(err)
	}
	return times
}

// Counts, mean and variation of gamma gaps, within five standard errors.
func TestGammaGaps(t *testing.T) {
	const rate, seconds = 100.0, 2000
	for _, cv := range []float64{0.1, 0.5, 1, 2, 4} {
		times := schedule(t, rate, seconds, pace.Options{Arrivals: pace.Gamma, CV: cv, Seed: 7})
		if !slices.IsSorted(times) {
			t.Errorf("cv %v: not sorted", cv)
		}
		// The count of a renewal process of mean n has the deviation cv √n (Cox 1962, chapter 3).
		mean := rate * float64(seconds)
		if off := math.Abs(float64(len(times)) - mean); off > 5*cv*math.Sqrt(mean) {
			t.Errorf("cv %v: %d requests, want %v ± %.0f", cv, len(times), mean, 5*cv*math.Sqrt(mean))
		}
		// The sample variance of gamma gaps has the relative error √((2 + 6/shape)/n), with shape 1/cv².
		if got, within := pace.CV(times), 5*cv*math.Sqrt((2+6*cv*cv)/mean)/2; math.Abs(got-cv) > within {
			t.Errorf("cv %v: the gaps' is %.4f, want ± %.4f", cv, got, within)
		}
	}
}

// A gap that is longer than twice the mean is e^-2 of those of a Poisson
// process, and gamma gaps with cv 1 are those.
func TestGammaWithCV1IsPoisson(t *testing.T) {
	for _, o := range []pace.Options{{Arrivals: pace.Poisson, Seed: 3}, {Arrivals: pace.Gamma, CV: 1, Seed: 3}} {
		times := schedule(t, 1, 100_000, o)
		long := 0
		for i := 1; i < len(times); i++ {
			if times[i]-times[i-1] > 2*time.Second {
				long++
			}
		}
		n := float64(len(times))
		if p := math.Exp(-2); math.Abs(float64(long)/n-p) > 5*math.Sqrt(p*(1-p)/n) {
			t.Errorf("%s: %.4f of the gaps are above twice the mean, want %.4f", o.Arrivals, float64(long)/n, p)
		}
	}
}

// Over many seeds the first second has no more requests than the trace says,
// though with clustered arrivals that is easy to get wrong.
func TestEveryArrivalsGiveTheFirstSecondItsShare(t *testing.T) {
	const rate, seeds = 5.0, 20_000
	for _, o := range []pace.Options{{Arrivals: pace.Even}, {Arrivals: pace.Poisson}, {Arrivals: pace.Gamma, CV: 0.3}, {Arrivals: pace.Gamma, CV: 3}} {
		var sum, squares float64
		for seed := range seeds {
			o.Seed = int64(seed)
			n := float64(len(schedule(t, rate, 1, o)))
			sum, squares = sum+n, squares+n*n
		}
		mean := sum / seeds
		within := 5 * math.Sqrt((squares/seeds-mean*mean)/seeds)
		if math.Abs(mean-rate) > within {
			t.Errorf("%s, cv %v: %.3f requests on average, want %v ± %.3f", o.Arrivals, o.CV, mean, rate, within)
		}
	}
}

func TestGammaIsGivenByItsSeed(t *testing.T) {
	of := func(seed int64, cv float64) []time.Duration {
		return schedule(t, 50, 20, pace.Options{Arrivals: pace.Gamma, CV: cv, Seed: seed})
	}
	if !slices.Equal(of(1, 2), of(1, 2)) {
		t.Error("the same seed gives another schedule")
	}
	if slices.Equal(of(1, 2), of(2, 2)) || slices.Equal(of(1, 2), of(1, 3)) {
		t.Error("another seed or variation gives the same schedule")
	}
}

func TestGammaFollowsTheRate(t *testing.T) {
	rates := slices.Concat(slices.Repeat([]float64{10}, 500), slices.Repeat([]float64{0}, 10), slices.Repeat([]float64{40}, 500))
	times, err := pace.Schedule(rates, pace.Options{Scale: 2, Speed: 2, Arrivals: pace.Gamma, CV: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := slices.BinarySearch(times, 250*time.Second)
	second, _ := slices.BinarySearch(times, 255*time.Second)
	for _, part := range []struct {
		name      string
		got       int
		mean, dev float64
	}{
		{"500 s at 10, twice as many in half the time", first, 10_000, 2 * 100},
		{"10 s of silence", second - first, 0, 0},
		{"500 s at 40", len(times) - second, 40_000, 2 * 200},
	} {
		if math.Abs(float64(part.got)-part.mean) > 5*part.dev {
			t.Errorf("%s: %d requests, want %v ± %v", part.name, part.got, part.mean, 5*part.dev)
		}
	}
}

func TestReplay(t *testing.T) {
	arrivals := durations(0, 50, 50, 2900)
	for _, tt := range []struct {
		name         string
		scale, speed float64
		want         []time.Duration
	}{
		{"as they came", 1, 1, arrivals},
		{"twice as fast", 1, 2, durations(0, 25, 25, 1450)},
		{"half as fast", 1, 0.5, durations(0, 100, 100, 5800)},
	} {
		got, err := pace.Replay(arrivals, pace.Options{Scale: tt.scale, Speed: tt.speed, Seed: 1})
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if got, err := pace.Replay(nil, pace.Options{Scale: 1, Speed: 1}); err != nil || len(got) != 0 {
		t.Errorf("of nothing: got %v, %v", got, err)
	}
	for name, o := range map[string]pace.Options{"scale -1": {Scale: -1, Speed: 1}, "speed 0": {Scale: 1}, "40000000 requests": {Scale: 1e7, Speed: 1}} {
		if _, err := pace.Replay(arrivals, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestReplayAtAnotherScale(t *testing.T) {
	// Ten in every even second, none in the odd ones.
	var arrivals []time.Duration
	for i := range 20_000 {
		arrivals = append(arrivals, time.Duration(i/10*2000+i%10*7)*ms)
	}
	of := func(scale float64, seed int64) []time.Duration {
		times, err := pace.Replay(arrivals, pace.Options{Scale: scale, Speed: 1, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(times) {
			t.Errorf("scale %v: not sorted", scale)
		}
		return times
	}
	contains := func(all, some []time.Duration) bool {
		for _, instant := range some {
			if _, found := slices.BinarySearch(all, instant); !found {
				return false
			}
		}
		return true
	}
	if !slices.Equal(of(0.3, 1), of(0.3, 1)) || slices.Equal(of(0.3, 1), of(0.3, 2)) {
		t.Error("the seed does not give the schedule")
	}
	if !contains(arrivals, of(0.3, 1)) || !contains(of(0.6, 1), of(0.3, 1)) || !contains(of(2.5, 1), arrivals) {
		t.Error("those that arrived at a lower scale are not all there at a higher one, at their own instants")
	}
	for _, scale := range []float64{0.3, 2, 2.5} {
		times := of(scale, 1)
		_, rest := math.Modf(scale)
		mean, deviation := scale*20_000, math.Sqrt(20_000*rest*(1-rest))
		if math.Abs(float64(len(times))-mean) > 5*deviation {
			t.Errorf("scale %v: %d requests, want %v ± %.0f", scale, len(times), mean, 5*deviation)
		}
		for _, instant := range times {
			if int(instant.Seconds())%2 != 0 {
				t.Fatalf("scale %v: a request at %v, in a second that was silent", scale, instant)
			}
		}
	}
}

func TestCV(t *testing.T) {
	for _, tt := range []struct {
		times []time.Duration
		want  float64
	}{
		{nil, 0}, {durations(5), 0}, {durations(5, 6), 0}, {durations(5, 5, 5), 0},
		{durations(0, 10, 20, 30), 0},
		{durations(0, 0, 20), 1},           // gaps 0 and 20: mean 10, deviation 10
		{durations(0, 5, 20, 25, 40), 0.5}, // gaps 5, 15, 5, 15
	} {
		if got := pace.CV(tt.times); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("of %v: got %v, want %v", tt.times, got, tt.want)
		}
	}
}
