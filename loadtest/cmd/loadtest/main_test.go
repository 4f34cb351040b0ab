package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/loadtest/internal/promtest"
	"headroom.dev/loadtest/internal/report"
)

const prediction = `{"id":"1","model":"m","predictions":[{"class":1,"label":"truck","probability":0.9}]}`

// asProgram makes the test's own binary behave as the program, so that tests
// can send it signals and read its exit status.
const asProgram = "LOADTEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	// Flags that the caller's environment sets are not what is tested here.
	for _, name := range []string{
		"TARGET", "PROMETHEUS", "SCALER", "TRACE", "SCALE", "SPEED", "START", "LENGTH", "ARRIVALS",
		"SEED", "IMAGES", "OUT", "SLO", "TIMEOUT", "MAX_IN_FLIGHT", "SETTLE", "LAG_BOUND", "REPETITION", "MAX", "HPA_LOG",
		"TRACE_FORMAT", "TRACE_COLUMN", "CV", "MODE", "PROTOCOL",
	} {
		_ = os.Unsetenv(name)
	}
	// Whether this machine sends on time is not what is tested here.
	_ = os.Setenv("LAG_BOUND", "1h")
	os.Exit(m.Run())
}

// dispatcher stands for the service: it answers every picture with a
// prediction, and its own metrics say so: the first 50 in up to 0.1 s, those
// after them in up to 0.5 s.
type dispatcher struct {
	*httptest.Server
	answered atomic.Int64
}

func newDispatcher(t *testing.T) *dispatcher {
	t.Helper()
	d := &dispatcher{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /query", func(w http.ResponseWriter, _ *http.Request) {
		d.answered.Add(1)
		_, _ = io.WriteString(w, prediction)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		n := d.answered.Load()
		_, _ = fmt.Fprintf(w, `dispatcher_requests_total %[1]d
dispatcher_queue_size 3
dispatcher_replicas{state="ready"} 2
dispatcher_request_duration_seconds_bucket{outcome="answered",le="0.1"} %[2]d
dispatcher_request_duration_seconds_bucket{outcome="answered",le="0.5"} %[1]d
dispatcher_request_duration_seconds_bucket{outcome="answered",le="+Inf"} %[1]d
dispatcher_request_duration_seconds_sum{outcome="answered"} %[3]v
dispatcher_request_duration_seconds_count{outcome="answered"} %[1]d
`, n, min(n, 50), float64(n)*0.05)
	})
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Close)
	return d
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func call(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(args, &out, &err)
	return status, out.String(), err.String()
}

func summaryOf(t *testing.T, dir string) report.Summary {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "..", "contract", "summary.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Error(err)
	}
	var s report.Summary
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAWholeRunWithARealPrometheus(t *testing.T) {
	d := newDispatcher(t)
	prometheus := promtest.Start(t, 500*time.Millisecond, map[string][]string{"dispatcher": {d.Listener.Addr().String()}})
	results := filepath.Join(t.TempDir(), "results")
	out := filepath.Join(results, "first")
	status, stdout, stderr := call("run", "--target", d.URL, "--prometheus", prometheus, "--trace", write(t, "t.txt", "20 30 10.5 0.5 # 61 in all"),
		"--images", write(t, "a.jpg", "picture"), "--out", out, "--scaler", "custom", "--settle", "2s")
	if status != 0 {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	s := summaryOf(t, out)
	if want := (report.Requests{Scheduled: 61, Sent: 61, Answered: 61}); s.Requests != want {
		t.Errorf("requests %+v, want %+v", s.Requests, want)
	}
	if d.answered.Load() != 61 {
		t.Errorf("the dispatcher answered %d, want 61", d.answered.Load())
	}
	// By the dispatcher's metrics 50 of the 61 lie between 0 and 0.1 s and 11 between 0.1 and 0.5 s. One that
	// was missed, or counted from before the run, would change every percentile.
	if s.Server == nil {
		t.Fatal("no server latency")
	}
	for _, c := range []struct {
		name string
		got  *float64
		want float64
	}{
		{"p50", s.Server.P50, 0.1 * 30.5 / 50},
		{"p90", s.Server.P90, 0.1 + 0.4*(54.9-50)/11},
		{"p99", s.Server.P99, 0.1 + 0.4*(60.39-50)/11},
		{"mean", s.Server.Mean, 0.05},
	} {
		if c.got == nil || math.Abs(*c.got-c.want) > 1e-9 {
			t.Errorf("server %s: got %v, want %v", c.name, *c.got, c.want)
		}
	}
	if s.Replicas == nil || s.Replicas.Mean != 2 || s.Replicas.Peak != 2 || s.Queue == nil || s.Queue.Mean != 3 {
		t.Errorf("replicas %+v, queue %+v; want 2 and 3", s.Replicas, s.Queue)
	}
	// The last of the 61 is the eleventh of second 2: it is sent at 2 10/11 s.
	if s.Replicas.ReplicaSeconds < 2*2.909 || s.Replicas.ReplicaSeconds > 2*3.2 {
		t.Errorf("%v replica-seconds, want two for each of 2.91 s and the last answer, and none of the settling", s.Replicas.ReplicaSeconds)
	}
	log, err := os.ReadFile(filepath.Join(out, "autoscaler_log.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if rows := bytes.Count(log, []byte("\n")) - 1; rows < 5 {
		t.Errorf("%d seconds in the log, want the run's 3 and the settling's 2", rows)
	}
	for _, part := range []string{"answered", "61", "replica-seconds", filepath.Join(out, "report.html")} {
		if !strings.Contains(stdout, part) {
			t.Errorf("stdout does not contain %q:\n%s", part, stdout)
		}
	}
	if to, err := os.Readlink(filepath.Join(results, "latest")); err != nil || to != "first" {
		t.Errorf("results/latest points to %q, %v", to, err)
	}

	t.Run("the folder is not written to twice", func(t *testing.T) {
		before := d.answered.Load()
		status, _, stderr := call("run", "--target", d.URL, "--trace", write(t, "t.txt", "1"), "--images", write(t, "a.jpg", "p"), "--out", out)
		if status != exitUsage || !strings.Contains(stderr, "already holds") || d.answered.Load() != before {
			t.Errorf("status %d, stderr %q, %d sent", status, stderr, d.answered.Load()-before)
		}
	})
	t.Run("report makes it again and compares", func(t *testing.T) {
		page := filepath.Join(out, "report.html")
		if err := os.Remove(page); err != nil {
			t.Fatal(err)
		}
		status, stdout, stderr := call("report", out, out)
		if status != 0 || strings.Count(stdout, "first") != 2 {
			t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
		}
		if _, err := os.Stat(page); err != nil {
			t.Error(err)
		}
	})
}

// Every refusal is one line that names the key, the value and what is allowed;
// nothing is sent and nothing is created.
func TestWhatIsRefused(t *testing.T) {
	d := newDispatcher(t)
	good := map[string]string{"target": d.URL, "trace": write(t, "good.txt", "1 2 3"), "images": write(t, "a.jpg", "picture")}
	nobody := "http://" + promtest.FreeAddress(t)
	emptyFolder := t.TempDir()
	tests := []struct {
		name, flag, value string
		status            int
		want              []string
	}{
		{"a letter in the trace", "trace", write(t, "bad.txt", "1 2\n3 x"), exitUsage, []string{"bad.txt:2", `"x"`, "allowed are numbers"}},
		{"a negative rate", "trace", write(t, "bad.txt", "-1"), exitUsage, []string{"bad.txt:1", `"-1"`, "allowed are numbers"}},
		{"a trace without values", "trace", write(t, "bad.txt", "# none"), exitUsage, []string{"bad.txt:1", "no values"}},
		{"a trace without requests", "trace", write(t, "bad.txt", "0 0 0"), exitUsage, []string{"bad.txt", "no request"}},
		{"no such trace", "trace", "/nowhere/t.txt", exitUsage, []string{"/nowhere/t.txt", "no such file"}},
		{"a folder without pictures", "images", emptyFolder, exitUsage, []string{emptyFolder, "no picture", ".jpg"}},
		{"a target that is no URL", "target", "localhost", exitUsage, []string{`target "localhost"`, "http://127.0.0.1:5001"}},
		{"a target that does not listen", "target", nobody, exitFailure, []string{nobody, "does not answer", "refused"}},
		{"a Prometheus that does not listen", "prometheus", nobody, exitFailure, []string{nobody, "refused"}},
		{"a Prometheus that is no URL", "prometheus", "x:y", exitUsage, []string{`prometheus "x:y"`, "allowed are base URLs"}},
		{"a negative scale", "scale", "-1", exitUsage, []string{"--scale -1", "above 0"}},
		{"a speed that is no number", "speed", "fast", exitUsage, []string{"--speed", "fast"}},
		{"a speed that is not a number", "speed", "NaN", exitUsage, []string{"--speed NaN", "above 0"}},
		{"an SLO without a unit", "slo", "500", exitUsage, []string{"--slo", "500"}},
		{"an SLO of nothing", "slo", "0s", exitUsage, []string{"--slo 0s", "from 1ms"}},
		{"a timeout beyond an hour", "timeout", "61m", exitUsage, []string{"--timeout 1h1m", "to 1h"}},
		{"a threshold without a limit", "max", "p99", exitUsage, []string{`--max "p99"`, "NAME=LIMIT"}},
		{"an unknown figure", "max", "p98=1s", exitUsage, []string{`figure "p98"`, "p999", "replica_seconds"}},
		{"a latency without a unit", "max", "p99=500", exitUsage, []string{`"p99=500"`, "allowed are durations"}},
		{"no bound for the lag", "lag-bound", "0s", exitUsage, []string{"--lag-bound 0s", "from 100µs"}},
		{"an HPA's log and no Prometheus", "hpa-log", "hpa.log", exitUsage, []string{"--hpa-log hpa.log", "--prometheus"}},
		{"repetition 0", "repetition", "0", exitUsage, []string{"--repetition 0", "from 1 to"}},
		{"a negative settling", "settle", "-1s", exitUsage, []string{"--settle -1s", "from 0s"}},
		{"no requests in flight", "max-in-flight", "0", exitUsage, []string{"--max-in-flight 0", "from 1"}},
		{"unknown arrivals", "arrivals", "odd", exitUsage, []string{"--arrivals", "odd", "poisson"}},
		{"an unknown format of traces", "trace-format", "daily", exitUsage, []string{"--trace-format", "daily", "per-minute"}},
		{"a column that is not there", "trace-column", "9", exitUsage, []string{`"9"`, "1 to 1"}},
		{"a formula with a fault", "trace", "constant:rate=x,length=1s", exitUsage, []string{"constant:", `rate "x"`, "from 0 to 1000000"}},
		{"instants with a fault", "trace", write(t, "bad.csv", "timestamp\n0.5\nsoon\n"), exitUsage, []string{"bad.csv:3:", `"soon"`, "seconds"}},
		{"a start after the end", "start", "3s", exitUsage, []string{"start 3s", "below 3s"}},
		{"a length of half a second", "length", "500ms", exitUsage, []string{"length 500ms", "whole seconds"}},
		{"a name that is too long", "scaler", strings.Repeat("x", 61), exitUsage, []string{"--scaler", "60 characters"}},
		{"an unknown flag", "colour", "red", exitUsage, []string{"--colour"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			args := []string{"run", "--out", out, "--" + tt.flag + "=" + tt.value}
			for flag, value := range good {
				if flag != tt.flag {
					args = append(args, "--"+flag, value)
				}
			}
			status, stdout, stderr := call(args...)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			for _, part := range tt.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("stderr %q does not contain %q", stderr, part)
				}
			}
			if strings.Count(stderr, "\n") != 1 || stdout != "" || strings.Contains(stderr, "goroutine") {
				t.Errorf("not one line: %q, %q", stderr, stdout)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("the folder for results was created")
			}
		})
	}
	if d.answered.Load() != 0 {
		t.Errorf("%d requests were sent", d.answered.Load())
	}
}

func TestOtherUses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		stdout string
		stderr string
	}{
		{"no command", nil, exitUsage, "", "expected one of"},
		{"an unknown command", []string{"walk"}, exitUsage, "", "walk"},
		{"a run with nothing said", []string{"run"}, exitUsage, "", "missing flags: --images"},
		{"help", []string{"run", "--help"}, 0, "($MAX_IN_FLIGHT)", ""},
		{"a report of nothing", []string{"report", "/nowhere"}, exitFailure, "", "/nowhere holds no run"},
		{"a trace of its own", []string{"trace", "demo"}, 0, "# demo: three minutes", ""},
		{"a trace that is not there", []string{"trace", "other"}, exitUsage, "", "workload_heavy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := call(tt.args...)
			if status != tt.status || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("status %d, stdout %q, stderr %q; want %d, %q, %q", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
			if lines := strings.Count(stderr, "\n"); lines > 1 || (tt.status != 0 && lines != 1) {
				t.Errorf("stderr has %d lines: %q", lines, stderr)
			}
		})
	}
}

func TestFlagsFromTheEnvironment(t *testing.T) {
	d := newDispatcher(t)
	out := filepath.Join(t.TempDir(), "out")
	for name, value := range map[string]string{
		"TARGET": d.URL, "TRACE": write(t, "t.txt", "10"), "IMAGES": write(t, "a.jpg", "p"), "OUT": out, "SCALE": "2", "SPEED": "4", "MAX_IN_FLIGHT": "7", "SCALER": "hpa",
	} {
		t.Setenv(name, value)
	}
	if status, _, stderr := call("run"); status != 0 {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	if s := summaryOf(t, out); s.Requests.Answered != 20 || s.Run.Scale != 2 || s.Run.Speed != 4 || s.Run.Scaler != "hpa" {
		t.Errorf("got %+v", s)
	}
}

// What kind of trace it is and how it was spread stands in the summary.
func TestKindsOfTraces(t *testing.T) {
	d := newDispatcher(t)
	for _, tt := range []struct {
		name, trace string
		flags       []string
		requests    int
		arrivals    string
		cv          float64
	}{
		{"a formula", "step:from=10,to=30,at=1s,length=2s", nil, 40, "even", 0},
		{"counts a minute", write(t, "t.csv", "minute,a,b\n0,9,1200\n"), []string{"--trace-column=b", "--length=1s"}, 20, "even", 0},
		// Gaps of 0.1 s and 0.3 s: mean 0.2, deviation 0.1.
		{"instants, whose arrivals are their own", write(t, "t.csv", "timestamp\n5.0\n5.1\n5.4\n5.5\n5.8\n"), []string{"--arrivals=poisson"}, 5, "recorded", 0.5},
		{"instants with a date", write(t, "t.csv", "id,TIMESTAMP\n1,2023-11-16 18:17:03.9799600\n2,2023-11-16 18:17:04.0319600\n"), []string{"--scale=2"}, 4, "recorded", math.NaN()},
		{"gamma", "constant:rate=20,length=1s", []string{"--arrivals=gamma", "--cv=0.01"}, 20, "gamma", 0.01},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			args := append([]string{"run", "--target", d.URL, "--trace", tt.trace, "--images", write(t, "a.jpg", "p"), "--out", out}, tt.flags...)
			if status, _, stderr := call(args...); status != 0 {
				t.Fatalf("status %d, stderr %q", status, stderr)
			}
			s := summaryOf(t, out)
			if s.Requests.Answered != tt.requests || s.Run.Arrivals != tt.arrivals || s.Run.Trace != filepath.Base(tt.trace) {
				t.Errorf("got %+v, %+v; want %d requests, %s", s.Requests, s.Run, tt.requests, tt.arrivals)
			}
			if cv := s.Run.ArrivalsCV; !math.IsNaN(tt.cv) && math.Abs(cv-tt.cv) > 1e-9 {
				t.Errorf("cv %v, want %v", cv, tt.cv)
			}
		})
	}
}

func TestARunThatNobodyAnswers(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	out := filepath.Join(t.TempDir(), "out")
	status, _, stderr := call("run", "--target", server.URL, "--trace", write(t, "t.txt", "5"), "--images", write(t, "a.jpg", "p"), "--out", out)
	if status != exitFailure || !strings.Contains(stderr, "not one of 5 requests was answered") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	if s := summaryOf(t, out); s.Requests.Failed != 5 || s.ByStatus["404"] != 5 {
		t.Errorf("the results are not those: %+v", s)
	}
}

func TestASignalEndsTheRunWithAReport(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			d := newDispatcher(t)
			out := filepath.Join(t.TempDir(), "out")
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			command := exec.Command(self, "run", "--target", d.URL, "--trace", write(t, "t.txt", strings.Repeat("50 ", 600)), "--images", write(t, "a.jpg", "p"), "--out", out)
			command.Env = append(os.Environ(), asProgram+"=1")
			var stdout, stderr bytes.Buffer
			command.Stdout, command.Stderr = &stdout, &stderr
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			for d.answered.Load() < 20 {
				if time.Now().After(deadline) {
					_ = command.Process.Kill()
					t.Fatalf("only %d requests came: %s", d.answered.Load(), stderr.String())
				}
				<-time.After(10 * time.Millisecond)
			}
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := command.Wait(); err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			s := summaryOf(t, out)
			sent := int(d.answered.Load())
			if !s.Run.Interrupted || s.Requests.Sent != sent || s.Requests.Scheduled != 30000 || s.Requests.Unsent != 30000-sent || s.Violations.Share > 0.5 {
				t.Errorf("%d came; summary %+v", sent, s)
			}
			if !strings.Contains(stdout.String(), "report: ") || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
			}
		})
	}
}
