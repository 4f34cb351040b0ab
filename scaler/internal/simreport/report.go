// Package simreport writes what a comparison of scalers came to: summary.json,
// summary.csv, timelines and one page of HTML.
package simreport

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/policy"
)

// Report is everything that was found. The same run gives the same bytes.
type Report struct {
	SchemaVersion int `json:"schemaVersion"`
	// Source is what was played, in words.
	Source string `json:"source"`
	Seed   uint64 `json:"seed"`
	// Headroom is the configuration of headroom's policy, and CPURequest the share
	// of the CPU limit that a pod requests.
	Headroom   policy.Config      `json:"headroom"`
	CPURequest float64            `json:"cpuRequest"`
	Totals     []compare.Total    `json:"totals"`
	Aims       []compare.Aim      `json:"aims,omitempty"`
	Tradeoff   []compare.Curve    `json:"tradeoff,omitempty"`
	Cases      []compare.Case     `json:"cases"`
	Faults     []compare.FaultRun `json:"faults,omitempty"`
}

// schemaVersion changes when a reader of summary.json would have to.
const schemaVersion = 1

// single tells whether one scenario was played, of which there are timelines.
func (r *Report) single() bool { return len(r.Cases) == 1 }

// Write writes every file of the report into a folder, which it makes where it
// isn't there. The error names the file.
func Write(folder string, r Report) error {
	r.SchemaVersion = schemaVersion
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	files := map[string]func(io.Writer) error{
		"summary.json": func(w io.Writer) error { return WriteJSON(w, r) },
		"summary.csv":  func(w io.Writer) error { return writeCSV(w, &r) },
		"report.html":  func(w io.Writer) error { return writePage(w, &r) },
	}
	if r.single() {
		for _, row := range r.Cases[0].Rows {
			if len(row.Timeline) > 0 {
				files["timeline-"+row.Policy+".csv"] = func(w io.Writer) error { return writeTimeline(w, row.Timeline) }
			}
		}
	}
	for name, write := range files {
		if err := writeFile(filepath.Join(folder, name), write); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes the report as summary.json has it.
func WriteJSON(w io.Writer, r Report) error {
	r.SchemaVersion = schemaVersion
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
