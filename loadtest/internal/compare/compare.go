// Package compare sets runs of the same demand against different scalers side by
// side: what each kept of the promise, what it cost, and which differences are
// more than the noise of the runs.
package compare

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"headroom.dev/loadtest/internal/report"
)

// Run is one run that was given.
type Run struct {
	Dir string
	report.Result
}

// Counts tells whether the run takes part in the comparison, and if not, why.
func (r Run) Counts() (ok bool, reason string) {
	switch s := r.Summary; {
	case !s.Validity.Valid:
		return false, "invalid: " + strings.Join(s.Validity.Reasons, "; ")
	case s.Run.Interrupted:
		return false, "interrupted"
	case s.Requests.Sent == 0:
		return false, "nothing was sent"
	}
	return true, ""
}

// Group is the runs of one label.
type Group struct {
	// Label is what the operator said was scaling.
	Label string
	// Counted are the runs that the figures are made of, Left those that are not.
	Counted, Left []Run
}

// All are all runs of the group.
func (g Group) All() []Run { return slices.Concat(g.Counted, g.Left) }

// Comparison is a set of runs that can be compared.
type Comparison struct {
	// Groups are in the order in which their labels were first given.
	Groups []Group
	// Notes say what differs between the runs and may be meant.
	Notes   []string
	Verdict Verdict
}

const unlabelled = "unlabelled"

func label(s report.Summary) string {
	if s.Run.Scaler == "" {
		return unlabelled
	}
	return s.Run.Scaler
}

// Load reads the runs in dirs from their raw files, and says on progress which
// one it is at. A folder that is given twice is refused.
func Load(dirs []string, progress io.Writer) ([]Run, error) {
	seen := map[string]string{}
	for _, dir := range dirs {
		// Links to the same folder are the same folder; one that is not there is named below.
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if resolved, err := filepath.EvalSymlinks(absolute); err == nil {
			absolute = resolved
		}
		if first, twice := seen[absolute]; twice {
			return nil, fmt.Errorf("%s and %s are the same run; allowed is each run once", first, dir)
		}
		seen[absolute] = dir
	}
	var runs []Run
	for i, dir := range dirs {
		_, _ = fmt.Fprintf(progress, "reading run %d of %d: %s\n", i+1, len(dirs), dir)
		result, err := report.Load(dir)
		if err != nil {
			return nil, err
		}
		runs = append(runs, Run{Dir: dir, Result: result})
	}
	return runs, nil
}

// New groups the runs by label and judges them. Runs of different demand or
// promise can't be compared; the error names what differs.
func New(runs []Run) (*Comparison, error) {
	if len(runs) == 0 {
		return nil, fmt.Errorf("no run to compare; needed is at least one")
	}
	if err := sameDemand(runs); err != nil {
		return nil, err
	}
	c := &Comparison{Notes: environments(runs)}
	for _, r := range runs {
		at := slices.IndexFunc(c.Groups, func(g Group) bool { return g.Label == label(r.Summary) })
		if at < 0 {
			at = len(c.Groups)
			c.Groups = append(c.Groups, Group{Label: label(r.Summary)})
		}
		if ok, _ := r.Counts(); ok {
			c.Groups[at].Counted = append(c.Groups[at].Counted, r)
		} else {
			c.Groups[at].Left = append(c.Groups[at].Left, r)
		}
	}
	for _, g := range c.Groups {
		slices.SortStableFunc(g.Counted, func(a, b Run) int { return cmp.Compare(a.Summary.Run.Repetition, b.Summary.Run.Repetition) })
	}
	if err := sameSeeds(c.Groups); err != nil {
		return nil, err
	}
	var samples []Sample
	for _, g := range c.Groups {
		samples = append(samples, sample(g))
	}
	slo := runs[0].Summary.SLO
	c.Verdict = Judge(samples, slo)
	return c, nil
}

// property is what all runs of a comparison have in common.
type property struct {
	name string
	of   func(report.Summary) string
}

var demand = []property{
	{"trace", func(s report.Summary) string { return strconv.Quote(s.Run.Trace) }},
	{"scale", func(s report.Summary) string { return fmt.Sprint(s.Run.Scale) }},
	{"speed", func(s report.Summary) string { return fmt.Sprint(s.Run.Speed) }},
	{"SLO", func(s report.Summary) string { return fmt.Sprintf("%v s", s.SLO.LatencyS) }},
	{"arrivals", func(s report.Summary) string { return fmt.Sprintf("%s with cv %v", s.Run.Arrivals, s.Run.ArrivalsCV) }},
	{"protocol", func(s report.Summary) string { return s.Run.Protocol }},
	{"mode", func(s report.Summary) string { return s.Run.Mode }},
}

func sameDemand(runs []Run) error {
	first := runs[0]
	scheduled := map[int64]Run{}
	for _, r := range runs {
		for _, p := range demand {
			if a, b := p.of(first.Summary), p.of(r.Summary); a != b {
				return fmt.Errorf("%s has %s %s and %s has %s; only runs of the same %s can be compared", first.Dir, p.name, a, r.Dir, b, p.name)
			}
		}
		seed := r.Summary.Run.Seed
		if other, ok := scheduled[seed]; !ok {
			scheduled[seed] = r
		} else if a, b := other.Summary.Requests.Scheduled, r.Summary.Requests.Scheduled; a != b {
			return fmt.Errorf("%s has %d requests in its schedule and %s has %d with the same seed; only runs of the same part of a trace can be compared", other.Dir, a, r.Dir, b)
		}
	}
	return nil
}

// sameSeeds makes sure that each label was tried with the same draws of demand.
func sameSeeds(groups []Group) error {
	seeds := func(g Group) string {
		var all []int64
		for _, r := range g.All() {
			all = append(all, r.Summary.Run.Seed)
		}
		slices.Sort(all)
		return strings.Trim(fmt.Sprint(slices.Compact(all)), "[]")
	}
	for _, g := range groups[1:] {
		if a, b := seeds(groups[0]), seeds(g); a != b {
			return fmt.Errorf("the runs of %s have seeds %s and those of %s have %s; only runs of the same seeds can be compared", groups[0].Label, a, g.Label, b)
		}
	}
	return nil
}

// environments says what differs between the places where the runs were made.
func environments(runs []Run) []string {
	var notes []string
	for _, p := range []property{
		{"model", func(s report.Summary) string { return s.Environment.Model }},
		{"CPU cores of the load tester's machine", func(s report.Summary) string { return number(s.Environment.Cores) }},
		{"CPU limit of a replica", func(s report.Summary) string { return number(s.Environment.ReplicaCPULimitCores) }},
		{"largest batch", func(s report.Summary) string { return number(s.Environment.MaxBatch) }},
	} {
		var values []string
		for _, r := range runs {
			if v := p.of(r.Summary); v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		if len(values) > 1 {
			notes = append(notes, fmt.Sprintf("The %s differs between the runs: %s.", p.name, strings.Join(values, ", ")))
		}
	}
	return notes
}

func number[T any](x *T) string {
	if x == nil {
		return ""
	}
	return fmt.Sprint(*x)
}
