package simreport

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"headroom.dev/scaler/internal/compare"
)

// scatter is the picture of avoidable violations against cost.
type scatter struct {
	Height, Bottom, Right, Zero string
	XTitle                      string
	X, Y                        []tick
	Curves                      []scatterCurve
}

type scatterCurve struct {
	Name, Class, Hue, Path string
	Dots                   []dot
}

type dot struct{ X, Y, Label, Tip, LabelX, LabelY string }

const (
	scatterHeight = 560.0
	// zeroBand is the place below the logarithmic axis for no violations at all.
	zeroBand = 34.0
)

// tradeoff draws the curves and the policies that were compared besides. The
// cost is relative to reference.
func tradeoff(curves []compare.Curve, rows []compare.Row) *scatter {
	if len(curves) == 0 {
		return nil
	}
	reference, xTitle := costOf(rows)
	if reference == 0 {
		return nil
	}
	type place struct {
		label, tip  string
		cost, share float64
	}
	type group struct {
		name, class string
		places      []place
	}
	var groups []group
	most, least := 1.0, 0.01
	add := func(name, class string, points []compare.Point) {
		var g []place
		for _, p := range points {
			cost := p.Row.ReplicaSeconds / reference
			most = max(most, cost)
			if p.Row.AvoidableShare > 0 {
				least = min(least, p.Row.AvoidableShare)
			}
			g = append(g, place{p.Label, fmt.Sprintf("%s, %s: %s avoidable, %.0f replica-seconds (%.2f×)", name, p.Label, percent(p.Row.AvoidableShare), p.Row.ReplicaSeconds, cost), cost, p.Row.AvoidableShare})
		}
		groups = append(groups, group{name, class, g})
	}
	for i, c := range curves {
		add(c.Name, []string{"c0", "c4", "c1", "c3", "c9 dashed"}[i%5], c.Points)
	}
	for _, r := range rows {
		if r.Policy == compare.Clairvoyant && r.Lost == "" {
			add(compare.Clairvoyant, "c8", []compare.Point{{Label: compare.Clairvoyant, Row: r}})
		}
	}
	x := axis{low: min(0.9, lowest(curves, reference)), high: min(most, 4) * 1.03, from: left + 6, to: width - right}
	y := axis{low: math.Pow(10, math.Floor(math.Log10(least))), high: 1, from: scatterHeight - bottom - zeroBand - 16, to: top, log: true}
	zero := scatterHeight - bottom - zeroBand/2 - 16
	out := &scatter{
		Height: pixel(scatterHeight), Bottom: pixel(scatterHeight - bottom - 16), Right: pixel(width - right), Zero: pixel(zero), XTitle: xTitle,
		X: x.ticks(10, func(v float64) string { return plain(v) + "×" }), Y: y.decades(percentTick),
	}
	var room labels
	height := func(share float64) float64 {
		if share > 0 {
			return y.at(share)
		}
		return zero
	}
	for i, g := range groups {
		groups[i].places = slices.DeleteFunc(g.places, func(p place) bool { return p.cost > x.high })
		for _, p := range groups[i].places {
			room.dot(x.at(p.cost), height(p.share))
		}
	}
	for _, g := range groups {
		curve := scatterCurve{Name: g.name, Class: g.class, Hue: hue(g.class)}
		verb := "M"
		for _, p := range g.places {
			px, py := x.at(p.cost), height(p.share)
			curve.Path += fmt.Sprintf("%s%.1f %.1f", verb, px, py)
			verb = "L"
			d := dot{X: pixel(px), Y: pixel(py), Tip: p.tip}
			if lx, ly, ok := room.place(px, py, p.label); ok {
				d.Label, d.LabelX, d.LabelY = p.label, pixel(lx), pixel(ly)
			}
			curve.Dots = append(curve.Dots, d)
		}
		out.Curves = append(out.Curves, curve)
	}
	return out
}

// costOf is what costs are relative to, and what the axis is called then.
func costOf(rows []compare.Row) (float64, string) {
	for _, name := range []string{compare.Clairvoyant, compare.Headroom} {
		for _, r := range rows {
			if r.Policy == name && r.Lost == "" {
				return r.ReplicaSeconds, "replica-seconds, by the " + name + "’s"
			}
		}
	}
	return 0, ""
}

func lowest(curves []compare.Curve, reference float64) float64 {
	out := 1.0
	for _, c := range curves {
		for _, p := range c.Points {
			out = min(out, p.Row.ReplicaSeconds/reference)
		}
	}
	return out * 0.97
}

func percentTick(share float64) string { return plain(100*share) + " %" }

// beaten says in words how many settings of others a setting of headroom's beats
// on both counts at once.
func beaten(curves []compare.Curve) []string {
	var ours []compare.Point
	for _, c := range curves {
		if strings.HasPrefix(c.Name, compare.Headroom) {
			ours = append(ours, c.Points...)
		}
	}
	var out []string
	for _, c := range curves {
		if !strings.HasPrefix(c.Name, "HPA") && !strings.HasPrefix(c.Name, "KPA") || len(c.Points) == 0 {
			continue
		}
		worse, better := 0, 0
		for _, p := range c.Points {
			if slices.ContainsFunc(ours, func(o compare.Point) bool { return dominates(o.Row, p.Row) }) {
				worse++
			}
			if slices.ContainsFunc(ours, func(o compare.Point) bool { return dominates(p.Row, o.Row) }) {
				better++
			}
		}
		out = append(out, fmt.Sprintf("%s: of %d settings, %d cost more and violate more than some setting of headroom; %d beat some setting of headroom in both.", c.Name, len(c.Points), worse, better))
	}
	return out
}

func dominates(a, b compare.Row) bool {
	return a.ReplicaSeconds <= b.ReplicaSeconds && a.Avoidable <= b.Avoidable && (a.ReplicaSeconds < b.ReplicaSeconds || a.Avoidable < b.Avoidable)
}
