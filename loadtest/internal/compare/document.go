package compare

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

// document is the page; out is the folder that it will lie in.
func (c *Comparison) document(out string) page.Document {
	first := c.runs()[0].Summary
	var names []string
	for _, g := range c.Groups {
		names = append(names, g.Label)
	}
	d := page.Document{
		Title: strings.Join(names, ", ") + " compared",
		Lead:  c.lead(),
		Verdict: page.Remark{
			Text: c.Verdict.Headline, Tone: c.Verdict.Tone,
		},
		Sections: []page.Section{
			{Title: "Figures", Tables: []page.Table{c.figures()}},
			{Title: "What to conclude", Remarks: c.Verdict.Remarks},
			{
				Title: "The trade", Intro: "Fewer violations usually cost more replicas. Each point is a scaler; its bars are 95% intervals.",
				Scatters: c.scatters(),
			},
		},
	}
	for _, note := range c.Notes {
		d.Sections[1].Remarks = append(d.Sections[1].Remarks, page.Remark{Tone: page.Unsure, Term: "Mind:", Text: note})
	}
	for _, g := range c.Groups {
		for _, r := range g.Left {
			_, reason := r.Counts()
			d.Sections[1].Remarks = append(d.Sections[1].Remarks, page.Remark{Tone: page.Bad, Term: "Left out: " + r.Summary.Run.ID, Text: "(" + reason + ")."})
		}
	}
	if c.seconds() > 0 {
		charts := c.timeline()
		d.Sections = append(d.Sections, page.Section{Title: "Over time", Intro: c.intro(charts), Timeline: charts})
	}
	d.Sections = append(d.Sections,
		page.Section{Title: "Runs", Tables: []page.Table{c.runTable(out)}},
		page.Section{Title: "Environment", Facts: []page.Fact{
			{Name: "Trace", Value: first.Run.Trace}, {Name: "Factor on rates", Value: fmt.Sprint(first.Run.Scale)}, {Name: "Factor on the clock", Value: fmt.Sprint(first.Run.Speed)},
			{Name: "Arrivals", Value: first.Run.Arrivals}, {Name: "Model", Value: or(first.Environment.Model)},
			{Name: "CPU cores of this machine", Value: or(number(first.Environment.Cores))},
			{Name: "CPU limit of a replica", Value: or(number(first.Environment.ReplicaCPULimitCores))},
			{Name: "Largest batch", Value: or(number(first.Environment.MaxBatch))},
			{Name: "Sent by", Value: first.Run.Protocol + ", " + first.Run.Mode},
		}},
		page.Section{Title: "How to read this", Folded: true, Remarks: []page.Remark{
			{Term: "The promise", Text: "is that 99% of the requests have a prediction within the SLO, counted from when they were meant to be sent; a request that was refused or failed breaks it too."},
			{Term: "Replica-seconds", Text: "count every replica from being ordered until it is gone; CPU-limit-seconds are the same with each replica’s CPU limit, so they also see replicas that are made larger."},
			{Term: "±", Text: "is half of a 95% confidence interval of the mean, from Student’s t over the runs. One run gives none."},
			{Term: "Inside the noise", Text: "is a difference whose 95% interval holds 0: the same runs made again may turn it round. Where labels have runs of the same seeds, differences are taken seed by seed; else the interval is Welch’s."},
			{Term: "Dominates", Text: "means fewer violations at no more cost: the difference in violations is beyond the noise, and neither replica-seconds nor CPU-limit-seconds are higher beyond it."},
		}},
	)
	return d
}

func or(text string) string {
	if text == "" {
		return notMeasured
	}
	return text
}

func (c *Comparison) lead() string {
	runs := 0
	for _, g := range c.Groups {
		runs += len(g.Counted)
	}
	first := c.runs()[0].Summary
	words := fmt.Sprintf("%s, %s arrivals, promise %.0f ms; ", first.Run.Trace, first.Run.Arrivals, first.SLO.LatencyS*1000)
	if runs == 1 {
		return words + "1 run."
	}
	return words + fmt.Sprintf("%d runs, each scaler with the same demand.", runs)
}

func (c *Comparison) intro(t *page.Timeline) string {
	words := "A click on a name hides that scaler in all charts; drag over a chart to zoom."
	for _, g := range c.Groups {
		if len(g.Counted) > 1 {
			words += " Thick lines are means of the runs, which are thin."
			break
		}
	}
	if every := t.Every(); every > 1 {
		words += fmt.Sprintf(" The runs are long: of every %d seconds each line shows the lowest and the highest value.", every)
	}
	return words
}

func (c *Comparison) figures() page.Table {
	table := page.Table{Head: []string{"Scaler", "Runs"}}
	for _, f := range Figures {
		table.Head = append(table.Head, f.Heading())
	}
	for i, g := range c.Groups {
		row := page.Row{{Text: g.Label, Colour: colour(i)}, page.Number(runsOf(g))}
		for _, f := range Figures {
			e := f.estimate(g)
			cell := page.Number(f.cell(e))
			if f.ID == "violation_share" && e != nil {
				cell.Tone = page.Bad
				if e.Mean*100 <= c.allowed() {
					cell.Tone = page.Good
				}
			}
			row = append(row, cell)
		}
		table.Rows = append(table.Rows, row)
	}
	return table
}

func (c *Comparison) runTable(out string) page.Table {
	table := page.Table{Head: []string{"Run", "Scaler", "Seed", "SLO violations", "Server p99 (ms)", "Replica-seconds", "CPU-limit-seconds", ""}}
	for i, g := range c.Groups {
		for _, r := range g.All() {
			s := r.Summary
			row := page.Row{
				{Text: s.Run.ID, Link: link(out, r.Dir)}, {Text: g.Label, Colour: colour(i)}, page.Number(strconv.FormatInt(s.Run.Seed, 10)),
				page.Number(fmt.Sprintf("%d (%s)", s.Violations.Count, percentage(s.Violations.Share))),
			}
			for _, id := range []string{"server_p99_s", "replica_seconds", "cpu_limit_seconds"} {
				f := figureOf(id)
				row = append(row, page.Number(f.cell(estimate([]*float64{f.of(s)}))))
			}
			state := page.Words("counts")
			if ok, reason := r.Counts(); !ok {
				state = page.Cell{Text: "left out: " + reason, Tone: page.Bad}
			}
			table.Rows = append(table.Rows, append(row, state))
		}
	}
	return table
}

// link is the address of a run's report as seen from the folder out; empty where there is no way.
func link(out, dir string) string {
	from, err := filepath.Abs(out)
	if err != nil {
		return ""
	}
	to, err := filepath.Abs(filepath.Join(dir, report.PageFile))
	if err != nil {
		return ""
	}
	way, err := filepath.Rel(from, to)
	if err != nil {
		return ""
	}
	return filepath.ToSlash(way)
}

func (c *Comparison) scatters() []page.Scatter {
	var all []page.Scatter
	for _, cost := range []Figure{figureOf("replica_seconds"), figureOf("cpu_limit_seconds")} {
		s := page.Scatter{ID: "trade-" + cost.ID, Title: "SLO violations against " + cost.Name, XName: cost.Name, YName: "violations, % of requests",
			Level: &page.Level{Name: fmt.Sprintf("promise: at most %.4g%%", c.allowed()), Value: c.allowed()}}
		violations := figureOf("violation_share")
		for i, g := range c.Groups {
			x, y := cost.estimate(g), violations.estimate(g)
			if x == nil || y == nil {
				continue
			}
			mean := page.Dot{Name: g.Label, X: x.Mean, Y: y.Mean * 100, Colour: colour(i)}
			if x.HalfWidth != nil {
				mean.XOff, mean.YOff = *x.HalfWidth, *y.HalfWidth*100
				for j := range x.Values {
					s.Points = append(s.Points, page.Dot{Name: g.Counted[j].Summary.Run.ID, X: x.Values[j], Y: y.Values[j] * 100, Colour: colour(i), Small: true})
				}
			}
			s.Points = append(s.Points, mean)
		}
		if len(s.Points) > 0 {
			all = append(all, s)
		}
	}
	return all
}

func (c *Comparison) timeline() *page.Timeline {
	level := c.promise()
	latency := c.lines(false, signal(timeline.ServerP99, 1000))
	return &page.Timeline{Seconds: c.seconds(), Charts: []page.Chart{
		{ID: "latency", Title: "Server-side latency, 99th percentile", Unit: "ms", Wide: true, AtLeast: level.Value * 1.15, Log: c.logScale(latency), Lines: latency, Levels: []page.Level{level}},
		{ID: "replicas", Title: "Ready replicas", Wide: true, AtLeast: 2, Lines: c.lines(true, signal(timeline.Ready, 1))},
		{ID: "violations", Title: "SLO violations so far", Unit: "requests", AtLeast: 1, Lines: c.lines(true, func(r Run) []float64 { return sums(r.Seconds.Violations, c.seconds()) })},
		{ID: "queue", Title: "Queue", Unit: "requests", AtLeast: 5, Lines: c.lines(false, signal(timeline.QueueSize, 1))},
		{ID: "cpu", Title: "CPU used by the model servers", Unit: "cores", Lines: c.lines(false, signal(timeline.CPU, 1))},
		{ID: "demand", Title: "Demand, the same for all", Unit: "requests per second", AtLeast: 1, Lines: []page.Line{c.demand()}},
	}}
}

// demand is the mean of what all counted runs offered.
func (c *Comparison) demand() page.Line {
	var all [][]float64
	for _, g := range c.Groups {
		for _, r := range g.Counted {
			all = append(all, r.Seconds.Offered)
		}
	}
	return page.Line{Name: "offered", Colour: 7, Area: true, Steps: true, Values: means(all)}
}

// sums adds up what came so far, for so many seconds.
func sums(values []float64, seconds int) []float64 {
	total := 0.0
	all := make([]float64, seconds)
	for i := range all {
		if i < len(values) {
			total += values[i]
		}
		all[i] = total
	}
	return all
}
