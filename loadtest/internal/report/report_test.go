package report_test

import (
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

const (
	ms  = time.Millisecond
	slo = 500 * ms
)

var (
	nan     = math.NaN()
	started = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	results = []string{
		"autoscaler_log.csv", "autoscaler_summary.csv", "p99_latency_plot.png", "queue_size_plot.png",
		"replica_count_plot.png", "report.html", "requests.csv.gz", "summary.json",
	}
)

func run(id string) report.Run {
	return report.Run{
		ID: id, StartedAt: started, Trace: "t.txt", Scale: 1, Speed: 1, Arrivals: "even", Seed: 1,
		Target: "http://127.0.0.1:5001", Scaler: "custom", Protocol: "http/1.1", Mode: "sync", Repetition: 1,
	}
}

func plan(run report.Run, scheduled int) report.Plan {
	cores := 2
	return report.Plan{Run: run, SLO: slo, Scheduled: scheduled, Cores: &cores, LagBound: 10 * ms}
}

func writeRecords(t *testing.T, dir string, records []record.Record) {
	t.Helper()
	w, err := record.Create(filepath.Join(dir, report.RequestsFile), slo)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		w.Add(r)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func answered(intended, latency time.Duration) record.Record {
	return record.Record{Intended: intended, Lag: ms, Latency: latency, Status: 200, Outcome: record.Answered, Bytes: 100}
}

// small is a run of three seconds whose figures can be worked out by hand.
func small(t *testing.T) (dir string, scheduled int) {
	dir = t.TempDir()
	writeRecords(t, dir, []record.Record{
		answered(0, 100*ms),
		answered(500*ms, 200*ms),
		answered(1000*ms, 600*ms),
		{Intended: 1500 * ms, Lag: 2 * ms, Latency: 5 * ms, Status: 503, Outcome: record.Refused, Code: "overloaded"},
		{Intended: 2000 * ms, Outcome: record.Unsent, Code: "in_flight_cap"},
		answered(2100*ms, 400*ms),
	})
	return dir, 10 // four were not due when it was interrupted
}

func smallTimeline() *timeline.Timeline {
	return &timeline.Timeline{
		Start: started, Seconds: 5,
		Signals: map[timeline.Signal]timeline.Values{
			timeline.QueueSize: {0, 4, nan, 8, 100}, timeline.Ready: {1, nan, 3, 3, 2}, timeline.Starting: {1, 1, 0, 0, 0},
			timeline.Desired: {3, 3, 3, 3, 2}, timeline.ArrivalRate: {nan, 2, 1.5, 0, 0}, timeline.ServerP99: {nan, 0.0987654321, 0.5, nan, nan},
			timeline.InFlight: {1, 2, 2, 0, 0}, timeline.CPU: {0.5, nan, nan, 0.25, 0}, timeline.QueueAge: {0, 0.25, nan, 0, 0},
			timeline.Terminating: {0, 0, 0, 0, 1}, timeline.Existing: {2, nan, 3, 3, 3},
			timeline.CPULimit: {1, 1.5, nan, 1.5, 1.5}, timeline.Memory: {1e8, nan, 2e8, 2e8, 2e8},
			timeline.HPADesired: {nan, 3, 3, nan, nan}, timeline.HPACPU: {nan, 71.5, nan, nan, nan},
		},
		Decisions:    []timeline.Decision{{AtS: 1, From: 1, To: 3, Reason: "demand"}, {AtS: 4.5, From: 3, To: 2, Reason: "scale_in"}},
		ModelServers: timeline.ModelServers{Model: "vehicles", MaxBatch: pointer(4), CPULimitCores: pointer(0.5), CPUSeconds: pointer(1.25)},
		Latency:      &timeline.Latency{P50: 0.09, P90: 0.3, P99: 0.45, P999: 0.495, Mean: 0.12},
	}
}

func pointer[T any](x T) *T { return &x }

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func validate(t *testing.T, dir string) {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(filepath.Join("..", "..", "..", "contract", "summary.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(read(t, dir, "summary.json")))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("summary.json: %v", err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestFiguresWorkedOutByHand(t *testing.T) {
	dir, scheduled := small(t)
	if err := report.WriteTimeline(dir, smallTimeline()); err != nil {
		t.Fatal(err)
	}
	interrupted := run("one")
	interrupted.Interrupted = true
	if _, err := report.Make(dir, plan(interrupted, scheduled)); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), slices.Sorted(slices.Values(append([]string{"timeline.json"}, results...))); !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	validate(t, dir)

	var got report.Summary
	if err := json.Unmarshal([]byte(read(t, dir, "summary.json")), &got); err != nil {
		t.Fatal(err)
	}
	if want := (report.Requests{Scheduled: 10, Sent: 5, Answered: 4, Refused: 1, Failed: 0, Unsent: 5}); got.Requests != want {
		t.Errorf("requests %+v, want %+v", got.Requests, want)
	}
	// Six were due; three had a prediction in 500 ms.
	if want := (report.Violations{Count: 3, Share: 0.5}); got.Violations != want {
		t.Errorf("violations %+v, want %+v", got.Violations, want)
	}
	near := func(what string, got *float64, want float64) {
		t.Helper()
		if got == nil || math.Abs(*got-want) > want*0.001 {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	// 100, 200, 400, 600 ms: by nearest rank the median is the second, all higher percentiles the fourth.
	near("client p50", got.Client.P50, 0.2)
	near("client p90", got.Client.P90, 0.6)
	near("client p99", got.Client.P99, 0.6)
	near("client mean", got.Client.Mean, 0.325)
	near("client max", got.Client.Max, 0.6)
	near("server p99", got.Server.P99, 0.45)
	if got.Server.Max != nil {
		t.Errorf("server max %v, want none: buckets don't tell it", *got.Server.Max)
	}
	near("lag p50", got.SendLag.P50, 0.001)
	near("lag max", got.SendLag.Max, 0.002)
	// The last answer came at 2.5 s. Ready: 1, then a gap that is bridged with 1, then half a second of 3.
	if want := (report.Replicas{ReplicaSeconds: 3.5, Mean: 1.4, Min: 1, Peak: 3, First: 1, Last: 3}); *got.Replicas != want {
		t.Errorf("replicas %+v, want %+v", *got.Replicas, want)
	}
	// All that exist: 2, then a gap that is bridged with 2, then half a second of 3. Their limits: 1, 1.5, and half
	// a second of the same 1.5.
	if c := got.Cost; c == nil || c.ReplicaSeconds != 5.5 || *c.CPULimitSeconds != 3.25 || *c.CPUSeconds != 1.25 {
		t.Errorf("cost %+v, want 5.5 replica-seconds, 3.25 of CPU limits and 1.25 of CPU", c)
	}
	// Demand fell before the second decision: 6 requests in 4 s after 2 in the first one.
	if c := got.Scaling; c == nil || c.Outs != 1 || c.Ins != 1 || c.Flaps != 0 || len(c.Reactions) != 0 || c.ReactionS != nil {
		t.Errorf("scaling %+v, want one decision out and one in", c)
	}
	if e := got.Environment; *e.Cores != 2 || *e.ReplicaCPULimitCores != 0.5 || e.Model != "vehicles" || *e.MaxBatch != 4 {
		t.Errorf("environment %+v", e)
	}
	// Known are 0 and 4; what came after the run (8, 100) is no part of it.
	if want := (report.Queue{Mean: 2, Peak: 4}); *got.Queue != want {
		t.Errorf("queue %+v, want %+v", *got.Queue, want)
	}
	if got.Run.DurationS != 2.5 || !got.Run.Interrupted {
		t.Errorf("run %+v", got.Run)
	}
	if got.ByStatus["200"] != 4 || got.ByStatus["503"] != 1 || len(got.ByStatus) != 2 {
		t.Errorf("by status %v", got.ByStatus)
	}

	// The p99 of so few answers is the slowest of the ten seconds up to each: 200 ms, 600 ms, 600 ms.
	wantLog := `Timestamp,P99_Latency,Queue_Size,Replica_Count,Arrival_Rate,Desired_Replicas,Starting_Replicas,Terminating_Replicas,In_Flight,CPU_Cores,Queue_Age,Offered_Rate,Client_P99_Latency,Existing_Replicas,CPU_Limit_Cores,Memory_Bytes,HPA_Desired,HPA_CPU_Percent,SLO_Violations,Decision
2026-03-14T15:09:26Z,,0,1,,3,1,0,1,0.5,0,2,0.2,2,1,100000000,,,0,
2026-03-14T15:09:27Z,0.098765,4,,2,3,1,0,2,,0.25,2,0.6,,1.5,,3,71.5,2,1>3 demand
2026-03-14T15:09:28Z,0.5,,3,1.5,3,0,0,2,,,2,0.6,3,,200000000,3,,1,
2026-03-14T15:09:29Z,,8,3,0,3,0,0,0,0.25,0,,,3,1.5,200000000,,,,
2026-03-14T15:09:30Z,,100,2,0,2,0,1,0,0,0,,,3,1.5,200000000,,,,3>2 scale_in
`
	if got := read(t, dir, "autoscaler_log.csv"); got != wantLog {
		t.Errorf("autoscaler_log.csv:\n%s\nwant:\n%s", got, wantLog)
	}
	// The histogram holds 200 and 600 ms to three digits.
	wantSummary := `Run,Scaler,Trace,Requests,Answered,Refused,Failed,SLO_Violations,SLO_Violation_Share,P50_Client,P90_Client,P99_Client,P50_Server,P90_Server,P99_Server,Replica_Seconds,Mean_Replicas,Peak_Replicas,Mean_Queue,Peak_Queue,Unsent,P999_Client,P999_Server,Ready_Replica_Seconds,CPU_Limit_Seconds,CPU_Seconds,Reaction,Scale_Outs,Scale_Ins,Flaps,Send_Lag_P99,Valid,Seed,Repetition
one,custom,t.txt,10,4,1,0,3,0.5,0.200063,0.6,0.6,0.09,0.3,0.45,5.5,1.4,3,2,4,5,0.6,0.495,3.5,3.25,1.25,,1,1,0,0.002,false,1,1
`
	if got := read(t, dir, "autoscaler_summary.csv"); got != wantSummary {
		t.Errorf("autoscaler_summary.csv:\n%s\nwant:\n%s", got, wantSummary)
	}
}

func TestNothingMeasuredIsNull(t *testing.T) {
	dir, scheduled := small(t)
	summary, err := report.Make(dir, plan(run("blind"), scheduled))
	if err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
	if summary.Server != nil || summary.Replicas != nil || summary.Queue != nil || summary.Cost != nil || summary.Scaling != nil {
		t.Errorf("without Prometheus there are figures from it: %+v", summary)
	}
	if row := strings.Split(read(t, dir, "autoscaler_summary.csv"), "\n")[1]; !strings.HasSuffix(row, ",0.6,,,,,,,,,5,0.6,,,,,,,,,0.002,false,1,1") {
		t.Errorf("row %q; want empty cells for what was not measured", row)
	}
	if row := strings.Split(read(t, dir, "autoscaler_log.csv"), "\n")[1]; row != "2026-03-14T15:09:26Z,,,,,,,,,,,2,0.2,,,,,,0," {
		t.Errorf("row %q; want empty cells for what was not measured", row)
	}
}

func TestNobodyAnswered(t *testing.T) {
	dir := t.TempDir()
	writeRecords(t, dir, []record.Record{{Intended: 0, Latency: 10 * time.Second, Outcome: record.Failed, Code: "timeout"}})
	empty := &timeline.Timeline{Start: started, Seconds: 2, Signals: map[timeline.Signal]timeline.Values{timeline.Ready: {nan, nan}}}
	if err := report.WriteTimeline(dir, empty); err != nil {
		t.Fatal(err)
	}
	summary, err := report.Make(dir, plan(run("none"), 1))
	if err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
	if summary.Client.P99 != nil || summary.Server != nil || summary.Violations.Share != 1 || summary.ByStatus["0"] != 1 {
		t.Errorf("got %+v", summary)
	}
}

func TestInterruptedBeforeTheFirstRequest(t *testing.T) {
	dir := t.TempDir()
	writeRecords(t, dir, nil)
	if _, err := report.Make(dir, plan(run("nothing"), 5)); err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
}

func TestRemakeGivesTheSameFiles(t *testing.T) {
	dir, scheduled := small(t)
	if err := report.WriteTimeline(dir, smallTimeline()); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Make(dir, plan(run("one"), scheduled)); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{}
	for _, name := range results {
		before[name] = read(t, dir, name)
		if name != report.RequestsFile && name != report.SummaryFile {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := report.Remake(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range results {
		if read(t, dir, name) != before[name] {
			t.Errorf("%s differs from what the run wrote", name)
		}
	}
}

// A run of version 1 has no decisions and no count of all replicas, and of CPU and limits it knows nothing.
func TestARunOfVersion1IsMadeAgain(t *testing.T) {
	dir, _ := small(t)
	for name, text := range map[string]string{
		"summary.json": `{"schema_version":1,"run":{"id":"old","started_at":"2026-03-14T15:09:26Z","duration_s":2.5,"trace":"t.txt","scale":1,"speed":1,
			"arrivals":"poisson","seed":7,"target":"http://127.0.0.1:5001","scaler":"hpa","interrupted":true},
			"slo":{"latency_s":0.5,"quantile":0.99},"requests":{"scheduled":10}}`,
		"timeline.json": `{"start":"2026-03-14T15:09:26Z","seconds":5,"server_latency_s":null,"signals":{"replicas_ready":[1,1,null,2,2],
			"replicas_starting":[0,1,null,0,0],"replicas_terminating":[1,0,null,0,0],"replicas_desired":[null,null,null,null,null]}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := report.Remake(dir)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
	// 1 ready and 1 terminating, then 1 ready and 1 starting, and half a second of that.
	if c := got.Cost; c == nil || c.ReplicaSeconds != 5 || c.CPULimitSeconds != nil || c.CPUSeconds != nil {
		t.Errorf("cost %+v, want 5 replica-seconds and nothing else", c)
	}
	if c := got.Scaling; c == nil || c.Outs != 1 || c.Ins != 0 {
		t.Errorf("scaling %+v, want the one replica that was added", c)
	}
	if r := got.Run; r.Protocol != "http/1.1" || r.Mode != "sync" || r.ArrivalsCV != 1 || r.Repetition != 1 || got.Environment.Cores != nil {
		t.Errorf("run %+v, environment %+v", r, got.Environment)
	}
	if again, err := report.Remake(dir); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("made once more it is %+v, %v; want %+v", again, err, got)
	}
}

func TestRemakeRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ summary, want string }{
		"a folder without a run":       {"", "holds no run"},
		"a summary that is no JSON":    {"{", "summary.json: "},
		"a summary of another version": {`{"schema_version":3}`, "schema_version 3; allowed are 1 and 2"},
		"a summary without an SLO":     {`{"schema_version":1}`, "slo.latency_s 0"},
		"a run without its records":    {`{"schema_version":1,"slo":{"latency_s":1},"run":{"started_at":"2026-03-14T15:09:26Z"}}`, "requests.csv.gz"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.summary != "" {
				if err := os.WriteFile(filepath.Join(dir, "summary.json"), []byte(tt.summary), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := report.Remake(dir); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want an error with the folder and %q", err, tt.want)
			}
		})
	}
}

// burst is three minutes with a burst that a scaler follows, with a gap in
// what Prometheus knows and a scale-in after the load.
func burst() ([]record.Record, *timeline.Timeline) {
	const length, settled = 180, 215
	signals := map[timeline.Signal]timeline.Values{}
	for _, s := range []timeline.Signal{timeline.QueueSize, timeline.QueueAge, timeline.Ready, timeline.Starting, timeline.Terminating, timeline.Desired, timeline.ArrivalRate, timeline.ServerP99, timeline.InFlight, timeline.CPU, timeline.Existing} {
		signals[s] = make(timeline.Values, settled)
	}
	var records []record.Record
	queue, ready := 0.0, 1.0
	for second := range settled {
		demand := 6.0
		switch {
		case second >= 30 && second < 60:
			demand = 24
		case second >= 60 && second < 120:
			demand = 32
		case second >= length:
			demand = 0
		}
		desired := max(1, math.Ceil(demand/9))
		if second >= 120 {
			desired = max(1, 4-max(0, math.Floor(float64(second-150)/15)))
		}
		if desired > ready && second%8 == 7 {
			ready++
		}
		ready = min(ready, desired)
		starting, terminating := desired-ready, 0.0
		if second >= 165 && second < 170 {
			terminating = 1
		}
		queue = max(0, queue+demand-ready*10)
		latency := 0.08 + queue/(ready*10)
		values := map[timeline.Signal]float64{
			timeline.QueueSize: queue, timeline.QueueAge: latency - 0.08, timeline.Ready: ready, timeline.Starting: starting,
			timeline.Terminating: terminating, timeline.Existing: ready + starting + terminating, timeline.Desired: desired, timeline.ArrivalRate: demand, timeline.ServerP99: latency, timeline.InFlight: ready, timeline.CPU: demand * 0.02,
		}
		if demand == 0 {
			values[timeline.ServerP99] = nan
		}
		for signal, x := range values {
			if second >= 95 && second < 104 {
				x = nan
			}
			signals[signal][second] = x
		}
		for i := range int(demand) {
			at := time.Duration((float64(second) + float64(i)/demand) * float64(time.Second))
			records = append(records, answered(at, time.Duration((latency+0.01+0.02*float64(i%5))*float64(time.Second))))
		}
	}
	return records, &timeline.Timeline{
		Start: started, Seconds: settled, Signals: signals,
		Latency: &timeline.Latency{P50: 0.08, P90: 1.2, P99: 3.1, P999: 3.4, Mean: 0.4},
	}
}

func decodePlots(t *testing.T, dir string) map[string]int {
	t.Helper()
	colours := map[string]int{}
	for _, name := range []string{"p99_latency_plot.png", "queue_size_plot.png", "replica_count_plot.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		image, err := png.Decode(f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if size := image.Bounds().Size(); size.X != report.PlotWidth || size.Y != report.PlotHeight {
			t.Errorf("%s is %v, want %d×%d", name, size, report.PlotWidth, report.PlotHeight)
		}
		for y := range image.Bounds().Dy() {
			for x := range image.Bounds().Dx() {
				r, g, b, _ := image.At(x, y).RGBA()
				switch [3]uint32{r >> 8, g >> 8, b >> 8} {
				case [3]uint32{0x09, 0x69, 0xda}:
					colours[name+" blue"]++
				case [3]uint32{0xcf, 0x22, 0x2e}:
					colours[name+" red"]++
				case [3]uint32{0xff, 0xd7, 0xd1}:
					colours[name+" rose"]++
				case [3]uint32{0xfb, 0xd7, 0xa8}:
					colours[name+" amber"]++
				case [3]uint32{0xcd, 0xd4, 0xdb}:
					colours[name+" silver"]++
				}
			}
		}
	}
	return colours
}

// `go test -run Plots -artifacts -outputdir DIR` keeps the files, to be looked at.
func TestPlots(t *testing.T) {
	dir := t.ArtifactDir()
	records, measured := burst()
	writeRecords(t, dir, records)
	if err := report.WriteTimeline(dir, measured); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Make(dir, plan(run("burst"), len(records))); err != nil {
		t.Fatal(err)
	}
	colours := decodePlots(t, dir)
	for _, line := range []string{
		"p99_latency_plot.png blue", "p99_latency_plot.png red", "queue_size_plot.png blue", "replica_count_plot.png blue",
		"p99_latency_plot.png rose", "queue_size_plot.png rose", "replica_count_plot.png rose", "replica_count_plot.png amber",
		"replica_count_plot.png silver",
	} {
		if colours[line] < 500 {
			t.Errorf("%s: %d pixels; the line is not there", line, colours[line])
		}
	}
	if colours["queue_size_plot.png red"] > 0 {
		t.Error("the queue has an SLO line")
	}
}

func TestPlotsOfARunThatKeepsThePromise(t *testing.T) {
	dir := t.ArtifactDir()
	var records []record.Record
	for i := range 100 {
		records = append(records, answered(time.Duration(i)*time.Second, 100*ms))
	}
	writeRecords(t, dir, records)
	if _, err := report.Make(dir, plan(run("kept"), len(records))); err != nil {
		t.Fatal(err)
	}
	for what, pixels := range decodePlots(t, dir) {
		if strings.HasSuffix(what, "rose") {
			t.Errorf("%s: %d pixels, without a violation", what, pixels)
		}
	}
}

func TestPlotsWithoutPrometheus(t *testing.T) {
	dir := t.ArtifactDir()
	records, _ := burst()
	writeRecords(t, dir, records)
	if _, err := report.Make(dir, plan(run("blind"), len(records))); err != nil {
		t.Fatal(err)
	}
	if colours := decodePlots(t, dir); colours["replica_count_plot.png blue"] > 0 || colours["p99_latency_plot.png red"] < 500 {
		t.Errorf("pixels: %v; want an SLO and no replicas", colours)
	}
}

func TestTableComparesRuns(t *testing.T) {
	dir, scheduled := small(t)
	first, err := report.Make(dir, plan(run("first"), scheduled))
	if err != nil {
		t.Fatal(err)
	}
	second := first
	second.Run.ID, second.Run.Scaler = "second", "hpa70"
	second.Replicas = &report.Replicas{ReplicaSeconds: 1200, Mean: 2.5, Peak: 4}
	second.Cost = &report.Cost{ReplicaSeconds: 1234.4}
	second.Scaling = &report.Scaling{Outs: 3, Ins: 2, Flaps: 1, Reactions: []report.Reaction{{ReadyS: pointer(7.0)}, {}}, ReactionS: pointer(7.0)}
	second.Validity = report.Validity{Valid: true}
	second.Thresholds = []report.Threshold{{Text: "p50=1s", Figure: "p50", Limit: 1, Measured: pointer(0.5), OK: true}, {Text: "violations=1%", Figure: "violations", Limit: 0.01, Measured: pointer(0.5)}}
	var text strings.Builder
	if err := report.Table(&text, false, first, second); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{{"run", "first", "second"}, {"scaler", "custom", "hpa70"}, {"replica-seconds", "–", "1234"}, {"replicas", "peak", "–", "4"}, {"p99", "client", "600", "ms", "600", "ms"}, {"scaled", "out", "/", "in", "–", "3", "/", "2"}, {"reaction", "to", "a", "step", "–", "7.0", "s", "(1", "of", "2)"}} {
		found := false
		for line := range strings.Lines(text.String()) {
			found = found || slices.Equal(strings.Fields(line), want)
		}
		if !found {
			t.Errorf("no line %v in\n%s", want, text.String())
		}
	}
	below := "INVALID run first: 1 of 6 requests were not sent when their time came\nMISSED in run second: violations=1%: is 50%\n"
	if !strings.HasSuffix(text.String(), "\n"+below) {
		t.Errorf("it does not end with\n%s\nbut is\n%s", below, text.String())
	}
	var coloured strings.Builder
	if err := report.Table(&coloured, true, first, second); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(coloured.String(), "\n\x1b[31mINVALID run first") || strings.Count(coloured.String(), "\x1b[31m") != 2 || strings.Contains(text.String(), "\x1b") {
		t.Errorf("what does not pass is not red, or red without being asked to:\n%q", coloured.String())
	}
}

func TestCheckFolder(t *testing.T) {
	dir := t.TempDir()
	if err := report.CheckFolder(filepath.Join(dir, "absent")); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
	if err := report.CheckFolder(dir); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	file := filepath.Join(dir, "summary.json")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report.CheckFolder(dir); err == nil || !strings.Contains(err.Error(), "already holds summary.json") {
		t.Errorf("a folder with a run: %v", err)
	}
	if err := report.CheckFolder(file); err == nil {
		t.Error("a file was accepted")
	}
}

func TestLinkLatest(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"one", "two"} {
		dir := filepath.Join(root, "results", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := report.LinkLatest(dir); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(filepath.Join(root, "results", "latest")); err != nil || to != name {
			t.Errorf("latest points to %q, %v; want %s", to, err, name)
		}
	}
	if got := names(t, filepath.Join(root, "results")); !slices.Equal(got, []string{"latest", "one", "two"}) {
		t.Errorf("in results: %v", got)
	}
	if err := report.LinkLatest(filepath.Join(root, "elsewhere", "three")); err != nil {
		t.Errorf("outside results: %v", err)
	}
	other := filepath.Join(t.TempDir(), "results")
	if err := os.MkdirAll(filepath.Join(other, "latest"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := report.LinkLatest(filepath.Join(other, "one")); err == nil {
		t.Error("a folder named latest was taken for a link")
	}
}

// Of the small run, second by second: what no prediction came for, what came, and how late it was sent.
func TestSecondsWorkedOutByHand(t *testing.T) {
	dir, scheduled := small(t)
	result, err := report.Work(dir, plan(run("one"), scheduled))
	if err != nil {
		t.Fatal(err)
	}
	s := result.Seconds
	for name, tt := range map[string]struct{ got, want timeline.Values }{
		"offered":    {s.Offered, timeline.Values{2, 2, 2}},
		"violations": {s.Violations, timeline.Values{0, 2, 1}},
		"unanswered": {s.Unanswered, timeline.Values{0, 1, 1}},
		"answered":   {s.Answered, timeline.Values{2, 1, 1}},
		"send lag":   {s.SendLag, timeline.Values{0.001, 0.002, 0.001}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s %v, want %v", name, tt.got, tt.want)
		}
	}
}
