package sim

import (
	"errors"
	"testing"
	"time"

	"headroom.dev/scaler/internal/peers"
)

// autoscaler notes what it is shown, and wants one more replica from 3 s on.
type autoscaler struct {
	seen []peers.Observation
	fail bool
}

func (a *autoscaler) Observe(o peers.Observation) (int, error) {
	a.seen = append(a.seen, o)
	switch {
	case o.At < 3:
		return 2, nil
	case a.fail:
		return 0, errors.New("it ended")
	}
	return 3, nil
}

func TestAPeerSeesItsWorld(t *testing.T) {
	// Ten requests of 100 ms a second: of two replicas one is busy, on average.
	s := tale(tenASecond(60)...)
	s.Duration, s.Initial, s.CPULimit, s.Upkeep = 60*time.Second, 2, 0.6, 0.1
	for lag, want := range map[PeerLag]struct{ at, window float64 }{RealLag: {45, 15}, ZeroLag: {50.5, 1}} {
		a := &autoscaler{}
		run(t, s, Peer(a, lag))
		o := a.seen[50]
		if o.At != 50.5 || o.MetricsAt != want.at || o.MetricsWindow != want.window || o.Replicas != 3 {
			t.Errorf("it sees %+v, want metrics of %v over %v s", o, want.at, want.window)
		}
		near(t, "concurrency", o.Concurrency, 1, 1e-9)
		cpu := 0.0
		for _, p := range o.Pods {
			cpu += p.CPU * float64(p.Count)
		}
		near(t, "CPU of all: half a core for requests, and the upkeep of three", cpu, 0.8, 1e-9)
		// Nobody has looked at it twice.
		if got, want := a.seen[4].Pods[1], (peers.Pods{Count: 1, Created: 3.5, ReadyAt: 3.5}); got != want {
			t.Errorf("a pod that starts is %+v, want %+v", got, want)
		}
		ready := o.Pods[len(o.Pods)-1]
		if !ready.Ready || !ready.Metrics || ready.Created != 3.5 || ready.ReadyAt != 5.5 {
			t.Errorf("a pod that started is %+v", ready)
		}
	}
}

func TestAPeerThatFailsSaysWhy(t *testing.T) {
	s := tale(time.Second)
	s.Initial = 2
	r, err := Run(s, Peer(&autoscaler{fail: true}, RealLag))
	if err == nil || err.Error() != "scaler: it ended" {
		t.Errorf("the error is %v", err)
	}
	if r.ScaleIns != 0 || r.ReplicaSeconds != 20 {
		t.Errorf("it was scaled all the same: %+v", r)
	}
}
