package timeline

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var nan = math.NaN()

func TestDecisionsOfAScaler(t *testing.T) {
	const a, b = "a:8002", "b:8002"
	tests := []struct {
		name           string
		wanted, counts map[string]Values
		want           []Decision
	}{
		{
			"the reason is the one that was counted", map[string]Values{a: {1, 1, 3}},
			map[string]Values{"a:8002 backlog": {4, 4, 5}, "a:8002 steady": {7, 8, 8}, "a:8002 demand": {2, 2, 2}},
			[]Decision{{2, 1, 3, "backlog"}},
		},
		{
			"one that can't go in that direction is not the reason", map[string]Values{a: {3, 2}},
			map[string]Values{"a:8002 demand": {1, 9}, "a:8002 scale_in": {1, 2}},
			[]Decision{{1, 3, 2, "scale_in"}},
		},
		{
			"over a gap the change is seen at its end", map[string]Values{a: {1, nan, nan, 2}},
			map[string]Values{"a:8002 demand": {1, nan, nan, 2}},
			[]Decision{{3, 1, 2, "demand"}},
		},
		{
			"after a restart its counters count from 0", map[string]Values{a: {1, 2}},
			map[string]Values{"a:8002 demand": {50, 1}},
			[]Decision{{1, 1, 2, "demand"}},
		},
		{
			"nothing was counted", map[string]Values{a: {1, 2}}, nil,
			[]Decision{{1, 1, 2, ""}},
		},
		{
			"while two say that they lead, it is the one before", map[string]Values{a: {nan, 5, 5}, b: {2, 2, nan}},
			map[string]Values{"a:8002 demand": {7, 7, 8}},
			[]Decision{{2, 2, 5, "demand"}},
		},
		{"no change", map[string]Values{a: {2, 2}}, nil, []Decision{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line := &Timeline{Signals: map[Signal]Values{}}
			for _, values := range tt.wanted {
				line.Seconds = len(values)
			}
			line.setDesired(tt.wanted, tt.counts)
			if !slices.Equal(line.Decisions, tt.want) || line.Decisions == nil {
				t.Errorf("got %+v, want %+v", line.Decisions, tt.want)
			}
		})
	}
}

func TestDecisionsSeenInTheReplicas(t *testing.T) {
	tests := []struct {
		name            string
		ready, starting Values
		want            []Decision
	}{
		{"one that gets ready is no change", Values{1, 1, 2}, Values{0, 1, 0}, []Decision{{1, 1, 2, ""}}},
		{"three that appear second by second are one", Values{1, 1, 1, 1}, Values{0, 1, 3, 3}, []Decision{{2, 1, 4, ""}}},
		{"with a second between they are two", Values{1, 1, 1, 1}, Values{0, 1, 1, 3}, []Decision{{1, 1, 2, ""}, {3, 2, 4, ""}}},
		{"up and down are two", Values{1, 1, 1}, Values{0, 1, 0}, []Decision{{1, 1, 2, ""}, {2, 2, 1, ""}}},
		{"over a gap the change is seen at its end", Values{1, nan, 3}, Values{0, nan, 0}, []Decision{{2, 1, 3, ""}}},
		{"nothing is known", Values{nan, nan}, Values{nan, nan}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line := &Timeline{Seconds: len(tt.ready), Signals: map[Signal]Values{Ready: tt.ready, Starting: tt.starting}}
			line.setDesired(nil, nil)
			if !slices.Equal(line.Decisions, tt.want) || (line.Decisions == nil) != (tt.want == nil) {
				t.Errorf("got %+v, want %+v", line.Decisions, tt.want)
			}
		})
	}
}

func TestReasonCodesAreTheContracts(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "..", "..", "contract", "metrics.json"))
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Scaler struct {
			Metrics []struct {
				Name              string
				Raising, Lowering []string
			}
		}
	}
	if err := json.Unmarshal(file, &contract); err != nil {
		t.Fatal(err)
	}
	for _, metric := range contract.Scaler.Metrics {
		if metric.Name == "headroom_scaler_decisions_total" {
			if !slices.Equal(raising, metric.Raising) || !slices.Equal(lowering, metric.Lowering) {
				t.Errorf("raising %v and lowering %v, want %v and %v", raising, lowering, metric.Raising, metric.Lowering)
			}
			return
		}
	}
	t.Error("contract/metrics.json has no headroom_scaler_decisions_total")
}

func TestCPULimits(t *testing.T) {
	usual := 0.5
	tests := []struct {
		name                 string
		existing, sum, count float64
		usual                *float64
		want                 float64
	}{
		{"all are scraped", 2, 1, 2, &usual, 1},
		{"two start and are not scraped yet", 3, 0.5, 1, &usual, 1.5},
		{"none is scraped", 2, nan, nan, &usual, 1},
		{"one is scraped that the dispatcher has not seen yet", 1, 1, 2, &usual, 1},
		{"there is none", 0, nan, nan, &usual, 0},
		{"how many there are is unknown", nan, 1, 2, &usual, 1},
		{"nothing is known", nan, nan, nan, nil, nan},
		{"no limit was ever seen", 2, nan, nan, nil, nan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line := &Timeline{Seconds: 1, Signals: map[Signal]Values{Existing: {tt.existing}}}
			line.ModelServers.CPULimitCores = tt.usual
			line.setCPULimit(Values{tt.sum}, Values{tt.count})
			if got := line.Signals[CPULimit][0]; got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
