package loadbench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Figure is one number of a benchmark.
type Figure struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// What is measured, and against what, in words.
	What string `json:"what"`
	// Rounds are the measurements of which Value is the median.
	Rounds []float64 `json:"rounds"`
	// Details are what the rounds were worked out from.
	Details any `json:"details,omitempty"`
}

// Median makes a Figure of rounds.
func Median(unit, what string, rounds []float64, details any) Figure {
	sorted := slices.Sorted(slices.Values(rounds))
	n := len(sorted)
	return Figure{Value: (sorted[(n-1)/2] + sorted[n/2]) / 2, Unit: unit, What: what, Rounds: rounds, Details: details}
}

// file is results/bench.json. Several programs write their figures into it.
type file struct {
	SchemaVersion int                        `json:"schema_version"`
	Machine       machine                    `json:"machine"`
	Figures       map[string]json.RawMessage `json:"figures"`
}

type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MeasuredAt string `json:"measured_at"`
}

// Save writes figures into the file at path, beside what other programs have
// written into it.
func Save(path string, figures map[string]Figure) error {
	content := file{SchemaVersion: 1, Figures: map[string]json.RawMessage{}}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &content)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	cpu, cores := processors()
	content.Machine = machine{CPU: cpu, Cores: cores, MeasuredAt: time.Now().UTC().Format(time.RFC3339)}
	for name, figure := range figures {
		if content.Figures[name], err = json.Marshal(figure); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	if text, err = json.MarshalIndent(content, "", "  "); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// processors is the machine's CPU and its number of cores: runtime.NumCPU knows
// only those that this program may use.
func processors() (model string, cores int) {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", runtime.NumCPU()
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "processor":
			cores++
		case "model name":
			model = strings.TrimSpace(value)
		}
	}
	return model, cores
}

// Print writes figures as a table, in the order of their names.
func Print(w io.Writer, figures map[string]Figure) {
	names := make([]string, 0, len(figures))
	widest := 0
	for name := range figures {
		names = append(names, name)
		widest = max(widest, len(name))
	}
	slices.Sort(names)
	for _, name := range names {
		f := figures[name]
		_, _ = fmt.Fprintf(w, "%-*s  %10.4g %-10s  (%.4g to %.4g)\n", widest, name, f.Value, f.Unit, slices.Min(f.Rounds), slices.Max(f.Rounds))
	}
}
