package simreport

import (
	"math"
	"testing"

	"headroom.dev/scaler/internal/sim"
)

func TestStepsOfAnAxisAreRound(t *testing.T) {
	for least, want := range map[float64]float64{0.9: 1, 1: 1, 1.1: 2, 2.5: 5, 7: 10, 0.013: 0.02, 0: 1, 320: 500} {
		if got := niceStep(least); math.Abs(got-want) > 1e-9*want {
			t.Errorf("at least %v: %v, want %v", least, got, want)
		}
	}
}

func TestALineIsBrokenWhereNothingIsKnown(t *testing.T) {
	x, y := axis{low: 0, high: 4, to: 4}, axis{low: 0, high: 1, to: 1}
	got := path([]float64{0, 1, 2, 3}, []float64{0, 1, math.NaN(), 1}, x, y, false)
	if want := "M0.0 0.0h0L1.0 1.0M3.0 1.0h0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := path([]float64{0, 1, 2}, []float64{0, 0, 1}, x, y, true), "M0.0 0.0h0H1.0H2.0V1.0"; got != want {
		t.Errorf("with steps: got %s, want %s", got, want)
	}
}

func TestALogarithmicAxisHasItsDecades(t *testing.T) {
	y := axis{low: 0.001, high: 1, from: 300, to: 0, log: true}
	if got := y.at(0.01); math.Abs(got-200) > 1e-9 {
		t.Errorf("1 %% lies at %v, want 200", got)
	}
	if got := y.at(0); got != 300 {
		t.Errorf("nothing lies at %v, want 300", got)
	}
	ticks := y.decades(percentTick)
	if len(ticks) != 4 || ticks[0].Text != "0.1 %" || ticks[3].Text != "100 %" {
		t.Errorf("got %v", ticks)
	}
}

func TestALongTimelineIsCondensed(t *testing.T) {
	points := make([]sim.Point, 10_000)
	for i := range points {
		points[i] = sim.Point{At: float64(i + 1), Rate: 2, Ready: 1, Violations: 1}
	}
	points[5001].Ready, points[5001].P99 = 9, 0.7
	got := condense(points)
	if len(got) != columns {
		t.Fatalf("%d columns, want %d", len(got), columns)
	}
	if c := got[500]; c.ready != 9 || c.p99 != 0.7 || math.Abs(c.rate-2) > 1e-9 || math.Abs(c.violations-1) > 1e-9 {
		t.Errorf("got %+v", c)
	}
	if c := got[0]; !math.IsNaN(c.p99) || c.at != 10 {
		t.Errorf("got %+v", c)
	}
}

func TestLabelsDoNotHideEachOther(t *testing.T) {
	var l labels
	for i := range 6 {
		l.dot(300+float64(i), 200)
	}
	placed := 0
	for i := range 6 {
		before := len(l.taken)
		if _, _, ok := l.place(300+float64(i), 200, "1.25×"); ok {
			placed++
			last := l.taken[before]
			for _, o := range l.taken[:before] {
				if last.meets(o) {
					t.Errorf("%v lies over %v", last, o)
				}
			}
		}
	}
	if placed < 4 {
		t.Errorf("%d of 6 labels found room", placed)
	}
}

func TestSharesAreShownWithWhatMatters(t *testing.T) {
	for share, want := range map[float64]string{0: "0 %", 0.00001: "<0.01 %", 0.0026: "0.26 %", 0.0475: "4.75 %", 0.133: "13.3 %", 1: "100.0 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v is shown as %s, want %s", share, got, want)
		}
	}
}
