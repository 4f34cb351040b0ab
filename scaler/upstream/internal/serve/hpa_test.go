package serve

import (
	"fmt"
	"slices"
	"testing"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// Ten minutes of 100 millicores, twenty of 800, then 100 again.
const (
	rise = 600
	fall = 1800
	stop = 2700
)

// story returns the replicas wanted at each second of it.
func story(p *peer, offset float64) []int {
	p.ask(fmt.Sprintf(`{"start":{"hpa":{"cpuPercent":70,"min":1,"max":20,"cpuRequest":%v,"replicas":2,"offset":%v}}}`, cpuRequest, offset))
	c := newCluster(2)
	wanted := make([]int, stop)
	for at := range wanted {
		cores := 0.1
		if at > rise && at <= fall {
			cores = 0.8
		}
		wanted[at] = p.observe(c.advance(float64(at), cores))
		c.scale(float64(at), wanted[at])
	}
	p.ask(`{"end":{}}`)
	return wanted
}

// since is how long after a second a condition first holds.
func since(wanted []int, second int, holds func(int) bool) int {
	return slices.IndexFunc(wanted[second:], holds)
}

func TestHPAFollowsAStep(t *testing.T) {
	for _, offset := range []float64{0.3, 4, 8, 12, 14.9} {
		t.Run(fmt.Sprintf("acting %v s after each sample", offset), func(t *testing.T) {
			var wanted []int
			if err := talk(t, func(p *peer) { wanted = story(p, offset) }); err != nil {
				t.Fatal(err)
			}
			if wanted[rise] != 2 {
				t.Errorf("%d replicas before the rise, want 2: 100 millicores at 70%% of 100 a pod", wanted[rise])
			}
			first := since(wanted, rise, func(n int) bool { return n > 2 })
			if first < 15 || first > 31 {
				t.Errorf("first scale-out %d s after the rise, want 15 to 31", first)
			}
			all := since(wanted, rise, func(n int) bool { return n >= 12 })
			if all < 45 || all > 105 {
				t.Errorf("12 replicas %d s after the rise, want about 75", all)
			}
			if wanted[fall] != 12 {
				t.Errorf("%d replicas before the fall, want 12: 800 millicores at 70%% of 100 a pod", wanted[fall])
			}
			fewer := since(wanted, fall, func(n int) bool { return n < 12 })
			if fewer < 300 || fewer > 332 {
				t.Errorf("first scale-in %d s after the fall, want 300 to 332", fewer)
			}
			t.Logf("after the rise: first %d s, all %d s; after the fall: %d s", first, all, fewer)
		})
	}
}

func TestHPAWeighsPodsByTheirAge(t *testing.T) {
	busy := protocol.Pods{Count: 1, CPU: 0.14, Ready: true, Created: -1000, Metrics: true}
	even := protocol.Pods{Count: 1, CPU: 0.07, Ready: true, Created: -1000, Metrics: true}
	cases := []struct {
		name string
		pods []protocol.Pods
		want int
	}{
		{"two pods at twice the target become four", []protocol.Pods{busy, busy}, 4},
		{"a sample that reaches back before a young pod was ready does not count", []protocol.Pods{even, {Count: 1, CPU: 0.5, Ready: true, Created: -20, ReadyAt: number(-14), Metrics: true}}, 2},
		{"a sample since a young pod was ready counts", []protocol.Pods{even, {Count: 1, CPU: 0.5, Ready: true, Created: -20, ReadyAt: number(-15), Metrics: true}}, 6},
		{"an old pod that was ready counts", []protocol.Pods{even, {Count: 1, CPU: 0.5, Created: -1000, ReadyAt: number(-10), Metrics: true}}, 6},
		{"an old pod that never was ready does not count", []protocol.Pods{even, {Count: 1, CPU: 0.5, Created: -1000, Metrics: true}}, 2},
		{"a pod without metrics counts as idle on the way out", []protocol.Pods{busy, {Count: 1, Ready: true, Created: -1000}}, 2},
		{"a pending pod counts as idle on the way out", []protocol.Pods{busy, {Count: 1, Pending: true, Created: -1000}}, 2},
		{"without any metrics the scale stays", []protocol.Pods{{Count: 2, CPU: 0.5, Ready: true, Created: -1000}}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got int
			if err := talk(t, func(p *peer) {
				p.ask(`{"start":{"hpa":{"cpuPercent":70,"min":1,"max":20,"cpuRequest":0.1,"replicas":2}}}`)
				got = p.held(protocol.Observation{Replicas: 2, Pods: c.pods, MetricsAt: number(0)}, 14)
			}); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("%d replicas wanted, want %d", got, c.want)
			}
		})
	}
}

func TestHPAMetricsAndLimits(t *testing.T) {
	pods := []protocol.Pods{{Count: 4, CPU: 0.14, Ready: true, Created: -1000, Metrics: true}}
	cases := []struct {
		name, start string
		queue       float64
		want        int
	}{
		{"a queue of 33 at 5 a replica wants 7", `"queuePerReplica":5`, 33, 7},
		{"a queue within a tenth of the target changes nothing", `"queuePerReplica":5`, 21.9, 4},
		{"of two metrics the one that wants more decides", `"queuePerReplica":5,"cpuPercent":70,"cpuRequest":0.1`, 33, 8},
		{"the longer queue decides over CPU", `"queuePerReplica":4,"cpuPercent":70,"cpuRequest":0.2`, 31, 8},
		{"a behavior doubles four replicas", `"queuePerReplica":1`, 500, 8},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got int
			if err := talk(t, func(p *peer) {
				p.ask(`{"start":{"hpa":{"min":1,"max":20,"replicas":4,` + c.start + `}}}`)
				got = p.held(protocol.Observation{Replicas: 4, Pods: pods, Queue: c.queue}, 14)
			}); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("%d replicas wanted, want %d", got, c.want)
			}
		})
	}
}

func TestHPALimitsAFirstStepByItsBehavior(t *testing.T) {
	for start, want := range map[string]int{
		``:                       5, // 4 more
		`,"behaviorUnset":true`:  4, // 4 in all
		`,"behaviorUnset":false`: 5,
	} {
		var got int
		if err := talk(t, func(p *peer) {
			p.ask(`{"start":{"hpa":{"queuePerReplica":1,"min":1,"max":20,"replicas":1` + start + `}}}`)
			got = p.held(protocol.Observation{Replicas: 1, Queue: 500}, 14)
		}); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("with %q %d replicas wanted, want %d", start, got, want)
		}
	}
}
