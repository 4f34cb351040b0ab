package page

import (
	"encoding/json"
	"math"
	"strconv"
)

const (
	// mostPoints is how many points a line has at most, and mostValues how many
	// all lines of a page have together: a page of a long run opens as quickly.
	mostPoints = 4000
	mostValues = 200_000
	// fewestPoints is what is left to a line among very many.
	fewestPoints = 600
)

// Timeline is a set of charts that share a time axis.
type Timeline struct {
	// Seconds is how long the axis is; every line has a value a second.
	Seconds int
	// Marks are instants that all charts show.
	Marks []Mark
	// Spans are stretches of time that all charts show as a shade.
	Spans  []Span
	Charts []Chart
}

// Mark is an instant at which something was decided.
type Mark struct {
	// At is in seconds from the start.
	At float64 `json:"at"`
	// Up tells an increase from a decrease.
	Up bool `json:"up"`
	// Text is what is shown when somebody points at it.
	Text string `json:"text"`
}

// Span is a stretch of time, in seconds from the start.
type Span struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	Name string  `json:"name"`
}

// Chart is one pair of axes.
type Chart struct {
	// ID names the chart to programs.
	ID    string
	Title string
	Unit  string
	// Wide charts take the whole width and are higher.
	Wide bool
	// Log makes the vertical axis logarithmic; what is not above 0 is then not shown.
	Log bool
	// AtLeast is the lowest value that the vertical axis reaches.
	AtLeast float64
	Lines   []Line
	// Levels are limits, drawn across the chart.
	Levels []Level
	// Alarm marks the seconds in which it is above 0.
	Alarm *Line
}

// Line is one value a second; NaN is a gap.
type Line struct {
	Name string
	// Group joins lines that are shown and hidden together, in all charts, under
	// one key; empty is the line's name. The key's value is that of the last of them.
	Group string
	// Colour is from 1 to Colours.
	Colour int
	Dashed bool
	// Thin lines are in the background.
	Thin bool
	// Area fills what is below the line.
	Area bool
	// Steps holds a value until the next second.
	Steps  bool
	Values []float64
}

// Level is a limit.
type Level struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Every returns how many seconds two neighbouring points of a line stand for;
// 1 is every second as it was measured, and above that the lowest and the
// highest value of so many seconds are kept, in their order.
func (t *Timeline) Every() int {
	lines := 0
	for _, c := range t.Charts {
		lines += len(c.Lines)
	}
	most := min(mostPoints, max(fewestPoints, mostValues/max(lines, 1)))
	if t.Seconds <= most {
		return 1
	}
	return (2*t.Seconds + most - 1) / most
}

type chartData struct {
	// Step is the time between two points in seconds; the first is at 0.
	Step    float64     `json:"step"`
	Points  int         `json:"points"`
	Seconds int         `json:"seconds"`
	Marks   []Mark      `json:"marks"`
	Spans   []Span      `json:"spans"`
	Charts  []chartPart `json:"charts"`
}

type chartPart struct {
	ID      string     `json:"id"`
	Title   string     `json:"title"`
	Unit    string     `json:"unit"`
	Wide    bool       `json:"wide"`
	Log     bool       `json:"log"`
	AtLeast float64    `json:"atLeast"`
	Lines   []linePart `json:"lines"`
	Levels  []Level    `json:"levels"`
	Alarm   *linePart  `json:"alarm"`
}

type linePart struct {
	Name   string  `json:"name"`
	Group  string  `json:"group"`
	Colour int     `json:"colour"`
	Dashed bool    `json:"dashed"`
	Thin   bool    `json:"thin"`
	Area   bool    `json:"area"`
	Steps  bool    `json:"steps"`
	Values numbers `json:"values"`
}

func (t *Timeline) data() *chartData {
	every := t.Every()
	d := &chartData{Step: 1, Points: t.Seconds, Seconds: t.Seconds, Marks: t.Marks, Spans: t.Spans}
	if every > 1 {
		d.Step, d.Points = float64(every)/2, 2*((t.Seconds+every-1)/every)
	}
	for _, c := range t.Charts {
		part := chartPart{ID: c.ID, Title: c.Title, Unit: c.Unit, Wide: c.Wide, Log: c.Log, AtLeast: c.AtLeast, Levels: c.Levels}
		for _, l := range c.Lines {
			part.Lines = append(part.Lines, l.part(t.Seconds, every, c.Log))
		}
		if c.Alarm != nil {
			alarm := c.Alarm.part(t.Seconds, every, false)
			part.Alarm = &alarm
		}
		d.Charts = append(d.Charts, part)
	}
	return d
}

func (l Line) part(seconds, every int, log bool) linePart {
	values := make(numbers, seconds)
	for i := range values {
		values[i] = math.NaN()
		if i < len(l.Values) && !(log && l.Values[i] <= 0) {
			values[i] = l.Values[i]
		}
	}
	group := l.Group
	if group == "" {
		group = l.Name
	}
	return linePart{
		Name: l.Name, Group: group, Colour: l.Colour, Dashed: l.Dashed, Thin: l.Thin, Area: l.Area, Steps: l.Steps,
		Values: extremes(values, every),
	}
}

// extremes keeps of every so many values the lowest and the highest, in the
// order in which they came; two NaN where none of them is known.
func extremes(values []float64, every int) []float64 {
	if every <= 1 {
		return values
	}
	var kept []float64
	for begin := 0; begin < len(values); begin += every {
		lowest, highest := -1, -1
		for i := begin; i < min(begin+every, len(values)); i++ {
			if math.IsNaN(values[i]) {
				continue
			}
			if lowest < 0 || values[i] < values[lowest] {
				lowest = i
			}
			if highest < 0 || values[i] > values[highest] {
				highest = i
			}
		}
		if lowest < 0 {
			kept = append(kept, math.NaN(), math.NaN())
			continue
		}
		kept = append(kept, values[min(lowest, highest)], values[max(lowest, highest)])
	}
	return kept
}

// numbers are written with five significant digits, more than a chart can
// show, and with null for what is not known.
type numbers []float64

var _ json.Marshaler = numbers{}

// MarshalJSON never fails.
func (n numbers) MarshalJSON() ([]byte, error) {
	text := []byte{'['}
	for i, x := range n {
		if i > 0 {
			text = append(text, ',')
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			text = append(text, "null"...)
		} else {
			text = strconv.AppendFloat(text, x, 'g', 5, 64)
		}
	}
	return append(text, ']'), nil
}
