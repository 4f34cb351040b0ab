package compare

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/sim"
)

func settings() Settings {
	return Settings{
		Policy: policy.Config{
			Min: 1, Max: 100, Quantile: 0.99, Utilization: 0.85, LeadTime: 15 * time.Second, Tick: time.Second, ScrapeInterval: time.Second,
			ScaleIn: policy.ScaleIn{
				Rate: policy.Rate{Step: 1, Share: 0.25, Interval: 5 * time.Second}, Tolerance: 0.1, Stabilization: time.Minute,
			},
		},
		CPURequest: 1, Workers: 2,
	}
}

// step is ten minutes with a step up and down again.
func step(name string, low, high float64) sim.Scenario {
	s := sim.Scenario{
		Name: name, Seed: 7, Service: sim.Service{Mean: 100 * time.Millisecond, CV: 0.3}, Slots: 1, CPULimit: 1, SLO: 500 * time.Millisecond,
		ColdStart: sim.ColdStart{Mean: 4 * time.Second, CV: 0.1}, EndpointLag: 200 * time.Millisecond, Rates: make([]float64, 600), Onset: 200 * time.Second,
	}
	for i := range s.Rates {
		s.Rates[i] = low
		if i >= 200 && i < 400 {
			s.Rates[i] = high
		}
	}
	s.Initial = sim.Replicas(s, low)
	return s
}

func played(t *testing.T, scenarios []sim.Scenario, list string, s Settings) []Case {
	t.Helper()
	policies, err := Parse(Names(list))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := Compare(t.Context(), scenarios, policies, s)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func withUpstream(t *testing.T) Settings {
	t.Helper()
	s := settings()
	if s.Upstream = os.Getenv("UPSTREAM_BIN"); s.Upstream == "" {
		t.Skip("UPSTREAM_BIN names no upstream; `make test` builds it, which takes minutes the first time")
	}
	return s
}

func TestOnAStepHeadroomViolatesLessThanTheHPAForNoMoreMoney(t *testing.T) {
	c := played(t, []sim.Scenario{step("step", 7, 36)}, "headroom,hpa70,kpa,hpa-queue,hpa70-zerolag", withUpstream(t))[0]
	ours, _ := c.Row(Headroom)
	theirs, _ := c.Row("hpa70")
	if ours.Requests != theirs.Requests || ours.Requests < 9000 {
		t.Errorf("%d and %d requests, want the same", ours.Requests, theirs.Requests)
	}
	if ours.Avoidable >= theirs.Avoidable || ours.ReplicaSeconds > 1.1*theirs.ReplicaSeconds {
		t.Errorf("headroom: %d violations for %.0f replica-seconds, hpa70: %d for %.0f", ours.Avoidable, ours.ReplicaSeconds, theirs.Avoidable, theirs.ReplicaSeconds)
	}
	sees, _ := c.Row("hpa70-zerolag")
	if sees.Reaction == nil || theirs.Reaction == nil || *sees.Reaction > *theirs.Reaction {
		t.Errorf("who sees at once reacts after %v s, who does not after %v s", sees.Reaction, theirs.Reaction)
	}
}

func TestAnUpstreamThatIsNotThereIsNamed(t *testing.T) {
	s := settings()
	s.Upstream = "/nowhere/upstream"
	policies, _ := Parse([]string{"kpa"})
	_, err := Compare(t.Context(), []sim.Scenario{step("step", 7, 36)}, policies, s)
	if err == nil || !strings.HasPrefix(err.Error(), "step, kpa: ") || !strings.Contains(err.Error(), s.Upstream) {
		t.Errorf("got %v", err)
	}
}

func TestWorkersDoNotChangeWhatComesOut(t *testing.T) {
	scenarios := []sim.Scenario{step("a", 7, 30), step("b", 3, 12), step("c", 20, 25)}
	var texts []string
	for _, workers := range []int{1, 4} {
		s := settings()
		s.Workers = workers
		text, err := json.Marshal(played(t, scenarios, "oracle,fixed5,headroom,clairvoyant,headroom-bridge", s))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] {
		t.Errorf("one worker: %s\nfour: %s", texts[0], texts[1])
	}
}

func TestTheBoundsBoundHeadroom(t *testing.T) {
	c := played(t, []sim.Scenario{step("step", 7, 36)}, "headroom,clairvoyant,oracle", settings())[0]
	ours, _ := c.Row(Headroom)
	best, ok := c.Row(Clairvoyant)
	if !ok || best.Avoidable != 0 || best.ReplicaSeconds >= ours.ReplicaSeconds {
		t.Errorf("the clairvoyant has %d violations at %.0f replica-seconds, headroom takes %.0f", best.Avoidable, best.ReplicaSeconds, ours.ReplicaSeconds)
	}
	if ours.OverClairvoyant == nil || *ours.OverClairvoyant != ours.ReplicaSeconds/best.ReplicaSeconds {
		t.Errorf("headroom costs %v of %v", ours.OverClairvoyant, best.ReplicaSeconds)
	}
	if o, ok := c.Row(Oracle); !ok || o.ReplicaSeconds > ours.ReplicaSeconds || o.Note == "" {
		t.Errorf("the oracle may cost %.0f: %+v", ours.ReplicaSeconds, o)
	}
}

func TestAnOracleNeedsNoHeadroomInTheList(t *testing.T) {
	alone := played(t, []sim.Scenario{step("step", 7, 36)}, "oracle", settings())[0]
	beside := played(t, []sim.Scenario{step("step", 7, 36)}, "headroom,oracle", settings())[0]
	a, ok := alone.Row(Oracle)
	b, _ := beside.Row(Oracle)
	if !ok || a.ReplicaSeconds != b.ReplicaSeconds || len(alone.Rows) != 1 {
		t.Errorf("alone it is %+v, beside headroom %+v", a, b)
	}
}

func TestABrokenOffComparisonSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	policies, _ := Parse([]string{Headroom})
	if _, err := Compare(ctx, []sim.Scenario{step("step", 7, 36)}, policies, settings()); err == nil {
		t.Error("it went on")
	}
}

func TestTheTradeoffVariesEachPolicy(t *testing.T) {
	s := withUpstream(t)
	scenario := step("step", 7, 36)
	c := played(t, []sim.Scenario{scenario}, "headroom,clairvoyant", s)
	curves, err := Tradeoff(t.Context(), scenario, &c[0], s)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, curve := range curves {
		names = append(names, curve.Name)
		if len(curve.Points) < 4 {
			t.Errorf("%s has %d points", curve.Name, len(curve.Points))
		}
	}
	if got := strings.Join(names, "; "); got != "headroom, by utilization; headroom, by stabilization; HPA, by CPU target; KPA, by target; reactive oracle" {
		t.Errorf("the curves are %s", got)
	}
	hpa := curves[2].Points
	if first, last := hpa[0].Row, hpa[len(hpa)-1].Row; first.ReplicaSeconds <= last.ReplicaSeconds || first.Avoidable > last.Avoidable {
		t.Errorf("a target of %s costs %.0f and violates %d, of %s %.0f and %d",
			hpa[0].Label, first.ReplicaSeconds, first.Avoidable, hpa[len(hpa)-1].Label, last.ReplicaSeconds, last.Avoidable)
	}
}

func TestThePeriodOfAnAutoscalerBeginsAnywhereButAtItsEnds(t *testing.T) {
	for seed := range uint64(3000) {
		if o := offset(seed, 15); !(o > 0 && o < 15) {
			t.Fatalf("seed %d: %v", seed, o)
		}
	}
}
