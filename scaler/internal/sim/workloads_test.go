package sim

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWorkloadsAreInTheirRanges(t *testing.T) {
	all := Workloads(1, 300)
	names := map[string]bool{}
	for i, s := range all {
		if err := s.Validate(); err != nil {
			t.Fatal(s.Name, err)
		}
		names[s.Name] = true
		peak := slices.Max(s.Rates) * s.Service.mean() / float64(s.Slots)
		switch {
		case !strings.HasPrefix(s.Name, WorkloadKinds()[i%6]+" "),
			len(s.Rates) != 3600,
			peak > 0.7*500,
			s.Service.Mean < 20*ms || s.Service.Mean > 150*ms || s.Service.CV < 0.1 || s.Service.CV > 1.5,
			s.Service.Quantile(0.99) >= 0.4,
			s.ColdStart.Mean < 2*time.Second || s.ColdStart.Mean > 30*time.Second,
			s.Initial < 1:
			t.Errorf("%d is out of range: %s, peak %.1f, initial %d", i, s.Name, peak, s.Initial)
		}
	}
	if len(names) != len(all) {
		t.Errorf("%d names for %d workloads", len(names), len(all))
	}
	if other := Workloads(1, 300); !slices.Equal(other[17].Rates, all[17].Rates) || other[17].Seed != all[17].Seed {
		t.Error("the same seed gives other workloads")
	}
	if Workloads(2, 1)[0].Seed == all[0].Seed {
		t.Error("another seed gives the same workloads")
	}
}

func TestArrivalsFollowTheRates(t *testing.T) {
	s := Scenario{Seed: 3, Rates: []float64{0, 20000, 0, 5000.5}, Duration: 3500 * ms}
	var counts [4]float64
	last := time.Duration(0)
	for a := newArrivals(&s); ; {
		at := a.next()
		if at == never {
			break
		}
		if at < last {
			t.Fatalf("%s after %s", at, last)
		}
		last = at
		counts[at/time.Second]++
	}
	for i, want := range []float64{0, 20000, 0, 2500} {
		near(t, "arrivals in a second", counts[i], want, 0.03*want)
	}
}

func TestServiceTimesHaveTheirDistribution(t *testing.T) {
	for name, s := range map[string]Service{
		"lognormal": {Mean: 50 * ms, CV: 1.2},
		"fixed":     {Mean: 50 * ms},
		"measured":  {Bounds: []float64{0.01, 0.05, 0.2}, Counts: []uint64{10, 70, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			mean, scv := s.moments()
			draws := s.draws(stream(1, serviceStream))
			const n = 400000
			tail := s.tail()
			above, sum, square := 0.0, 0.0, 0.0
			limit := s.Quantile(0.9)
			for range n {
				x := draws.next().Seconds()
				sum, square = sum+x, square+x*x
				if x > limit {
					above++
				}
			}
			near(t, "mean", sum/n, mean, 0.01*mean)
			near(t, "scv", square/n/(mean*mean)-1, scv, 0.05*scv+1e-9)
			if scv > 1e-9 {
				near(t, "tail", tail(limit), 0.1, 1e-6)
				near(t, "share above", above/n, 0.1, 0.002)
			}
		})
	}
}
