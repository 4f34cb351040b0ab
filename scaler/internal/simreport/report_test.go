package simreport

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/sim"
)

func row(name string, avoidable int64, cost float64) compare.Row {
	over, reaction := cost/1000, 3.5
	r := compare.Row{
		Policy: name, Requests: 54321, Violations: avoidable + 2, Avoidable: avoidable, AvoidableShare: float64(avoidable) / 54321,
		LatencyP50: 0.1234, LatencyP99: 0.4567, ReplicaSeconds: cost, CPULimitSeconds: cost + 7, CPUSeconds: cost / 2, OverClairvoyant: &over,
		ScaleOuts: 17, ScaleIns: 19, Flaps: 5, ChangesPerHour: 216, Reaction: &reaction,
	}
	for i := range 600 {
		p := sim.Point{At: float64(i + 1), Rate: 50, Ready: 3, P99: 0.2}
		if i == 300 {
			p.Violations, p.P99 = avoidable, 0
		}
		r.Timeline = append(r.Timeline, p)
	}
	return r
}

func single() Report {
	lost := compare.Row{Policy: "oracle", Lost: "replicaSeconds: 1 must be enough"}
	c := compare.Case{
		Scenario: sim.Scenario{Name: "trace.txt", SLO: 500 * time.Millisecond, Slots: 1, Service: sim.Service{Mean: 100 * time.Millisecond}, ColdStart: sim.ColdStart{Mean: 4 * time.Second}},
		Rows:     []compare.Row{row("headroom", 83, 1379), row("hpa70", 2741, 1583), row("clairvoyant", 0, 1000), lost},
	}
	point := func(label string, avoidable int64, cost float64) compare.Point {
		return compare.Point{Label: label, Row: row("any", avoidable, cost)}
	}
	r := Report{
		Source: "trace.txt, 10m0s", Seed: 42, CPURequest: 1, Headroom: policy.Config{Utilization: 0.85}, Cases: []compare.Case{c},
		Tradeoff: []compare.Curve{
			{Name: "headroom, by utilization", Points: []compare.Point{point("50 %", 0, 1900), point("90 %", 83, 1300)}},
			{Name: "HPA, by CPU target", Points: []compare.Point{point("30 %", 0, 1850), point("70 %", 2741, 1583)}},
		},
	}
	r.Totals = compare.Totals(r.Cases)
	return r
}

// sweep is of several workloads.
func sweep() Report {
	r := Report{Source: "30 synthetic workloads", Seed: 42, CPURequest: 1}
	for i := range 30 {
		name := fmt.Sprintf("flat <x%d>", i)
		r.Cases = append(r.Cases, compare.Case{
			Scenario: sim.Scenario{Name: name},
			Rows:     []compare.Row{row("headroom", int64(100*i), 1379), row("hpa70", 2741, 1583), row("clairvoyant", 0, 1000), row("oracle", 90, 1300)},
		})
	}
	r.Totals = compare.Totals(r.Cases)
	r.Faults = []compare.FaultRun{{Scenario: "flat", Kind: sim.Vanish, Signals: sim.AllSignals, ScaleIns: 23}, {Kind: sim.Vanish, Signals: sim.AllSignals, ScaleIns: 8}}
	r.Aims = compare.Judge(r.Cases, r.Faults)
	return r
}

func html(t *testing.T, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := writePage(&b, &r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestThePageOfATraceShowsItsNumbers(t *testing.T) {
	text := html(t, single())
	for _, want := range []string{
		"trace.txt, 10m0s", ">83<", "0.15 %", ">1379", "1.38×", ">2741<", "5.05 %", ">1583", ">123<", ">457<", ">1386<", ">690<", ">17<", ">19<", ">216<", ">5<", "3.5 s",
		"replicaSeconds: 1 must be enough", "SLO 500 ms", "utilization 0.85", "Seed 42",
		"HPA, by CPU target: of 2 settings, 1 cost more and violate more than some setting of headroom; 1 beat some setting of headroom in both.",
		`data-policy="hpa70"`, "70 %: 5.05 % avoidable, 1583 replica-seconds (1.58×)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestThePageOfASweepShowsItsNumbers(t *testing.T) {
	text := html(t, sweep())
	for _, want := range []string{"30 synthetic workloads", "flat &lt;x29&gt;", "31 scale-ins", ">31<", "1.38×", ">41370<", ">43500<"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	_, table, _ := strings.Cut(text, "The worst cases")
	if first, second := strings.Index(table, "x29&gt;"), strings.Index(table, "x28&gt;"); first < 0 || second < first {
		t.Error("the worst case does not come first")
	}
	if strings.Contains(table, "x9&gt;") {
		t.Error("there are more than the worst twenty")
	}
}

func TestNothingOfThePageComesFromElsewhere(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)https?:|//[a-z]|\bsrc=|\bhref=|url\(|@import|<link|<iframe|fetch\(|XMLHttpRequest`)
	for _, r := range []Report{single(), sweep()} {
		if found := elsewhere.FindString(html(t, r)); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
}

func TestOtherNumbersGiveAnotherPage(t *testing.T) {
	other := single()
	other.Cases[0].Rows[0] = row("headroom", 9876, 4321)
	text := html(t, other)
	if !strings.Contains(text, ">9876<") || !strings.Contains(text, ">4321") || strings.Contains(text, ">1379") {
		t.Error("the page does not follow its numbers")
	}
}

func TestFilesAreWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "folder")
	r := single()
	if err := Write(folder, r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"summary.json", "summary.csv", "report.html", "timeline-headroom.csv", "timeline-hpa70.csv", "timeline-clairvoyant.csv"} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "timeline-oracle.csv")); err == nil {
		t.Error("a policy without a result has a timeline")
	}
	text, err := os.ReadFile(filepath.Join(folder, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || back.SchemaVersion != 1 || back.Cases[0].Rows[1].Avoidable != 2741 {
		t.Errorf("%v: %+v", err, back)
	}
	f, err := os.Open(filepath.Join(folder, "summary.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil || len(lines) != 5 || lines[2][1] != "hpa70" || lines[2][6] != "2741" || lines[4][2] == "" {
		t.Errorf("%v: %q", err, lines)
	}
}

func TestTheSameReportGivesTheSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	if err := WriteJSON(&a, sweep()); err != nil {
		t.Fatal(err)
	}
	if err := WriteJSON(&b, sweep()); err != nil {
		t.Fatal(err)
	}
	first, second := html(t, sweep()), html(t, sweep())
	if !bytes.Equal(a.Bytes(), b.Bytes()) || first != second {
		t.Error("they differ")
	}
}

func TestAFolderThatCannotBeMadeIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(file, "under"), single()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}

func TestTheTableOfATraceIsPrinted(t *testing.T) {
	var b bytes.Buffer
	if err := Print(&b, single()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"headroom", "83", "0.15 %", "1379", "1.38", "(replicaSeconds: 1 must be enough)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, &b)
		}
	}
}

func TestTheAimsOfASweepArePrinted(t *testing.T) {
	var b bytes.Buffer
	if err := Print(&b, sweep()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		if !regexp.MustCompile(`(?m)^(PASS|MISS|NONE) \(` + id + `\) `).MatchString(b.String()) {
			t.Errorf("aim %s is not printed:\n%s", id, &b)
		}
	}
}
