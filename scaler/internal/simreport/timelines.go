package simreport

import (
	"math"

	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/sim"
)

// The size of a picture, in pixels of its own; the page scales it.
const (
	width       = 1160.0
	left, right = 64.0, 20.0
	top, bottom = 14.0, 30.0
	// columns is how many points a line has at most.
	columns = 1000
)

// chart is a picture of lines over time.
type chart struct {
	Title, Caption string
	Unit           string
	Height         string
	Bottom, Right  string
	X, Y           []tick
	Lines          []line
	Limit          *tick
}

// line is one policy's.
type line struct {
	Name, Class, Path string
}

// column is a few seconds of a timeline.
type column struct{ at, rate, ready, violations, p99 float64 }

// condense makes columns of a timeline: the mean of rates and violations, the
// most replicas, the worst latency.
func condense(points []sim.Point) []column {
	each := (len(points) + columns - 1) / columns
	var out []column
	for from := 0; from < len(points); from += each {
		part := points[from:min(from+each, len(points))]
		c := column{at: part[len(part)-1].At, p99: math.NaN()}
		n := float64(len(part))
		for _, p := range part {
			c.rate += p.Rate / n
			c.violations += float64(p.Violations) / n
			c.ready = max(c.ready, float64(p.Ready))
			if p.P99 > 0 && !(p.P99 <= c.p99) {
				c.p99 = p.P99
			}
		}
		out = append(out, c)
	}
	return out
}

// timelines are the pictures over time of the one case's rows.
func timelines(rows []compare.Row, slo float64, class map[string]string) []chart {
	type track struct {
		row     compare.Row
		columns []column
	}
	var tracks []track
	for _, r := range rows {
		if len(r.Timeline) > 0 && r.Lost == "" {
			tracks = append(tracks, track{r, condense(r.Timeline)})
		}
	}
	if len(tracks) == 0 {
		return nil
	}
	end := tracks[0].columns[len(tracks[0].columns)-1].at
	make := func(title, caption, unit string, height float64, steps bool, limit float64, value func(column) float64, tracks []track) chart {
		most := limit * 1.15
		for _, t := range tracks {
			for _, c := range t.columns {
				if v := value(c); v > most {
					most = v
				}
			}
		}
		if most == 0 {
			most = 1
		}
		x := axis{low: 0, high: end, from: left, to: width - right}
		y := axis{low: 0, high: most * 1.05, from: height - bottom, to: top}
		out := chart{
			Title: title, Caption: caption, Unit: unit, Height: pixel(height), Bottom: pixel(height - bottom), Right: pixel(width - right),
			X: x.timeTicks(), Y: y.ticks(5, plain),
		}
		if limit > 0 {
			out.Limit = &tick{pixel(y.at(limit)), "SLO " + plain(limit) + " ms"}
		}
		// Headroom's line lies on top of the others, which are drawn before it.
		for _, ours := range []bool{false, true} {
			for _, t := range tracks {
				if (t.row.Policy == compare.Headroom) != ours {
					continue
				}
				xs, ys := []float64{}, []float64{}
				for _, c := range t.columns {
					xs, ys = append(xs, c.at), append(ys, value(c))
				}
				out.Lines = append(out.Lines, line{t.row.Policy, class[t.row.Policy], path(xs, ys, x, y, steps)})
			}
		}
		return out
	}
	load := make("Demand", "Requests that arrived. It is the same for every policy.", "requests/s", 170, false, 0,
		func(c column) float64 { return c.rate }, tracks[:1])
	load.Lines[0].Name, load.Lines[0].Class = "", "demand"
	return []chart{
		load,
		make("Ready replicas", "What serves. It follows an order by the cold start; starting replicas cost as much as ready ones.", "", 280, true, 0,
			func(c column) float64 { return c.ready }, tracks),
		make("Violations", "Requests refused, dropped or answered after the SLO.", "requests/s", 230, false, 0,
			func(c column) float64 { return c.violations }, tracks),
		make("99th percentile of latency", "Of what was answered in each second; a gap is a second without an answer.", "ms", 260, false, 1000*slo,
			func(c column) float64 { return 1000 * c.p99 }, tracks),
	}
}
