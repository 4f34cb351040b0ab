package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/simreport"
)

// simulate runs the program and returns what it said.
func simulate(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, wrong bytes.Buffer
	code = run(args, &out, &wrong)
	return code, out.String(), wrong.String()
}

func traceFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.txt")
	text := strings.Repeat("5 ", 60) + strings.Repeat("30 ", 60) + strings.Repeat("5 ", 180)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongFlagsAreNamedInOneLine(t *testing.T) {
	trace := traceFile(t)
	tests := []struct {
		name  string
		args  []string
		parts []string
	}{
		{"neither a trace nor workloads", nil, []string{"--trace", "--workloads", "one of them"}},
		{"both", []string{"--trace", trace, "--workloads", "3"}, []string{"--trace", "--workloads"}},
		{"a trace that is not there", []string{"--trace", "/nowhere.txt"}, []string{"/nowhere.txt"}},
		{"a unit", []string{"--trace", trace, "--trace-unit", "hour"}, []string{"--trace-unit", `"hour"`, "second", "minute", "arrivals"}},
		{"a column", []string{"--trace", trace, "--trace-column", "x"}, []string{`"x"`, "1 to 1"}},
		{"a scale of 0", []string{"--trace", trace, "--scale", "0"}, []string{"--scale 0", "above 0 to 10000"}},
		{"a scale that is no number", []string{"--trace", trace, "--scale", "NaN"}, []string{"--scale NaN"}},
		{"a policy", []string{"--trace", trace, "--policies", "best"}, []string{"--policies", `"best"`, "headroom, headroom-bridge"}},
		{"more at least than at most", []string{"--trace", trace, "--min", "5", "--max", "4"}, []string{"--max 4", "from 5"}},
		{"a request above the limit", []string{"--trace", trace, "--cpu-request", "1.5"}, []string{"--cpu-request 1.5", "above 0 to 1"}},
		{"a utilization of 1", []string{"--trace", trace, "--utilization", "1"}, []string{"--utilization 1", "below 1"}},
		{"a service time of 0", []string{"--trace", trace, "--service", "0s"}, []string{"--service 0s", "from 100µs"}},
		{"a step without an interval", []string{"--trace", trace, "--interval", "0s"}, []string{"--interval 0s", "--step"}},
		{"a fault's kind", []string{"--trace", trace, "--fault", "flood:1s:2s"}, []string{"--fault", `"flood:1s:2s"`, "kill:FROM:REPLICAS"}},
		{"a fault that ends before it begins", []string{"--trace", trace, "--fault", "lag:9s:2s"}, []string{"--fault", "TO after FROM"}},
		{"a fault's signals", []string{"--trace", trace, "--fault", "lag:1s:2s:redis"}, []string{"--fault", "model-server"}},
		{"an upstream that is not there", []string{"--trace", trace, "--upstream", "/nowhere"}, []string{"--upstream", "/nowhere"}},
		{"rounds", []string{"bench", "--out", "x", "--rounds", "0"}, []string{"--rounds 0", "1 to 100"}},
		{"a flag that is not there", []string{"--bogus"}, []string{"--bogus"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := simulate(t, tt.args...)
			if code != command.Usage || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d and %q, want %d and one line", code, stderr, command.Usage)
			}
			for _, part := range tt.parts {
				if !strings.Contains(stderr, part) {
					t.Errorf("%q lacks %q", stderr, part)
				}
			}
		})
	}
}

func TestFlagsAreEnvironmentVariablesToo(t *testing.T) {
	t.Setenv("SIMULATE_TRACE", traceFile(t))
	t.Setenv("SIMULATE_POLICIES", "fixed4")
	t.Setenv("SIMULATE_TRADEOFF", "false")
	t.Setenv("SIMULATE_OUT", t.TempDir())
	if code, stdout, stderr := simulate(t); code != 0 || !strings.Contains(stdout, "fixed4") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestATraceIsCompared(t *testing.T) {
	trace := traceFile(t)
	var texts []string
	for range 2 {
		out := t.TempDir()
		code, stdout, stderr := simulate(t, "--trace", trace, "--policies", "headroom,fixed9,clairvoyant,oracle", "--no-tradeoff", "--fault", "vanish:130s:150s", "--fault", "kill:90s:1", "--out", out, "--json")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		text, err := os.ReadFile(filepath.Join(out, "summary.json"))
		if err != nil {
			t.Fatal(err)
		}
		if stdout != string(text) {
			t.Error("--json prints something else than summary.json")
		}
		texts = append(texts, stdout)
	}
	if texts[0] != texts[1] {
		t.Error("the same seed gives another summary.json")
	}
	var r simreport.Report
	if err := json.Unmarshal([]byte(texts[0]), &r); err != nil {
		t.Fatal(err)
	}
	c := r.Cases[0]
	if len(c.Rows) != 4 || len(c.Scenario.Faults) != 2 || c.Scenario.Faults[1].Replicas != 1 {
		t.Errorf("got %+v", c)
	}
	if row, ok := c.Row("fixed9"); !ok || row.Avoidable > 20 || row.ScaleOuts != 1 {
		t.Errorf("nine replicas come to %+v", row)
	}
	if p := r.Headroom; p.Utilization != 0.85 || p.ScaleIn.Stabilization.Seconds() != 60 || p.ScaleIn.Share != 0.25 || p.ScaleIn.Interval.Seconds() != 5 {
		t.Errorf("headroom is set to %+v", p)
	}
}

func TestAnotherSeedGivesAnotherSummary(t *testing.T) {
	trace := traceFile(t)
	var texts []string
	for _, seed := range []string{"1", "2"} {
		_, stdout, _ := simulate(t, "--trace", trace, "--policies", "fixed2", "--no-tradeoff", "--seed", seed, "--out", t.TempDir(), "--json")
		texts = append(texts, strings.Replace(stdout, `"seed": `+seed, "", 2))
	}
	if texts[0] == texts[1] {
		t.Error("it is the same")
	}
}

func TestASweepEndsWithTheAims(t *testing.T) {
	code, stdout, stderr := simulate(t, "--workloads", "2", "--faulty", "0", "--policies", "headroom", "--out", t.TempDir())
	if code != 0 || !strings.Contains(stdout, "\nNONE (b) ") || !strings.Contains(stdout, "(f) ") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestHelpTellsTheDefaults(t *testing.T) {
	code, stdout, _ := simulate(t, "run", "--help")
	for _, want := range []string{"--policies", "headroom,hpa70,hpa90,kpa,clairvoyant,oracle", "N % of the CPU request", "SIMULATE_TRACE"} {
		if code != 0 || !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("exit code %d; the help lacks %q", code, want)
		}
	}
}
