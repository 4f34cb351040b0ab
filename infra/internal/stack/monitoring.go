package stack

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dashboards"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/grafana"
	"headroom.dev/infra/internal/modelserver"
	"headroom.dev/infra/internal/monitors"
	"headroom.dev/infra/internal/network"
	"headroom.dev/infra/internal/prometheus"
	"headroom.dev/infra/internal/redis"
	"headroom.dev/infra/internal/rules"
	"headroom.dev/infra/internal/scaler"
	"headroom.dev/infra/internal/workload"
)

// monitoring is where what is measured can be read.
type monitoring struct {
	ClusterURL string              // as reached from inside the cluster
	URL        pulumi.StringOutput // as reached from outside
}

// scalerFact is the label by which Prometheus knows who scales.
const scalerFact = "scaler"

// newMonitoring makes what measures headroom, the rules about it, and what shows
// it.
func newMonitoring(ctx *pulumi.Context, cfg config.Config, namespace workload.Namespace, opts ...pulumi.ResourceOption) (monitoring, error) {
	made, err := newPrometheus(ctx, cfg, namespace, opts...)
	if err != nil {
		return monitoring{}, err
	}
	args := DashboardArgs(cfg)
	boards, err := dashboards.Files(args)
	if err != nil {
		return monitoring{}, err
	}
	shown := grafana.Args{Namespace: namespace, Boards: boards, Labels: cfg.Monitoring.DashboardLabels}
	if cfg.Monitoring.Grafana {
		shown.Server = &grafana.Server{
			Image: cfg.Images.Grafana, ImagePullPolicy: cfg.ImagePullPolicy,
			PrometheusURL: made.ClusterURL, ScrapeInterval: cfg.PrometheusScrapeInterval,
			Home: dashboards.Home(args), Placement: placement(cfg, 1),
		}
	}
	_, err = grafana.New(ctx, shown, opts...)
	return made, err
}

func newPrometheus(ctx *pulumi.Context, cfg config.Config, namespace workload.Namespace, opts ...pulumi.ResourceOption) (monitoring, error) {
	m := cfg.Monitoring
	groups := rules.Groups(ruleArgs(cfg))
	if !m.Own() {
		_, err := monitors.New(ctx, monitors.Args{
			Namespace: namespace, Labels: m.Labels, ScrapeInterval: cfg.PrometheusScrapeInterval,
			Targets: monitored(cfg), Rules: groups,
		}, opts...)
		return monitoring{ClusterURL: m.URL, URL: pulumi.String(m.URL).ToStringOutput()}, err
	}
	file, err := rules.File(groups)
	if err != nil {
		return monitoring{}, err
	}
	own, err := prometheus.New(ctx, prometheus.Args{
		Namespace: namespace,
		Image:     cfg.Images.Prometheus, ImagePullPolicy: cfg.ImagePullPolicy,
		ScrapeInterval: cfg.PrometheusScrapeInterval,
		Retention:      cfg.PrometheusRetention, RetentionSize: m.RetentionSize,
		Storage: workload.Storage{Size: m.Storage, Class: m.StorageClass}, Scratch: config.PrometheusScratch(),
		Rules: file, Facts: map[string]string{scalerFact: string(cfg.Scaler)}, Alertmanager: m.AlertmanagerURL,
		Exposure:      service(cfg, cfg.PrometheusNodePort),
		ClusterDomain: cfg.ClusterDomain,
		Targets:       targets(cfg),
		Placement:     placement(cfg, 1),
	}, opts...)
	if err != nil {
		return monitoring{}, err
	}
	return monitoring{own.ClusterURL, own.URL}, nil
}

// ruleArgs are the same whoever scales where Prometheus is the stack's own, so
// that swapping the scaler doesn't restart it. The Operator's takes in new rules
// while it runs.
func ruleArgs(cfg config.Config) rules.Args {
	args := rules.Args{
		SLOLatency: cfg.SLOLatency, Lookback: cfg.PrometheusLookback(),
		Scaler: cfg.Scaler == config.ScalerCustom, RedisExporter: cfg.Images.RedisExporter != "",
		Namespace: seriesNamespace(cfg), Runbooks: cfg.Monitoring.RunbookURL,
	}
	if cfg.Monitoring.Own() {
		args.Self, args.Scaler = true, true
		args.ScalerRuns = fmt.Sprintf(`up{job="%s",%s="%s"}`, prometheus.Name, scalerFact, config.ScalerCustom)
	}
	return args
}

// DashboardArgs are what the dashboards of such a stack show.
func DashboardArgs(cfg config.Config) dashboards.Args {
	return dashboards.Args{
		SLOLatency: cfg.SLOLatency, Lookback: cfg.PrometheusLookback(),
		Scaler: cfg.Scaler == config.ScalerCustom, RedisExporter: cfg.Images.RedisExporter != "",
		Namespace: seriesNamespace(cfg), Stack: cfg.Namespace,
	}
}

// seriesNamespace tells headroom's series from those of others that a Prometheus
// has. One of the stack's own has no others.
func seriesNamespace(cfg config.Config) string {
	if cfg.Monitoring.Own() {
		return ""
	}
	return cfg.Namespace
}

// targets are what Prometheus scrapes: the same whoever scales, so that
// swapping the scaler doesn't restart Prometheus and lose its data.
func targets(cfg config.Config) []prometheus.Target {
	target := func(name string, port workload.Port) prometheus.Target {
		return prometheus.Target{Job: name, Service: workload.MetricsService(name), Port: port.Number}
	}
	return append([]prometheus.Target{
		target(dispatcher.Name, dispatcher.MetricsPort),
		target(modelserver.Name, modelserver.MetricsPort),
		target(scaler.Name, scaler.Port),
	}, queueTargets(cfg)...)
}

// monitored are the components that somebody else's Prometheus scrapes.
func monitored(cfg config.Config) []monitors.Target {
	all := []monitors.Target{{Component: dispatcher.Name, Job: dispatcher.Name}, {Component: modelserver.Name, Job: modelserver.Name}}
	if cfg.Scaler == config.ScalerCustom {
		all = append(all, monitors.Target{Component: scaler.Name, Job: scaler.Name})
	}
	if cfg.Images.RedisExporter != "" {
		all = append(all, monitors.Target{Component: redis.Monitored(cfg.Redis.Replicas), Job: redis.Name})
	}
	return all
}

// watched is the way of whoever scrapes to a port.
func watched(cfg config.Config, component string, port int) network.Edge {
	if cfg.Monitoring.Own() {
		return network.Edge{To: component, Port: port, From: []string{prometheus.Name}}
	}
	return network.Edge{To: component, Port: port, Namespaces: []string{cfg.Monitoring.Namespace}}
}

// monitoringEdges are the ways to Prometheus and Grafana. They are what people
// use, from wherever they are.
func monitoringEdges(cfg config.Config) []network.Edge {
	var edges, readers []network.Edge
	reads := func(component string) {
		readers = append(readers, network.Edge{To: prometheus.Name, Port: prometheus.Port.Number, From: []string{component}})
	}
	if cfg.Scaler == config.ScalerCustom {
		reads(scaler.Name)
	}
	if cfg.Monitoring.Grafana {
		reads(grafana.Name)
		edges = append(edges, network.Edge{To: grafana.Name, Port: grafana.Port.Number})
	}
	if cfg.Monitoring.Own() {
		edges = append(edges, network.Edge{To: prometheus.Name, Port: prometheus.Port.Number})
		edges = append(edges, readers...)
	}
	return edges
}

// monitoringOutward are the ways to a Prometheus or an Alertmanager that is not
// the stack's.
func monitoringOutward(cfg config.Config) []network.Outward {
	m := cfg.Monitoring
	var outward []network.Outward
	if m.Own() {
		if m.AlertmanagerURL != "" {
			outward = append(outward, network.Outward{From: prometheus.Name, Ports: []int{portOf(m.AlertmanagerURL)}})
		}
		return outward
	}
	if cfg.Scaler == config.ScalerCustom {
		outward = append(outward, network.Outward{From: scaler.Name, Ports: []int{portOf(m.URL)}})
	}
	if m.Grafana {
		outward = append(outward, network.Outward{From: grafana.Name, Ports: []int{portOf(m.URL)}})
	}
	return outward
}

// portOf is the port of a web address that was checked.
func portOf(address string) int {
	u, err := url.Parse(address)
	if err != nil {
		return 0
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	return map[string]int{"http": 80, "https": 443}[u.Scheme]
}
