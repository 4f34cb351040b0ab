package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"headroom.dev/scaler/internal/control/journal"
	"headroom.dev/scaler/internal/policy"
)

// recorded is a recording of a minute in which requests begin to arrive.
func recorded(t *testing.T, change func(*journal.Recording)) string {
	t.Helper()
	cfg := policy.Config{
		Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8, Tick: time.Second, ScrapeInterval: time.Second, LeadTime: 5 * time.Second,
		ScaleIn: policy.ScaleIn{Rate: policy.Rate{Step: 1, Interval: 10 * time.Second}, Stabilization: time.Minute},
	}
	j := journal.New(journal.Recording{Target: "deployment a/b", Scaler: "scaler-1", Version: "v1"})
	var state policy.State
	now, spec := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), 1
	for i := range 60 {
		var rate float64
		if i >= 30 {
			rate = 36
		}
		snap := policy.Snapshot{Spec: spec, Ready: spec, Signals: policy.Signals{
			ArrivalShort: policy.Value(rate), ArrivalLong: policy.Value(rate), Backlog: policy.Value(0), OldestAge: policy.Value(0),
			InFlight: policy.Value(0), ServiceMean: policy.Value(0.1), ServiceP99: policy.Value(0.2), CPUPerRequest: policy.Value(0.01),
			CPULimit: policy.Value(1), Slots: policy.Value(1),
		}}
		if i == 30 {
			snap.Starting = []policy.Cohort{{Age: 4 * time.Second, Count: 1}}
			snap.BecameReady = []policy.Cohort{{Age: 7 * time.Second, Count: 2}}
			snap.Controls.PauseIn = true
		}
		before := state
		var d policy.Decision
		state, d = policy.Decide(cfg, before, snap, now)
		j.Add(cfg, before, false, journal.Entry{
			At: now, Snapshot: snap, Decision: d, Leader: true, Mode: "active", Wrote: d.Replicas != spec, Ages: map[string]float64{"backlog": 0.4},
		})
		spec, now = d.Replicas, now.Add(time.Second)
	}
	rec := j.Last(60)
	if change != nil {
		change(&rec)
	}
	text, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExplain(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*journal.Recording)
		args   []string
		code   int
		count  int // of decisions
		says   []string
		fails  string
	}{
		"every decision is shown": {nil, nil, 0, 60, []string{"60 decisions about deployment a/b, by scaler-1 (version v1)", "replayed 60 decisions: each is what was recorded"}, ""},
		"the last ones":           {nil, []string{"--last", "2"}, 0, 2, []string{"2026-03-01T12:00:59.000Z  number 60: "}, ""},
		"more than there are":     {nil, []string{"--last", "100"}, 0, 60, nil, ""},
		"the one at a time": {
			nil, []string{"--at", "2026-03-01T13:00:30.9+01:00"}, 0, 1, []string{
				"2026-03-01T12:00:30.000Z  number 31: 1 → ", " replicas, demand\n",
				"  done         scaled\n",
				"  limited by   nothing\n",
				"  replicas     told to have 1, 1 ready, starting: 1 for 4s, became ready: 2 after 7s\n",
				"  ordered      scaling in is paused\n",
				"  signals      arrival_short            36  ok\n",
				"               backlog                   0  ok, 400ms old\n",
				"               latency_quantile          0  missing\n",
				"  latency      unknown or without bound by the model of the ready replicas, 500ms promised\n",
			}, "",
		},
		"a time before the recording": {
			nil, []string{"--at", "2026-03-01T11:00:00Z"}, 2, 0, nil,
			"scaler: --at: 2026-03-01T11:00:00Z is not allowed, must be 2026-03-01T12:00:00.000Z or later, when the recording begins\n",
		},
		"what is no time":  {nil, []string{"--at", "noon"}, 2, 0, nil, "scaler: --at: \"noon\" is not allowed, must be a time such as 2026-01-31T18:00:00Z\n"},
		"none of the last": {nil, []string{"--last", "0"}, 2, 0, nil, "scaler: --last: 0 is not allowed, must be a whole number from 1\n"},
		"another program, or a changed recording": {
			func(rec *journal.Recording) {
				rec.Decisions[0].Decision.Replicas = 9
				rec.Decisions[5].Decision.CPUFactor = 7
			},
			[]string{"--last", "1"}, 1, 1, []string{"  !! DIFFERS   replicas was 9 and is "},
			"scaler: THE REPLAY DIFFERS from the recording in 2 of 60 decisions, first in number 55 at 2026-03-01T12:00:54.000Z: " +
				"cpuFactor was 7 and is 1 (recorded by version v1)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"explain", "-"}, tc.args...), strings.NewReader(recorded(t, tc.change)), &stdout, &stderr)
			if code != tc.code || stderr.String() != tc.fails {
				t.Errorf("exit code %d, saying %q, want %d and %q", code, &stderr, tc.code, tc.fails)
			}
			if got := strings.Count(stdout.String(), "\n  why "); got != tc.count {
				t.Errorf("%d decisions shown, want %d", got, tc.count)
			}
			for _, text := range tc.says {
				if !strings.Contains(stdout.String(), text) {
					t.Errorf("%q is not in\n%s", text, &stdout)
				}
			}
		})
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestExplainingIntoNowhere(t *testing.T) {
	var stderr bytes.Buffer
	code := run([]string{"explain", "-"}, strings.NewReader(recorded(t, nil)), full{}, &stderr)
	if code != 1 || stderr.String() != "scaler: writing: "+syscall.ENOSPC.Error()+"\n" {
		t.Errorf("exit code %d, saying %q, want 1 and the reason", code, &stderr)
	}
}
