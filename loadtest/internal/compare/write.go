package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

// The files of a comparison; the plots and the table are named as those of a run.
const (
	PageFile = "comparison.html"
	JSONFile = "comparison.json"
)

// schemaVersion is that of comparison.json.
const schemaVersion = 1

// CheckOut makes sure that a comparison can be written to the folder out, which
// may hold the runs' folders and an older comparison, but is not a run itself.
func CheckOut(out string) error {
	info, err := os.Stat(out)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return fmt.Errorf("out: %w", err)
	case !info.IsDir():
		return fmt.Errorf("out %s is a file; allowed is a folder, there already or not", out)
	}
	for _, name := range []string{report.SummaryFile, report.RequestsFile} {
		if _, err := os.Stat(filepath.Join(out, name)); err == nil {
			return fmt.Errorf("out %s is the folder of a run, whose files would be overwritten; allowed is any other folder", out)
		}
	}
	return nil
}

// Write writes all files of the comparison to the folder out, and says on
// progress what it is at. The JSON is last: where it is, the rest is.
func (c *Comparison) Write(out string, progress io.Writer) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("out: %w", err)
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{report.LatencyPlotFile, c.latencyPlot},
		{report.QueuePlotFile, c.queuePlot},
		{report.ReplicaPlotFile, c.replicaPlot},
		{report.SummaryCSVFile, func(w io.Writer) error { return report.WriteSummaryCSV(w, c.summaries()...) }},
		{PageFile, func(w io.Writer) error { return page.Write(w, c.document(out)) }},
		{JSONFile, c.writeJSON},
	} {
		_, _ = fmt.Fprintf(progress, "writing %s\n", filepath.Join(out, f.name))
		if err := report.WriteFile(out, f.name, f.write); err != nil {
			return err
		}
	}
	return nil
}

func (c *Comparison) runs() []Run {
	var all []Run
	for _, g := range c.Groups {
		all = append(all, g.All()...)
	}
	return all
}

func (c *Comparison) summaries() []report.Summary {
	var all []report.Summary
	for _, r := range c.runs() {
		all = append(all, r.Summary)
	}
	return all
}

func (c *Comparison) writeJSON(w io.Writer) error {
	type left struct {
		Run    string `json:"run"`
		Reason string `json:"reason"`
	}
	type group struct {
		Label   string               `json:"label"`
		Runs    []string             `json:"runs"`
		Seeds   []int64              `json:"seeds"`
		Left    []left               `json:"left_out"`
		Figures map[string]*Estimate `json:"figures"`
	}
	first := c.runs()[0].Summary
	all := struct {
		SchemaVersion int        `json:"schema_version"`
		Trace         string     `json:"trace"`
		Scale         float64    `json:"scale"`
		Speed         float64    `json:"speed"`
		SLO           report.SLO `json:"slo"`
		Groups        []group    `json:"groups"`
		Notes         []string   `json:"notes"`
		Verdict       Verdict    `json:"verdict"`
	}{schemaVersion, first.Run.Trace, first.Run.Scale, first.Run.Speed, first.SLO, nil, append([]string{}, c.Notes...), c.Verdict}
	for _, g := range c.Groups {
		one := group{Label: g.Label, Runs: []string{}, Seeds: []int64{}, Left: []left{}, Figures: map[string]*Estimate{}}
		for _, r := range g.Counted {
			one.Runs, one.Seeds = append(one.Runs, r.Summary.Run.ID), append(one.Seeds, r.Summary.Run.Seed)
		}
		for _, r := range g.Left {
			_, reason := r.Counts()
			one.Left = append(one.Left, left{r.Summary.Run.ID, reason})
		}
		for _, f := range Figures {
			one.Figures[f.ID] = f.estimate(g)
		}
		all.Groups = append(all.Groups, one)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

// Table writes the labels' figures and the verdict for a terminal.
func (c *Comparison) Table(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(name string, value func(Group) string) {
		cells := []string{name}
		for _, g := range c.Groups {
			cells = append(cells, value(g))
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	row("scaler", func(g Group) string { return g.Label })
	row("runs", runsOf)
	for _, f := range Figures {
		row(f.Heading(), func(g Group) string { return f.cell(f.estimate(g)) })
	}
	// The table buffers all rows and writes them here.
	if err := table.Flush(); err != nil {
		return err
	}
	var text strings.Builder
	for _, g := range c.Groups {
		for _, r := range g.Left {
			_, reason := r.Counts()
			fmt.Fprintf(&text, "left out: %s: %s\n", r.Dir, reason)
		}
	}
	for _, note := range c.Notes {
		fmt.Fprintf(&text, "note: %s\n", note)
	}
	fmt.Fprintf(&text, "\n%s\n", c.Verdict.Headline)
	for _, r := range c.Verdict.Remarks {
		fmt.Fprintf(&text, "  %s\n", strings.TrimSpace(strings.TrimSpace(r.Tone.Sign()+" "+r.Term)+" "+r.Text))
	}
	_, err := fmt.Fprint(w, "\n"+text.String())
	return err
}

func runsOf(g Group) string {
	if len(g.Left) == 0 {
		return fmt.Sprint(len(g.Counted))
	}
	return fmt.Sprintf("%d of %d", len(g.Counted), len(g.All()))
}

// colour is a group's colour in all charts and tables.
func colour(group int) int { return group%page.Colours + 1 }

// lines are those of all counted runs, thin where there are several, with their
// mean, which is drawn over them.
func (c *Comparison) lines(steps bool, of func(Run) []float64) []page.Line {
	var thin, thick []page.Line
	for i, g := range c.Groups {
		if len(g.Counted) == 0 {
			continue
		}
		shape := page.Line{Name: g.Label, Group: g.Label, Colour: colour(i), Dashed: i >= page.Colours, Steps: steps}
		var all [][]float64
		for _, r := range g.Counted {
			one := shape
			one.Thin, one.Name, one.Values = true, r.Summary.Run.ID, of(r)
			all = append(all, one.Values)
			if len(g.Counted) > 1 {
				thin = append(thin, one)
			}
		}
		shape.Values = means(all)
		thick = append(thick, shape)
	}
	return append(thin, thick...)
}

// means is the mean of what is known in each second.
func means(all [][]float64) []float64 {
	length := 0
	for _, values := range all {
		length = max(length, len(values))
	}
	mean := make([]float64, length)
	for i := range mean {
		sum, n := 0.0, 0.0
		for _, values := range all {
			if i < len(values) && !math.IsNaN(values[i]) {
				sum, n = sum+values[i], n+1
			}
		}
		mean[i] = sum / n // NaN where nothing is known
	}
	return mean
}

func signal(s timeline.Signal, factor float64) func(Run) []float64 {
	return func(r Run) []float64 {
		values := slices.Clone(r.Seconds.Measured.Signal(s))
		for i := range values {
			values[i] *= factor
		}
		return values
	}
}

// seconds is how long the longest run was looked at.
func (c *Comparison) seconds() int {
	longest := 0
	for _, g := range c.Groups {
		for _, r := range g.Counted {
			longest = max(longest, r.Seconds.Count)
		}
	}
	return longest
}

func (c *Comparison) promise() page.Level {
	slo := c.runs()[0].Summary.SLO.LatencyS * 1000
	return page.Level{Name: fmt.Sprintf("promise %.0f ms", slo), Value: slo}
}

// allowed is the percentage of requests that may be violations.
func (c *Comparison) allowed() float64 { return (1 - c.runs()[0].Summary.SLO.Quantile) * 100 }

func (c *Comparison) subtitle() string {
	words := fmt.Sprintf("trace %s", c.runs()[0].Summary.Run.Trace)
	repeated := false
	for _, g := range c.Groups {
		repeated = repeated || len(g.Counted) > 1
	}
	if repeated {
		words += "; thick: mean of a scaler's runs, thin: single runs"
	}
	return words
}

// logScale is for latencies of which some are many times the others.
func (c *Comparison) logScale(lines []page.Line) bool {
	slo := c.promise().Value
	return slices.ContainsFunc(lines, func(l page.Line) bool {
		return slices.ContainsFunc(l.Values, func(x float64) bool { return x > 4*slo })
	})
}

func (c *Comparison) latencyPlot(w io.Writer) error {
	level := c.promise()
	lines := c.lines(false, signal(timeline.ServerP99, 1000))
	return report.Overlay{
		Title: "99th percentile of server-side latency", Subtitle: c.subtitle(), Unit: "latency (ms)", Seconds: c.seconds(),
		Lines: lines, Level: &level, AtLeast: level.Value * 1.2, Log: c.logScale(lines),
	}.WritePNG(w)
}

func (c *Comparison) queuePlot(w io.Writer) error {
	return report.Overlay{
		Title: "Requests that wait in the queue", Subtitle: c.subtitle(), Unit: "requests", Seconds: c.seconds(),
		Lines: c.lines(false, signal(timeline.QueueSize, 1)), AtLeast: 5, Whole: true,
	}.WritePNG(w)
}

func (c *Comparison) replicaPlot(w io.Writer) error {
	return report.Overlay{
		Title: "Ready model server replicas", Subtitle: c.subtitle(), Unit: "replicas", Seconds: c.seconds(),
		Lines: c.lines(true, signal(timeline.Ready, 1)), AtLeast: 2, Whole: true,
	}.WritePNG(w)
}
