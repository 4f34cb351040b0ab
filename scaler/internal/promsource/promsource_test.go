package promsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headroom.dev/scaler/internal/policy"
	"headroom.dev/scaler/internal/promtest"
)

// between says what is wrong with a signal that should be OK and in a range.
func between(s policy.Signal, least, most float64) string {
	if s.State != policy.OK || s.Value < least || s.Value > most {
		return fmt.Sprintf("%g (%s), want %g to %g", s.Value, s.State, least, most)
	}
	return ""
}

// One real Prometheus, and a day in the life of what it scrapes.
func TestReadFromARealPrometheus(t *testing.T) {
	door, old, young := promtest.NewExporter(t), promtest.NewExporter(t), promtest.NewExporter(t)
	traffic := func(rate float64) {
		door.Counter("dispatcher_requests_total", rate, nil)
		old.Counter("inference_requests_total", rate, prometheus.Labels{"outcome": "answered"})
		old.Counter("process_cpu_seconds_total", rate*0.015, nil)
		old.Histogram("inference_latency_seconds", rate, 0.04)
	}
	door.Gauge("dispatcher_queue_size", 0)
	door.Gauge("dispatcher_queue_oldest_age_seconds", 0)
	door.Gauge("dispatcher_in_flight", 2)
	for _, server := range []*promtest.Exporter{old, young} {
		server.Stamp()
		server.Gauge("inference_slots", 1)
		server.Gauge("modelserver_cpu_limit_cores", 0.15)
		server.Counter("inference_requests_total", 0, prometheus.Labels{"outcome": "refused"})
	}
	old.Gauge("modelserver_ready", 1)
	traffic(0)
	// The young replica loads its model: all CPU, and next to nothing answered.
	young.Gauge("modelserver_ready", 0)
	young.Counter("process_cpu_seconds_total", 0.15, nil)
	young.Counter("inference_requests_total", 0.5, prometheus.Labels{"outcome": "answered"})

	server := promtest.Start(t, map[string][]string{dispatcher: {door.Address}, modelServer: {old.Address, young.Address}})
	source, err := New(Options{URL: server.URL, Timeout: time.Second, Long: 8 * time.Second, StaleAfter: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	cfg := policy.Config{
		Min: 1, Max: 10, SLO: 500 * time.Millisecond, Quantile: 0.99, Utilization: 0.8,
		Stabilization: time.Minute, Step: 1, Interval: 10 * time.Second, Tick: 2 * time.Second,
	}
	var state policy.State
	// until reads, and decides about one replica, until both are as told.
	until := func(t *testing.T, check func(policy.Signals, error, policy.Decision) string) {
		t.Helper()
		promtest.Eventually(t, 25*time.Second, func() error {
			signals, err := source.Read(context.Background())
			var d policy.Decision
			state, d = policy.Decide(cfg, state, policy.Snapshot{Signals: signals, Spec: 1, Ready: 1}, time.Now())
			if problem := check(signals, err, d); problem != "" {
				return errors.Join(fmt.Errorf("%s\nread: %+v\ndecided: %d (%s: %s)", problem, signals, d.Replicas, d.Reason, d.Sentence), err)
			}
			return nil
		})
	}

	t.Run("a service that nobody uses is idle, not broken", func(t *testing.T) {
		until(t, func(s policy.Signals, err error, d policy.Decision) string {
			switch {
			case err != nil || d.Reason != policy.Idle || d.Replicas != 1:
				return "not idle"
			case s.ServiceMean.State != policy.Invalid || s.ServiceP99.State != policy.Invalid || s.CPUPerRequest.State != policy.Missing:
				return "0/0 should be NaN"
			}
			return between(s.ArrivalLong, 0, 0) + between(s.Slots, 1, 1) + between(s.CPULimit, 0.15, 0.15)
		})
	})

	t.Run("under load every signal has its value, whatever a young replica burns", func(t *testing.T) {
		traffic(36)
		door.Gauge("dispatcher_queue_size", 3)
		door.Gauge("dispatcher_queue_oldest_age_seconds", 0.07)
		until(t, func(s policy.Signals, err error, d policy.Decision) string {
			// The whole long window has to lie in the load. A p99 in the bucket from
			// 25 to 50 ms is interpolated to 49.75 ms. 36/s of 15 ms of CPU at 0.15 cores
			// are 3.6 erlangs of 100 ms, and the budget is 400 ms: 5 replicas.
			problem := between(s.ArrivalShort, 35, 37) + between(s.ArrivalLong, 35, 37) +
				between(s.Backlog, 3, 3) + between(s.OldestAge, 0.07, 0.07) + between(s.InFlight, 2, 2) +
				between(s.ServiceMean, 0.0399, 0.0401) + between(s.ServiceP99, 0.0497, 0.0498) +
				between(s.CPUPerRequest, 0.0145, 0.0155)
			if problem == "" && (err != nil || d.Replicas != 5 || d.Reason != policy.Demand) {
				problem = "want 5 replicas for demand"
			}
			return problem
		})
	})

	t.Run("NaN is invalid", func(t *testing.T) {
		door.Gauge("dispatcher_queue_size", math.NaN())
		until(t, func(s policy.Signals, _ error, _ policy.Decision) string {
			if s.Backlog.State != policy.Invalid {
				return "the backlog should be invalid"
			}
			return ""
		})
		door.Gauge("dispatcher_queue_size", 0)
	})

	t.Run("a target that can't be scraped has missing signals", func(t *testing.T) {
		door.Down(true)
		until(t, func(s policy.Signals, err error, d policy.Decision) string {
			if err != nil || s.Backlog.State != policy.Missing || s.InFlight.State != policy.Missing || s.Slots.State != policy.OK || len(d.Terms.Untrusted) == 0 {
				return "the dispatcher's signals should be missing, the model server's not"
			}
			return ""
		})
		door.Down(false)
	})

	t.Run("samples that don't get newer are stale", func(t *testing.T) {
		old.Freeze()
		young.Freeze()
		until(t, func(s policy.Signals, err error, _ policy.Decision) string {
			if err != nil || s.Slots.State != policy.Stale || s.CPULimit.State != policy.Stale || s.Backlog.State != policy.OK {
				return "the model server's signals should be stale, the dispatcher's not"
			}
			return ""
		})
		old.Thaw()
		young.Thaw()
	})

	t.Run("a Prometheus that hangs costs one timeout and leaves nothing to rely on", func(t *testing.T) {
		server.Freeze(t)
		defer server.Thaw(t)
		began := time.Now()
		signals, err := source.Read(context.Background())
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %s, want about the timeout of 1 s", took)
		}
		if err == nil || !strings.Contains(err.Error(), "12 of 12 queries failed") || !strings.Contains(err.Error(), server.URL) {
			t.Errorf("error %v, want one that names the server", err)
		}
		if signals != (policy.Signals{}) {
			t.Errorf("signals %+v, want all missing", signals)
		}
	})

	t.Run("and is read again once it answers", func(t *testing.T) {
		until(t, func(s policy.Signals, err error, _ policy.Decision) string {
			if err != nil {
				return "still failing"
			}
			return between(s.ArrivalShort, 35, 37) + between(s.Slots, 1, 1)
		})
	})
}

func TestAnswersThatAreNotOneNumber(t *testing.T) {
	for name, answer := range map[string]string{
		"has 2 values":           `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]}}`,
		"is a scalar":            `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`,
		"request body too large": `{"status":"` + strings.Repeat("x", maxAnswer) + `"}`,
		"bad_response":           `<html>`,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(answer))
			}))
			defer server.Close()
			source, err := New(Options{URL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			signals, err := source.Read(context.Background())
			if err == nil || !strings.Contains(err.Error(), name) || signals != (policy.Signals{}) {
				t.Errorf("%v, %+v; want an error with %q and nothing read", err, signals, name)
			}
		})
	}
}

func TestOneFailedQueryLeavesTheOthersGood(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.FormValue("query"), "max(dispatcher_queue_size)") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"status":"error","errorType":"execution","error":"too many samples"}`))
			return
		}
		_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}`))
	}))
	defer server.Close()
	source, err := New(Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	signals, err := source.Read(context.Background())
	if err == nil || !strings.Contains(err.Error(), "1 of 12 queries failed (backlog)") || !strings.Contains(err.Error(), "too many samples") {
		t.Errorf("error %v, want the failed query named", err)
	}
	if signals.Backlog.State != policy.Missing || signals.InFlight != policy.Value(1) {
		t.Errorf("%+v, want only the backlog missing", signals)
	}
}

// Every metric that is asked for is one that the contract promises.
func TestQueriesUseTheContractsMetrics(t *testing.T) {
	text, err := os.ReadFile("../../../contract/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract map[string]struct {
		Job     string
		Metrics []struct {
			Name, Type string
			Labels     []string
		}
	}
	if err := json.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	jobs := map[string]string{} // series → job
	for _, part := range contract {
		for _, m := range part.Metrics {
			if m.Type != "histogram" {
				jobs[m.Name] = part.Job
				continue
			}
			for _, suffix := range []string{"_sum", "_count", "_bucket"} {
				jobs[m.Name+suffix] = part.Job
			}
		}
	}
	signals, ages := queries(5*time.Second, 30*time.Second)
	for job, query := range ages {
		signals = append(signals, signal{"age", job, query})
	}
	series := regexp.MustCompile(`(dispatcher|inference|modelserver|process)_[a-z_]+`)
	for _, s := range signals {
		names := series.FindAllString(s.query, -1)
		if len(names) == 0 {
			t.Errorf("%s: no metric in %s", s.name, s.query)
		}
		for _, name := range names {
			if jobs[name] != s.job {
				t.Errorf("%s asks for %s of job %q, the contract has it in job %q", s.name, name, s.job, jobs[name])
			}
		}
	}
	var named policy.Signals
	asked := map[string]bool{}
	for _, s := range signals {
		asked[s.name] = true
	}
	for name := range named.Named() {
		if !asked[name] {
			t.Errorf("nothing asks for %s", name)
		}
	}
}
