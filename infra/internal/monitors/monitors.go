// Package monitors has a Prometheus that somebody else runs measure headroom:
// by objects of the Prometheus Operator, which must be there.
package monitors

import (
	"fmt"
	"maps"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/rules"
	"headroom.dev/infra/internal/workload"
)

// Name is the name of the component.
const Name = "monitors"

// Rules is the name of the PrometheusRule.
const Rules = "headroom"

const apiVersion = "monitoring.coreos.com/v1"

// Args configure the monitors.
type Args struct {
	Namespace      workload.Namespace
	Labels         map[string]string // by which the Prometheus selects its monitors and rules
	ScrapeInterval time.Duration     // whole milliseconds, at least 1s
	Targets        []Target
	Rules          []rules.Group
}

// Target is a component whose pods are scraped, at the port metrics.
type Target struct {
	Component string
	Job       string // the label job of what is scraped
}

// Monitors is the component.
type Monitors struct {
	pulumi.ResourceState
}

// New makes a PodMonitor for each target, and a PrometheusRule. Pods are found
// by themselves and not by Services, which may be several for one pod and would
// have each of its series there twice.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Monitors, error) {
	m := &Monitors{}
	if err := ctx.RegisterComponentResource("headroom:infra:Monitors", args.Namespace.Resource(Name), m, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	for _, target := range args.Targets {
		if err := object(ctx, args, "PodMonitor", target.Component, args.monitor(target), pulumi.Parent(m)); err != nil {
			return nil, err
		}
	}
	spec, err := groups(args.Rules)
	if err != nil {
		return nil, err
	}
	if err := object(ctx, args, "PrometheusRule", Rules, spec, pulumi.Parent(m)); err != nil {
		return nil, err
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"podMonitors": pulumi.Int(len(args.Targets))})
}

func (args Args) monitor(target Target) map[string]any {
	milliseconds := func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
	return map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{
			workload.NameLabel: target.Component, workload.PartOfLabel: workload.PartOf,
		}},
		"podMetricsEndpoints": []any{map[string]any{
			"port": workload.MetricsPort, "path": "/metrics",
			"interval": milliseconds(args.ScrapeInterval),
			// A tenth is left, so that one slow target never delays its next scrape.
			"scrapeTimeout": milliseconds(min(args.ScrapeInterval*9/10, 10*time.Second)),
			// The scaler, the rules and the dashboards go by the job.
			"relabelings": []any{map[string]any{"action": "replace", "targetLabel": "job", "replacement": target.Job}},
		}},
	}
}

// groups are the rules, as a PrometheusRule has them.
func groups(all []rules.Group) (map[string]any, error) {
	content, err := rules.File(all)
	if err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(content), &spec); err != nil {
		return nil, fmt.Errorf("reading the rules back: %w", err)
	}
	return spec, nil
}

func object(ctx *pulumi.Context, args Args, kind, name string, spec map[string]any, opts ...pulumi.ResourceOption) error {
	metadata := workload.Metadata(args.Namespace, name, name)
	labels := workload.Labels(name)
	maps.Copy(labels, pulumi.ToStringMap(args.Labels))
	metadata.Labels = labels
	_, err := apiextensions.NewCustomResource(ctx, args.Namespace.Resource(name), &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String(apiVersion),
		Kind:        pulumi.String(kind),
		Metadata:    metadata,
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, opts...)
	if err != nil {
		return fmt.Errorf("making the %s %s: %w", kind, name, err)
	}
	return nil
}
