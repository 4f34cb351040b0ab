package trace_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/trace"
)

func TestRead(t *testing.T) {
	tests := []struct {
		name, text string
		want       []float64
	}{
		{"values on one line", "1 2 3", []float64{1, 2, 3}},
		{"values on several lines, with blank ones between", "1\n\n2 3\n\n", []float64{1, 2, 3}},
		{"decimals", "0.5 7.25 .5 3.", []float64{0.5, 7.25, 0.5, 3}},
		{"comments, on their own and behind values", "# head\n1 2 # two\n#\n3", []float64{1, 2, 3}},
		{"tabs and Windows line ends", "1\t2\r\n3\r\n", []float64{1, 2, 3}},
		{"seconds of silence", "0 0 1", []float64{0, 0, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := trace.Read(strings.NewReader(tt.text), "t.txt", trace.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Rates, tt.want) || got.Arrivals != nil {
				t.Errorf("got %v, want the rates %v", got, tt.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	const allowed = "allowed are numbers from 0 to 1000000"
	tests := []struct{ name, text, where, value, why string }{
		{"a letter", "7 8\n9 x 7", "t.txt:2:", `"x"`, allowed},
		{"a negative number", "7\n-1", "t.txt:2:", `"-1"`, allowed},
		{"NaN", "NaN", "t.txt:1:", `"NaN"`, allowed},
		{"infinity", "1 2\n\n+Inf", "t.txt:3:", `"+Inf"`, allowed},
		{"an exponent", "1e3", "t.txt:1:", `"1e3"`, allowed},
		{"hexadecimal", "0x10", "t.txt:1:", `"0x10"`, allowed},
		{"commas", "1,2,3", "t.txt:1:", `"1,2,3"`, "--trace-format"},
		{"two points", "1.2.3", "t.txt:1:", `"1.2.3"`, allowed},
		{"a point alone", ".", "t.txt:1:", `"."`, allowed},
		{"more than any machine sends", "1000001", "t.txt:1:", `"1000001"`, allowed},
		{"a long word, shortened", strings.Repeat("a", 500), "t.txt:1:", `aaa…"`, allowed},
		{"an empty file", "", "t.txt:1:", "no values", "at least one"},
		{"comments only", "# nothing\n# here\n", "t.txt:2:", "no values", "at least one"},
		{"more than a week", strings.Repeat("1 ", trace.MaxSeconds+1), "t.txt:1:", "604800 values", "one week"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := trace.Read(strings.NewReader(tt.text), "t.txt", trace.Options{})
			if err == nil {
				t.Fatal("accepted")
			}
			message := err.Error()
			for _, part := range []string{tt.where, tt.value, tt.why} {
				if !strings.Contains(message, part) {
					t.Errorf("%q does not contain %q", message, part)
				}
			}
			if strings.Contains(message, "\n") || len(message) > 300 {
				t.Errorf("not one short line: %q", message)
			}
		})
	}
}

func TestLoadNamesTheFileThatIsMissing(t *testing.T) {
	_, err := trace.Load(filepath.Join(t.TempDir(), "absent.txt"), trace.Options{})
	if err == nil || !strings.Contains(err.Error(), "absent.txt") {
		t.Errorf("got %v", err)
	}
}

func TestCut(t *testing.T) {
	whole := trace.Trace{Name: "t.txt", Rates: []float64{0, 1, 2, 3, 4}}
	tests := []struct {
		name          string
		start, length time.Duration
		want          []float64
		refused       string
	}{
		{"all of it", 0, 0, []float64{0, 1, 2, 3, 4}, ""},
		{"from second 2", 2 * time.Second, 0, []float64{2, 3, 4}, ""},
		{"two seconds from second 1", time.Second, 2 * time.Second, []float64{1, 2}, ""},
		{"a length beyond the end stops at the end", 3 * time.Second, time.Hour, []float64{3, 4}, ""},
		{"a start at the end", 5 * time.Second, 0, nil, "start 5s"},
		{"a start before the beginning", -time.Second, 0, nil, "start -1s"},
		{"half a second", 500 * time.Millisecond, 0, nil, "whole seconds"},
		{"a negative length", 0, -time.Second, nil, "length -1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := whole.Cut(tt.start, tt.length)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got error %v, want one with %q", err, tt.refused)
				}
				return
			}
			if err != nil || !slices.Equal(got.Rates, tt.want) {
				t.Errorf("got %v, %v, want %v", got.Rates, err, tt.want)
			}
		})
	}
}

func TestFilesAreWhatTheFormulasGive(t *testing.T) {
	for _, shape := range trace.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			path := filepath.Join("..", "..", "traces", shape.Name+".txt")
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var made bytes.Buffer
			if _, err := shape.WriteTo(&made); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(file, made.Bytes()) {
				t.Errorf("%s differs from what `loadtest trace %s` prints", path, shape.Name)
			}
			loaded, err := trace.Load(path, trace.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, rate := range shape.Rates() {
				if loaded.Rates[i] != float64(rate) {
					t.Fatalf("second %d: file has %v, formula gives %d", i, loaded.Rates[i], rate)
				}
			}
		})
	}
}

func TestShapesAreWhatTheirTitlesSay(t *testing.T) {
	rates := map[string][]int{}
	for _, shape := range trace.Shapes() {
		rates[shape.Name] = shape.Rates()
	}
	mean := func(values []int) float64 {
		sum := 0
		for _, v := range values {
			sum += v
		}
		return float64(sum) / float64(len(values))
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if got < want-tolerance || got > want+tolerance {
			t.Errorf("%s: got %.2f, want %.2f ± %.2f", what, got, want, tolerance)
		}
	}

	workload := rates["workload"]
	near("workload: length", float64(len(workload)), 630, 0)
	near("workload: before the burst", mean(workload[:250]), 7, 0.3)
	near("workload: first minute of the burst", mean(workload[250:310]), 20, 1)
	near("workload: plateau", mean(workload[320:420]), 36, 1)
	near("workload: peak", float64(slices.Max(workload)), 44, 0)
	near("workload: after", mean(workload[480:]), 7, 0.3)

	heavy := rates["workload_heavy"]
	near("heavy: length", float64(len(heavy)), 60, 0)
	near("heavy: lowest", float64(slices.Min(heavy)), 50, 0)
	near("heavy: highest", float64(slices.Max(heavy)), 499, 0)

	demo := rates["demo"]
	near("demo: length", float64(len(demo)), 180, 0)
	near("demo: start", mean(demo[:30]), 6, 0.5)
	near("demo: step", mean(demo[30:60]), 24, 1)
	near("demo: plateau", mean(demo[60:120]), 32, 1)
	near("demo: end", mean(demo[135:]), 6, 0.5)
	if total := mean(demo) * 180; total <= 2000 {
		t.Errorf("demo: %v requests, want more than 2,000", total)
	}
}
