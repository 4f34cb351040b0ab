package simreport

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// axis maps values to pixels.
type axis struct {
	low, high float64 // values at the two ends
	from, to  float64 // pixels there
	log       bool
}

func (a axis) at(x float64) float64 {
	low, high := a.low, a.high
	if a.log {
		x, low, high = math.Log(max(x, low)), math.Log(low), math.Log(high)
	}
	if high <= low {
		return a.from
	}
	return a.from + (x-low)/(high-low)*(a.to-a.from)
}

// tick is a line of the grid and what stands beside it.
type tick struct {
	At   string
	Text string
}

// ticks are about so many round values of a linear axis from 0 or its low end.
func (a axis) ticks(about int, text func(float64) string) []tick {
	step := niceStep((a.high - a.low) / float64(about))
	var out []tick
	for x := math.Ceil(a.low/step) * step; x <= a.high+step/1e6; x += step {
		out = append(out, tick{pixel(a.at(x)), text(x)})
	}
	return out
}

// niceStep is the smallest of 1, 2, 5, 10, … that is at least so much.
func niceStep(least float64) float64 {
	if !(least > 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= least*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// decades are the powers of ten of a logarithmic axis.
func (a axis) decades(text func(float64) string) []tick {
	var out []tick
	for p := math.Ceil(math.Log10(a.low) - 1e-9); math.Pow(10, p) <= a.high*(1+1e-9); p++ {
		x := math.Pow(10, p)
		out = append(out, tick{pixel(a.at(x)), text(x)})
	}
	return out
}

func pixel(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

// plain is a number without needless digits.
func plain(x float64) string {
	switch {
	case math.Abs(x) >= 1e6:
		return strconv.FormatFloat(x/1e6, 'f', -1, 64) + " M"
	case math.Abs(x) >= 1e4:
		return strconv.FormatFloat(x/1e3, 'f', -1, 64) + " k"
	}
	return strconv.FormatFloat(math.Round(x*1e6)/1e6, 'f', -1, 64)
}

// clock is a time in seconds, as minutes or hours where it is long.
func clock(total float64) func(float64) string {
	return func(x float64) string {
		switch s := int(math.Round(x)); {
		case total > 2*3600:
			return fmt.Sprintf("%d:%02d h", s/3600, s/60%60)
		case total > 300:
			return fmt.Sprintf("%d:%02d", s/60, s%60)
		default:
			return fmt.Sprintf("%d s", s)
		}
	}
}

// timeTicks are round times of an axis of seconds.
func (a axis) timeTicks() []tick {
	step := 0.0
	for _, s := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400} {
		if step = s; (a.high-a.low)/s <= 12 {
			break
		}
	}
	var out []tick
	for x := 0.0; x <= a.high; x += step {
		out = append(out, tick{pixel(a.at(x)), clock(a.high)(x)})
	}
	return out
}

// path is a line through points; a NaN breaks it. With steps it goes across
// before it goes up or down.
func path(xs, ys []float64, x, y axis, steps bool) string {
	var b strings.Builder
	pen, last := false, 0.0
	for i := range xs {
		if math.IsNaN(ys[i]) {
			pen = false
			continue
		}
		px, py := x.at(xs[i]), y.at(ys[i])
		switch {
		case !pen:
			fmt.Fprintf(&b, "M%.1f %.1fh0", px, py) // a dot, should no line follow
		case steps && py != last:
			fmt.Fprintf(&b, "H%.1fV%.1f", px, py)
		case steps:
			fmt.Fprintf(&b, "H%.1f", px)
		default:
			fmt.Fprintf(&b, "L%.1f %.1f", px, py)
		}
		pen, last = true, py
	}
	return b.String()
}
