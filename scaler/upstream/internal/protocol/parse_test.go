package protocol

import (
	"strings"
	"testing"
)

func TestParseRefusesWhatCannotBeServed(t *testing.T) {
	cases := []struct{ name, line, want string }{
		{"a line that is not JSON", `start`, "not a request"},
		{"two values on one line", `{"end":{}} {"end":{}}`, "more than one JSON value"},
		{"a key nobody knows", `{"observe":{"at":1,"cpus":2}}`, `unknown field "cpus"`},
		{"no key", `{}`, "0 of the keys start, observe and end"},
		{"two keys", `{"end":{},"observe":{"at":1}}`, "2 of the keys"},
		{"a start of nothing", `{"start":{}}`, "none or both of the keys hpa and kpa"},
		{"an autoscaler without a metric", `{"start":{"hpa":{"min":1,"max":2,"replicas":1}}}`, "neither cpuPercent nor queuePerReplica"},
		{"CPU without a request", `{"start":{"hpa":{"cpuPercent":70,"min":1,"max":2,"replicas":1}}}`, "start.hpa.cpuRequest is 0: must be from 0.001 to 1000"},
		{"a max below the min", `{"start":{"hpa":{"queuePerReplica":1,"min":3,"max":2,"replicas":3}}}`, "start.hpa.max is 2: must be from 3"},
		{"an offset of a whole period", `{"start":{"hpa":{"queuePerReplica":1,"min":1,"max":2,"replicas":1,"offset":15}}}`, "start.hpa.offset is 15: must be above 0 and below 15"},
		{"a target of nothing", `{"start":{"kpa":{"min":1,"max":2,"replicas":1}}}`, "start.kpa.target is 0: must be above 0"},
		{"scale to zero", `{"start":{"kpa":{"target":1,"min":0,"max":2,"replicas":1}}}`, "start.kpa.min is 0: must be from 1"},
		{"panic longer than stable", `{"start":{"kpa":{"target":1,"min":1,"max":2,"replicas":1,"panicWindowSeconds":61}}}`, "start.kpa.panicWindowSeconds is 61: must be from 1 to 60"},
		{"a time before the start", `{"observe":{"at":-1}}`, "observe.at is -1: must be from 0"},
		{"text for a number", `{"observe":{"at":"1"}}`, "at of type float64"},
		{"a sample from the future", `{"observe":{"at":1,"metricsAt":2}}`, "observe.metricsAt is 2"},
		{"a group of no pods", `{"observe":{"at":1,"pods":[{"count":1},{"count":0}]}}`, "observe.pods[1].count is 0: must be from 1"},
		{"a pod from the future", `{"observe":{"at":1,"pods":[{"count":1,"created":2}]}}`, "observe.pods[0].created is 2"},
		{"a pod ready before it was there", `{"observe":{"at":9,"pods":[{"count":1,"created":2,"readyAt":1}]}}`, "observe.pods[0].readyAt is 1: must be from 2 to 9"},
		{"a pending pod with metrics", `{"observe":{"at":9,"pods":[{"count":1,"pending":true,"metrics":true}]}}`, "observe.pods[0].pending is true"},
		{"more pods than any cluster has", `{"observe":{"at":9,"pods":[{"count":100000},{"count":1}]}}`, "observe.pods[1].count is 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.line))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got error %v, want one line with %q", err, c.want)
			}
		})
	}
}

func TestParseFillsInDefaults(t *testing.T) {
	start, err := Parse([]byte(`{"start":{"kpa":{"target":1,"min":1,"max":2,"replicas":1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := KPA{
		Target: 1, Min: 1, Max: 2, Replicas: 1, StableWindowSeconds: 60, PanicWindowSeconds: 6,
		PanicThreshold: 2, MaxScaleUpRate: 1000, MaxScaleDownRate: 2, Offset: 0.3,
	}
	if got := *start.Start.KPA; got != want {
		t.Errorf("kpa is %+v, want %+v", got, want)
	}
	observe, err := Parse([]byte(`{"observe":{"at":8,"pods":[{"count":1,"created":-3}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	o := observe.Observe
	if *o.MetricsAt != 8 || o.MetricsWindow != 15 || *o.Pods[0].ReadyAt != -3 {
		t.Errorf("metricsAt %v, metricsWindow %v, readyAt %v; want 8, 15, -3", *o.MetricsAt, o.MetricsWindow, *o.Pods[0].ReadyAt)
	}
}
