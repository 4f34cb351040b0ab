package compare_test

import (
	"math"
	"strings"
	"testing"

	"headroom.dev/loadtest/internal/compare"
	"headroom.dev/loadtest/internal/report"
)

var slo = report.SLO{LatencyS: 0.5, Quantile: 0.99}

// of makes an estimate as a label's runs give it: the interval is t·s/√n, with
// Student's t of 12.706 for two runs and 4.303 for three.
func of(values ...float64) *compare.Estimate {
	e := &compare.Estimate{Values: values}
	for _, x := range values {
		e.Mean += x / float64(len(values))
	}
	if n := float64(len(values)); n > 1 {
		squares := 0.0
		for _, x := range values {
			squares += (x - e.Mean) * (x - e.Mean)
		}
		half := map[float64]float64{2: 12.7062, 3: 4.30265}[n] * math.Sqrt(squares/(n-1)/n)
		e.HalfWidth = &half
	}
	return e
}

func label(name string, violations, replicaSeconds, cpuLimitSeconds *compare.Estimate) compare.Sample {
	s := compare.Sample{Label: name, Violations: violations, ReplicaSeconds: replicaSeconds, CPULimitSeconds: cpuLimitSeconds}
	if violations != nil {
		for i := range violations.Values {
			s.Seeds = append(s.Seeds, int64(i+1))
		}
	}
	return s
}

func TestVerdict(t *testing.T) {
	tests := map[string]struct {
		samples  []compare.Sample
		headline string
		best     string
		says     []string
		silent   []string
		// dominates is "better over worse" for every pair that has one.
		dominates []string
	}{
		"one run of each: no interval": {
			[]compare.Sample{label("custom", of(0.002), of(2000), of(300)), label("hpa70", of(0.03), of(3000), of(450)), label("hpa90", of(0.12), of(1600), of(240))},
			"Only custom kept the promise: 0.20% violations (at most 1.00% may) for 2,000 replica-seconds; hpa70 and hpa90 missed it. It is one run of each, so chance is not ruled out.",
			"custom",
			[]string{
				"custom kept the promise: 0.20% of its requests", "hpa90 missed the promise",
				"custom against hpa70: 2.80 percentage points fewer violations, 33% fewer replica-seconds, 33% fewer CPU-limit-seconds. custom dominates: fewer violations at no more cost.",
				"custom against hpa90: 11.80 percentage points fewer violations, 25% more replica-seconds, 25% more CPU-limit-seconds. That is the price of the promise, which hpa90 did not keep.",
				"One run of each gives no interval",
			},
			[]string{"±", "95%"},
			[]string{"custom over hpa70"},
		},
		"two keep it, one clearly cheaper": {
			[]compare.Sample{label("hpa70", of(0.004, 0.005, 0.006), of(3000, 3010, 3020), nil), label("custom", of(0.002, 0.003, 0.004), of(2000, 2020, 2010), nil)},
			"custom kept the promise at the lowest cost: 0.30% violations (at most 1.00% may) for 2,010 replica-seconds, 33% (± 1) fewer than hpa70.",
			"custom",
			[]string{"custom against hpa70: 0.20 (± 0.00) percentage points fewer violations, 33% (± 1) fewer replica-seconds. custom dominates"},
			[]string{"chance is not ruled out"},
			[]string{"custom over hpa70"},
		},
		"two keep it, costs inside the noise": {
			[]compare.Sample{label("a", of(0.004, 0.004, 0.004), of(2000, 2400, 2200), nil), label("b", of(0.004, 0.004, 0.004), of(2300, 2100, 2300), nil)},
			"a and b kept the promise, and which of them costs less is inside the noise of the runs: 2,200 and 2,233 replica-seconds.",
			"a",
			[]string{"as many violations, replica-seconds equal within the noise", "The runs can't tell them apart."},
			nil,
			nil,
		},
		"cheaper, and violations inside the noise, is no domination": {
			[]compare.Sample{label("custom", of(0.000, 0.001, 0.000), of(3000, 3010, 3020), nil), label("hpa70", of(0.001, 0.03, 0.02), of(2800, 2810, 2805), nil)},
			"Only custom kept the promise",
			"custom",
			[]string{
				"hpa70 missed the promise on average, though its runs don't rule out the contrary: 1.70% ± 3.66%",
				"custom against hpa70: violations equal within the noise (-1.67 ± 3.55 percentage points), 7% (± 1) more replica-seconds. hpa70 is cheaper; which of them breaks the promise more often, the runs can't tell.",
			},
			nil, nil,
		},
		"fewer replicas of more CPU is a trade": {
			[]compare.Sample{label("bridge", of(0.001), of(1800), of(500)), label("custom", of(0.003), of(2000), of(300))},
			"bridge kept the promise at the lowest cost",
			"bridge",
			[]string{"10% fewer replica-seconds, 67% more CPU-limit-seconds. That is a trade: neither is better in everything."},
			nil, nil,
		},
		"as many violations at less cost": {
			[]compare.Sample{label("a", of(0), of(1800), nil), label("b", of(0), of(2000), nil)},
			"a kept the promise at the lowest cost",
			"a",
			[]string{"a against b: as many violations, 10% fewer replica-seconds", "a dominates: as many violations at less cost."},
			nil,
			[]string{"a over b"},
		},
		"none kept it": {
			[]compare.Sample{label("a", of(0.05), of(1800), nil), label("b", of(0.02), of(2000), nil)},
			"None kept the promise. b came closest: 2.00% violations (at most 1.00% may) for 2,000 replica-seconds.",
			"", nil, nil, nil,
		},
		"a single label that kept it": {
			[]compare.Sample{label("a", of(0.005, 0.006), of(1800, 1810), nil)},
			"a kept the promise: 0.55% violations (at most 1.00% may) for 1,805 replica-seconds. There is nothing to compare it with.",
			"a",
			[]string{"a kept the promise on average, though its runs don't rule out the contrary: 0.55% ± 0.64%"},
			nil, nil,
		},
		"a single label that missed it, once": {
			[]compare.Sample{label("a", of(0.05), nil, nil)},
			"a missed the promise: 5.00% violations (at most 1.00% may). There is nothing to compare it with. It is one run, so chance is not ruled out.",
			"", nil, nil, nil,
		},
		"no cost was measured": {
			[]compare.Sample{label("a", of(0.005), nil, nil), label("b", of(0.004), nil, nil)},
			"b and a kept the promise; what they cost was not measured.",
			"b",
			[]string{"b against a: 0.10 percentage points fewer violations, replica-seconds not measured."},
			nil, nil,
		},
		"a label of which no run counts": {
			[]compare.Sample{label("a", of(0.005), of(1800), nil), label("b", nil, nil, nil)},
			"a kept the promise",
			"a",
			[]string{"b: no run of it counts, so nothing is said about it."},
			[]string{"against"},
			nil,
		},
		"no run counts at all": {
			[]compare.Sample{label("a", nil, nil, nil)},
			"No verdict: not one run counts.", "", nil, nil, nil,
		},
		"one label repeated, the other not": {
			[]compare.Sample{label("a", of(0.005, 0.006), of(1800, 1810), nil), label("b", of(0.02), of(1500), nil)},
			"Only a kept the promise: 0.55% violations (at most 1.00% may) for 1,805 replica-seconds; b missed it. There is one run of some",
			"a",
			[]string{"Of b there is one run, which gives no interval."},
			nil, nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := compare.Judge(tt.samples, slo)
			if !strings.HasPrefix(v.Headline, tt.headline) {
				t.Errorf("headline %q, want %q", v.Headline, tt.headline)
			}
			if v.Best != tt.best {
				t.Errorf("best %q, want %q", v.Best, tt.best)
			}
			var lines []string
			for _, r := range v.Remarks {
				lines = append(lines, strings.TrimSpace(r.Term+" "+r.Text))
			}
			all := strings.Join(lines, "\n")
			for _, want := range tt.says {
				if !strings.Contains(all, want) {
					t.Errorf("%q is not said in:\n%s", want, all)
				}
			}
			for _, unwanted := range tt.silent {
				if strings.Contains(v.Headline+"\n"+all, unwanted) {
					t.Errorf("%q is said in:\n%s\n%s", unwanted, v.Headline, all)
				}
			}
			var dominates []string
			for _, r := range v.Relations {
				if r.Dominates != "" {
					other := r.B
					if r.Dominates == r.B {
						other = r.A
					}
					dominates = append(dominates, r.Dominates+" over "+other)
				}
			}
			if strings.Join(dominates, ", ") != strings.Join(tt.dominates, ", ") {
				t.Errorf("dominates: %q, want %q", dominates, tt.dominates)
			}
		})
	}
}

// Differences worked out by hand: paired where both labels have the same seeds,
// each once; Welch's else.
func TestDifferences(t *testing.T) {
	pairedA := compare.Sample{Label: "a", Seeds: []int64{1, 2, 3}, Violations: of(0.001, 0.002, 0.003), ReplicaSeconds: of(100, 200, 300)}
	pairedB := compare.Sample{Label: "b", Seeds: []int64{3, 2, 1}, Violations: of(0.003, 0.002, 0.001), ReplicaSeconds: of(312, 210, 108)}
	r := compare.Judge([]compare.Sample{pairedA, pairedB}, slo).Relations[0]
	// By seed −8, −10 and −12: mean −10, s = 2, t·s/√3 = 4.303·1.1547.
	if d := r.ReplicaSeconds; !d.Paired || math.Abs(d.Mean+10) > 1e-9 || math.Abs(*d.HalfWidth-4.968) > 0.001 || d.Sign != compare.Less {
		t.Errorf("paired difference %+v ± %v, want -10 ± 4.968", d, *d.HalfWidth)
	}
	if d := r.Violations; d.Sign != compare.Noise || *d.HalfWidth > 1e-9 {
		t.Errorf("equal by seed: %+v, want no difference", d)
	}

	same := compare.Sample{Label: "a", Seeds: []int64{1, 1, 1}, Violations: of(0, 0, 0), ReplicaSeconds: of(100, 200, 300)}
	again := compare.Sample{Label: "b", Seeds: []int64{1, 1, 1}, Violations: of(0, 0, 0), ReplicaSeconds: of(110, 210, 310)}
	r = compare.Judge([]compare.Sample{same, again}, slo).Relations[0]
	// Both variances are 10,000: the standard error is √(2·10,000/3) = 81.65, and
	// t with 4 degrees of freedom is 2.7764.
	if d := r.ReplicaSeconds; d.Paired || math.Abs(d.Mean+10) > 1e-9 || math.Abs(*d.HalfWidth-226.7) > 0.1 || d.Sign != compare.Noise {
		t.Errorf("Welch's difference %+v ± %v, want -10 ± 226.7", d, *d.HalfWidth)
	}
}
