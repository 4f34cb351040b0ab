package dispatchmetrics

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"headroom.dev/apps/internal/dispatch"
)

type stubFleet struct{}

func (stubFleet) Count() map[dispatch.State]int {
	return map[dispatch.State]int{dispatch.Ready: 3, dispatch.Starting: 1}
}
func (stubFleet) InFlight() int { return 2 }
func (stubFleet) Replicas() []dispatch.Replica {
	return []dispatch.Replica{
		{URL: "http://a", InFlight: 2, Concurrency: dispatch.Eased(), Latency: dispatch.Estimate{Mean: 25 * time.Millisecond}},
		{URL: "http://b", AvoidUntil: time.Now().Add(time.Hour)},
	}
}

func fresh() QueueState {
	return QueueState{Queued: 7, OldestAge: 1500 * time.Millisecond, SeenAt: time.Now()}
}

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

func TestMetricsKeepTheContract(t *testing.T) {
	text, err := os.ReadFile("../../../contract/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Dispatcher struct {
			Metrics []struct {
				Name, Type string
				Labels     []string
				Buckets    []float64
			}
		}
	}
	if err := json.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.Dispatcher.Metrics) == 0 {
		t.Fatal("the contract names no metric of the dispatcher")
	}
	exported := gather(t, New(stubFleet{}, fresh))
	known := map[string]bool{}
	for _, want := range contract.Dispatcher.Metrics {
		known[want.Name] = true
		got := exported[want.Name]
		if got == nil {
			t.Errorf("%s is not exported before the first request", want.Name)
			continue
		}
		if kind := strings.ToLower(got.GetType().String()); kind != want.Type {
			t.Errorf("%s is a %s, want a %s", want.Name, kind, want.Type)
		}
		for _, m := range got.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
			if !slices.Equal(labels, want.Labels) {
				t.Errorf("%s has labels %v, want %v", want.Name, labels, want.Labels)
			}
			if want.Buckets == nil {
				continue
			}
			var bounds []float64
			for _, b := range m.GetHistogram().GetBucket() {
				bounds = append(bounds, b.GetUpperBound())
			}
			if !slices.Equal(bounds, want.Buckets) {
				t.Errorf("%s has buckets up to %v, want %v", want.Name, bounds, want.Buckets)
			}
		}
	}
	for name := range exported {
		if strings.HasPrefix(name, "dispatcher_") && !known[name] {
			t.Errorf("%s is exported and not in the contract", name)
		}
	}
}

func TestEveryLabelValueIsThereFromTheStart(t *testing.T) {
	exported := gather(t, New(stubFleet{}, fresh))
	for name, want := range map[string][]string{
		"dispatcher_requests_dropped_total":   {"deadline", "hopeless", "no_queue", "overload", "predicted", "rate_limit", "shutdown"},
		"dispatcher_retries_total":            {"broken", "busy", "erred", "slow", "unreachable"},
		"dispatcher_wake_calls_total":         {"failed", "ok"},
		"dispatcher_request_duration_seconds": {"answered", "client_error", "dropped", "failed", "refused"},
		"dispatcher_replicas":                 {"ready", "starting", "terminating"},
	} {
		var got []string
		for _, m := range exported[name].GetMetric() {
			got = append(got, m.GetLabel()[0].GetValue())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	if got := exported["dispatcher_queue_oldest_age_seconds"].GetMetric()[0].GetGauge().GetValue(); got != 1.5 {
		t.Errorf("oldest age %v, want 1.5", got)
	}
}

func TestEachReplicaIsShown(t *testing.T) {
	exported := gather(t, New(stubFleet{}, fresh))
	for name, want := range map[string]map[string]float64{
		"dispatcher_replica_in_flight":         {"http://a": 2, "http://b": 0},
		"dispatcher_replica_concurrency_limit": {"http://a": 1, "http://b": 0},
		"dispatcher_replica_latency_seconds":   {"http://a": .025, "http://b": 0},
		"dispatcher_replica_avoided":           {"http://a": 0, "http://b": 1},
	} {
		got := map[string]float64{}
		for _, m := range exported[name].GetMetric() {
			got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
}

func TestAnOldNumberIsNoNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := QueueState{}
		m := &Metrics{registry: prometheus.NewRegistry()}
		m.registry.MustRegister(&observed{fleet: stubFleet{}, queue: func() QueueState { return state }})
		there := func() bool { return gather(t, m)["dispatcher_queue_size"] != nil }
		if there() {
			t.Error("there before the queue was ever seen")
		}
		state = fresh()
		time.Sleep(3 * time.Second)
		if !there() {
			t.Error("gone while it was not older than 3 s")
		}
		time.Sleep(time.Nanosecond)
		if there() {
			t.Error("there when it was older than 3 s")
		}
		if gather(t, m)["dispatcher_replicas"] == nil {
			t.Error("the replicas went with it")
		}
	})
}

func TestTracesAreExemplarsForThoseWhoAskForOpenMetrics(t *testing.T) {
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	m := New(stubFleet{}, fresh)
	m.Replied(Answered, 42*time.Millisecond, traceID)
	m.Replied(Failed, time.Second, "")
	for name, test := range map[string]struct {
		accept    string
		exemplars int
	}{
		"whoever says nothing":        {"", 0},
		"whoever asks for plain text": {"text/plain;version=0.0.4", 0},
		"Prometheus":                  {"application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.Header.Set("Accept", test.accept)
			w := httptest.NewRecorder()
			m.Handler().ServeHTTP(w, r)
			body := w.Body.String()
			if n := strings.Count(body, "trace_id"); n != test.exemplars {
				t.Errorf("%d exemplars, want %d", n, test.exemplars)
			}
			if want := `dispatcher_request_duration_seconds_bucket{outcome="answered",le="0.05"} 1 # {trace_id="` + traceID + `"} 0.042`; test.exemplars > 0 && !strings.Contains(body, want) {
				t.Errorf("no line begins with %s", want)
			}
			for _, o := range []Outcome{Answered, Failed} {
				if want := `dispatcher_request_duration_seconds_count{outcome="` + string(o) + `"} 1`; !strings.Contains(body, want+"\n") {
					t.Errorf("no line %s", want)
				}
			}
		})
	}
}

func TestHandlerAnswersScrapes(t *testing.T) {
	m := New(stubFleet{}, fresh)
	m.Arrived()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "dispatcher_requests_total 1\n") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
