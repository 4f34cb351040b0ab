package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/timeline"
)

// The files of a result folder.
const (
	// RequestsFile and TimelineFile are the raw files, from which the others are made.
	RequestsFile = "requests.csv.gz"
	TimelineFile = "timeline.json"
	SummaryFile  = "summary.json"
	PageFile     = "report.html"

	// The names of the original's files are kept.
	SummaryCSVFile  = "autoscaler_summary.csv"
	logCSVFile      = "autoscaler_log.csv"
	LatencyPlotFile = "p99_latency_plot.png"
	QueuePlotFile   = "queue_size_plot.png"
	ReplicaPlotFile = "replica_count_plot.png"
)

// CheckFolder makes sure that results can go to the folder at path: it is not
// there yet, or empty.
func CheckFolder(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("out: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("out %s already holds %s; allowed is a folder that is empty or not there yet", path, entries[0].Name())
	}
	return nil
}

// WriteTimeline keeps what Prometheus knew in the result folder dir.
func WriteTimeline(dir string, t *timeline.Timeline) error {
	return WriteFile(dir, TimelineFile, func(w io.Writer) error { return json.NewEncoder(w).Encode(t) })
}

// Result is a run as its raw files tell it.
type Result struct {
	Summary Summary
	Seconds Seconds
	// Codes counts the requests that were not answered by the reason.
	Codes map[string]int
}

// Work works out the results of a run from the raw files in dir.
func Work(dir string, plan Plan) (Result, error) {
	measured, err := loadTimeline(filepath.Join(dir, TimelineFile))
	if err != nil {
		return Result{}, err
	}
	all, bySecond := record.NewTally(plan.SLO), newCollector(plan.Run.StartedAt, plan.SLO)
	if err := record.Load(filepath.Join(dir, RequestsFile), func(r record.Record) {
		all.Add(r)
		bySecond.add(r)
	}); err != nil {
		return Result{}, err
	}
	perSecond := bySecond.seconds(measured)
	return Result{Summary: Summarize(plan, all, perSecond), Seconds: perSecond, Codes: all.Codes}, nil
}

// Make works out the results of a run from the raw files in dir and writes
// them there, the summary last: where it is, the rest is.
func Make(dir string, plan Plan) (Summary, error) {
	result, err := Work(dir, plan)
	if err != nil {
		return Summary{}, err
	}
	summary, perSecond := result.Summary, result.Seconds

	for _, p := range []struct {
		file  string
		write func(io.Writer, Seconds, Summary) error
	}{
		{LatencyPlotFile, writeLatencyPlot},
		{QueuePlotFile, writeQueuePlot},
		{ReplicaPlotFile, writeReplicaPlot},
	} {
		var png bytes.Buffer
		if err := p.write(&png, perSecond, summary); err != nil {
			return Summary{}, fmt.Errorf("%s: %w", p.file, err)
		}
		if err := WriteFile(dir, p.file, func(w io.Writer) error { _, err := w.Write(png.Bytes()); return err }); err != nil {
			return Summary{}, err
		}
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{SummaryCSVFile, func(w io.Writer) error { return WriteSummaryCSV(w, summary) }},
		{logCSVFile, func(w io.Writer) error { return writeLogCSV(w, perSecond) }},
		{PageFile, func(w io.Writer) error { return writePage(w, result) }},
		{SummaryFile, func(w io.Writer) error {
			encoder := json.NewEncoder(w)
			encoder.SetIndent("", "  ")
			return encoder.Encode(summary)
		}},
	} {
		if err := WriteFile(dir, f.name, f.write); err != nil {
			return Summary{}, err
		}
	}
	return summary, nil
}

// Remake works the results in dir out again from its raw files. What was run
// is taken from its summary.
func Remake(dir string) (Summary, error) {
	plan, err := planOf(dir)
	if err != nil {
		return Summary{}, err
	}
	return Make(dir, plan)
}

// Load works out the results of a run from its raw files, and writes nothing.
func Load(dir string) (Result, error) {
	plan, err := planOf(dir)
	if err != nil {
		return Result{}, err
	}
	return Work(dir, plan)
}

// planOf takes what was run from the summary in dir, which may be of an older version.
func planOf(dir string) (Plan, error) {
	path := filepath.Join(dir, SummaryFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Plan{}, fmt.Errorf("%s holds no run: %w", dir, err)
	}
	var old Summary
	if err := json.Unmarshal(text, &old); err != nil {
		return Plan{}, fmt.Errorf("%s: %w", path, err)
	}
	switch old.SchemaVersion {
	case schemaVersion:
	case 1:
		// It had one way to send, and no bound.
		old.Run.Protocol, old.Run.Mode, old.Run.Repetition = "http/1.1", "sync", 1
		if old.Run.Arrivals == "poisson" {
			old.Run.ArrivalsCV = 1
		}
		old.Validity.LagP99BoundS = DefaultLagBound.Seconds()
	default:
		return Plan{}, fmt.Errorf("%s: schema_version %d; allowed are 1 and %d", path, old.SchemaVersion, schemaVersion)
	}
	if old.SLO.LatencyS <= 0 || old.Run.StartedAt.IsZero() || old.Validity.LagP99BoundS <= 0 {
		return Plan{}, fmt.Errorf("%s: slo.latency_s %v, run.started_at %v and validity.lag_p99_bound_s %v; needed are a latency and a bound above 0 and a time",
			path, old.SLO.LatencyS, old.Run.StartedAt, old.Validity.LagP99BoundS)
	}
	var limits []Limit
	for _, t := range old.Thresholds {
		limit, err := ParseLimit(t.Text)
		if err != nil {
			return Plan{}, fmt.Errorf("%s: threshold %w", path, err)
		}
		limits = append(limits, limit)
	}
	return Plan{
		Run: old.Run, Limits: limits, SLO: duration(old.SLO.LatencyS), Scheduled: old.Requests.Scheduled,
		Cores: old.Environment.Cores, LagBound: duration(old.Validity.LagP99BoundS),
	}, nil
}

// duration is exact to the microsecond, as the records are.
func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond)
}

// loadTimeline returns nil when Prometheus was not asked.
func loadTimeline(path string) (*timeline.Timeline, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	var t timeline.Timeline
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &t, nil
}

// WriteFile writes the file of that name in the folder dir, and gives it the name when it is complete.
func WriteFile(dir, name string, write func(io.Writer) error) error {
	path := filepath.Join(dir, name)
	f, err := os.Create(path + ".partial")
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}

// LinkLatest lets results/latest point to dir, where dir lies in a folder
// named results; anywhere else it does nothing.
func LinkLatest(dir string) error {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("results/latest: %w", err)
	}
	parent, name := filepath.Split(absolute)
	if filepath.Base(parent) != "results" {
		return nil
	}
	link := filepath.Join(parent, "latest")
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s is not a link; it was left as it is", link)
	}
	// A link can't be changed, but another can take its place in one step.
	next := fmt.Sprintf("%s.%d", link, os.Getpid())
	if err := os.Symlink(name, next); err != nil {
		return fmt.Errorf("results/latest: %w", err)
	}
	if err := os.Rename(next, link); err != nil {
		return fmt.Errorf("results/latest: %w", errors.Join(err, os.Remove(next)))
	}
	return nil
}
