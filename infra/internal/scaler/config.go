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
		Prometheus prometheus `yaml:"prometheus"`
		SLO        slo        `yaml:"slo"`
		Replicas   replicas   `yaml:"replicas"`
		Tick       string     `yaml:"tick"`
		ScaleOut   scaleOut   `yaml:"scaleOut"`
		ScaleIn    scaleIn    `yaml:"scaleIn"`
		Lease      leaseRef   `yaml:"lease"`
		Listen     string     `yaml:"listen"`
	}
	target struct {
		Namespace string `yaml:"namespace"`
		Kind      string `yaml:"kind"`
		Name      string `yaml:"name"`
	}
	prometheus struct {
		URL     string `yaml:"url"`
		Timeout string `yaml:"timeout"`
	}
	slo struct {
		Latency  string  `yaml:"latency"`
		Quantile float64 `yaml:"quantile"`
	}
	replicas struct {
		Min int `yaml:"min"`
		Max int `yaml:"max"`
	}
	scaleOut struct {
		Utilization float64 `yaml:"utilization"`
	}
	scaleIn struct {
		Stabilization string `yaml:"stabilization"`
		Step          int    `yaml:"step"`
		Interval      string `yaml:"interval"`
	}
	leaseRef struct {
		Enabled   bool   `yaml:"enabled"`
		Namespace string `yaml:"namespace"`
		Name      string `yaml:"name"`
	}
)

// renderConfig gives scaler.yaml. Every key is written out, so that a look at
// the ConfigMap tells all that the scaler goes by.
func renderConfig(args Args) (string, error) {
	content, err := yaml.Marshal(file{
		Target:     target{Namespace: args.Namespace.Name, Kind: "Deployment", Name: args.Deployment},
		Prometheus: prometheus{URL: args.PrometheusURL, Timeout: (800 * time.Millisecond).String()},
		SLO:        slo{Latency: args.SLOLatency.String(), Quantile: 0.99},
		Replicas:   replicas{Min: args.MinReplicas, Max: args.MaxReplicas},
		Tick:       time.Second.String(),
		ScaleOut:   scaleOut{Utilization: 0.8},
		ScaleIn:    scaleIn{Stabilization: args.ScaleInStabilization.String(), Step: 1, Interval: "10s"},
		Lease:      leaseRef{Enabled: true, Namespace: args.Namespace.Name, Name: lease},
		Listen:     fmt.Sprintf(":%d", MetricsPort.Number),
	})
	if err != nil {
		return "", fmt.Errorf("writing the scaler's config: %w", err)
	}
	return string(content), nil
}
