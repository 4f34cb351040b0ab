package page

import (
	"fmt"
	"math"
	"strconv"
)

// Scatter shows two figures of several things against each other. Both axes
// begin at 0, and less is better on both.
type Scatter struct {
	// ID names the chart to programs.
	ID           string
	Title        string
	XName, YName string
	Points       []Dot
	// Level is a limit on the vertical axis; nil is none.
	Level *Level
}

// Dot is a point of a scatter, or a mean of several with how far it may be off.
type Dot struct {
	Name string
	X, Y float64
	// XOff and YOff are half the width of an interval around it; NaN or 0 is none.
	XOff, YOff float64
	// Colour is from 1 to Colours.
	Colour int
	// Small points are single ones beside their mean; they carry no name.
	Small bool
}

const (
	drawingWidth  = 520
	drawingHeight = 330
	marginLeft    = 62
	marginRight   = 18
	marginTop     = 14
	marginBottom  = 46
	letterWidth   = 7.4 // of a name beside its point, about
)

// drawing is a scatter in the coordinates of its picture.
type drawing struct {
	Scatter
	Width, Height            int
	Left, Right, Top, Bottom float64
	XTicks, YTicks           []tick
	Dots                     []placed
	LevelY                   float64
}

type tick struct {
	At    float64
	Label string
}

type placed struct {
	Dot
	CX, CY         float64
	X1, X2, Y1, Y2 float64
	Whiskers       bool
	// NameX and Anchor place the name where there is room for it.
	NameX, NameY float64
	Anchor       string
	Text         string
}

func newDrawing(s Scatter) drawing {
	d := drawing{
		Scatter: s, Width: drawingWidth, Height: drawingHeight,
		Left: marginLeft, Right: drawingWidth - marginRight, Top: marginTop, Bottom: drawingHeight - marginBottom,
	}
	off := func(x float64) float64 {
		if math.IsNaN(x) {
			return 0
		}
		return x
	}
	highestX, highestY := 0.0, 0.0
	for _, p := range s.Points {
		highestX, highestY = max(highestX, p.X+off(p.XOff)), max(highestY, p.Y+off(p.YOff))
	}
	if s.Level != nil {
		highestY = max(highestY, s.Level.Value)
	}
	var endX, endY float64
	d.XTicks, endX = ticks(highestX * 1.05)
	d.YTicks, endY = ticks(highestY * 1.05)
	x := func(value float64) float64 { return round(d.Left + min(max(value, 0), endX)/endX*(d.Right-d.Left)) }
	y := func(value float64) float64 { return round(d.Bottom - min(max(value, 0), endY)/endY*(d.Bottom-d.Top)) }
	for i := range d.XTicks {
		d.XTicks[i].At = x(d.XTicks[i].At)
	}
	for i := range d.YTicks {
		d.YTicks[i].At = y(d.YTicks[i].At)
	}
	if s.Level != nil {
		d.LevelY = y(s.Level.Value)
	}
	for _, p := range s.Points {
		at := placed{
			Dot: p, CX: x(p.X), CY: y(p.Y),
			X1: x(p.X - off(p.XOff)), X2: x(p.X + off(p.XOff)), Y1: y(p.Y - off(p.YOff)), Y2: y(p.Y + off(p.YOff)),
			Whiskers: off(p.XOff) > 0 || off(p.YOff) > 0,
			Anchor:   "start",
			Text:     fmt.Sprintf("%s: %s %s, %s %s", p.Name, figure(p.X), s.XName, figure(p.Y), s.YName),
		}
		at.NameX, at.NameY = at.CX+11, max(at.CY-9, d.Top+10)
		if at.NameX+letterWidth*float64(len([]rune(p.Name))) > d.Right {
			at.NameX, at.Anchor = at.CX-11, "end"
		}
		d.Dots = append(d.Dots, at)
	}
	return d
}

func round(x float64) float64 { return math.Round(x*10) / 10 }

// ticks are about five round numbers from 0 to the first at or above highest, which is returned.
func ticks(highest float64) ([]tick, float64) {
	if !(highest > 0) {
		highest = 1
	}
	power := math.Pow(10, math.Floor(math.Log10(highest/5)))
	step := 10 * power
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= highest/5*(1-1e-9) {
			step = factor * power
			break
		}
	}
	var all []tick
	for i := 0; ; i++ {
		value := float64(i) * step
		all = append(all, tick{value, figure(value)})
		if value >= highest*(1-1e-9) {
			return all, value
		}
	}
}

// figure prints a number with at most four significant digits.
func figure(x float64) string {
	if math.Abs(x) >= 1000 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}
