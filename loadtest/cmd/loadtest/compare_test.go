package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headroom.dev/loadtest/internal/runtest"
)

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	rates := []float64{8, 8, 8, 8, 8, 8, 8, 8, 8, 8}
	custom := runtest.Make(t, dir, "custom-1", runtest.Run{Label: "custom", Scale: runtest.Quick, Rates: rates, Seed: 1})
	hpa := runtest.Make(t, dir, "hpa70-1", runtest.Run{Label: "hpa70", Scale: runtest.HPA(70), Rates: rates, Seed: 1})
	other := runtest.Make(t, t.TempDir(), "other", runtest.Run{Label: "hpa70", Scale: runtest.HPA(70), Rates: rates, Seed: 2})

	// Into the folder that holds the runs, as make compare does.
	status, stdout, stderr := call("compare", custom, hpa, "--out", dir)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, part := range []string{"scaler", "custom", "hpa70", "Replica-seconds", "kept the promise", filepath.Join(dir, "comparison.html")} {
		if !strings.Contains(stdout, part) {
			t.Errorf("stdout does not contain %q:\n%s", part, stdout)
		}
	}
	if !strings.Contains(stderr, "reading run 2 of 2") {
		t.Errorf("no progress: %q", stderr)
	}

	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no folder of runs":     {nil, "dir"},
		"no folder to write to": {[]string{custom, hpa}, "--out"},
		"a folder without a run": {
			[]string{custom, t.TempDir()}, "holds no run",
		},
		"another seed":                    {[]string{custom, other}, "seeds"},
		"the folder of a run to write to": {[]string{custom, hpa}, "is the folder of a run"},
	} {
		args := append([]string{"compare"}, tt.args...)
		fresh := filepath.Join(t.TempDir(), "out")
		switch name {
		case "no folder to write to":
		case "the folder of a run to write to":
			args = append(args, "--out", custom)
		default:
			args = append(args, "--out", fresh)
		}
		status, _, stderr := call(args...)
		if status != exitUsage || !strings.Contains(stderr, tt.want) || strings.Count(strings.TrimSpace(stderr), "loadtest: ") != 1 {
			t.Errorf("%s: status %d, stderr %q; want %d and %q", name, status, stderr, exitUsage, tt.want)
		}
		if _, err := os.Stat(fresh); err == nil {
			t.Errorf("%s: a folder was made", name)
		}
	}
}
