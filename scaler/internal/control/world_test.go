package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// world fakes everything around a loop. The test holds its lock all the time but
// while it lets time pass, and each fake while it answers.
type world struct {
	mu      sync.Mutex
	start   time.Time
	leader  atomic.Bool
	log     strings.Builder
	metrics *Metrics
	loop    *Loop
	handler http.Handler

	settings Settings
	stop     context.CancelFunc
	ended    chan struct{}

	signals    policy.Signals
	ages       map[string]float64
	signalsErr error
	readTakes  time.Duration
	reads      []time.Duration // since start
	reading    int
	overlapped bool

	replicas    Replicas
	targetErr   error
	targetTakes time.Duration
	scaleErr    error // of a write that does nothing
	lostErr     error // of a write that does what it should
	scaled      []string
	worked      map[string]float64
	announced   []string

	resizeTakes time.Duration
	resizeErr   error
	resized     []float64

	store     *store
	storeless bool
}

// store is what two worlds may share.
type store struct {
	text         []byte
	loads, saves int
	loadErr      error
	saveTakes    time.Duration
}

func (w *world) Read(ctx context.Context) (Measured, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads = append(w.reads, time.Since(w.start))
	w.reading++
	defer func() { w.reading-- }()
	w.overlapped = w.overlapped || w.reading > 1
	w.take(ctx, w.readTakes)
	if ctx.Err() != nil {
		return Measured{}, ctx.Err()
	}
	return Measured{Signals: w.signals, Ages: w.ages, Work: map[string]float64{"10.0.0.1": 2}}, w.signalsErr
}

// take lets a call take its time, or until its context is done.
func (w *world) take(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	answer := time.After(d)
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-ctx.Done():
	case <-answer:
	}
}

type target struct{ *world }

func (t target) String() string { return "deployment headroom/model-server" }

func (t target) Read(ctx context.Context) (Replicas, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take(ctx, t.targetTakes)
	switch {
	case ctx.Err() != nil:
		return Replicas{}, ctx.Err()
	case t.targetErr != nil:
		return Replicas{}, t.targetErr
	}
	seen := t.replicas
	seen.Annotations = maps.Clone(seen.Annotations)
	t.replicas.BecameReady = nil
	return seen, nil
}

func (t target) Scale(_ context.Context, seen Replicas, to int, why string, work map[string]float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.scaleErr != nil {
		return t.scaleErr
	}
	t.scaled = append(t.scaled, fmt.Sprintf("%d→%d", seen.Spec, to))
	if why == "" {
		return errors.New("no reason was given")
	}
	t.worked = work
	t.replicas.Spec, t.replicas.Ready = to, to
	return t.lostErr
}

func (t target) Resize(ctx context.Context, factor float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	raised := 0
	if factor > 1 {
		raised = t.replicas.Ready
	}
	if t.replicas.Resizes.Raised == raised {
		return nil // nothing to do
	}
	t.resized = append(t.resized, factor)
	t.take(ctx, t.resizeTakes)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if t.resizeErr == nil {
		t.replicas.Resizes.Raised = raised
	}
	return t.resizeErr
}

func (t target) Announce(reason, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.announced = append(t.announced, reason+": "+message)
}

func (s *store) of(w *world) Store { return worldStore{w, s} }

type worldStore struct {
	*world
	s *store
}

func (w worldStore) Load(context.Context) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.s.loads++
	return w.s.text, w.s.loadErr
}

func (w worldStore) Save(ctx context.Context, text []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.take(ctx, w.s.saveTakes)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.s.saves++
	w.s.text = slices.Clone(text)
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
		LatencyQuantile: policy.Value(0.2),
	}
}

func begin(t *testing.T, change func(*world)) *world {
	w := &world{
		start: time.Now(), signals: busy(0), ages: map[string]float64{"backlog": 0.25}, replicas: Replicas{Spec: 1, Ready: 1}, store: &store{}, ended: make(chan struct{}),
		settings: Settings{
			Mode: Active,
			Policy: policy.Config{
				Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8, LeadTime: 5 * time.Second,
				Tick: 2 * time.Second, ScrapeInterval: time.Second,
				ScaleIn: policy.ScaleIn{Rate: policy.Rate{Step: 1, Interval: 10 * time.Second}, Stabilization: time.Minute},
			},
		},
	}
	w.leader.Store(true)
	w.settings.Signals = w
	if change != nil {
		change(w)
	}
	w.metrics = NewMetrics(w.leader.Load, "test", "abc")
	options := Options{
		Settings: w.settings, Target: target{w}, Leads: w.leader.Load, Metrics: w.metrics,
		Log: slog.New(slog.NewTextHandler(w, nil)), Identity: "scaler-1", Version: "test",
	}
	if !w.storeless {
		options.Store = w.store.of(w)
	}
	w.loop = New(options)
	w.handler = w.loop.Handler()
	var ctx context.Context
	ctx, w.stop = context.WithCancel(t.Context())
	go func() { w.loop.Run(ctx); close(w.ended) }()
	t.Cleanup(func() { w.stop(); w.mu.Unlock(); <-w.ended })
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

// end stops the loop and waits for its end.
func (w *world) end() {
	w.stop()
	w.mu.Unlock()
	defer w.mu.Lock()
	<-w.ended
}

func (w *world) logged(text string) int { return strings.Count(w.log.String(), text) }

func (w *world) wantScaled(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.scaled, want) {
		t.Fatalf("scaled %v, want %v; log:\n%s", w.scaled, want, w.log.String())
	}
}

// metric is the value of a series; ok is false when there is none.
func (w *world) metric(t *testing.T, name string, labels ...string) (value float64, ok bool) {
	t.Helper()
	families, err := w.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if slices.Equal(values, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
			}
		}
	}
	return 0, false
}

// wantMetric checks a series, whose labels' values are in the order of their names.
func (w *world) wantMetric(t *testing.T, want float64, name string, labels ...string) {
	t.Helper()
	if got, ok := w.metric(t, "headroom_scaler_"+name, labels...); !ok || got != want {
		t.Errorf("%s%v = %g (%t), want %g", name, labels, got, ok, want)
	}
}

// request asks the loop's server.
func (w *world) request(method, path, accept string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept", accept)
	w.mu.Unlock()
	defer w.mu.Lock()
	w.handler.ServeHTTP(answer, r)
	return answer
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	return w.request(http.MethodGet, path, "application/json")
}
