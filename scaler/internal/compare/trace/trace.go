// Package trace reads recorded demand from files: requests per second or per
// minute, or the instants of arrivals.
package trace

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// MaxRate is the highest rate that a trace may hold, in requests per second.
	MaxRate = 1_000_000
	// MaxSeconds is how long a trace may be: one week.
	MaxSeconds = 7 * 24 * 3600
)

// Unit says what the numbers of a trace are.
type Unit string

// The units. Auto is Arrivals for a .csv of one column that has a name or a
// decimal point, and Second for everything else.
const (
	Auto     Unit = "auto"
	Second   Unit = "second"   // requests per second, one a second
	Minute   Unit = "minute"   // requests per minute, one a minute
	Arrivals Unit = "arrivals" // times in seconds from the start, one a request
)

// Units lists every unit.
func Units() []Unit { return []Unit{Auto, Second, Minute, Arrivals} }

// Trace is a demand over time: either Rates or Times.
type Trace struct {
	// Name is the file's name without its folder.
	Name string
	// Rates are requests per second, one for every second from the start.
	Rates []float64
	// Times are the arrivals, from the start and in order.
	Times []time.Duration
}

// Options say how a file is read.
type Options struct {
	// Unit is what the numbers are; empty is Auto.
	Unit Unit
	// Column is the column of a CSV that has several: its name, or its number from 1.
	Column string
	// Scale is a factor on the rates, above 0; Speed one on the clock: at 2 the same
	// requests come in half the time.
	Scale, Speed float64
}

// Load reads the trace in the file at path. Errors are one line that names the
// file, the line, the value and what is allowed.
func Load(path string, o Options) (Trace, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Trace{}, fmt.Errorf("trace: %w", err)
	}
	t, err := parse(string(text), path, o)
	if err != nil {
		return Trace{}, err
	}
	t.Name = filepath.Base(path)
	if len(t.Times) > 0 {
		if o.Scale != 1 {
			return Trace{}, fmt.Errorf("scale: %v must be 1 for a trace of arrival times", o.Scale)
		}
		for i := range t.Times {
			t.Times[i] = time.Duration(float64(t.Times[i]) / o.Speed)
		}
		return t, nil
	}
	t.Rates = rescale(t.Rates, o.Scale, o.Speed)
	if i := slices.IndexFunc(t.Rates, func(r float64) bool { return r > MaxRate }); i >= 0 {
		return Trace{}, fmt.Errorf("%s: %v requests per second in second %d at scale %v and speed %v; allowed are at most %d", path, t.Rates[i], i, o.Scale, o.Speed, MaxRate)
	}
	return t, nil
}

func parse(text, name string, o Options) (Trace, error) {
	values, decimal, named, err := values(text, name, o.Column)
	if err != nil {
		return Trace{}, err
	}
	unit := o.Unit
	if unit == "" || unit == Auto {
		unit = Second
		if o.Column == "" && strings.EqualFold(filepath.Ext(name), ".csv") && (named || decimal) {
			unit = Arrivals
		}
	}
	if unit == Arrivals {
		times, err := arrivals(values, name)
		return Trace{Times: times}, err
	}
	seconds, what := 1, "second"
	if unit == Minute {
		seconds, what = 60, "minute"
	}
	if len(values)*seconds > MaxSeconds {
		return Trace{}, fmt.Errorf("%s: %d values; allowed is one week, at most %d values, one a %s", name, len(values), MaxSeconds/seconds, what)
	}
	rates := make([]float64, 0, len(values)*seconds)
	for _, v := range values {
		if v.number > float64(MaxRate*seconds) {
			return Trace{}, fmt.Errorf("%s:%d: %s is not a rate; allowed are numbers from 0 to %d such as 7 or 7.5 (requests per %s)", name, v.line, v.text, MaxRate*seconds, what)
		}
		for range seconds {
			rates = append(rates, v.number/float64(seconds))
		}
	}
	return Trace{Rates: rates}, nil
}

func arrivals(values []value, name string) ([]time.Duration, error) {
	times := make([]time.Duration, len(values))
	for i, v := range values {
		times[i] = time.Duration(math.Round(v.number * float64(time.Second)))
		switch {
		case v.number > MaxSeconds:
			return nil, fmt.Errorf("%s:%d: %s is not an arrival; allowed are seconds from the trace's start, 0 to %d", name, v.line, v.text, MaxSeconds)
		case i > 0 && times[i] < times[i-1]:
			return nil, fmt.Errorf("%s:%d: %s comes before the arrival ahead of it, %s; allowed are times in order", name, v.line, v.text, values[i-1].text)
		}
	}
	return times, nil
}

// rescale plays rates at a scale and a speed: second i of the result holds what
// falls into it of a clock that runs that much faster.
func rescale(rates []float64, scale, speed float64) []float64 {
	if speed == 1 {
		out := slices.Clone(rates)
		for i := range out {
			out[i] *= scale
		}
		return out
	}
	length := float64(len(rates)) / speed
	out := make([]float64, int(math.Ceil(length)))
	for i := range out {
		from, to := float64(i)*speed, min(float64(i+1)*speed, float64(len(rates)))
		for j := int(from); j < len(rates) && float64(j) < to; j++ {
			out[i] += rates[j] * scale * (min(to, float64(j+1)) - max(from, float64(j)))
		}
	}
	return out
}
