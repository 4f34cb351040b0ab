package realrun

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// folder writes a result folder; change edits the summary.
func folder(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	dir := t.TempDir()
	s := map[string]any{
		"schema_version": 2,
		"run":            map[string]any{"scaler": "custom"},
		"environment":    map[string]any{"replica_cpu_limit_cores": 0.15},
		"slo":            map[string]any{"latency_s": 0.5},
		"requests":       map[string]any{"answered": 3},
		"slo_violations": map[string]any{"share": 0.01},
		"latency_server_s": map[string]any{
			"p50": 0.02, "p99": 0.2,
		},
		"replicas": map[string]any{"peak": 4},
		"cost":     map[string]any{"replica_seconds": 400.0, "cpu_seconds": 40.0},
		"scaling":  map[string]any{"reactions": []any{map[string]any{"ordered_s": 2.0, "ready_s": 6.0}, map[string]any{"ordered_s": 1.0, "ready_s": 7.0}, map[string]any{"ordered_s": nil, "ready_s": nil}}},
	}
	if change != nil {
		change(s)
	}
	write := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(summaryFile, s)
	var cpu, ready, rate []any
	for i := range 60 {
		replicas, requests := float64(1+i/20), float64(5+i%7)
		cpu, ready, rate = append(cpu, 0.004*replicas+0.015*requests), append(ready, replicas), append(rate, requests)
	}
	cpu[7] = nil // Prometheus missed one
	write(timelineFile, map[string]any{"signals": map[string]any{"model_servers_cpu_cores": cpu, "replicas_ready": ready, "arrival_rate_per_s": rate}})
	requests(t, dir, "intended_s,lag_s\n0.5,0\n2,0\n1.25,0\n")
	return dir
}

func requests(t *testing.T, dir, text string) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, requestsFile))
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(file)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestARunBecomesAScenario(t *testing.T) {
	run, err := Load(folder(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if run.ColdStart != 5*time.Second || len(run.Seconds) != 59 || run.Measured != (Figures{0.02, 0.2, 0.01, 400, 40, 4}) {
		t.Errorf("read %+v", run)
	}
	s, price, err := run.Scenario(Assumptions{ServiceCV: 0.2, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(price.Request-0.015) > 1e-9 || math.Abs(price.Upkeep-0.004) > 1e-9 {
		t.Errorf("the price is %+v, want 0.015 and 0.004", price)
	}
	want := []time.Duration{500 * time.Millisecond, 1250 * time.Millisecond, 2 * time.Second}
	if !slices.Equal(s.Times, want) || s.Duration != 3*time.Second || s.SLO != 500*time.Millisecond || s.ColdStart.Mean != 5*time.Second {
		t.Errorf("the scenario is %+v", s)
	}
	// 15 ms of CPU at the 0.146 cores that are left.
	if got := s.Service.Mean.Seconds(); math.Abs(got-0.015/0.146) > 1e-6 || s.CPULimit != 0.15 || math.Abs(s.Upkeep-0.004) > 1e-9 {
		t.Errorf("%g s of service with %g cores less %g", got, s.CPULimit, s.Upkeep)
	}
	if s, _, err := run.Scenario(Assumptions{ColdStart: time.Second}); err != nil || s.ColdStart.Mean != time.Second {
		t.Errorf("a cold start that is told: %v, %v", s.ColdStart, err)
	}
	run.ColdStart = 0
	if _, _, err := run.Scenario(Assumptions{}); err == nil {
		t.Error("without any cold start there is a scenario")
	}
}

func TestWhoScaledIsPlayed(t *testing.T) {
	for scaler, want := range map[string]string{"custom": "headroom", "custom-bridge": "headroom-bridge", "hpa70": "hpa70", "none": "", "hpa": "", "": ""} {
		got, err := Run{Scaler: scaler}.PolicyName()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is played as %q, %v", scaler, got, err)
		}
	}
}

func TestARunThatCannotBePlayedIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(map[string]any)
		spoil  func(dir string)
		want   string
	}{
		{"another schema", func(s map[string]any) { s["schema_version"] = 1 }, nil, "schema_version 1; allowed is 2"},
		{"no Prometheus", func(s map[string]any) { s["latency_server_s"] = nil }, nil, "needs a Prometheus"},
		{"no quota", func(s map[string]any) { s["environment"] = map[string]any{} }, nil, "replica_cpu_limit_cores must be above 0"},
		{"no promise", func(s map[string]any) { s["slo"] = map[string]any{} }, nil, "slo.latency_s 0 must be above 0"},
		{"no timeline", nil, func(dir string) { _ = os.Remove(filepath.Join(dir, timelineFile)) }, timelineFile},
		{"half a timeline", nil, func(dir string) {
			_ = os.WriteFile(filepath.Join(dir, timelineFile), []byte(`{"signals": {"model_servers_cpu_cores": [1]}}`), 0o644)
		}, "1, 0 and 0 values"},
		{"no records", nil, func(dir string) { _ = os.Remove(filepath.Join(dir, requestsFile)) }, requestsFile},
		{"other records", nil, func(dir string) { requests(t, dir, "sent\n1\n") }, "no column intended_s"},
		{"a bad time", nil, func(dir string) { requests(t, dir, "intended_s\nsoon\n") }, `request 1 is meant for "soon"`},
		{"no request", nil, func(dir string) { requests(t, dir, "intended_s\n") }, "there is no request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.change)
			if c.spoil != nil {
				c.spoil(dir)
			}
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v, want one line with %q", err, c.want)
			}
		})
	}
	idle := Run{CPULimit: 0.15, Arrivals: []time.Duration{1}, ColdStart: time.Second}
	if _, _, err := idle.Scenario(Assumptions{}); err == nil {
		t.Error("nothing is known of what a request costs, and there is a scenario")
	}
}

func TestWhatIsFartherApartThanTheMarginIsNamed(t *testing.T) {
	m := Margin{Cost: 0.2, Violations: 1, P99: 0.4}
	real := Figures{P99: 0.3, ViolationShare: 0.02, ReplicaSeconds: 1000, CPUSeconds: 100}
	near := Figures{P99: 0.49, ViolationShare: 0.011, ReplicaSeconds: 1190, CPUSeconds: 81}
	if out := m.Outside(real, near, 500*time.Millisecond); len(out) != 0 {
		t.Errorf("inside the margin: %v", out)
	}
	far := Figures{P99: 0.51, ViolationShare: 0.009, ReplicaSeconds: 1210, CPUSeconds: 79}
	if out := m.Outside(real, far, 500*time.Millisecond); fmt.Sprint(len(out)) != "4" || !strings.HasPrefix(out[0], "replica-seconds: +21% simulated") {
		t.Errorf("outside: %v", out)
	}
	if out := m.Outside(real, Figures{P99: math.NaN(), ViolationShare: 0.02, ReplicaSeconds: 1000, CPUSeconds: 100}, time.Second); len(out) != 1 {
		t.Error("what is no number is inside the margin")
	}
}
