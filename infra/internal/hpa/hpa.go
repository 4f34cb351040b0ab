// Package hpa has Kubernetes' own HorizontalPodAutoscaler scale the model
// servers on CPU: the one to compare with.
package hpa

import (
	"fmt"

	autoscalingv2 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/autoscaling/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Args configure the autoscaler.
type Args struct {
	Namespace                workload.Namespace
	Deployment               string // name of the one that is scaled, and of the autoscaler
	CPUPercent               int    // of the CPU request, averaged over the replicas
	MinReplicas, MaxReplicas int
	Behavior                 *Behavior // nil: Kubernetes' own
}

// HPA is the component.
type HPA struct {
	pulumi.ResourceState
}

// New makes the autoscaler.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*HPA, error) {
	h := &HPA{}
	if err := ctx.RegisterComponentResource("headroom:infra:HPA", args.Namespace.Resource("hpa"), h, opts...); err != nil {
		return nil, fmt.Errorf("registering the component hpa: %w", err)
	}
	spec := autoscalingv2.HorizontalPodAutoscalerSpecArgs{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReferenceArgs{
			ApiVersion: pulumi.String("apps/v1"), Kind: pulumi.String("Deployment"), Name: pulumi.String(args.Deployment),
		},
		MinReplicas: pulumi.Int(args.MinReplicas),
		MaxReplicas: pulumi.Int(args.MaxReplicas),
		Metrics: autoscalingv2.MetricSpecArray{autoscalingv2.MetricSpecArgs{
			Type: pulumi.String("Resource"),
			Resource: autoscalingv2.ResourceMetricSourceArgs{
				Name: pulumi.String("cpu"),
				Target: autoscalingv2.MetricTargetArgs{
					Type: pulumi.String("Utilization"), AverageUtilization: pulumi.Int(args.CPUPercent),
				},
			},
		}},
	}
	if args.Behavior != nil {
		spec.Behavior = args.Behavior.args()
	}
	_, err := autoscalingv2.NewHorizontalPodAutoscaler(ctx, args.Namespace.Resource(args.Deployment), &autoscalingv2.HorizontalPodAutoscalerArgs{
		Metadata: workload.Metadata(args.Namespace, args.Deployment, args.Deployment),
		Spec:     spec,
	}, pulumi.Parent(h))
	if err != nil {
		return nil, fmt.Errorf("making the HorizontalPodAutoscaler %s: %w", args.Deployment, err)
	}
	return h, ctx.RegisterResourceOutputs(h, pulumi.Map{"target": pulumi.String(args.Deployment)})
}
