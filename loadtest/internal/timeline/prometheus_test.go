package timeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/promtest"
	"headroom.dev/loadtest/internal/timeline"
)

// exporter is a pod whose metrics the test sets, and that knows how often it was scraped.
type exporter struct {
	*httptest.Server
	mu      sync.Mutex
	text    string // empty: it answers 500
	scraped int    // since the text was set
	changed *sync.Cond
}

func newExporter(t *testing.T, text string) *exporter {
	t.Helper()
	e := &exporter{text: text}
	e.changed = sync.NewCond(&e.mu)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.scraped++
		e.changed.Broadcast()
		if e.text == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprint(w, e.text)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *exporter) set(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text, e.scraped = text, 0
}

// await returns when the present text was scraped so often, and the time then.
func (e *exporter) await(count int) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.scraped < count {
		e.changed.Wait()
	}
	return time.Now()
}

// startPrometheus scrapes the exporters five times a second.
func startPrometheus(t *testing.T, jobs map[string][]*exporter) string {
	t.Helper()
	addresses := map[string][]string{}
	for job, exporters := range jobs {
		for _, e := range exporters {
			addresses[job] = append(addresses[job], e.Listener.Addr().String())
		}
	}
	return promtest.Start(t, 200*time.Millisecond, addresses)
}

func source(t *testing.T, address string) *timeline.Source {
	t.Helper()
	s, err := timeline.NewSource(address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dispatcherMetrics(arrived, queue, ready, fast, all int) string {
	return fmt.Sprintf(`dispatcher_requests_total %d
dispatcher_queue_size %d
dispatcher_queue_oldest_age_seconds 0.25
dispatcher_in_flight 2
dispatcher_replicas{state="ready"} %d
dispatcher_replicas{state="starting"} 1
dispatcher_replicas{state="terminating"} 0
dispatcher_request_duration_seconds_bucket{outcome="answered",le="0.1"} %d
dispatcher_request_duration_seconds_bucket{outcome="answered",le="0.5"} %d
dispatcher_request_duration_seconds_bucket{outcome="answered",le="1"} %d
dispatcher_request_duration_seconds_bucket{outcome="answered",le="+Inf"} %d
dispatcher_request_duration_seconds_sum{outcome="answered"} %v
dispatcher_request_duration_seconds_count{outcome="answered"} %d
dispatcher_request_duration_seconds_bucket{outcome="failed",le="+Inf"} 1000
`, arrived, queue, ready, fast, all, all, all, float64(all)*0.125, all)
}

func TestReadFromARealPrometheus(t *testing.T) {
	// Two dispatchers. The second restarts in the middle of the run, and then both can't be scraped for a while.
	one := newExporter(t, dispatcherMetrics(500, 5, 2, 400, 480))
	two := newExporter(t, dispatcherMetrics(100, 4, 1, 100, 100))
	scaler := newExporter(t, "headroom_scaler_leader 1\nheadroom_scaler_desired_replicas 3\n")
	s := source(t, startPrometheus(t, map[string][]*exporter{"dispatcher": {one, two}, "scaler": {scaler}}))
	if err := s.Check(t.Context(), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	one.await(2)
	two.await(2)

	start := time.Now()
	one.await(18) // three seconds and more of 5 in the queue
	two.set(dispatcherMetrics(20, 4, 1, 20, 20))
	quiet := two.await(2)
	one.set("")
	two.set("")
	one.await(20) // four seconds without data
	two.await(1)
	loud := time.Now()
	one.set(dispatcherMetrics(550, 9, 4, 420, 510))
	two.set(dispatcherMetrics(70, 4, 1, 60, 60))
	one.await(18)
	two.await(2)
	end := time.Now()
	if err := s.AwaitScrape(t.Context(), end, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if now, err := s.Present(t.Context()); err != nil || now.Ready != 4 || now.Queue != 9 || now.Starting != 1 {
		t.Errorf("now: %+v, %v; want 4 ready, 1 starting, 9 in the queue", now, err)
	}

	got, err := s.Read(t.Context(), start, end, end)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	// The baseline is what was there before: 400 fast of 480, and 100 of 100. In the run one rose to 420 of 510,
	// by 20 of 30; two restarted and rose to 60 of 60. Together 80 up to 0.1 s and 10 up to 0.5 s, with 0.125 s each.
	want := timeline.Latency{
		P50: 0.1 * 45 / 80, P90: 0.1 + 0.4*1/10, P99: 0.1 + 0.4*9.1/10, P999: 0.1 + 0.4*9.91/10, Mean: 0.125,
	}
	if got.Latency == nil {
		t.Fatal("no latency over the run")
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"p50", got.Latency.P50, want.P50}, {"p90", got.Latency.P90, want.P90}, {"p99", got.Latency.P99, want.P99},
		{"p99.9", got.Latency.P999, want.P999}, {"mean", got.Latency.Mean, want.Mean},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}

	values := map[string]int{}
	for i := range got.Seconds {
		at := got.Start.Add(time.Duration(i) * time.Second)
		queue, ready := got.Signal(timeline.QueueSize).At(i), got.Signal(timeline.Ready).At(i)
		// At the edges either value is right: the scrape may be 200 ms old.
		const edge = 450 * time.Millisecond
		var wantQueue, wantReady float64
		switch {
		case at.After(start) && at.Before(quiet.Add(-edge)):
			wantQueue, wantReady = 5, 2
		case at.After(quiet.Add(edge)) && at.Before(loud):
			wantQueue, wantReady = math.NaN(), math.NaN()
		case at.After(loud.Add(edge)):
			wantQueue, wantReady = 9, 4
		default:
			continue
		}
		if fmt.Sprint(queue, ready) != fmt.Sprint(wantQueue, wantReady) {
			t.Errorf("%v after the start: queue %v and %v ready, want %v and %v", at.Sub(start), queue, ready, wantQueue, wantReady)
		}
		values[fmt.Sprint(wantQueue)]++
		if desired := got.Signal(timeline.Desired).At(i); desired != 3 {
			t.Errorf("%v after the start: desired %v, want 3", at.Sub(start), desired)
		}
		if cpu := got.Signal(timeline.CPU).At(i); !math.IsNaN(cpu) {
			t.Errorf("%v after the start: CPU %v, want unknown: no model server was scraped", at.Sub(start), cpu)
		}
	}
	for _, value := range []string{"5", "NaN", "9"} {
		if values[value] < 2 {
			t.Errorf("the value %s was seen in %d seconds, want 2 and more", value, values[value])
		}
	}
	positive := 0
	for _, rate := range got.Signal(timeline.ArrivalRate) {
		if rate > 0 {
			positive++
		}
		if rate < 0 {
			t.Errorf("arrival rate %v", rate)
		}
	}
	if positive == 0 {
		t.Error("no arrivals were seen")
	}
}

func replicaMetrics(ready, starting, terminating int) string {
	return fmt.Sprintf(`dispatcher_requests_total 1
dispatcher_replicas{state="ready"} %d
dispatcher_replicas{state="starting"} %d
dispatcher_replicas{state="terminating"} %d
`, ready, starting, terminating)
}

func scalerMetrics(leader, desired, demand, forecast, scaleIn, steady int) string {
	return fmt.Sprintf(`headroom_scaler_leader %d
headroom_scaler_desired_replicas %d
headroom_scaler_decisions_total{reason="demand"} %d
headroom_scaler_decisions_total{reason="forecast"} %d
headroom_scaler_decisions_total{reason="scale_in"} %d
headroom_scaler_decisions_total{reason="steady"} %d
`, leader, desired, demand, forecast, scaleIn, steady)
}

func modelServerMetrics(cpuSeconds, cpuLimit float64, memory int) string {
	return fmt.Sprintf(`process_cpu_seconds_total %v
process_resident_memory_bytes %d
modelserver_cpu_limit_cores %v
modelserver_model_info{model="vehicles",version="1",max_batch="4"} 1
`, cpuSeconds, memory, cpuLimit)
}

func TestReplicasScalersAndModelServers(t *testing.T) {
	// The second dispatcher is late to see that a replica is ready, and the
	// second model server is not scraped yet.
	one, two := newExporter(t, replicaMetrics(2, 0, 0)), newExporter(t, replicaMetrics(1, 1, 0))
	first, second := newExporter(t, scalerMetrics(1, 2, 5, 5, 5, 50)), newExporter(t, scalerMetrics(0, 9, 80, 80, 80, 80))
	older, newer := newExporter(t, modelServerMetrics(10, 0.5, 100)), newExporter(t, "")
	all := []*exporter{one, two, first, second, older, newer}
	s := source(t, startPrometheus(t, map[string][]*exporter{
		"dispatcher": {one, two}, "scaler": {first, second}, "model-server": {older, newer},
	}))
	seen := func(scrapes int) time.Time {
		for _, e := range all {
			e.await(scrapes)
		}
		return time.Now()
	}
	phase := func() (began, ended time.Time) { return seen(2), seen(16) }
	seen(3)

	start := time.Now()
	began1, ended1 := phase()
	// Two more are ordered, most often for the forecast.
	one.set(replicaMetrics(2, 2, 0))
	two.set(replicaMetrics(2, 2, 0))
	first.set(scalerMetrics(1, 4, 6, 8, 5, 60))
	second.set(scalerMetrics(0, 9, 80, 80, 80, 80))
	older.set(modelServerMetrics(13, 0.5, 100))
	newer.set(modelServerMetrics(0.75, 0.5, 50))
	began2, ended2 := phase()
	// The Lease passes on, a replica goes, and the older model server has started anew with more CPU.
	one.set(replicaMetrics(3, 0, 1))
	two.set(replicaMetrics(3, 0, 1))
	first.set(scalerMetrics(0, 4, 6, 8, 5, 61))
	second.set(scalerMetrics(1, 3, 80, 80, 81, 80))
	older.set(modelServerMetrics(0.25, 1, 40))
	newer.set(modelServerMetrics(0.75, 0.5, 50))
	began3, ended3 := phase()

	got, err := s.Read(t.Context(), start, ended3, ended3)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		began, ended time.Time
		want         map[timeline.Signal]float64
	}{
		{began1, ended1, map[timeline.Signal]float64{
			// Two exist, not three; the one that is not scraped counts with the usual half a core.
			timeline.Existing: 2, timeline.Ready: 2, timeline.Starting: 0, timeline.Terminating: 0, timeline.Desired: 2,
			timeline.CPULimit: 0.5 + 0.5, timeline.Memory: 100,
		}},
		{began2, ended2, map[timeline.Signal]float64{
			timeline.Existing: 4, timeline.Ready: 2, timeline.Starting: 2, timeline.Terminating: 0, timeline.Desired: 4,
			timeline.CPULimit: 2*0.5 + 2*0.5, timeline.Memory: 150,
		}},
		{began3, ended3, map[timeline.Signal]float64{
			timeline.Existing: 4, timeline.Ready: 3, timeline.Starting: 0, timeline.Terminating: 1, timeline.Desired: 3,
			timeline.CPULimit: 1 + 0.5 + 2*0.5, timeline.Memory: 90,
		}},
	} {
		checked := 0
		for i := range got.Seconds {
			at := got.Start.Add(time.Duration(i) * time.Second)
			if at.Before(p.began) || at.After(p.ended) {
				continue
			}
			checked++
			for signal, want := range p.want {
				if value := got.Signal(signal).At(i); value != want {
					t.Errorf("%v after the start: %s %v, want %v", at.Sub(start), signal, value, want)
				}
			}
		}
		if checked < 2 {
			t.Errorf("%d seconds of a phase were checked, want 2 and more", checked)
		}
	}

	if len(got.Decisions) != 2 {
		t.Fatalf("decisions %+v, want two", got.Decisions)
	}
	for i, want := range []struct {
		timeline.Decision
		after, before time.Time
	}{
		{timeline.Decision{From: 2, To: 4, Reason: "forecast"}, ended1, began2},
		{timeline.Decision{From: 4, To: 3, Reason: "scale_in"}, ended2, began3},
	} {
		d := got.Decisions[i]
		at := got.Start.Add(time.Duration(d.AtS * float64(time.Second)))
		if at.Before(want.after) || at.After(want.before.Add(time.Second)) {
			t.Errorf("decision %d came %v after the start, want %v to %v", i, at.Sub(start), want.after.Sub(start), want.before.Sub(start))
		}
		if d.AtS = 0; d != want.Decision {
			t.Errorf("decision %d is %+v, want %+v", i, d, want.Decision)
		}
	}

	m := got.ModelServers
	// The older used 3 s, and a quarter since it started anew; the newer all that it ever used.
	if m.CPUSeconds == nil || *m.CPUSeconds != 3+0.25+0.75 {
		t.Errorf("CPU seconds %v, want 4", *m.CPUSeconds)
	}
	if m.CPULimitCores == nil || *m.CPULimitCores != 0.5 || m.Model != "vehicles" || m.MaxBatch == nil || *m.MaxBatch != 4 {
		t.Errorf("model servers %+v, want half a core, the model vehicles and a batch of 4", m)
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		address := "http://" + promtest.FreeAddress(t)
		began := time.Now()
		err := source(t, address).Check(t.Context(), 20*time.Second)
		if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v to say so", took)
		}
	})
	t.Run("the dispatcher is not scraped", func(t *testing.T) {
		address := startPrometheus(t, map[string][]*exporter{"other": {newExporter(t, "up_and_about 1\n")}})
		err := source(t, address).Check(t.Context(), time.Second)
		if err == nil || !strings.Contains(err.Error(), "has no dispatcher_requests_total") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it is no Prometheus", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		if err := source(t, server.URL).Check(t.Context(), 20*time.Second); err == nil || !strings.Contains(err.Error(), server.URL) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it is no URL", func(t *testing.T) {
		for _, address := range []string{"127.0.0.1:9090", "", "ftp://x"} {
			if _, err := timeline.NewSource(address); err == nil || !strings.Contains(err.Error(), "allowed are base URLs") {
				t.Errorf("%q: got %v", address, err)
			}
		}
	})
	t.Run("it is interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		server := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		if err := source(t, server.URL).Check(ctx, 20*time.Second); err == nil {
			t.Error("no error")
		}
	})
}

// Every metric that is asked for is one of the contract's, with the labels that it has there.
func TestQueriesAreTheContracts(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "..", "..", "contract", "metrics.json"))
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
	if err := json.Unmarshal(file, &contract); err != nil {
		t.Fatal(err)
	}
	known, jobs := map[string]bool{}, map[string]bool{}
	for _, component := range contract {
		jobs[component.Job] = true
		for _, metric := range component.Metrics {
			known[metric.Name] = true
			if metric.Type == "histogram" {
				known[metric.Name+"_bucket"], known[metric.Name+"_sum"], known[metric.Name+"_count"] = true, true, true
			}
		}
	}

	var mu sync.Mutex
	asked := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.FormValue("query")] = true
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
	}))
	t.Cleanup(server.Close)
	now := time.Now()
	nothing, err := source(t, server.URL).Read(t.Context(), now.Add(-time.Minute), now, now)
	if err != nil {
		t.Fatal(err)
	}
	for signal, values := range nothing.Signals {
		if !math.IsNaN(values.At(30)) || len(values) != nothing.Seconds {
			t.Errorf("%s is %v although Prometheus has no data", signal, values)
		}
	}
	if nothing.Decisions != nil || nothing.Latency != nil || nothing.ModelServers != (timeline.ModelServers{}) {
		t.Errorf("Prometheus has no data, and there are %+v, %+v and %+v", nothing.Decisions, nothing.Latency, nothing.ModelServers)
	}
	names := regexp.MustCompile(`(dispatcher|headroom|process|inference|modelserver)_[a-z_0-9]+`)
	job := regexp.MustCompile(`job="([^"]*)"`)
	for query := range asked {
		query = strings.ReplaceAll(query, "(bucket|sum|count)", "bucket")
		found := names.FindAllString(query, -1)
		if len(found) == 0 {
			t.Errorf("%s: no metric in it", query)
		}
		for _, name := range found {
			if !known[name] {
				t.Errorf("%s: %s is not in contract/metrics.json", query, name)
			}
		}
		if m := job.FindStringSubmatch(query); m != nil && !jobs[m[1]] {
			t.Errorf("%s: job %s is not in contract/metrics.json", query, m[1])
		}
	}
	if len(asked) != 18 {
		t.Errorf("%d different queries, want 18", len(asked))
	}
}
