package compare_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/loadtest/internal/compare"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/runtest"
)

// brief is a demand that is simulated quickly.
func brief() []float64 {
	rates := make([]float64, 40)
	for i := range rates {
		rates[i] = 8
	}
	return rates
}

func brieflyRun(t *testing.T, parent, name, scaler string, change func(*runtest.Run)) string {
	t.Helper()
	r := runtest.Run{Label: scaler, Scale: runtest.Quick, Rates: brief(), Seed: 1}
	if change != nil {
		change(&r)
	}
	return runtest.Make(t, parent, name, r)
}

func planned(change func(*report.Plan)) func(*runtest.Run) {
	return func(r *runtest.Run) { r.Change = change }
}

func load(t *testing.T, dirs ...string) []compare.Run {
	t.Helper()
	runs, err := compare.Load(dirs, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestOnlyRunsOfTheSameDemandAreCompared(t *testing.T) {
	one := brieflyRun(t, t.TempDir(), "one", "custom", nil)
	for name, tt := range map[string]struct {
		change func(*runtest.Run)
		want   string
	}{
		"trace":    {planned(func(p *report.Plan) { p.Run.Trace = "other.txt" }), `has trace "workload.txt" and`},
		"scale":    {planned(func(p *report.Plan) { p.Run.Scale = 2 }), "has scale 1 and"},
		"speed":    {planned(func(p *report.Plan) { p.Run.Speed = 2 }), "has speed 1 and"},
		"SLO":      {planned(func(p *report.Plan) { p.SLO = time.Second }), "has SLO 0.5 s and"},
		"arrivals": {planned(func(p *report.Plan) { p.Run.Arrivals = "even" }), "has arrivals poisson with cv 1 and"},
		"protocol": {planned(func(p *report.Plan) { p.Run.Protocol = "h2" }), "has protocol http/1.1 and"},
		"mode":     {planned(func(p *report.Plan) { p.Run.Mode = "async" }), "has mode sync and"},
		"seed":     {func(r *runtest.Run) { r.Seed = 2 }, "the runs of custom have seeds 1 and those of hpa70 have 2"},
		"part":     {func(r *runtest.Run) { r.Rates = brief()[:30] }, "in its schedule and"},
	} {
		t.Run(name, func(t *testing.T) {
			other := brieflyRun(t, t.TempDir(), "other", "hpa70", tt.change)
			_, err := compare.New(load(t, one, other))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want an error with %q", err, tt.want)
			}
			for _, dir := range []string{one, other} {
				if name != "seed" && !strings.Contains(err.Error(), dir) {
					t.Errorf("%v does not name %s", err, dir)
				}
			}
		})
	}
}

func TestWhatCannotBeLoaded(t *testing.T) {
	dir := t.TempDir()
	good := brieflyRun(t, dir, "good", "custom", nil)
	link := filepath.Join(dir, "latest")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	future := filepath.Join(dir, "future")
	if err := os.Mkdir(future, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(future, report.SummaryFile), []byte(`{"schema_version": 9}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		dirs []string
		want string
	}{
		"a folder without a run":       {[]string{good, t.TempDir()}, "holds no run"},
		"a folder that is not there":   {[]string{filepath.Join(dir, "nowhere")}, "nowhere"},
		"a summary of another version": {[]string{good, future}, "schema_version 9; allowed are"},
		"a run twice":                  {[]string{good, good}, "are the same run"},
		"a run and a link to it":       {[]string{good, link}, "are the same run"},
	} {
		if _, err := compare.Load(tt.dirs, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
	if _, err := compare.New(nil); err == nil {
		t.Error("no run at all was compared")
	}
	if err := compare.CheckOut(good); err == nil || !strings.Contains(err.Error(), "is the folder of a run") {
		t.Errorf("a comparison may overwrite a run: %v", err)
	}
	if err := compare.CheckOut(dir); err != nil {
		t.Errorf("the folder that holds the runs: %v", err)
	}
	if err := compare.CheckOut(filepath.Join(good, report.SummaryFile)); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file as the folder: %v", err)
	}
}

func TestFilesOfAComparison(t *testing.T) {
	dir := t.TempDir()
	interrupted := planned(func(p *report.Plan) { p.Run.Interrupted, p.Run.Repetition = true, 3 })
	dirs := []string{
		brieflyRun(t, dir, "custom-1", "custom", nil),
		brieflyRun(t, dir, "custom-2", "custom", planned(func(p *report.Plan) { p.Run.Repetition = 2 })),
		brieflyRun(t, dir, "custom-3", "custom", interrupted),
		brieflyRun(t, dir, "hpa70-1", "hpa70", func(r *runtest.Run) { r.Scale = runtest.HPA(70) }),
		brieflyRun(t, dir, "hpa70-2", "hpa70", func(r *runtest.Run) { r.Lag = 40 * time.Millisecond }),
	}
	c, err := compare.New(load(t, dirs...))
	if err != nil {
		t.Fatal(err)
	}
	var progress, terminal bytes.Buffer
	if err := c.Write(dir, &progress); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"comparison.html", "comparison.json", "autoscaler_summary.csv", "p99_latency_plot.png", "queue_size_plot.png", "replica_count_plot.png"} {
		if !strings.Contains(progress.String(), name) {
			t.Errorf("writing %s is not told", name)
		}
	}

	var got struct {
		Groups []struct {
			Label string   `json:"label"`
			Runs  []string `json:"runs"`
			Left  []struct {
				Run    string `json:"run"`
				Reason string `json:"reason"`
			} `json:"left_out"`
			Figures map[string]*compare.Estimate `json:"figures"`
		} `json:"groups"`
		Verdict compare.Verdict `json:"verdict"`
	}
	text, err := os.ReadFile(filepath.Join(dir, compare.JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	validate(t, text)
	custom, hpa := got.Groups[0], got.Groups[1]
	if !slices.Equal(custom.Runs, []string{"custom-1", "custom-2"}) || custom.Left[0].Run != "custom-3" || custom.Left[0].Reason != "interrupted" {
		t.Errorf("custom: %v counted, %v left out", custom.Runs, custom.Left)
	}
	if !slices.Equal(hpa.Runs, []string{"hpa70-1"}) || !strings.Contains(hpa.Left[0].Reason, "invalid: send lag p99") {
		t.Errorf("hpa70: %v counted, %v left out", hpa.Runs, hpa.Left)
	}
	one, two := summaryOf(t, dirs[0]), summaryOf(t, dirs[1])
	mean := (one.Cost.ReplicaSeconds + two.Cost.ReplicaSeconds) / 2
	if e := custom.Figures["replica_seconds"]; e.Mean != mean || e.HalfWidth == nil || len(e.Values) != 2 {
		t.Errorf("replica-seconds %+v, want the mean %v of two runs with an interval", e, mean)
	}
	if e := hpa.Figures["replica_seconds"]; e.HalfWidth != nil {
		t.Errorf("one run has the interval %v, want none", *e.HalfWidth)
	}
	if got.Verdict.Headline == "" || len(got.Verdict.Relations) != 1 {
		t.Errorf("verdict %+v, want a headline and one pair", got.Verdict)
	}

	file, err := os.Open(filepath.Join(dir, report.SummaryCSVFile))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) != 6 || rows[1][0] != "custom-1" || rows[5][0] != "hpa70-2" {
		t.Errorf("the combined table: %v, %v; want a header and all five runs", rows, err)
	}
	for _, name := range []string{report.LatencyPlotFile, report.QueuePlotFile, report.ReplicaPlotFile} {
		picture, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if size, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || size.Width != report.PlotWidth || size.Height != report.PlotHeight {
			t.Errorf("%s: %+v, %v", name, size, err)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, compare.PageFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<a href="custom-1/report.html">custom-1</a>`, "Left out: custom-3", "left out: interrupted", "2 of 3"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("comparison.html does not contain %q", want)
		}
	}

	if err := c.Table(&terminal); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"scaler               custom", "2 of 3", "1 of 2", "left out: " + dirs[2] + ": interrupted", got.Verdict.Headline} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("the terminal does not show %q:\n%s", want, terminal.String())
		}
	}
	// Once more into the same folder, which is full now.
	if err := c.Write(dir, io.Discard); err != nil {
		t.Errorf("an older comparison is not replaced: %v", err)
	}
}

// validate holds a comparison.json against the contract.
func validate(t *testing.T, text []byte) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "..", "contract", "comparison.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("comparison.json: %v", err)
	}
}

func TestWhatDiffersBesidesTheDemandIsNoted(t *testing.T) {
	dir := t.TempDir()
	four := 4
	c, err := compare.New(load(t, brieflyRun(t, dir, "a", "custom", nil),
		brieflyRun(t, dir, "b", "", planned(func(p *report.Plan) { p.Cores = &four }))))
	if err != nil {
		t.Fatal(err)
	}
	if want := "The CPU cores of the load tester's machine differs between the runs: 2, 4."; len(c.Notes) != 1 || c.Notes[0] != want {
		t.Errorf("notes %q, want %q", c.Notes, want)
	}
	if c.Groups[1].Label != "unlabelled" {
		t.Errorf("a run without a label is called %q", c.Groups[1].Label)
	}
}
