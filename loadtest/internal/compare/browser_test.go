package compare_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/compare"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/runtest"
	"headroom.dev/loadtest/internal/timeline"
)

//go:embed testdata/drive.html
var drive string

// chromium runs a real browser without a window on url, and returns the page that it ends with.
func chromium(t *testing.T, url string, flags ...string) string {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("chromium is not on PATH; `make test` installs it (Debian: apt-get install chromium): %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(),
		"--enable-logging=stderr", "--virtual-time-budget=9000", "--window-size=1240,2500", "--dump-dom",
	}, append(flags, url)...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("the browser's console: %s", line)
		}
	}
	return stdout.String()
}

// seen is what a person saw who pointed, dragged and clicked.
type seen struct {
	// Charts counts the coloured pixels of each.
	Charts map[string]int
	// Figures are the tiles' values, Rows all tables' cells.
	Figures map[string]string
	Rows    [][]string
	// Points are circles in scatters.
	Points int
	// Shown is the part shown: at first, after dragging from 40% to 60%, after
	// "whole run", after + and later, after a double-click.
	Shown []string
	// At is the time under the pointer: in the middle of the latency chart, and,
	// zoomed, at the left and at the right end of the queue's.
	At []string
	// Outputs are the values beside the keys of every chart while the pointer is
	// in the middle of the latency chart.
	Outputs map[string][]string
	// Tip is what stands at the first decision.
	Tip string
	// Hidden counts the replica chart's coloured pixels before and after a click on its first key.
	Hidden []int
	// Asked are the addresses that the page loaded something from.
	Asked []string
}

// look opens the page in a browser, which a script drives.
func look(t *testing.T, path string) seen {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/drive" {
			_, _ = io.WriteString(w, drive)
			return
		}
		_, _ = w.Write(text)
	}))
	defer server.Close()
	dom := chromium(t, server.URL+"/drive")
	_, rest, _ := strings.Cut(dom, `<pre id="seen">`)
	rest, _, _ = strings.Cut(rest, "</pre>")
	var s seen
	if err := json.Unmarshal([]byte(html.UnescapeString(rest)), &s); err != nil {
		t.Fatalf("the script did not come to its end: %v\n%.2000s", err, dom)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"/drive", "/page"}; !slices.Equal(asked, want) || len(s.Asked) > 0 {
		t.Errorf("asked for %q and %q; a page has everything in it, want %q", asked, s.Asked, want)
	}
	return s
}

// seconds is the reverse of the page's minutes:seconds.
func seconds(t *testing.T, clock string) int {
	t.Helper()
	total := 0
	for part := range strings.SplitSeq(clock, ":") {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatalf("%q is no time: %v", clock, err)
		}
		total = total*60 + n
	}
	return total
}

func span(t *testing.T, shown string) (from, to int) {
	t.Helper()
	a, b, _ := strings.Cut(shown, " – ")
	return seconds(t, a), seconds(t, b)
}

// checkZoom holds what was shown against a run of so many seconds.
func checkZoom(t *testing.T, s seen, length int) {
	t.Helper()
	near := func(what string, got, want int) {
		t.Helper()
		if math.Abs(float64(got-want)) > 4 {
			t.Errorf("%s at %d s, want about %d s", what, got, want)
		}
	}
	if len(s.Shown) != 5 || len(s.At) != 3 {
		t.Fatalf("shown %q, pointed at %q", s.Shown, s.At)
	}
	for i, want := range [][2]int{{0, length}, {length * 4 / 10, length * 6 / 10}, {0, length}, {length / 2, length}, {0, length}} {
		from, to := span(t, s.Shown[i])
		near(fmt.Sprintf("shown part %d begins", i), from, want[0])
		near(fmt.Sprintf("shown part %d ends", i), to, want[1])
	}
	near("the middle of the latency chart", seconds(t, s.At[0]), length/2)
	near("zoomed, the left end of the queue chart", seconds(t, s.At[1]), length*4/10)
	near("zoomed, the right end of the queue chart", seconds(t, s.At[2]), length*6/10)
	for id, pixels := range s.Charts {
		if pixels < 100 {
			t.Errorf("chart %s has %d coloured pixels: nothing is drawn", id, pixels)
		}
		if values := s.Outputs[id]; len(values) == 0 || !slices.ContainsFunc(values, func(v string) bool { return !strings.HasSuffix(v, "=") }) {
			t.Errorf("chart %s tells no value while the pointer is in another chart: %q", id, values)
		}
	}
	if s.Hidden[1] >= s.Hidden[0] {
		t.Errorf("%d coloured pixels before a line is hidden, %d after it", s.Hidden[0], s.Hidden[1])
	}
}

// short is how the page prints a value.
func short(x float64) string {
	if math.Abs(x) >= 1000 {
		return strconv.FormatFloat(math.Round(x), 'f', -1, 64)
	}
	text, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	return strconv.FormatFloat(text, 'f', -1, 64)
}

func summaryOf(t *testing.T, dir string) report.Summary {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, report.SummaryFile))
	if err != nil {
		t.Fatal(err)
	}
	var s report.Summary
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheReportInABrowser(t *testing.T) {
	dir := runtest.Make(t, t.TempDir(), "hpa-1", runtest.Run{Label: "hpa70", Scale: runtest.HPA(70), Seed: 1, GapFrom: 100, GapTo: 130})
	page := filepath.Join(dir, report.PageFile)
	if info, err := os.Stat(page); err != nil || info.Size() > 1<<20 {
		t.Errorf("the page of a run of 630 s: %d bytes (%v), want at most 1 MiB", info.Size(), err)
	}
	s := look(t, page)
	result, err := report.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkZoom(t, s, result.Seconds.Count)
	for _, id := range []string{"latency", "replicas", "demand", "queue", "age", "cpu", "memory", "lag"} {
		if _, ok := s.Charts[id]; !ok {
			t.Errorf("there is no chart %s", id)
		}
	}

	summary := summaryOf(t, dir)
	whole := func(x float64) string {
		text := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
		if len(text) > 3 {
			text = text[:len(text)-3] + "," + text[len(text)-3:]
		}
		return text
	}
	for figure, want := range map[string]string{
		"latency_server_s.p99":   fmt.Sprintf("%.0f ms", *summary.Server.P99*1000),
		"latency_client_s.p99":   fmt.Sprintf("%.0f ms", *summary.Client.P99*1000),
		"slo_violations":         fmt.Sprintf("%d (%.2f%%)", summary.Violations.Count, summary.Violations.Share*100),
		"cost.replica_seconds":   whole(summary.Cost.ReplicaSeconds),
		"cost.cpu_limit_seconds": whole(*summary.Cost.CPULimitSeconds),
		"replicas":               fmt.Sprintf("%.2f / %d", summary.Replicas.Mean, summary.Replicas.Peak),
		"scaling.reaction_s":     fmt.Sprintf("%.0f s", *summary.Scaling.ReactionS),
		"send_lag_s.p99":         fmt.Sprintf("%.1f ms", *summary.SendLag.P99*1000),
	} {
		if s.Figures[figure] != want {
			t.Errorf("figure %s is shown as %q, summary.json has %q", figure, s.Figures[figure], want)
		}
	}

	// What stands beside the keys is what was measured in the second pointed at.
	at := seconds(t, s.At[0])
	for id, signal := range map[string]timeline.Signal{"replicas": timeline.Ready, "cpu": timeline.CPU} {
		value := result.Seconds.Measured.Signal(signal).At(at)
		if got := s.Outputs[id][0]; !strings.HasSuffix(got, "="+short(value)) {
			t.Errorf("chart %s tells %q at %s, want %s", id, got, s.At[0], short(value))
		}
	}
	first := result.Seconds.Measured.Decisions[0]
	if want := fmt.Sprintf("%d → %d replicas: HorizontalPodAutoscaler", first.From, first.To); !strings.Contains(s.Tip, want) {
		t.Errorf("at the first decision stands %q, want %q", s.Tip, want)
	}

	// As people open it.
	dom := chromium(t, "file://"+page)
	if n := strings.Count(dom, "<canvas"); n != len(s.Charts) {
		t.Errorf("%d canvases in the file opened from disk, want %d", n, len(s.Charts))
	}
	body, _, _ := strings.Cut(dom, "<script")
	for _, bad := range []string{"NaN", "undefined", "Infinity", "[object", "%!"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
}

func TestTheComparisonInABrowser(t *testing.T) {
	out := t.TempDir()
	var dirs []string
	for seed := range int64(2) {
		for label, policy := range map[string]runtest.Policy{"custom": runtest.Quick, "hpa90": runtest.HPA(90)} {
			dirs = append(dirs, runtest.Make(t, out, fmt.Sprintf("%s-%d", label, seed), runtest.Run{Label: label, Scale: policy, Seed: seed}))
		}
	}
	slices.Sort(dirs)
	runs, err := compare.Load(dirs, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := compare.New(runs)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(out, io.Discard); err != nil {
		t.Fatal(err)
	}
	s := look(t, filepath.Join(out, compare.PageFile))
	checkZoom(t, s, runs[0].Seconds.Count)

	var custom []float64
	for _, dir := range dirs[:2] {
		custom = append(custom, summaryOf(t, dir).Violations.Share*100)
	}
	mean, half := (custom[0]+custom[1])/2, 12.706*math.Abs(custom[0]-custom[1])/2 // t of one degree of freedom, s/√2
	row := s.Rows[slices.IndexFunc(s.Rows, func(r []string) bool { return r[0] == "custom" })]
	want := fmt.Sprintf("%.2f ± %.2f", mean, half)
	if row[1] != "2" || !strings.HasPrefix(row[2], want) {
		t.Errorf("the table's row is %q, want 2 runs and violations %s%%", row, want)
	}
	// In each of two scatters: two runs and a mean of two labels.
	if s.Points != 12 {
		t.Errorf("%d points in the scatters, want 12", s.Points)
	}
	if got := s.Outputs["replicas"]; len(got) != 2 || !strings.HasPrefix(got[0], "custom=") || !strings.HasPrefix(got[1], "hpa90=") {
		t.Errorf("the replica chart tells %q, want one value a label", got)
	}
}
