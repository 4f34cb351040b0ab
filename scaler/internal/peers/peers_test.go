package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// upstream starts the real program, until the test ends.
func upstream(t testing.TB) *Process {
	t.Helper()
	binary := os.Getenv("UPSTREAM_BIN")
	if binary == "" {
		t.Skip("UPSTREAM_BIN names no upstream; `make test` builds it, which takes minutes the first time")
	}
	p, err := Start(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// run holds one world each second from 0 to last and returns the replicas
// wanted at each.
func run(t testing.TB, s *Session, o Observation, last int) []int {
	t.Helper()
	var wanted []int
	for at := range last + 1 {
		o.At = float64(at)
		o.MetricsAt = float64(at - at%15)
		n, err := s.Observe(o)
		if err != nil {
			t.Fatal(err)
		}
		wanted = append(wanted, n)
	}
	return wanted
}

func end(t testing.TB, s *Session) {
	t.Helper()
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
}

var twoBusyPods = Observation{Replicas: 2, Pods: []Pods{{Count: 2, CPU: 0.14, Ready: true, Created: -900, ReadyAt: -890, Metrics: true}}}

func TestHPAScalesOnCPU(t *testing.T) {
	s, err := upstream(t).HPA(HPAOptions{CPUPercent: 70, CPURequest: 0.1, Min: 1, Max: 10, Replicas: 2, Offset: 7})
	if err != nil {
		t.Fatal(err)
	}
	wanted := run(t, s, twoBusyPods, 7)
	if wanted[6] != 2 || wanted[7] != 4 {
		t.Errorf("replicas %v, want 2 until the controller acts at second 7, then 4", wanted)
	}
	end(t, s)
}

func TestHPAScalesOnTheQueue(t *testing.T) {
	s, err := upstream(t).HPA(HPAOptions{QueuePerReplica: 5, Min: 1, Max: 10, Replicas: 2})
	if err != nil {
		t.Fatal(err)
	}
	if wanted := run(t, s, Observation{Replicas: 2, Queue: 21}, 20); wanted[20] != 5 {
		t.Errorf("replicas %v, want 5 for a queue of 21 at 5 each", wanted)
	}
	end(t, s)
}

func TestKPAPanics(t *testing.T) {
	s, err := upstream(t).KPA(KPAOptions{Target: 0.7, Min: 1, Max: 10, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := Observation{Replicas: 1, Concurrency: 4, Pods: []Pods{{Count: 1, Ready: true}}}
	if wanted := run(t, s, o, 10); wanted[10] != 6 {
		t.Errorf("replicas %v, want 6 for a concurrency of 4 at 0.7 each", wanted)
	}
	end(t, s)
}

func TestAProcessHoldsOneSessionAfterTheOther(t *testing.T) {
	p := upstream(t)
	options := HPAOptions{CPUPercent: 70, CPURequest: 0.1, Min: 1, Max: 10, Replicas: 2}
	var runs [][]int
	for range 2 {
		s, err := p.HPA(options)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.KPA(KPAOptions{Target: 1, Min: 1, Max: 2, Replicas: 1}); err == nil {
			t.Error("a second session opened beside the first")
		}
		runs = append(runs, run(t, s, twoBusyPods, 400))
		end(t, s)
		end(t, s) // a second time does nothing
		if _, err := s.Observe(Observation{At: 500}); err == nil {
			t.Error("a session that has ended took an observation")
		}
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Errorf("the second session differs: %v, then %v", runs[0], runs[1])
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.HPA(options); !errors.Is(err, errClosed) {
		t.Errorf("a session of a closed process: %v, want %v", err, errClosed)
	}
}

func TestUpstreamNamesWhatIsWrong(t *testing.T) {
	good := HPAOptions{QueuePerReplica: 5, Min: 1, Max: 10, Replicas: 2}
	t.Run("an option", func(t *testing.T) {
		p := upstream(t)
		bad := good
		bad.Max = 0
		_, err := p.HPA(bad)
		checkError(t, err, "upstream: start.hpa.max is 0: must be from 1 to 100000")
		checkError(t, p.Close(), "start.hpa.max is 0")
	})
	t.Run("an observation", func(t *testing.T) {
		s, err := upstream(t).HPA(good)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Observe(Observation{At: 3, Pods: []Pods{{Count: 1, ReadyAt: 4}}})
		checkError(t, err, "upstream: observe.pods[0].readyAt is 4: must be from 0 to 3")
		checkError(t, s.End(), "observe.pods[0].readyAt is 4")
	})
	t.Run("a number that JSON does not have leaves the session usable", func(t *testing.T) {
		s, err := upstream(t).HPA(good)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Observe(Observation{At: 3, Queue: math.NaN()})
		checkError(t, err, "NaN")
		if _, err := s.Observe(Observation{At: 3}); err != nil {
			t.Error(err)
		}
	})
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got error %v, want one line with %q", err, want)
	}
}

func TestAContextEndsTheProcess(t *testing.T) {
	binary := os.Getenv("UPSTREAM_BIN")
	if binary == "" {
		t.Skip("UPSTREAM_BIN names no upstream; `make test` builds it")
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, binary)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Close(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("closing returned %v", err)
	}
}

func BenchmarkSimulatedHour(b *testing.B) {
	for _, pods := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("HPA, %d pods", pods), func(b *testing.B) {
			p := upstream(b)
			// Each pod is a group of its own, and its CPU changes each second.
			o := Observation{Replicas: pods, Pods: make([]Pods, pods)}
			for b.Loop() {
				s, err := p.HPA(HPAOptions{CPUPercent: 70, CPURequest: 0.1, Min: 1, Max: 2000, Replicas: pods})
				if err != nil {
					b.Fatal(err)
				}
				for at := range 3600 {
					o.At, o.MetricsAt = float64(at), float64(at)
					for i := range o.Pods {
						o.Pods[i] = Pods{Count: 1, CPU: 0.07 + float64((at+i)%7)/1000, Ready: true, Created: -float64(i), Metrics: true}
					}
					if _, err := s.Observe(o); err != nil {
						b.Fatal(err)
					}
				}
				end(b, s)
			}
		})
	}
	b.Run("KPA", func(b *testing.B) {
		p := upstream(b)
		for b.Loop() {
			s, err := p.KPA(KPAOptions{Target: 1, Min: 1, Max: 100, Replicas: 10})
			if err != nil {
				b.Fatal(err)
			}
			run(b, s, Observation{Concurrency: 9, Pods: []Pods{{Count: 10, Ready: true}}}, 3599)
			end(b, s)
		}
	})
}
