package promsource

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/policy"
)

func TestSwitchedOffSignalsAreNeutral(t *testing.T) {
	fake := newFake(t)
	o := options(fake.URL)
	on := o.Signals
	o.Signals = config.Signals{Arrivals: on.Arrivals, ServiceMean: on.ServiceMean, Freshness: on.Freshness}
	m, err := open(t, o).Read(context.Background())
	zero, one := policy.Value(0), policy.Value(1)
	want := policy.Signals{
		ArrivalShort: one, ArrivalLong: one, ServiceMean: one, ServiceP99: one, Slots: one,
		Backlog: zero, OldestAge: zero, InFlight: zero, CPUPerRequest: zero, CPULimit: zero, LatencyQuantile: zero, Lost: zero,
	}
	if err != nil || m.Signals != want || m.Work != nil {
		t.Errorf("%v, %+v; want %+v", err, m, want)
	}
	if names := slices.Sorted(maps.Keys(m.Ages)); !slices.Equal(names, []string{"arrival_long", "arrival_short", "service_mean"}) {
		t.Errorf("ages of %q", names)
	}
	fake.refuse("inference_latency_seconds_sum")
	if m, _ := open(t, o).Read(context.Background()); m.Signals.ServiceP99 != (policy.Signal{}) {
		t.Errorf("a p99 of %+v, where the mean is missing", m.Signals.ServiceP99)
	}
}

func TestStates(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	const arrivals, short, age = "arrival_short", "restarts of arrivals within 750ms", "age of arrivals"
	for _, tc := range []struct {
		name    string
		answers map[string]float64 // others are 1, or none for restarts
		without string
		want    policy.SignalState
		value   float64
	}{
		{"a number of now is good", nil, "", policy.OK, 1},
		{"as is zero", map[string]float64{arrivals: 0}, "", policy.OK, 0},
		{"and the oldest that is fresh", map[string]float64{age: 3}, "", policy.OK, 1},
		{"and one from the future", map[string]float64{age: -5}, "", policy.OK, 1},
		{"one that is older is stale", map[string]float64{age: 3.001}, "", policy.Stale, 1},
		{"one of unknown age too", nil, age, policy.Stale, 1},
		{"an age that is no number is unknown", map[string]float64{age: nan}, "", policy.Stale, 1},
		{"nothing is missing, whatever the age", nil, arrivals, policy.Missing, 0},
		{"below zero is invalid", map[string]float64{arrivals: -1}, "", policy.Invalid, -1},
		{"so is infinity", map[string]float64{arrivals: inf}, "", policy.Invalid, inf},
		{"what is old and invalid is stale", map[string]float64{arrivals: -1, age: 4}, "", policy.Stale, -1},
		{"a restart in its window resets it", map[string]float64{short: 2}, "", policy.Reset, 1},
		{"one in another window doesn't", map[string]float64{"restarts of arrivals within 7s500ms": 1}, "", policy.OK, 1},
		{"one of what serves doesn't", map[string]float64{"restarts of service within 7s500ms": 1}, "", policy.OK, 1},
		{"what is old and reset is stale", map[string]float64{short: 2, age: 4}, "", policy.Stale, 1},
		{"what is no number and reset is invalid", map[string]float64{short: 2, arrivals: -1}, "", policy.Invalid, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake := newFake(t)
			fake.answers, fake.without = tc.answers, tc.without
			m, err := open(t, options(fake.URL)).Read(context.Background())
			if got := m.Signals.ArrivalShort; err != nil || got.State != tc.want || got.Value != tc.value {
				t.Errorf("%v, %+v; want %g (%s)", err, got, tc.value, tc.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for replica, want := range map[string]string{
		"http://10.0.0.1:8001":                   "10.0.0.1",
		"https://model-server-0.pods:8001/infer": "model-server-0.pods",
		"http://[fd00::1]:8001":                  "fd00::1",
		"10.0.0.1:8001":                          "10.0.0.1",
		"[fd00::1]:8001":                         "fd00::1",
		"model-server-0":                         "model-server-0",
		"10.0.0.1":                               "10.0.0.1",
		"fd00::1":                                "fd00::1",
		"[fd00::1]":                              "fd00::1",
		"http://%zz":                             "",
		"":                                       "",
	} {
		if got := host(replica); got != want {
			t.Errorf("%q is %q, want %q", replica, got, want)
		}
	}
}

func TestWorkByHost(t *testing.T) {
	sample := func(value float64, labels model.Metric) *model.Sample {
		return &model.Sample{Value: model.SampleValue(value), Metric: labels}
	}
	got := workByHost([]*model.Sample{
		sample(2, model.Metric{"replica": "http://10.0.0.1:8001"}),
		sample(1, model.Metric{"replica": "http://10.0.0.1:8002", "instance": "10.9.9.9:8000"}),
		sample(0, model.Metric{"instance": "10.0.0.2:8001"}),
		sample(math.NaN(), model.Metric{"instance": "10.0.0.3:8001"}),
		sample(-1, model.Metric{"instance": "10.0.0.4:8001"}),
		sample(5, model.Metric{"pod": "model-server-0"}),
	})
	if want := (map[string]float64{"10.0.0.1": 3, "10.0.0.2": 0}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestExpand(t *testing.T) {
	got := expand(`label_replace(f($quantile, x[$window] offset $window), "a", "$1", "b", "(.*)$")`, 90*time.Second, 0.999)
	if want := `label_replace(f(0.999, x[1m30s] offset 1m30s), "a", "$1", "b", "(.*)$")`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAnAddressThatIsNone(t *testing.T) {
	if _, err := New(options("http://%zz")); err == nil || !strings.Contains(err.Error(), "prometheus URL") {
		t.Errorf("%v, want an error", err)
	}
}

func TestAPasswordIsNotTold(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, err := open(t, options(strings.Replace(server.URL, "http://", "http://user:secret@", 1))).Read(context.Background())
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want one without the password", err)
	}
}

// Every metric that is asked for by default is one that the contract promises.
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
	signals, asked := questions(options("http://p:9090"))
	series := regexp.MustCompile(`(dispatcher|inference|modelserver|process)_[a-z_]+`)
	used := map[string]map[string]bool{} // question → jobs
	for _, q := range asked {
		used[q.name] = map[string]bool{}
		for _, name := range series.FindAllString(q.expression, -1) {
			if jobs[name] == "" {
				t.Errorf("%s asks for %s, which the contract doesn't have", q.name, name)
			}
			used[q.name][jobs[name]] = true
		}
		if len(used[q.name]) != 1 {
			t.Errorf("%s asks for jobs %v, want one: %s", q.name, used[q.name], q.expression)
		}
	}
	// A signal is as fresh as the process is that measures it.
	for _, s := range signals {
		if want := used[ageQuestion(s.group)]; !maps.Equal(used[s.name], want) {
			t.Errorf("%s is of %v, its age of %v", s.name, used[s.name], want)
		}
	}
	var named policy.Signals
	for name := range named.Named() {
		if used[name] == nil {
			t.Errorf("nothing asks for %s", name)
		}
	}
}
