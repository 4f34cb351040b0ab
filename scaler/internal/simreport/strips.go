package simreport

import (
	"fmt"
	"math"

	"headroom.dev/scaler/internal/compare"
)

// strips is a picture of where the workloads of each policy lie: a dot for each.
type strips struct {
	Title, Caption              string
	Height, Bottom, Left, Right string
	X                           []tick
	Limit                       *tick
	Rows                        []strip
}

type strip struct {
	Name, Class  string
	Y, Low, High string // of the row's middle, and of its marks
	Dots         []dot
	Median, P90  string // where they are
	Numbers      string
}

const (
	stripHeight = 40.0
	stripLeft   = 130.0
	stripRight  = 150.0
)

// distribution draws a number of every case by policy. Values at or below floor
// lie on the left edge. limit is a line, none where it is 0.
func distribution(r *Report, class map[string]string, title, caption string, log bool, low, high, limit float64,
	value func(compare.Row) (float64, bool), scale, text func(float64) string) strips {
	height := top + stripHeight*float64(len(r.Totals)) + bottom
	x := axis{low: low, high: high, from: stripLeft, to: width - stripRight, log: log}
	out := strips{Title: title, Caption: caption, Height: pixel(height), Bottom: pixel(height - bottom), Left: pixel(stripLeft), Right: pixel(width - stripRight)}
	if log {
		out.X = x.decades(scale)
	} else {
		out.X = x.ticks(8, scale)
	}
	if limit > 0 {
		out.Limit = &tick{pixel(x.at(limit)), scale(limit)}
	}
	for j, t := range r.Totals {
		middle := top + stripHeight*(float64(j)+0.5)
		s := strip{Name: t.Policy, Class: hue(class[t.Policy]), Y: pixel(middle), Low: pixel(middle - 13), High: pixel(middle + 13)}
		var all []float64
		for i, c := range r.Cases {
			v, ok := value(c.Rows[j])
			if !ok {
				continue
			}
			all = append(all, v)
			// Spread over the strip's breadth, so that equal ones don't hide each other.
			shift := (math.Mod(float64(i)*0.618034, 1) - 0.5) * 22
			s.Dots = append(s.Dots, dot{X: pixel(x.at(min(max(v, low), high))), Y: pixel(middle + shift), Tip: fmt.Sprintf("%s: %s, %s", t.Policy, text(v), c.Scenario.Name)})
		}
		if len(all) > 0 {
			at := compare.SpreadOf(all)
			s.Median, s.P90 = pixel(x.at(min(max(at.Median, low), high))), pixel(x.at(min(max(at.P90, low), high)))
			s.Numbers = fmt.Sprintf("%s · %s · %s", text(at.Median), text(at.P90), text(at.Worst))
		}
		out.Rows = append(out.Rows, s)
	}
	return out
}
