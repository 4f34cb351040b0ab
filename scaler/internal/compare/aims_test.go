package compare

import (
	"strings"
	"testing"

	"headroom.dev/scaler/internal/sim"
)

// world is a case of 10,000 requests with the avoidable violations given.
func world(name string, ours, best, hpa70, hpa90, kpa int64, cost float64) Case {
	row := func(policy string, avoidable int64, cost float64) Row {
		return Row{Policy: policy, Requests: 10000, Avoidable: avoidable, AvoidableShare: float64(avoidable) / 10000, ReplicaSeconds: cost}
	}
	c := Case{Scenario: sim.Scenario{Name: name}, Rows: []Row{
		row(Headroom, ours, cost), row(Oracle, best, cost), row("hpa70", hpa70, 1500), row("hpa90", hpa90, 1100), row("kpa", kpa, 2000), row(Clairvoyant, 0, 1000),
	}}
	c.overClairvoyant()
	return c
}

func TestAimsAreJudged(t *testing.T) {
	tests := []struct {
		name  string
		aim   string
		cases []Case
		fault []FaultRun
		want  string
	}{
		{"within 2 %", "a", []Case{world("w", 200, 0, 0, 0, 0, 1200)}, nil, "PASS"},
		{"above 2 % and beside the oracle", "a", []Case{world("w", 500, 400, 0, 0, 0, 1200)}, nil, "PASS"},
		{"above 2 % and worse than the oracle", "a", []Case{world("w", 501, 400, 0, 0, 0, 1200)}, nil, "MISS"},
		{"tenfold", "b", []Case{world("w", 30, 0, 300, 900, 100, 1200)}, nil, "PASS"},
		{"not tenfold", "b", []Case{world("w", 31, 0, 300, 900, 100, 1200)}, nil, "MISS"},
		{"where the oracle fails too nothing is asked", "b", []Case{world("w", 31, 201, 300, 900, 100, 1200)}, nil, "NONE"},
		{"cheaper than hpa70", "c", []Case{world("w", 0, 0, 0, 0, 0, 1600), world("v", 0, 0, 0, 0, 0, 1400)}, nil, "PASS"},
		{"dearer than hpa70", "c", []Case{world("w", 0, 0, 0, 0, 0, 1600), world("v", 0, 0, 0, 0, 0, 1401)}, nil, "MISS"},
		{"near the clairvoyant in the median", "d", []Case{world("u", 0, 0, 0, 0, 0, 1000), world("v", 0, 0, 0, 0, 0, 1350), world("w", 0, 0, 0, 0, 0, 9000)}, nil, "PASS"},
		{"far from the clairvoyant in the median", "d", []Case{world("u", 0, 0, 0, 0, 0, 1000), world("v", 0, 0, 0, 0, 0, 1351), world("w", 0, 0, 0, 0, 0, 9000)}, nil, "MISS"},
		{"flat and quiet", "e", []Case{world("flat x1", 0, 0, 0, 0, 0, 1200)}, nil, "PASS"},
		{"without a flat load", "e", []Case{world("step x1", 0, 0, 0, 0, 0, 1200)}, nil, "NONE"},
		{"no wrong way", "f", nil, []FaultRun{{}}, "PASS"},
		{"a scale-in", "f", nil, []FaultRun{{}, {ScaleIns: 1}}, "MISS"},
		{"a scale-out beyond", "f", nil, []FaultRun{{Beyond: 1}}, "MISS"},
		{"without faults", "f", nil, nil, "NONE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, a := range Judge(tt.cases, tt.fault) {
				if text := a.String(); a.ID == tt.aim && !strings.HasPrefix(text, tt.want+" ("+tt.aim+") ") {
					t.Errorf("got %q, want %s", text, tt.want)
				}
			}
		})
	}
}

func TestChangesOfAFlatLoadAreCounted(t *testing.T) {
	c := world("flat x1", 0, 0, 0, 0, 0, 1200)
	c.Rows[0].ChangesPerHour = 3
	if a := noFlapping([]Case{c}); a.Pass || len(a.Misses) != 1 || !strings.Contains(a.Numbers, "3.0 at most") {
		t.Errorf("got %+v", a)
	}
}

func TestWhatHasNoResultCountsInNothing(t *testing.T) {
	c := world("w", 500, 0, 0, 0, 0, 1200)
	for i, r := range c.Rows {
		if r.Policy == Oracle || r.Policy == Clairvoyant {
			c.Rows[i].Lost = "lost"
		}
		c.Rows[i].OverClairvoyant = nil
	}
	aims := Judge([]Case{c}, nil)
	if aims[0].Pass || !strings.Contains(aims[0].Numbers, "in 1 no oracle is as cheap") {
		t.Errorf("got %s", aims[0])
	}
	if aims[3].Judged {
		t.Errorf("got %s", aims[3])
	}
	for _, total := range Totals([]Case{c}) {
		if total.Policy == Oracle && (total.Lost != 1 || total.Cases != 0 || total.Requests != 0) {
			t.Errorf("got %+v", total)
		}
	}
}

func TestQuantiles(t *testing.T) {
	for _, tt := range []struct {
		numbers []float64
		p, want float64
	}{{nil, 0.5, 0}, {[]float64{3}, 0.9, 3}, {[]float64{1, 2}, 0.5, 1.5}, {[]float64{1, 2, 3}, 1, 3}} {
		if got := Quantile(tt.numbers, tt.p); got != tt.want {
			t.Errorf("%v of %v is %v, want %v", tt.p, tt.numbers, got, tt.want)
		}
	}
}
