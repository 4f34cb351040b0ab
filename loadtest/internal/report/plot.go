package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"headroom.dev/loadtest/internal/timeline"
)

// PlotWidth and PlotHeight are the size of every plot in pixels.
const (
	PlotWidth  = 1200
	PlotHeight = 660

	dotsPerInch  = 96
	pointsPerDot = vg.Length(72.0 / dotsPerInch)
)

var (
	ink     = color.RGBA{0x1f, 0x23, 0x28, 0xff}
	faint   = color.RGBA{0x59, 0x63, 0x6e, 0xff}
	grid    = color.RGBA{0xe3, 0xe7, 0xec, 0xff}
	blue    = color.RGBA{0x09, 0x69, 0xda, 0xff}
	pale    = color.RGBA{0xdc, 0xeb, 0xfc, 0xff}
	amber   = color.RGBA{0xfb, 0xd7, 0xa8, 0xff}
	red     = color.RGBA{0xcf, 0x22, 0x2e, 0xff}
	orange  = color.RGBA{0xbc, 0x4c, 0x00, 0xff}
	slate   = color.RGBA{0x8c, 0x95, 0x9f, 0xff}
	pearl   = color.RGBA{0xe9, 0xec, 0xef, 0xff}
	ash     = color.RGBA{0xb4, 0xbc, 0xc5, 0xff}
	silver  = color.RGBA{0xcd, 0xd4, 0xdb, 0xff}
	rose    = color.RGBA{0xff, 0xd7, 0xd1, 0xff}
	dashing = []vg.Length{vg.Points(7), vg.Points(4)}
)

// line is one thing that a panel shows.
type line struct {
	name   string
	values timeline.Values
	style  draw.LineStyle
	fill   color.Color
	steps  bool
}

func (l line) known() bool {
	for _, x := range l.values {
		if !math.IsNaN(x) {
			return true
		}
	}
	return false
}

// panel is one pair of axes; both panels of a figure have the same time axis.
type panel struct {
	unit  string
	lines []line
	// level is a limit that is drawn across all of the panel; NaN is none.
	level line
	// shaded is a line whose known seconds have a ground of its colour, over all of the panel's height.
	shaded line
	// atLeast is the lowest value that the axis must reach.
	atLeast float64
	whole   bool
}

func stroke(c color.Color, width float64, dashes ...vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: vg.Points(width), Dashes: dashes}
}

func writeLatencyPlot(w io.Writer, s Seconds, summary Summary) error {
	slo := summary.SLO.LatencyS * 1000
	server := Latency{}
	if summary.Server != nil {
		server = *summary.Server
	}
	fact := fmt.Sprintf("Over the run: %s server side, %s client side", milliseconds(server.P99), milliseconds(summary.Client.P99))
	return writePlot(w, s, summary, "99th percentile of latency, of the last 10 s", fact, panel{
		unit: "latency (ms)",
		lines: []line{
			{name: "client p99, from the intended send time", values: times(s.ClientP99, 1000), style: stroke(ash, 5)},
			{name: "server p99", values: times(s.Measured.Signal(timeline.ServerP99), 1000), style: stroke(blue, 2.4)},
		},
		level:   line{name: fmt.Sprintf("SLO %.0f ms", slo), values: timeline.Values{slo}, style: stroke(red, 2, dashing...)},
		atLeast: slo * 1.2,
	})
}

func writeQueuePlot(w io.Writer, s Seconds, summary Summary) error {
	fact := ""
	if q := summary.Queue; q != nil {
		fact = fmt.Sprintf("Over the run: %.1f on average, %.0f at most", q.Mean, q.Peak)
	}
	return writePlot(w, s, summary, "Requests that wait in the queue", fact, panel{
		unit: "requests",
		lines: []line{{
			name: "queue size", values: s.Measured.Signal(timeline.QueueSize), style: stroke(blue, 2.2), fill: pale,
		}},
		level: line{values: timeline.Values{math.NaN()}}, atLeast: 5, whole: true,
	})
}

func writeReplicaPlot(w io.Writer, s Seconds, summary Summary) error {
	ready, existing := s.Measured.Signal(timeline.Ready), s.Measured.Signal(timeline.Existing)
	coming, all := make(timeline.Values, len(ready)), make(timeline.Values, len(ready))
	for i := range ready {
		// Where there is none of its kind, an area is not there.
		coming[i], all[i] = math.NaN(), math.NaN()
		up := ready[i] + s.Measured.Signal(timeline.Starting).At(i)
		if up > ready[i] {
			coming[i] = up
		}
		if existing.At(i) > up {
			all[i] = existing[i]
		}
	}
	wanted := line{name: "wanted by the scaler", values: s.Measured.Signal(timeline.Desired), style: stroke(orange, 2, dashing...), steps: true}
	if hpa := (line{values: s.Measured.Signal(timeline.HPADesired)}); hpa.known() {
		wanted.name, wanted.values = "wanted by the HPA", hpa.values
	}
	fact := ""
	if r := summary.Replicas; r != nil {
		fact = fmt.Sprintf("Over the run: %.1f ready on average, %d at most", r.Mean, r.Peak)
	}
	if c := summary.Cost; c != nil {
		fact += fmt.Sprintf(", %.0f replica-seconds", c.ReplicaSeconds)
	}
	if c := summary.Scaling; c != nil && c.ReactionS != nil {
		fact += fmt.Sprintf(", the first added one ready %.1f s after a step up in demand", *c.ReactionS)
	}
	return writePlot(w, s, summary, "Model server replicas", fact, panel{
		unit: "replicas",
		lines: []line{
			{name: "terminating, on top of the others", values: all, fill: silver, steps: true},
			{name: "starting, on top of ready", values: coming, fill: amber, steps: true},
			{name: "ready", values: ready, style: stroke(blue, 2.6), fill: pale, steps: true},
			wanted,
		},
		level: line{values: timeline.Values{math.NaN()}}, atLeast: 2, whole: true,
	})
}

// violated marks the seconds in which a request was due that got no prediction inside the SLO.
func violated(s Seconds, v Violations) line {
	marked := make(timeline.Values, len(s.Violations))
	for i, count := range s.Violations {
		marked[i] = math.NaN()
		if count > 0 {
			marked[i] = 1
		}
	}
	return line{name: fmt.Sprintf("seconds with SLO violations (%d, %.2f%%)", v.Count, v.Share*100), values: marked, fill: rose, steps: true}
}

// writePlot draws a figure: the title, the fact to remember, a legend, the panel,
// and below it the demand on the same time axis.
func writePlot(w io.Writer, s Seconds, summary Summary, title, fact string, main panel) error {
	image := vgimg.PngCanvas{Canvas: vgimg.NewWith(
		vgimg.UseWH(PlotWidth*pointsPerDot, PlotHeight*pointsPerDot), vgimg.UseDPI(dotsPerInch), vgimg.UseBackgroundColor(color.White),
	)}
	canvas := draw.Crop(draw.New(image), vg.Points(12), -vg.Points(16), vg.Points(8), -vg.Points(12))

	y := canvas.Max.Y
	subtitle := fmt.Sprintf("run %s, scaler %s, trace %s", summary.Run.ID, orNone(summary.Run.Scaler), summary.Run.Trace)
	y -= write(canvas, canvas.Min.X, y, title, style(19, ink, true))
	y -= write(canvas, canvas.Min.X, y, clip(subtitle, 140), style(12, faint, false))
	if fact != "" {
		y -= write(canvas, canvas.Min.X, y, fact, style(13, ink, false))
	}
	if !summary.Validity.Valid {
		y -= write(canvas, canvas.Min.X, y, clip("INVALID: "+strings.Join(summary.Validity.Reasons, "; "), 140), style(13, red, true))
	}
	y -= vg.Points(4)

	main.shaded = violated(s, summary.Violations)
	demand := panel{
		unit: "req/s",
		lines: []line{
			{name: "offered by the trace", values: s.Offered, fill: pearl, steps: true},
			{name: "arriving at the dispatcher", values: s.Measured.Signal(timeline.ArrivalRate), style: stroke(ink, 1.6)},
		},
		level: line{values: timeline.Values{math.NaN()}}, atLeast: 1,
	}
	y -= legend(canvas, y, slices.Concat(main.lines, []line{main.level, main.shaded}, demand.lines), 12)

	canvas.Max.Y = y
	split := canvas.Min.Y + (canvas.Max.Y-canvas.Min.Y)*0.30
	upper, lower := canvas, canvas
	upper.Min.Y, lower.Max.Y = split, split

	top, err := main.plot(s, false)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	bottom, err := demand.plot(s, true)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	align(&upper, top, &lower, bottom)
	top.Draw(upper)
	bottom.Draw(lower)
	if !main.known() {
		area := top.DataCanvas(upper)
		message := style(16, faint, false)
		message.XAlign, message.YAlign = draw.XCenter, draw.YCenter
		area.FillText(message, area.Center(), "not measured: Prometheus was not asked or had no data")
	}
	if _, err := image.WriteTo(w); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	return nil
}

func (p panel) known() bool {
	for _, l := range p.lines {
		if l.known() {
			return true
		}
	}
	return false
}

// plot makes the axes and the lines of a panel.
func (p panel) plot(s Seconds, labelTime bool) (*plot.Plot, error) {
	axes := plot.New()
	axes.X.Min, axes.X.Max = 0, float64(max(s.Count, 1))
	highest := p.atLeast
	for _, l := range p.lines {
		for _, x := range l.values {
			if !math.IsNaN(x) {
				highest = max(highest, x)
			}
		}
	}
	ticks := niceTicks(highest, p.whole, labelTime)
	axes.Y.Min, axes.Y.Max = 0, max(highest*1.06, ticks[len(ticks)-1].Value)
	axes.Y.Tick.Marker = plot.ConstantTicks(ticks)
	axes.X.Tick.Marker = plot.ConstantTicks(clockTicks(axes.X.Max, labelTime))
	axes.Y.Label.Text = p.unit
	if labelTime {
		axes.X.Label.Text = "time since the start (minutes:seconds)"
	}
	for _, axis := range []*plot.Axis{&axes.X, &axes.Y} {
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = face(13, false), ink
		axis.Tick.Label.Font, axis.Tick.Label.Color = face(12, false), ink
		axis.Color, axis.Tick.Color = slate, slate
		axis.Label.Padding = vg.Points(4)
		axis.Tick.Length = vg.Points(4)
		axis.Padding = 0
	}

	// What comes after the last answer is the settling: shaded, since no load is on.
	if s.LoadEnds > 0 && float64(s.Count)-s.LoadEnds > 3 {
		shade, err := plotter.NewPolygon(plotter.XYs{
			{X: s.LoadEnds, Y: 0}, {X: axes.X.Max, Y: 0}, {X: axes.X.Max, Y: axes.Y.Max}, {X: s.LoadEnds, Y: axes.Y.Max},
		})
		if err != nil {
			return nil, err
		}
		shade.Color, shade.Width = color.RGBA{0xf6, 0xf8, 0xfa, 0xff}, 0
		axes.Add(shade)
	}
	ground := line{values: times(p.shaded.values, axes.Y.Max), fill: p.shaded.fill, steps: true}
	if err := ground.add(axes, true); err != nil {
		return nil, err
	}
	lattice := plotter.NewGrid()
	lattice.Horizontal, lattice.Vertical = stroke(grid, 1), stroke(grid, 1)
	for _, l := range p.lines {
		if err := l.add(axes, true); err != nil {
			return nil, err
		}
	}
	axes.Add(lattice)
	if level := p.level.values.At(0); !math.IsNaN(level) {
		limit, err := plotter.NewLine(plotter.XYs{{X: 0, Y: level}, {X: axes.X.Max, Y: level}})
		if err != nil {
			return nil, err
		}
		limit.LineStyle = p.level.style
		axes.Add(limit)
	}
	for _, l := range p.lines {
		if err := l.add(axes, false); err != nil {
			return nil, err
		}
	}
	return axes, nil
}

// add draws the line in pieces, with nothing where it is unknown: first its
// area, which lies under the grid, or else its stroke, which lies over it.
func (l line) add(axes *plot.Plot, area bool) error {
	for begin := 0; begin < len(l.values); begin++ {
		if math.IsNaN(l.values[begin]) || (area && l.fill == nil) {
			continue
		}
		end := begin
		var points plotter.XYs
		for ; end < len(l.values) && !math.IsNaN(l.values[end]); end++ {
			points = append(points, plotter.XY{X: float64(end), Y: l.values[end]})
			if l.steps {
				points = append(points, plotter.XY{X: float64(end + 1), Y: l.values[end]})
			}
		}
		if len(points) == 1 {
			// A lone second is a short dash: it would not be seen as a point.
			points = append(points, plotter.XY{X: points[0].X + 0.8, Y: points[0].Y})
		}
		piece, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		if area {
			piece.FillColor, piece.Width = l.fill, 0
		} else {
			piece.LineStyle = l.style
		}
		axes.Add(piece)
		begin = end
	}
	return nil
}

// align gives both panels the same left and right ends, though their labels differ in width.
func align(upper *draw.Canvas, top *plot.Plot, lower *draw.Canvas, bottom *plot.Plot) {
	a, b := top.DataCanvas(*upper), bottom.DataCanvas(*lower)
	left, right := max(a.Min.X, b.Min.X), min(a.Max.X, b.Max.X)
	*upper = draw.Crop(*upper, left-a.Min.X, right-a.Max.X, 0, 0)
	*lower = draw.Crop(*lower, left-b.Min.X, right-b.Max.X, 0, 0)
}

// legend writes the lines' names in letters of size points in a row below y, as many rows as it takes,
// and returns the height that it took.
func legend(canvas draw.Canvas, y vg.Length, lines []line, size float64) vg.Length {
	label := style(size, ink, false)
	const sample, gap = 26, 20
	rowHeight := label.Height("Ag") + vg.Points(6)
	x, height := canvas.Min.X, rowHeight
	for _, l := range lines {
		if l.name == "" || !l.known() {
			continue
		}
		width := vg.Points(sample+6) + label.Width(l.name)
		if x > canvas.Min.X && x+width > canvas.Max.X {
			x, height = canvas.Min.X, height+rowHeight
		}
		middle := y - height + rowHeight/2
		from, to := vg.Point{X: x, Y: middle}, vg.Point{X: x + vg.Points(sample), Y: middle}
		if l.fill != nil {
			half := vg.Points(5)
			canvas.FillPolygon(l.fill, []vg.Point{
				{X: from.X, Y: middle - half}, {X: to.X, Y: middle - half}, {X: to.X, Y: middle + half}, {X: from.X, Y: middle + half},
			})
		}
		if l.style.Width > 0 {
			canvas.StrokeLines(l.style, []vg.Point{from, to})
		}
		name := label
		name.YAlign = draw.YCenter
		canvas.FillText(name, vg.Point{X: to.X + vg.Points(6), Y: middle}, l.name)
		x += width + vg.Points(gap)
	}
	return height + vg.Points(6)
}

func write(canvas draw.Canvas, x, y vg.Length, words string, s text.Style) vg.Length {
	s.YAlign = draw.YTop
	canvas.FillText(s, vg.Point{X: x, Y: y}, words)
	return s.Height(words) + vg.Points(6)
}

func face(size float64, bold bool) font.Font {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
	if bold {
		f.Weight = xfont.WeightBold
	}
	return f
}

func style(size float64, c color.Color, bold bool) text.Style {
	return text.Style{Color: c, Font: face(size, bold), Handler: plot.DefaultTextHandler}
}

func clip(words string, most int) string {
	letters := []rune(words)
	if len(letters) <= most {
		return words
	}
	return strings.TrimSpace(string(letters[:most-1])) + "…"
}

func times(values timeline.Values, factor float64) timeline.Values {
	scaled := make(timeline.Values, len(values))
	for i, x := range values {
		scaled[i] = x * factor
	}
	return scaled
}

// niceTicks marks 0 and multiples of 1, 2 or 5 times a power of ten, up to the
// first at or above highest; about five, or three on a low panel.
func niceTicks(highest float64, whole, low bool) []plot.Tick {
	wanted := 5.0
	if low {
		wanted = 3
	}
	raw := highest / wanted
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= raw*(1-1e-9) {
			step = factor * power
			break
		}
	}
	if whole {
		step = max(1, math.Round(step))
	}
	var ticks []plot.Tick
	for i := 0; ; i++ {
		value := float64(i) * step
		ticks = append(ticks, plot.Tick{Value: value, Label: cell(value)})
		if value >= highest*(1-1e-9) {
			return ticks
		}
	}
}

// clockTicks marks whole steps of time, at most thirteen of them.
func clockTicks(end float64, label bool) []plot.Tick {
	step := 1.0
	for _, step = range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400} {
		if end/step <= 13 {
			break
		}
	}
	var ticks []plot.Tick
	for at := 0.0; at <= end; at += step {
		tick := plot.Tick{Value: at}
		// A tick without a label is a minor one, and the grid has lines at labelled ones only.
		tick.Label = " "
		if label {
			tick.Label = fmt.Sprintf("%d:%02d", int(at)/60, int(at)%60)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}
