package sim

import (
	"testing"
	"time"

	"headroom.dev/scaler/internal/policy"
)

func TestHeadroomDecidesEveryTick(t *testing.T) {
	s := bumpy()
	scaler := Headroom(policy.Config{
		Min: 1, Max: 50, SLO: s.SLO, Quantile: 0.99, Utilization: 0.85, Tick: 2 * time.Second, LeadTime: 10 * time.Second,
	})
	decisions, most := 0, 0
	scaler.Trace = func(_ time.Duration, snap policy.Snapshot, d policy.Decision) {
		decisions++
		most = max(most, d.Replicas)
		if snap.Spec > 50 {
			t.Errorf("%d replicas ordered, above the most", snap.Spec)
		}
	}
	r := run(t, s, scaler)
	if decisions != 900 {
		t.Errorf("%d decisions in half an hour, want 900", decisions)
	}
	if r.ScaleOuts == 0 || most <= s.Initial {
		t.Errorf("a load of four times the first never led to more than %d replicas", most)
	}
}
