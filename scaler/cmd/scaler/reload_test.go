package main

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"headroom.dev/scaler/internal/config"
)

func TestChangesAreToldByTheirKeys(t *testing.T) {
	old := config.Defaults()
	old.ScaleOut.Utilization, old.Bridge.Ceiling = 0.8, 1
	old.Signals.ServiceP99, old.Signals.Freshness.Service = "x", "x"
	for want, change := range map[string]func(*config.Config){
		"target.apiVersion: apps/v1 → v2":                func(c *config.Config) { c.Target.APIVersion = "v2" },
		"prometheus.url:  → http://p":                    func(c *config.Config) { c.Prometheus.URL = "http://p" },
		"slo.latency: 500ms → 1s":                        func(c *config.Config) { c.SLO.Latency *= 2 },
		"signals.serviceP99: x → ":                       func(c *config.Config) { c.Signals.ServiceP99 = "" },
		"state.configMap: headroom-scaler-state → s":     func(c *config.Config) { c.State.ConfigMap = "s" },
		"schedules: 0 → 1 entries, of which some differ": func(c *config.Config) { c.Schedules = make([]config.Schedule, 1) },
		"mode: active → dry-run":                         func(c *config.Config) { c.Mode = config.DryRun },
		"signals.freshness.service: x → y":               func(c *config.Config) { c.Signals.Freshness.Service = "y" },
		"bridge.ceiling: 1 → 2.5":                        func(c *config.Config) { c.Bridge.Ceiling = 2.5 },
		"scaleOut.utilization: 0.8 → 0.7":                func(c *config.Config) { c.ScaleOut.Utilization = 0.7 },
	} {
		after := old
		change(&after)
		if got := changes("", reflect.ValueOf(old), reflect.ValueOf(after)); !slices.Equal(got, []string{want}) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := changes("", reflect.ValueOf(old), reflect.ValueOf(old)); got != nil {
		t.Errorf("%q of the same", got)
	}
}

func TestEverySettingReachesThePolicy(t *testing.T) {
	c := config.Defaults()
	c.ScaleOut = config.ScaleOut{Utilization: 0.8, Step: 2, Share: 0.5, Interval: time.Second}
	c.Fallback = config.Fallback{After: time.Minute, Replicas: 3}
	missing("", reflect.ValueOf(policyOf(c)), t.Errorf)
}

// missing tells of every field without a value.
func missing(key string, of reflect.Value, tell func(string, ...any)) {
	for i := range of.NumField() {
		name := key + of.Type().Field(i).Name
		switch field := of.Field(i); {
		case field.Kind() == reflect.Struct:
			missing(name+".", field, tell)
		case field.IsZero():
			tell("%s has no value", name)
		}
	}
}
