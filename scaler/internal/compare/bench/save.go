package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// file is results/bench.json. Programs of several modules write their figures into it.
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
// written into it. The error names the file.
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
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		f := figures[name]
		fmt.Fprintf(w, "%-34s %12.4g %s\n", name, f.Value, f.Unit)
	}
}

func median(rounds []float64) float64 {
	sorted := slices.Sorted(slices.Values(rounds))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
