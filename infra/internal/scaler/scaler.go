// Package scaler runs headroom's own scaler.
package scaler

import (
	"fmt"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of everything here.
const Name = "scaler"

const (
	lease = "headroom-scaler"       // the Lease by which one of the scaler's replicas leads
	state = "headroom-scaler-state" // the ConfigMap with what the next leader goes on with; the scaler makes it
)

// Port serves metrics, health, decisions and wake-ups.
var Port = workload.Port{Name: workload.MetricsPort, Number: 8002}

const (
	configFolder = "/etc/headroom"
	configKey    = "scaler.yaml"
)

// Args configure the scaler.
type Args struct {
	Namespace                workload.Namespace
	Image, ImagePullPolicy   string
	Replicas                 int    // one leads, the others wait
	DryRun                   bool   // true: it decides and tells, and has no right to change anything
	Deployment               string // name of the one that is scaled
	Container                string // name of the one whose CPU the bridge raises
	PrometheusURL            string
	SeriesNamespace          string        // the label namespace of the series that count; empty: all do
	ScrapeInterval           time.Duration // Prometheus' own
	SLOLatency               time.Duration
	MinReplicas, MaxReplicas int
	IdleAfter                time.Duration // with MinReplicas 0, from the last arrival to zero
	ScaleInStabilization     time.Duration
	FallbackAfter            time.Duration // how long the count is held while the load is unknown; 0: for ever
	FallbackReplicas         int           // and then the least count
	BridgeCeiling            float64       // most CPU of a replica while others start, times its limit; 1: off
	Schedules                []Schedule
	Placement                workload.Placement
}

// Schedule is a least count for times that are known beforehand.
type Schedule struct {
	Name, Cron, Timezone string
	Duration             time.Duration
	Floor                int
}

// WakeURL is where a request that finds no replica is told of, at every one of
// the scaler's pods: any of them may lead.
func WakeURL() string { return fmt.Sprintf("http://%s:%d/wake", Name, Port.Number) }

// Scaler is the component.
type Scaler struct {
	pulumi.ResourceState
}

// New makes the config, the permissions and the Deployment.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Scaler, error) {
	s := &Scaler{}
	if err := ctx.RegisterComponentResource("headroom:infra:Scaler", args.Namespace.Resource(Name), s, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	account, err := workload.Grant(ctx, args.Namespace, Name, permissions(args), pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	config, err := renderConfig(args)
	if err != nil {
		return nil, err
	}
	configMap, err := corev1.NewConfigMap(ctx, args.Namespace.Resource(Name), &corev1.ConfigMapArgs{
		Metadata: workload.Metadata(args.Namespace, Name, Name),
		Data:     pulumi.StringMap{configKey: pulumi.String(config)},
	}, pulumi.Parent(s))
	if err != nil {
		return nil, fmt.Errorf("making the ConfigMap %s: %w", Name, err)
	}
	_, err = workload.NewDeployment(ctx, workload.Args{
		Namespace:       args.Namespace,
		Name:            Name,
		Replicas:        &args.Replicas,
		Image:           args.Image,
		ImagePullPolicy: args.ImagePullPolicy,
		Args:            []string{"--config", configFolder + "/" + configKey},
		Ports:           []workload.Port{Port},
		Resources:       workload.Resources{CPURequest: "20m", CPULimit: "500m", MemoryRequest: "48Mi", MemoryLimit: "256Mi"},
		Readiness:       workload.HTTPProbe("/readyz", Port.Name, workload.Cadence{Period: 2, Timeout: 2, Failures: 5}),
		Liveness:        workload.HTTPProbe("/healthz", Port.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
		ServiceAccount:  account,
		GracePeriod:     15,
		Placement:       args.Placement,
		Annotations:     pulumi.StringMap{"headroom.dev/config-checksum": pulumi.String(workload.Checksum(config))},
		Volumes: []workload.Volume{
			{Name: "config", Path: configFolder, ReadOnly: true, Source: workload.ConfigMapVolume(configMap)},
		},
	}, pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	for _, service := range []string{Name, workload.MetricsService(Name)} {
		if err := workload.NewHeadlessService(ctx, args.Namespace, Name, service, Port, pulumi.Parent(s)); err != nil {
			return nil, err
		}
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"deployment": pulumi.String(Name)})
}
