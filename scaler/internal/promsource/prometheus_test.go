package promsource

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
)

// One real Prometheus, and a day in the life of what it scrapes.
func TestReadFromARealPrometheus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, 0)

	t.Run("a service that nobody uses has zeros, and ratios of nothing are no numbers", func(t *testing.T) {
		until(t, w.source, func(m control.Measured, err error) string {
			s := m.Signals
			if err != nil {
				return "an error"
			}
			return are(s, policy.Invalid, "service_mean", "service_p99", "latency_quantile", "lost") + are(s, policy.Missing, "cpu_per_request") +
				between("arrival_long", s.ArrivalLong, 0, 0) + between("backlog", s.Backlog, 0, 0) +
				between("slots", s.Slots, 1, 1) + between("cpu_limit", s.CPULimit, 0.15, 0.15)
		})
	})

	t.Run("under load every signal has its value, whatever a young replica burns", func(t *testing.T) {
		arrives(w.door, 36)
		serves(w.old, 36)
		// The young replica loads its model: all CPU, and next to nothing answered.
		w.young.Gauge("modelserver_ready", 0)
		w.young.Counter("process_cpu_seconds_total", 0.15, nil)
		w.young.Counter("inference_requests_total", 0.5, answered)
		w.door.Gauge("dispatcher_queue_size", 3)
		w.door.Gauge("dispatcher_queue_oldest_age_seconds", 0.07)
		w.door.Gauge("dispatcher_in_flight", 2)
		w.door.GaugeWith("dispatcher_replica_in_flight", 2, prometheus.Labels{"replica": "http://10.0.0.1:8001"})
		w.door.GaugeWith("dispatcher_replica_in_flight", 0, prometheus.Labels{"replica": "http://10.0.0.2:8001"})
		until(t, w.source, func(m control.Measured, err error) string {
			s := m.Signals
			problem := ""
			if err != nil || len(m.Work) != 2 || m.Work["10.0.0.1"] != 2 || m.Work["10.0.0.2"] != 0 {
				problem = "want the work of two replicas; "
			}
			for name := range s.Named() {
				if age, known := m.Ages[name]; !known || age < 0 || age > 3 {
					problem += "an age of " + name + "; "
				}
			}
			// The whole long window has to lie in the load. A quantile is interpolated
			// within its bucket: from 25 to 50 ms, and from 100 to 200.
			return problem + between("arrival_short", s.ArrivalShort, 35, 37) + between("arrival_long", s.ArrivalLong, 35, 37) +
				between("backlog", s.Backlog, 3, 3) + between("oldest_age", s.OldestAge, 0.07, 0.07) + between("in_flight", s.InFlight, 2, 2) +
				between("service_mean", s.ServiceMean, 0.0399, 0.0401) + between("service_p99", s.ServiceP99, 0.0497, 0.0498) +
				between("cpu_per_request", s.CPUPerRequest, 0.0145, 0.0155) + between("latency_quantile", s.LatencyQuantile, 0.198, 0.2) +
				between("lost", s.Lost, 0.0495, 0.0505)
		})
	})

	// A scaler that takes "nothing was measured" for "nothing is there" scales in
	// when its metrics fail.
	t.Run("a metric that isn't there is missing, not zero", func(t *testing.T) {
		w.door.Remove("dispatcher_queue_size", nil)
		until(t, w.source, func(m control.Measured, err error) string {
			if err != nil || m.Signals.Backlog != (policy.Signal{}) {
				return "the backlog should be missing"
			}
			if _, known := m.Ages["backlog"]; known {
				return "what is missing has no age"
			}
			return are(m.Signals, policy.OK, "oldest_age", "in_flight", "arrival_short")
		})
	})

	t.Run("NaN is invalid", func(t *testing.T) {
		w.door.Gauge("dispatcher_queue_size", math.NaN())
		until(t, w.source, func(m control.Measured, err error) string {
			if err != nil || !math.IsNaN(m.Signals.Backlog.Value) {
				return "the backlog should be NaN"
			}
			return are(m.Signals, policy.Invalid, "backlog")
		})
		w.door.Gauge("dispatcher_queue_size", 0)
		until(t, w.source, func(m control.Measured, _ error) string { return are(m.Signals, policy.OK, "backlog") })
	})

	t.Run("a query that Prometheus can't answer is missing, and keeps no other from its answer", func(t *testing.T) {
		o := options(w.server.URL)
		o.Signals.CPULimit = `modelserver_cpu_limit_cores / on() inference_slots` // many to many
		o.Signals.Slots = `min(`
		source := open(t, o)
		for range 2 { // the second time without trying the common query
			m, err := source.Read(context.Background())
			if err == nil || !strings.Contains(err.Error(), "2 of 19 queries failed (cpu_limit, slots)") || !strings.Contains(err.Error(), "many-to-many") {
				t.Errorf("error %v, want both queries and the reason", err)
			}
			if wrong := are(m.Signals, policy.Missing, "cpu_limit", "slots") + are(m.Signals, policy.OK, "arrival_long", "backlog", "service_mean"); wrong != "" {
				t.Errorf("%s%+v", wrong, m)
			}
		}
	})

	t.Run("a query with many answers is missing, and one with a comment is not", func(t *testing.T) {
		o := options(w.server.URL)
		o.Signals.Slots = `inference_slots`
		o.Signals.Backlog = `vector(7) # a fixed number`
		m, err := open(t, o).Read(context.Background())
		if err == nil || !strings.Contains(err.Error(), "1 of 19 queries failed (slots), the first with: the answer has 2 values, not one") {
			t.Errorf("error %v, want the query with two answers", err)
		}
		if m.Signals.Slots != (policy.Signal{}) || m.Signals.Backlog != policy.Value(7) {
			t.Errorf("%+v, want the slots missing and a backlog of 7", m.Signals)
		}
	})

	t.Run("an address where no Prometheus is has nothing", func(t *testing.T) {
		m, err := open(t, options(w.server.URL+"/elsewhere")).Read(context.Background())
		if err == nil || !strings.Contains(err.Error(), "none of 19 queries was answered") || !strings.Contains(err.Error(), "404") {
			t.Errorf("error %v, want a 404", err)
		}
		if m.Signals != (policy.Signals{}) || len(m.Ages) > 0 || len(m.Work) > 0 {
			t.Errorf("%+v, want nothing", m)
		}
	})

	t.Run("a target that can't be scraped has missing signals", func(t *testing.T) {
		w.door.Down(true)
		until(t, w.source, func(m control.Measured, err error) string {
			if err != nil || m.Work != nil {
				return "want neither an error nor work"
			}
			return are(m.Signals, policy.Missing, "arrival_short", "backlog", "oldest_age", "in_flight") + are(m.Signals, policy.OK, "slots", "service_mean")
		})
		w.door.Down(false)
	})

	t.Run("samples that don't get newer are stale", func(t *testing.T) {
		w.old.Freeze()
		w.young.Freeze()
		until(t, w.source, func(m control.Measured, err error) string {
			if err != nil || m.Ages["slots"] <= 3 {
				return "want the slots' age above 3 s"
			}
			return are(m.Signals, policy.Stale, "slots", "cpu_limit") + are(m.Signals, policy.OK, "backlog")
		})
		w.old.Thaw()
		w.young.Thaw()
	})

	t.Run("a Prometheus that hangs costs one timeout and leaves nothing to rely on", func(t *testing.T) {
		w.server.Freeze(t)
		defer w.server.Thaw(t)
		began := time.Now()
		m, err := w.source.Read(context.Background())
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("took %s, want about the timeout of 1 s", took)
		}
		if err == nil || !strings.Contains(err.Error(), "none of 19 queries was answered: no answer within 1s") || !strings.Contains(err.Error(), w.server.URL) {
			t.Errorf("error %v, want one that names the server and the time", err)
		}
		if m.Signals != (policy.Signals{}) || len(m.Ages) > 0 || len(m.Work) > 0 {
			t.Errorf("%+v, want nothing", m)
		}
	})

	t.Run("and is read again once it answers", func(t *testing.T) {
		until(t, w.source, func(m control.Measured, err error) string {
			if err != nil {
				return "still failing"
			}
			return between("arrival_short", m.Signals.ArrivalShort, 33, 39) + between("slots", m.Signals.Slots, 1, 1)
		})
	})
}
