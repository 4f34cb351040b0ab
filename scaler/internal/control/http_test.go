package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/control/journal"
	"headroom.dev/scaler/internal/controls"
	"headroom.dev/scaler/internal/policy"
)

// eventful lets a target live through a burst, faults, orders and reloads.
func eventful(t *testing.T) *world {
	w := begin(t, func(w *world) { w.settings.Policy.Bridge.Ceiling = 2 })
	w.pass(20 * time.Second)
	w.signals = busy(36)
	w.replicas.BecameReady = []policy.Cohort{{Age: 7 * time.Second, Count: 1}}
	w.pass(30 * time.Second)
	w.signals = policy.Signals{}
	w.signalsErr = errors.New("connection refused")
	w.pass(20 * time.Second)
	w.signals, w.signalsErr = busy(4), nil
	w.replicas.Annotations = map[string]string{controls.Pause: "in", controls.Ceiling: "<b>9</b>"}
	w.pass(40 * time.Second)
	w.settings.Policy.Max = 5
	w.settings.Policy.SLO = 400 * time.Millisecond
	w.loop.Configure(w.settings)
	w.pass(20 * time.Second)
	w.replicas.Annotations = nil
	w.pass(90 * time.Second)
	w.replicas.Spec, w.replicas.Ready = 7, 6
	w.replicas.Starting = []policy.Cohort{{Age: 2 * time.Second, Count: 1}}
	w.pass(time.Minute)
	return w
}

func (w *world) recording(t *testing.T, path string) journal.Recording {
	t.Helper()
	answer := w.get(path)
	if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s", path, answer.Code, answer.Header())
	}
	rec, err := journal.Read(answer.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return rec
}

func TestARecordingReplaysToTheSameDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := lives(t, &store{})
		before.end()
		w := eventful(t)
		w.store.text = before.store.text // what another leader saved meanwhile is taken over on the way
		w.leader.Store(false)
		w.pass(3 * time.Second)
		w.leader.Store(true)
		w.pass(9 * time.Second)
		turns := len(w.reads)
		for path, want := range map[string]int{
			"/debug/decisions": turns, "/debug/decisions?limit=1": 1, "/debug/decisions?limit=77": 77, "/debug/decisions?limit=99999": turns,
		} {
			rec := w.recording(t, path)
			if len(rec.Decisions) != want || rec.Decisions[0].Seq != int64(turns) || rec.Target != "deployment headroom/model-server" {
				t.Fatalf("%s: %d decisions from number %d of %s, want %d from %d", path, len(rec.Decisions), rec.Decisions[0].Seq, rec.Target, want, turns)
			}
			for r := range rec.Replay() {
				if len(r.Differs) > 0 {
					t.Fatalf("%s: decision %d at %s: %s", path, r.Entry.Seq, r.Entry.At, strings.Join(r.Differs, "; "))
				}
			}
		}
		if at := w.loop.state.Last; at != at.Round(0).UTC() {
			t.Errorf("decided at %v, which reads otherwise from JSON", at)
		}
		var wrote, failed, takenOver int
		var notes []string
		for _, e := range w.recording(t, "/debug/decisions").Decisions {
			if e.Wrote {
				wrote++
			}
			if e.Error != "" {
				failed++
			}
			if e.State != nil {
				takenOver++
			}
			notes = append(notes, e.Notes...)
		}
		if whole := w.recording(t, "/debug/decisions"); !whole.State.Last.IsZero() || takenOver != 1 {
			t.Errorf("the first decision was made from a state of %s, and %d from one that was taken over, want from none and 1", whole.State.Last, takenOver)
		}
		if wrote != len(w.scaled) || failed != 0 || !strings.Contains(fmt.Sprint(notes), "<b>9</b>") || !strings.Contains(fmt.Sprint(notes), "somebody else") {
			t.Errorf("recorded %d writes, %d failures and the notes %q, want %d writes", wrote, failed, notes, len(w.scaled))
		}
	})
}

func TestWhatIsNewSinceADecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(119 * time.Second) // 60 decisions
		for path, want := range map[string][]int64{
			"/debug/decisions?after=57":          {60, 59, 58},
			"/debug/decisions?after=60":          {},
			"/debug/decisions?after=99":          {},
			"/debug/decisions?limit=2":           {60, 59},
			"/debug/decisions?limit=1&after=58":  {60, 59},
			"/debug/decisions?limit=0":           nil,
			"/debug/decisions?limit=-1":          nil,
			"/debug/decisions?after=yesterday":   nil,
			"/debug/decisions?limit=1e3&after=2": nil,
		} {
			answer := w.get(path)
			if want == nil {
				if answer.Code != http.StatusBadRequest || strings.Count(answer.Body.String(), "\n") != 1 || !strings.Contains(answer.Body.String(), "must be a whole number from") {
					t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
				}
				continue
			}
			var rec journal.Recording
			if err := json.Unmarshal(answer.Body.Bytes(), &rec); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			got := []int64{}
			for _, e := range rec.Decisions {
				got = append(got, e.Seq)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: decisions %v, want %v", path, got, want)
			}
		}
	})
}

func TestTheJournalKeepsAThousandDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(50 * time.Minute)
		var rec journal.Recording
		for range 2 * maxRecordings { // one after the other, which is no crowd
			rec = w.recording(t, "/debug/decisions?limit=5000")
		}
		if len(rec.Decisions) != journal.Size {
			t.Errorf("%d decisions, want %d", len(rec.Decisions), journal.Size)
		}
		for r := range rec.Replay() {
			if len(r.Differs) > 0 {
				t.Fatalf("decision %d: %s", r.Entry.Seq, strings.Join(r.Differs, "; "))
			}
		}
	})
}

func TestBrowsersGetThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		for _, path := range []string{"/", "/debug/decisions"} {
			answer := w.request(http.MethodGet, path, "text/html,application/xhtml+xml,*/*;q=0.8")
			h := answer.Header()
			if path != "/" && h.Get("Vary") != "Accept" {
				t.Errorf("%s varies by %q, want by Accept", path, h.Get("Vary"))
			}
			if answer.Code != http.StatusOK || h.Get("Content-Type") != "text/html; charset=utf-8" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; ") {
				t.Errorf("%s: %d %v", path, answer.Code, h)
			}
			if body := answer.Body.String(); strings.Contains(body, "{{") || strings.Contains(strings.ReplaceAll(body, "http://www.w3.org/2000/svg", ""), "://") {
				t.Errorf("%s has something unfilled or asks another host:\n%s", path, body)
			}
		}
		if code := w.get("/debug").Code; code != http.StatusNotFound {
			t.Errorf("/debug: %d, want 404", code)
		}
	})
}

func TestMetricsAreTheContracts(t *testing.T) {
	text, err := os.ReadFile("../../../contract/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	type metric struct {
		Name, Type                 string
		Labels                     []string
		Raising, Lowering, Leaving []string // reason codes, by what they do to the count
	}
	var contract struct{ Scaler struct{ Metrics []metric } }
	if err := json.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := eventful(t)
		w.pass(10 * time.Minute)
		families, err := w.metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		exported := map[string]metric{}
		for _, f := range families {
			m := metric{Name: f.GetName(), Type: strings.ToLower(f.GetType().String()), Labels: []string{}}
			for _, l := range f.GetMetric()[0].GetLabel() {
				m.Labels = append(m.Labels, l.GetName())
			}
			if strings.HasPrefix(m.Name, "headroom_scaler_") {
				exported[m.Name] = m
			}
			if len(f.GetMetric()) > 60 {
				t.Errorf("%s has %d series", m.Name, len(f.GetMetric()))
			}
		}
		for _, want := range contract.Scaler.Metrics {
			got, ok := exported[want.Name]
			delete(exported, want.Name)
			if !ok || got.Type != want.Type || !slices.Equal(got.Labels, want.Labels) {
				t.Errorf("exported is %v (%t), and the contract has %v", got, ok, want)
			}
			if want.Name == "headroom_scaler_decisions_total" {
				told := map[policy.Reason]bool{}
				for _, code := range slices.Concat(want.Raising, want.Lowering, want.Leaving) {
					told[policy.Reason(code)] = true
				}
				for _, reason := range policy.Reasons() {
					if !told[reason] {
						t.Errorf("the contract does not say what reason %s does to the count", reason)
					}
					delete(told, reason)
				}
				for reason := range told {
					t.Errorf("the contract has reason %s, which no decision has", reason)
				}
			}
		}
		for name := range exported {
			t.Errorf("%s is exported and not in the contract", name)
		}
		answer := w.get("/metrics")
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `headroom_scaler_build_info{go_version="go`) {
			t.Errorf("/metrics: %d\n%s", answer.Code, answer.Body)
		}
	})
}
