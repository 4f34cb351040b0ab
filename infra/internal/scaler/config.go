package scaler

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// The scaler's config file, as contract/scaler-config.example.yaml has it.
type (
	file struct {
		Target     target     `yaml:"target"`
		Mode       string     `yaml:"mode"`
		Prometheus prometheus `yaml:"prometheus"`
		Signals    signals    `yaml:"signals"`
		SLO        slo        `yaml:"slo"`
		Replicas   replicas   `yaml:"replicas"`
		Tick       string     `yaml:"tick"`
		LeadTime   string     `yaml:"leadTime"`
		ScaleOut   scaleOut   `yaml:"scaleOut"`
		ScaleIn    scaleIn    `yaml:"scaleIn"`
		Fallback   fallback   `yaml:"fallback"`
		Bridge     bridge     `yaml:"bridge"`
		Schedules  []schedule `yaml:"schedules"`
		Lease      leaseRef   `yaml:"lease"`
		State      stateRef   `yaml:"state"`
		Listen     string     `yaml:"listen"`
	}
	target struct {
		Namespace  string `yaml:"namespace"`
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Resource   string `yaml:"resource"`
		Name       string `yaml:"name"`
		Container  string `yaml:"container"`
	}
	prometheus struct {
		URL            string `yaml:"url"`
		Timeout        string `yaml:"timeout"`
		ScrapeInterval string `yaml:"scrapeInterval"`
		StaleAfter     string `yaml:"staleAfter"`
	}
	slo struct {
		Latency  string  `yaml:"latency"`
		Quantile float64 `yaml:"quantile"`
	}
	replicas struct {
		Min       int    `yaml:"min"`
		Max       int    `yaml:"max"`
		IdleAfter string `yaml:"idleAfter"`
	}
	scaleOut struct {
		Utilization float64 `yaml:"utilization"`
		Step        int     `yaml:"step"`
		Share       float64 `yaml:"share"`
		Interval    string  `yaml:"interval"`
	}
	scaleIn struct {
		Tolerance     float64 `yaml:"tolerance"`
		Stabilization string  `yaml:"stabilization"`
		Step          int     `yaml:"step"`
		Share         float64 `yaml:"share"`
		Interval      string  `yaml:"interval"`
	}
	fallback struct {
		After    string `yaml:"after"`
		Replicas int    `yaml:"replicas"`
	}
	bridge struct {
		Ceiling float64 `yaml:"ceiling"`
	}
	schedule struct {
		Name     string `yaml:"name"`
		Cron     string `yaml:"cron"`
		Timezone string `yaml:"timezone"`
		Duration string `yaml:"duration"`
		Floor    int    `yaml:"floor"`
	}
	leaseRef struct {
		Enabled   bool   `yaml:"enabled"`
		Namespace string `yaml:"namespace"`
		Name      string `yaml:"name"`
	}
	stateRef struct {
		ConfigMap string `yaml:"configMap"`
	}
)

// renderConfig gives scaler.yaml. Every key is written out, so that a look at
// the ConfigMap tells all that the scaler goes by.
func renderConfig(args Args) (string, error) {
	mode := "active"
	if args.DryRun {
		mode = "dry-run"
	}
	schedules := make([]schedule, len(args.Schedules))
	for i, s := range args.Schedules {
		schedules[i] = schedule{Name: s.Name, Cron: s.Cron, Timezone: s.Timezone, Duration: s.Duration.String(), Floor: s.Floor}
	}
	content, err := yaml.Marshal(file{
		Target: target{
			Namespace: args.Namespace.Name, APIVersion: "apps/v1", Kind: "Deployment", Name: args.Deployment, Container: args.Container,
		},
		Mode: mode,
		Prometheus: prometheus{
			URL: args.PrometheusURL, Timeout: (800 * time.Millisecond).String(),
			ScrapeInterval: args.ScrapeInterval.String(),
			// One scrape may be lost, and the next one late.
			StaleAfter: max(10*time.Second, 3*args.ScrapeInterval).String(),
		},
		Signals:  ourSignals().scoped(args.SeriesNamespace),
		SLO:      slo{Latency: args.SLOLatency.String(), Quantile: 0.99},
		Replicas: replicas{Min: args.MinReplicas, Max: args.MaxReplicas, IdleAfter: args.IdleAfter.String()},
		Tick:     time.Second.String(),
		LeadTime: "15s",
		ScaleOut: scaleOut{Utilization: 0.85, Interval: "0s"},
		ScaleIn: scaleIn{
			Tolerance: 0.1, Stabilization: args.ScaleInStabilization.String(), Step: 1, Share: 0.25, Interval: "5s",
		},
		Fallback:  fallback{After: args.FallbackAfter.String(), Replicas: args.FallbackReplicas},
		Bridge:    bridge{Ceiling: args.BridgeCeiling},
		Schedules: schedules,
		Lease:     leaseRef{Enabled: true, Namespace: args.Namespace.Name, Name: lease},
		State:     stateRef{ConfigMap: state},
		Listen:    fmt.Sprintf(":%d", Port.Number),
	})
	if err != nil {
		return "", fmt.Errorf("writing the scaler's config: %w", err)
	}
	return string(content), nil
}
