package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/promtest"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

func TestExitStatuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		flags  []string
		hold   bool // no request is answered before the schedule's end
		status int
		stderr []string
		below  []string // what the table ends with
	}{
		{"all thresholds are kept", []string{"--max", "client_p99=10s", "--max=failed=0,violations=0%"}, false, 0, nil, nil},
		{
			"one of two is missed", []string{"--max", "client_p50=0s", "--max", "refused=1%"}, false, exitMissed,
			[]string{"1 of 2 thresholds missed: client_p50=0s: is "}, []string{"MISSED in run out: client_p50=0s: is "},
		},
		{
			"what is not measured is missed", []string{"--max", "p99=1h"}, false, exitMissed,
			[]string{"1 of 1 thresholds missed: p99=1h: was not measured"}, []string{"MISSED in run out: p99=1h: was not measured"},
		},
		{
			"requests were not sent", []string{"--max-in-flight=1"}, true, exitInvalid,
			[]string{"the run is invalid", "9 of 10 requests were not sent when their time came"}, []string{"INVALID run out: "},
		},
		{
			"a run that does not count has missed nothing", []string{"--max-in-flight=1", "--max", "unsent=0"}, true, exitInvalid,
			[]string{"the run is invalid"}, []string{"INVALID run out: ", "MISSED in run out: unsent=0: is 9"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			if !tt.hold {
				close(release)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					<-release
				}
				_, _ = io.WriteString(w, prediction)
			}))
			t.Cleanup(server.Close)
			if tt.hold {
				// The last of the ten is due at 0.9 s.
				time.AfterFunc(1200*time.Millisecond, func() { close(release) })
			}
			out := filepath.Join(t.TempDir(), "out")
			args := append([]string{
				"run", "--target", server.URL, "--trace", write(t, "t.txt", "10"), "--images", write(t, "a.jpg", "p"), "--out", out,
			}, tt.flags...)
			status, stdout, stderr := call(args...)
			if status != tt.status {
				t.Errorf("status %d, want %d; stderr %q", status, tt.status, stderr)
			}
			for _, part := range tt.stderr {
				if !strings.Contains(stderr, part) {
					t.Errorf("stderr %q does not contain %q", stderr, part)
				}
			}
			for _, part := range tt.below {
				if !strings.Contains(stdout, "\n"+part) {
					t.Errorf("stdout has no line that starts with %q:\n%s", part, stdout)
				}
			}
			if s := summaryOf(t, out); s.Validity.Valid != (tt.status != exitInvalid) || s.Validity.LagP99BoundS != 3600 {
				t.Errorf("validity %+v", s.Validity)
			}
			if _, err := os.Stat(filepath.Join(out, report.PageFile)); err != nil {
				t.Errorf("the results are not all written: %v", err)
			}
		})
	}
}

func TestALateRunDoesNotCount(t *testing.T) {
	late := report.Summary{Validity: report.Validity{Reasons: []string{"send lag p99 is 11 ms, above the bound of 10 ms"}}}
	var got verdictError
	if err := verdict(late); !errors.As(err, &got) || got.status != exitInvalid || !strings.Contains(err.Error(), "11 ms") {
		t.Errorf("got %v", err)
	}
}

func TestThresholdsFromTheEnvironment(t *testing.T) {
	d := newDispatcher(t)
	t.Setenv("MAX", "failed=0,client_p50=0s")
	status, _, stderr := call("run", "--target", d.URL, "--trace", write(t, "t.txt", "5"), "--images", write(t, "a.jpg", "p"), "--out", filepath.Join(t.TempDir(), "out"))
	if status != exitMissed || !strings.Contains(stderr, "1 of 2 thresholds missed: client_p50=0s") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

func TestTheLogOfAnHPA(t *testing.T) {
	d := newDispatcher(t)
	prometheus := promtest.Start(t, 500*time.Millisecond, map[string][]string{"dispatcher": {d.Listener.Addr().String()}})
	// replay calls each with the number of every request before it is answered.
	replay := func(log string, each func(number int64)) (out string, status int, stderr string) {
		out = filepath.Join(t.TempDir(), "out")
		var requests atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				each(requests.Add(1))
			}
			d.Config.Handler.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		status, _, stderr = call("run", "--target", server.URL, "--prometheus", prometheus, "--trace", write(t, "t.txt", "5 5 5 5"),
			"--images", write(t, "a.jpg", "p"), "--out", out, "--hpa-log", log)
		return out, status, stderr
	}
	read := func(out string) (line timeline.Timeline) {
		text, err := os.ReadFile(filepath.Join(out, report.TimelineFile))
		if err == nil {
			err = json.Unmarshal(text, &line)
		}
		if err != nil {
			t.Fatal(err)
		}
		return line
	}

	t.Run("it is in the timeline and counts as decisions", func(t *testing.T) {
		log := write(t, "hpa.log", "")
		out, status, stderr := replay(log, func(number int64) {
			var line string
			switch at := float64(time.Now().UnixMilli()) / 1000; number {
			case 1:
				line = fmt.Sprintf("%.3f 2 2 60\n", at)
			case 11: // two seconds later
				line = fmt.Sprintf("%.3f 2 5 180\n", at)
			}
			file, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = file.WriteString(line)
			}
			if err = errors.Join(err, file.Close()); err != nil {
				t.Error(err)
			}
		})
		if status != 0 {
			t.Fatalf("status %d, stderr %q", status, stderr)
		}
		line := read(out)
		if len(line.Decisions) != 1 || line.Decisions[0].From != 2 || line.Decisions[0].To != 5 || line.Decisions[0].Reason != "hpa" {
			t.Errorf("decisions %+v, want one from 2 to 5", line.Decisions)
		}
		if cpu := line.Signal(timeline.HPACPU); !slices.Contains(cpu, 60) || !slices.Contains(cpu, 180) {
			t.Errorf("CPU %v, want 60 and then 180", cpu)
		}
		if s := summaryOf(t, out); s.Scaling == nil || s.Scaling.Outs != 1 || s.Scaling.Ins != 0 {
			t.Errorf("scaling %+v, want one decision out", s.Scaling)
		}
	})
	t.Run("a bad line costs its figures and nothing else", func(t *testing.T) {
		log := write(t, "hpa.log", "1700000000 1 1 20\n1700000015 1 two 20\n")
		out, status, stderr := replay(log, func(int64) {})
		if want := log + `:2: desired "two": allowed are whole numbers`; status != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("status %d, stderr %q; want %d and %q", status, stderr, exitFailure, want)
		}
		if s := summaryOf(t, out); s.Requests.Answered != 20 || s.Server == nil || s.Replicas == nil {
			t.Errorf("the other results are not there: %+v", s)
		}
		if line := read(out); line.Signal(timeline.HPADesired) != nil {
			t.Errorf("there is a status of the HPA: %v", line.Signal(timeline.HPADesired))
		}
	})
}
