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

// lease is the Lease by which one of the scaler's replicas leads.
const lease = "headroom-scaler"

// MetricsPort serves metrics and health.
var MetricsPort = workload.Port{Name: workload.MetricsPort, Number: 8002}

const (
	configFolder = "/etc/headroom"
	configKey    = "scaler.yaml"
)

// Args configure the scaler.
type Args struct {
	Namespace                workload.Namespace
	Image, ImagePullPolicy   string
	Replicas                 int    // one leads, the others wait
	Deployment               string // name of the one that is scaled
	PrometheusURL            string
	SLOLatency               time.Duration
	ScaleInStabilization     time.Duration
	MinReplicas, MaxReplicas int
}

// Scaler is the component.
type Scaler struct {
	pulumi.ResourceState
}

// New makes the config, the permissions and the Deployment.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Scaler, error) {
	s := &Scaler{}
	if err := ctx.RegisterComponentResource("headroom:infra:Scaler", Name, s, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	account, err := workload.Grant(ctx, args.Namespace, Name, permissions(args.Deployment), pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	config, err := renderConfig(args)
	if err != nil {
		return nil, err
	}
	configMap, err := corev1.NewConfigMap(ctx, Name, &corev1.ConfigMapArgs{
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
		Ports:           []workload.Port{MetricsPort},
		Resources:       workload.Resources{CPURequest: "20m", CPULimit: "500m", MemoryRequest: "48Mi", MemoryLimit: "256Mi"},
		Readiness:       workload.HTTPProbe("/readyz", MetricsPort.Name, workload.Cadence{Period: 2, Timeout: 2, Failures: 5}),
		Liveness:        workload.HTTPProbe("/healthz", MetricsPort.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
		ServiceAccount:  account,
		GracePeriod:     15,
		Annotations:     pulumi.StringMap{"headroom.dev/config-checksum": pulumi.String(workload.Checksum(config))},
		Volumes: []workload.Volume{
			{Name: "config", Path: configFolder, ReadOnly: true, Source: workload.ConfigMapVolume(configMap)},
		},
	}, pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	if err := workload.NewMetricsService(ctx, args.Namespace, Name, MetricsPort, pulumi.Parent(s)); err != nil {
		return nil, err
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"deployment": pulumi.String(Name)})
}

// permissions are the least that the scaler works with: it sets the number of
// replicas of one Deployment and can change nothing else about it.
func permissions(deployment string) []workload.Permission {
	return []workload.Permission{
		{Group: "apps", Resources: []string{"deployments"}, Verbs: []string{"get"}, Names: []string{deployment}},
		{Group: "apps", Resources: []string{"deployments/scale"}, Verbs: []string{"get", "update"}, Names: []string{deployment}},
		// An object that isn't there yet can't be named in a permission to make it.
		{Group: "coordination.k8s.io", Resources: []string{"leases"}, Verbs: []string{"create"}},
		{Group: "coordination.k8s.io", Resources: []string{"leases"}, Verbs: []string{"get", "update"}, Names: []string{lease}},
		{Group: "", Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
}
