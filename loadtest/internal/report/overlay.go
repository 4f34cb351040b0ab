package report

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/timeline"
)

// palette has the colours of the pages' lines on a light ground, in their order.
var palette = [page.Colours]color.Color{
	color.RGBA{0x00, 0x67, 0xb1, 0xff}, color.RGBA{0xc6, 0x52, 0x00, 0xff}, color.RGBA{0x00, 0x84, 0x5f, 0xff}, color.RGBA{0x9a, 0x3f, 0x86, 0xff},
	color.RGBA{0x7a, 0x82, 0x8a, 0xff}, color.RGBA{0xa0, 0x74, 0x00, 0xff}, color.RGBA{0x3d, 0x7f, 0x94, 0xff},
}

// Overlay is one picture with the same figure of several runs.
type Overlay struct {
	Title, Subtitle string
	// Unit names the vertical axis.
	Unit string
	// Seconds is how long the time axis is.
	Seconds int
	// Lines are drawn in their order, the last on top. Thin ones have no name in the legend.
	Lines []page.Line
	// Level is a limit, drawn across the picture; nil is none.
	Level *page.Level
	// AtLeast is the lowest value that the vertical axis reaches.
	AtLeast float64
	// Log makes the vertical axis logarithmic, from the lowest value above 0 on.
	Log bool
	// Whole is for counts: the axis is marked at whole numbers only.
	Whole bool
}

// WritePNG draws the picture, as large as the plots of a single run.
func (o Overlay) WritePNG(w io.Writer) error {
	image := vgimg.PngCanvas{Canvas: vgimg.NewWith(
		vgimg.UseWH(PlotWidth*pointsPerDot, PlotHeight*pointsPerDot), vgimg.UseDPI(dotsPerInch), vgimg.UseBackgroundColor(color.White),
	)}
	canvas := draw.Crop(draw.New(image), vg.Points(12), -vg.Points(16), vg.Points(8), -vg.Points(12))
	y := canvas.Max.Y
	y -= write(canvas, canvas.Min.X, y, o.Title, style(21, ink, true))
	y -= write(canvas, canvas.Min.X, y, clip(o.Subtitle, 120), style(14, faint, false))
	y -= vg.Points(4)

	var named []line
	for _, l := range o.lines() {
		if l.name != "" {
			named = append(named, l)
		}
	}
	if o.Level != nil {
		named = append(named, o.level())
	}
	y -= legend(canvas, y, named, 15)
	canvas.Max.Y = y
	axes, err := o.axes()
	if err != nil {
		return fmt.Errorf("%s: %w", o.Title, err)
	}
	axes.Draw(canvas)
	if _, err := image.WriteTo(w); err != nil {
		return fmt.Errorf("%s: %w", o.Title, err)
	}
	return nil
}

func (o Overlay) level() line {
	return line{name: o.Level.Name, values: timeline.Values{o.Level.Value}, style: stroke(red, 2, dashing...)}
}

func (o Overlay) lines() []line {
	var all []line
	for _, l := range o.Lines {
		c, width := palette[(l.Colour-1)%page.Colours], 2.6
		name := l.Name
		if l.Thin {
			width, name = 1, ""
			r, g, b, _ := c.RGBA()
			c = color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0x80}
		}
		drawn := line{name: name, values: make(timeline.Values, len(l.Values)), style: stroke(c, width), steps: l.Steps}
		if l.Dashed {
			drawn.style.Dashes = dashing
		}
		for i, x := range l.Values {
			if o.Log && x <= 0 {
				x = math.NaN()
			}
			drawn.values[i] = x
		}
		all = append(all, drawn)
	}
	return all
}

func (o Overlay) axes() (*plot.Plot, error) {
	axes := plot.New()
	lines := o.lines()
	lowest, top := math.Inf(1), o.AtLeast
	if o.Level != nil {
		lowest, top = o.Level.Value, max(top, o.Level.Value)
	}
	for _, l := range lines {
		for _, x := range l.values {
			if !math.IsNaN(x) {
				lowest, top = min(lowest, x), max(top, x)
			}
		}
	}
	axes.X.Min, axes.X.Max = 0, float64(max(o.Seconds, 1))
	var marks []plot.Tick
	if o.Log {
		axes.Y.Scale = plot.LogScale{}
		if math.IsInf(lowest, 1) {
			lowest = 1
		}
		top = max(top, lowest*10)
		marks = decades(lowest, top)
		axes.Y.Min, axes.Y.Max = marks[0].Value, max(top*1.1, marks[len(marks)-1].Value)
	} else {
		top = max(top, 1)
		marks = niceTicks(top, o.Whole, false)
		axes.Y.Min, axes.Y.Max = 0, max(top*1.06, marks[len(marks)-1].Value)
	}
	axes.Y.Tick.Marker = plot.ConstantTicks(marks)
	axes.X.Tick.Marker = plot.ConstantTicks(clockTicks(axes.X.Max, true))
	axes.X.Label.Text = "time since the start (minutes:seconds)"
	axes.Y.Label.Text = o.Unit
	for _, axis := range []*plot.Axis{&axes.X, &axes.Y} {
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = face(15, false), ink
		axis.Tick.Label.Font, axis.Tick.Label.Color = face(14, false), ink
		axis.Color, axis.Tick.Color = slate, slate
		axis.Label.Padding = vg.Points(4)
		axis.Tick.Length = vg.Points(4)
		axis.Padding = 0
	}
	lattice := plotter.NewGrid()
	lattice.Horizontal, lattice.Vertical = stroke(grid, 1), stroke(grid, 1)
	axes.Add(lattice)
	if o.Level != nil {
		limit, err := plotter.NewLine(plotter.XYs{{X: 0, Y: o.Level.Value}, {X: axes.X.Max, Y: o.Level.Value}})
		if err != nil {
			return nil, err
		}
		limit.LineStyle = o.level().style
		axes.Add(limit)
	}
	for _, l := range lines {
		if err := l.add(axes, false); err != nil {
			return nil, err
		}
	}
	return axes, nil
}

// decades marks 1, 2 and 5 times the powers of ten, from the last at or below
// lowest to the last at or below highest.
func decades(lowest, highest float64) []plot.Tick {
	var ticks []plot.Tick
	for power := math.Pow(10, math.Floor(math.Log10(lowest))); power <= highest; power *= 10 {
		for _, factor := range []float64{1, 2, 5} {
			value := factor * power
			if value > highest {
				break
			}
			if value <= lowest {
				ticks = ticks[:0]
			}
			ticks = append(ticks, plot.Tick{Value: value, Label: cell(value)})
		}
	}
	return ticks
}
