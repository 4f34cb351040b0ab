package serve

import (
	"slices"
	"testing"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// burst returns the replicas that Knative wants at each second while 1 request
// in flight becomes 10 at second 100 and 1 again at 130.
func burst(p *peer) []int {
	p.ask(`{"start":{"kpa":{"target":1,"min":1,"max":20,"replicas":1}}}`)
	wanted := make([]int, 300)
	ready := 1
	for at := range wanted {
		o := protocol.Observation{At: float64(at), Replicas: int32(ready), Concurrency: 1}
		if at > 100 && at <= 130 {
			o.Concurrency = 10
		}
		o.Pods = []protocol.Pods{{Count: ready, Ready: true, Created: -1000}}
		wanted[at] = p.observe(o)
		// What was wanted two seconds ago serves now.
		ready = wanted[max(0, at-2)]
	}
	p.ask(`{"end":{}}`)
	return wanted
}

func TestKPAPanicsOnAStepAndHolds(t *testing.T) {
	var wanted []int
	if err := talk(t, func(p *peer) { wanted = burst(p) }); err != nil {
		t.Fatal(err)
	}
	if wanted[100] != 1 {
		t.Errorf("%d replicas before the step, want 1", wanted[100])
	}
	if first := since(wanted, 100, func(n int) bool { return n > 1 }); first < 1 || first > 4 {
		t.Errorf("first scale-out %d s after the step, want within two ticks", first)
	}
	if full := since(wanted, 100, func(n int) bool { return n == 10 }); full < 1 || full > 9 {
		t.Errorf("10 replicas %d s after the step, want about the panic window of 6 s", full)
	}
	for at := 101; at < 160; at++ {
		if wanted[at] < wanted[at-1] {
			t.Errorf("scale-in from %d to %d at second %d, in panic", wanted[at-1], wanted[at], at)
		}
	}
	if wanted[240] != 1 {
		t.Errorf("%d replicas 110 s after the burst, want 1", wanted[240])
	}
}

func TestKPAAveragesWhatComesInAnyStep(t *testing.T) {
	for name, step := range map[string]float64{"a quarter of a second": 0.25, "a second": 1, "five seconds": 5} {
		t.Run(name, func(t *testing.T) {
			var got int
			if err := talk(t, func(p *peer) {
				p.ask(`{"start":{"kpa":{"target":0.7,"min":1,"max":20,"replicas":4}}}`)
				for at := 0.0; at <= 90; at += step {
					got = p.observe(protocol.Observation{At: at, Concurrency: 2.7, Pods: []protocol.Pods{{Count: 4, Ready: true}}})
				}
			}); err != nil {
				t.Fatal(err)
			}
			if got != 4 {
				t.Errorf("%d replicas wanted, want 4: a concurrency of 2.7 at 0.7 each", got)
			}
		})
	}
}

func TestKPAKeepsToItsBounds(t *testing.T) {
	for name, c := range map[string]struct {
		concurrency float64
		want        int
	}{"idle": {0, 2}, "flooded": {500, 6}} {
		t.Run(name, func(t *testing.T) {
			var got int
			if err := talk(t, func(p *peer) {
				p.ask(`{"start":{"kpa":{"target":1,"min":2,"max":6,"replicas":3}}}`)
				got = p.held(protocol.Observation{Concurrency: c.concurrency, Pods: []protocol.Pods{{Count: 3, Ready: true}}}, 30)
			}); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("%d replicas wanted, want %d", got, c.want)
			}
		})
	}
}

func TestSessionsOfOneProcessDoNotTouchEachOther(t *testing.T) {
	var hpas, kpas [][]int
	if err := talk(t, func(p *peer) {
		for range 3 {
			hpas, kpas = append(hpas, story(p, 0.3)), append(kpas, burst(p))
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		if !slices.Equal(hpas[0], hpas[i]) || !slices.Equal(kpas[0], kpas[i]) {
			t.Errorf("session %d of the HPA or of the KPA differs from the first", i)
		}
	}
}
