package journal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"headroom.dev/scaler/internal/policy"
)

var config = policy.Config{
	Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8, Tick: time.Second, ScrapeInterval: time.Second, LeadTime: 5 * time.Second,
	ScaleIn: policy.ScaleIn{Rate: policy.Rate{Step: 1, Interval: 10 * time.Second}, Stabilization: time.Minute},
}

// record adds n decisions, one a second, about a load that comes and goes.
func record(n int) (*Journal, policy.State, time.Time) {
	j := New(Recording{Target: "deployment a/b"})
	var state policy.State
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	spec := 1
	for i := range n {
		rate := float64(i / 40 % 4 * 10)
		snap := policy.Snapshot{Spec: spec, Ready: spec, Signals: policy.Signals{
			ArrivalShort: policy.Value(rate), ArrivalLong: policy.Value(rate), Backlog: policy.Value(0), OldestAge: policy.Value(0),
			InFlight: policy.Value(0), ServiceMean: policy.Value(0.1), ServiceP99: policy.Value(0.2), CPUPerRequest: policy.Value(0.01),
			CPULimit: policy.Value(1), Slots: policy.Value(1),
		}}
		before := state
		var d policy.Decision
		state, d = policy.Decide(config, before, snap, now)
		j.Add(config, before, false, Entry{At: now, Snapshot: snap, Decision: d})
		spec, now = d.Replicas, now.Add(time.Second)
	}
	return j, state, now
}

func TestCatchUpIsWhatDecidingOnWouldHaveLeft(t *testing.T) {
	j, want, _ := record(300)
	recorded := j.Last(200)
	got := j.CatchUp(config, *recorded.State)
	if a, b := text(t, got), text(t, want); a != b {
		t.Errorf("caught up to\n%s\nwant\n%s", a, b)
	}
	if a, b := text(t, j.CatchUp(config, want)), text(t, want); a != b {
		t.Errorf("a state that is up to date becomes\n%s\nwant\n%s", a, b)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAReplayTellsWhatDiffers(t *testing.T) {
	j, _, _ := record(100)
	rec := j.Last(60)
	rec.Decisions[10].Decision.Replicas += 2
	rec.Decisions[10].Decision.Terms.Untrusted = []string{"slots missing"}
	var differs []string
	for r := range rec.Replay() {
		differs = append(differs, r.Differs...)
	}
	if len(differs) != 2 || !strings.HasPrefix(differs[0], "replicas was ") || differs[1] != `terms.untrusted was ["slots missing"] and is absent` {
		t.Errorf("differs: %q, want the count and the signals", differs)
	}
}

func TestRead(t *testing.T) {
	j, _, _ := record(5)
	good := j.Last(5)
	changed := func(change func(*Recording)) string {
		rec := j.Last(5)
		change(&rec)
		return text(t, rec)
	}
	for name, tc := range map[string]struct{ text, err string }{
		"a recording":             {text(t, good), ""},
		"nothing":                 {"", "not a recording of decisions: unexpected end of JSON input"},
		"a web page":              {"<html>", "not a recording of decisions: invalid character '<' looking for beginning of value"},
		"other JSON":              {`{"a": 1}`, `format: "" is not allowed, must be "headroom-scaler-decisions/1", which the scaler's /debug/decisions answers with`},
		"one of another version":  {changed(func(r *Recording) { r.Format = "headroom-scaler-decisions/9" }), `format: "headroom-scaler-decisions/9" is not allowed, must be "headroom-scaler-decisions/1", which the scaler's /debug/decisions answers with`},
		"one without decisions":   {changed(func(r *Recording) { r.Decisions = nil }), "decisions: there are none, must be at least one"},
		"one that can't be begun": {text(t, j.After(2)), "state: missing, so nothing can be replayed; take the recording from /debug/decisions without ?after="},
		"one with a gap":          {changed(func(r *Recording) { r.Decisions[2].Seq = 9 }), "decisions: number 4 is followed by 9, must be numbered without a gap, newest first"},
		"one of another type":     {`{"decisions": 3}`, "not a recording of decisions: json: cannot unmarshal number into Go struct field Recording.decisions of type []journal.Entry"},
		"one that is far too big": {strings.Repeat(" ", maxRecording+1), "larger than the 67108864 bytes allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, err := Read(strings.NewReader(tc.text))
			switch {
			case tc.err == "" && (err != nil || !bytes.Equal([]byte(text(t, rec)), []byte(tc.text))):
				t.Errorf("%v, and the recording is read as\n%s\nwant\n%s", err, text(t, rec), tc.text)
			case tc.err != "" && (err == nil || err.Error() != tc.err):
				t.Errorf("error %v, want %s", err, tc.err)
			}
		})
	}
}

func BenchmarkLast(b *testing.B) {
	j, _, _ := record(1049)
	for b.Loop() {
		j.Last(1000)
	}
}

func BenchmarkCatchUp(b *testing.B) {
	j, _, _ := record(300)
	state := *j.Last(300).State
	for b.Loop() {
		j.CatchUp(config, state)
	}
}
