package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headroom.dev/scaler/internal/policy"
)

// world fakes both sides of a loop. The test holds its lock all the time but
// while it lets time pass, and each fake while it answers.
type world struct {
	mu          sync.Mutex
	signals     policy.Signals
	signalsErr  error
	readTakes   time.Duration
	reads       []time.Duration // since start
	reading     int
	overlapped  bool
	start       time.Time
	replicas    Replicas
	targetErr   error
	scaleErr    error
	scaled      []string
	leader      atomic.Bool
	log         strings.Builder
	metrics     *Metrics
	loop        *Loop
	stop        context.CancelFunc
	loopIsEnded chan struct{}
}

func (w *world) Read(ctx context.Context) (policy.Signals, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads = append(w.reads, time.Since(w.start))
	w.reading++
	defer func() { w.reading-- }()
	w.overlapped = w.overlapped || w.reading > 1
	if w.readTakes > 0 {
		answer := time.After(w.readTakes)
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-answer:
		}
		w.mu.Lock()
	}
	if ctx.Err() != nil {
		return policy.Signals{}, ctx.Err()
	}
	return w.signals, w.signalsErr
}

type target struct{ *world }

func (t target) Read(ctx context.Context) (Replicas, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.targetErr == nil {
		return t.replicas, ctx.Err()
	}
	return Replicas{}, t.targetErr
}

func (t target) Scale(_ context.Context, seen Replicas, to int, why string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.scaleErr != nil {
		return t.scaleErr
	}
	t.scaled = append(t.scaled, fmt.Sprintf("%d→%d", seen.Spec, to))
	if why == "" {
		return errors.New("no reason was given")
	}
	t.replicas.Spec, t.replicas.Ready = to, to
	return nil
}

// Write takes the log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// busy is a load of rate requests/s of 100 ms each.
func busy(rate float64) policy.Signals {
	return policy.Signals{
		ArrivalShort: policy.Value(rate), ArrivalLong: policy.Value(rate),
		Backlog: policy.Value(0), OldestAge: policy.Value(0), InFlight: policy.Value(0),
		ServiceMean: policy.Value(0.1), ServiceP99: policy.Value(0.2),
		CPUPerRequest: policy.Value(0.01), CPULimit: policy.Value(1), Slots: policy.Value(1),
	}
}

func begin(t *testing.T, change func(*world)) *world {
	w := &world{start: time.Now(), signals: busy(0), replicas: Replicas{Spec: 1, Ready: 1}, loopIsEnded: make(chan struct{})}
	w.leader.Store(true)
	if change != nil {
		change(w)
	}
	cfg := policy.Config{
		Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8,
		Stabilization: time.Minute, Step: 1, Interval: 10 * time.Second, Tick: 2 * time.Second,
	}
	w.metrics = NewMetrics(w.leader.Load)
	w.loop = New(cfg, w, target{w}, w.leader.Load, w.metrics, slog.New(slog.NewTextHandler(w, nil)))
	var ctx context.Context
	ctx, w.stop = context.WithCancel(t.Context())
	go func() { w.loop.Run(ctx); close(w.loopIsEnded) }()
	t.Cleanup(func() { w.stop(); w.mu.Unlock(); <-w.loopIsEnded })
	synctest.Wait()
	w.mu.Lock()
	return w
}

// pass lets time pass, and what happens in it happen.
func (w *world) pass(d time.Duration) {
	w.mu.Unlock()
	defer w.mu.Lock()
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) logged(text string) int { return strings.Count(w.log.String(), text) }

// metric is the value of a series; ok is false when there is none.
func (w *world) metric(t *testing.T, name, label string) (value float64, ok bool) {
	t.Helper()
	families, err := w.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
			}
		}
	}
	return 0, false
}

func (w *world) wantMetric(t *testing.T, name, label string, want float64) {
	t.Helper()
	if got, ok := w.metric(t, name, label); !ok || got != want {
		t.Errorf("%s{%s} = %g (%t), want %g", name, label, got, ok, want)
	}
}

func TestABurstIsAnsweredWithinATickAndTakenBackSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(9 * time.Second)
		w.signals = busy(36) // 3.6 erlangs: 5 replicas, as the policy's tests work out
		w.pass(2 * time.Second)
		if !slices.Equal(w.scaled, []string{"1→5"}) {
			t.Fatalf("scaled %v, want 1→5", w.scaled)
		}
		w.signals = busy(0)
		w.pass(3 * time.Minute)
		if want := []string{"1→5", "5→4", "4→3", "3→2", "2→1"}; !slices.Equal(w.scaled, want) {
			t.Fatalf("scaled %v, want %v", w.scaled, want)
		}
		w.wantMetric(t, "headroom_scaler_scalings_total", "out", 1)
		w.wantMetric(t, "headroom_scaler_scalings_total", "in", 4)
		w.wantMetric(t, "headroom_scaler_desired_replicas", "", 1)
		w.wantMetric(t, "headroom_scaler_decisions_total", "demand", 1)
		w.wantMetric(t, "headroom_scaler_decisions_total", "scale_in", 4)
	})
}

func TestTurnsNeverOverlapAndAreCutOffAtATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.readTakes = 5 * time.Second; w.replicas.Spec = 4 })
		w.pass(9 * time.Second)
		want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second, 8 * time.Second}
		if !slices.Equal(w.reads, want) || w.overlapped {
			t.Errorf("read at %v (overlapped: %t), want %v", w.reads, w.overlapped, want)
		}
		w.readTakes = 0
		w.pass(4 * time.Second)
		if w.logged("reading signals works again") != 1 || len(w.scaled) != 0 {
			t.Errorf("scaled %v, log:\n%s", w.scaled, w.log.String())
		}
	})
}

func TestOnlyTheLeaderWritesAndItsFollowerKnowsThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.leader.Store(false); w.replicas = Replicas{Spec: 3, Ready: 3} })
		w.pass(90 * time.Second)
		if len(w.scaled) != 0 {
			t.Fatalf("a follower scaled %v", w.scaled)
		}
		w.wantMetric(t, "headroom_scaler_leader", "", 0)
		w.leader.Store(true)
		w.pass(12 * time.Second) // not another minute
		if !slices.Equal(w.scaled, []string{"3→2"}) {
			t.Errorf("scaled %v, want one step down soon after taking over", w.scaled)
		}
		w.wantMetric(t, "headroom_scaler_leader", "", 1)
	})
}

func TestPrometheusGoneTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.replicas = Replicas{Spec: 4, Ready: 4} })
		w.pass(30 * time.Second)
		w.signals, w.signalsErr = policy.Signals{}, errors.New("connection refused")
		w.pass(10 * time.Minute)
		if len(w.scaled) != 0 || w.logged("connection refused") != 1 || w.logged("level=WARN") != 1 {
			t.Fatalf("scaled %v; want one line about it:\n%s", w.scaled, w.log.String())
		}
		w.wantMetric(t, "headroom_scaler_signal_up", "backlog", 0)
		w.wantMetric(t, "headroom_scaler_decisions_total", "hold_untrusted", 300)
		w.wantMetric(t, "headroom_scaler_errors_total", "prometheus", 300)
		if !w.loop.Alive(time.Now()) {
			t.Error("not alive")
		}
		w.signals, w.signalsErr = busy(36), nil
		w.pass(2 * time.Second)
		if !slices.Equal(w.scaled, []string{"4→5"}) || w.logged("reading signals works again") != 1 {
			t.Errorf("scaled %v, log:\n%s", w.scaled, w.log.String())
		}
		w.wantMetric(t, "headroom_scaler_signal_up", "backlog", 1)
	})
}

func TestKubernetesGoneIsSaidOnceAndSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.signals, w.targetErr = busy(36), errors.New("no route to host") })
		w.pass(time.Minute)
		if w.logged("no route to host") != 1 || w.loop.Ready() || !w.loop.Alive(time.Now()) {
			t.Fatalf("ready %t, alive %t, log:\n%s", w.loop.Ready(), w.loop.Alive(time.Now()), w.log.String())
		}
		if v, ok := w.metric(t, "headroom_scaler_desired_replicas", ""); ok {
			t.Errorf("%g replicas desired before anything was decided", v)
		}
		w.wantMetric(t, "headroom_scaler_errors_total", "kubernetes", 31)
		w.targetErr = nil
		w.pass(2 * time.Second)
		if !slices.Equal(w.scaled, []string{"1→5"}) || w.logged("reading the target works again") != 1 || !w.loop.Ready() {
			t.Errorf("scaled %v, log:\n%s", w.scaled, w.log.String())
		}
	})
}

func TestARefusedOrConflictingWriteIsTriedAgainWithTheNextTick(t *testing.T) {
	for name, refusal := range map[string]error{
		"changed meanwhile": fmt.Errorf("scaling: %w", ErrChanged),
		"forbidden":         errors.New("forbidden"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := begin(t, func(w *world) { w.signals, w.scaleErr = busy(36), refusal })
				if len(w.scaled) != 0 || w.logged(refusal.Error()) != 1 {
					t.Fatalf("scaled %v, log:\n%s", w.scaled, w.log.String())
				}
				w.wantMetric(t, "headroom_scaler_scalings_total", "out", 0)
				w.wantMetric(t, "headroom_scaler_errors_total", "kubernetes", 1)
				w.scaleErr = nil
				w.replicas.Spec = 2 // what somebody else did meanwhile
				w.pass(2 * time.Second)
				if !slices.Equal(w.scaled, []string{"2→5"}) {
					t.Errorf("scaled %v, want 2→5", w.scaled)
				}
			})
		})
	}
}

func TestAWriteThatIsRefusedForGoodIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.signals, w.scaleErr = busy(36), errors.New("forbidden") })
		w.pass(19 * time.Second)
		if w.logged("forbidden") != 1 || w.logged("works again") != 0 {
			t.Errorf("want it said once:\n%s", w.log.String())
		}
		w.wantMetric(t, "headroom_scaler_errors_total", "kubernetes", 10)
		w.scaleErr = nil
		w.pass(2 * time.Second)
		if w.logged("scaling the target works again") != 1 {
			t.Errorf("want its end said:\n%s", w.log.String())
		}
	})
}

func TestTheSameDecisionIsLoggedEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(119 * time.Second)
		if n := w.logged("msg=decision"); n != 4 {
			t.Errorf("%d lines in two minutes, want 4 (at 0, 30, 60 and 90 s)", n)
		}
		w.signals.Backlog = policy.Signal{}
		w.pass(2 * time.Second)
		if n := w.logged("reason=hold_untrusted"); n != 1 {
			t.Errorf("a new reason was logged %d times at once, want 1", n)
		}
	})
}

func TestALoopThatHangsIsNotAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(2 * time.Second)
		w.stop()
		<-w.loopIsEnded
		w.pass(19 * time.Second)
		probe := func(path string) int {
			answer := httptest.NewRecorder()
			w.loop.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
			return answer.Code
		}
		if probe("/healthz") != http.StatusOK || probe("/readyz") != http.StatusOK {
			t.Error("19 s after the last turn of a loop of 2 s: want still alive and ready")
		}
		w.pass(2 * time.Second)
		if probe("/healthz") != http.StatusServiceUnavailable {
			t.Error("21 s after the last turn: want not alive")
		}
	})
}

func TestMetricsAreTheContracts(t *testing.T) {
	text, err := os.ReadFile("../../../contract/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Scaler struct {
			Metrics []struct {
				Name, Type string
				Labels     []string
			}
		}
	}
	if err := json.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.Scaler.Metrics) == 0 {
		t.Fatal("the contract lists no metrics")
	}
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		answer := httptest.NewRecorder()
		w.loop.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		exported, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		families, err := prometheus.Gatherers{w.metrics.Registry}.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range contract.Scaler.Metrics {
			if !strings.Contains(string(exported), fmt.Sprintf("# TYPE %s %s\n", m.Name, m.Type)) {
				t.Errorf("%s, a %s, is not exported", m.Name, m.Type)
			}
			for _, f := range families {
				if f.GetName() != m.Name {
					continue
				}
				for _, series := range f.GetMetric() {
					var labels []string
					for _, l := range series.GetLabel() {
						labels = append(labels, l.GetName())
					}
					if !slices.Equal(labels, m.Labels) {
						t.Errorf("%s has the labels %v, want %v", m.Name, labels, m.Labels)
					}
				}
			}
		}
	})
}
