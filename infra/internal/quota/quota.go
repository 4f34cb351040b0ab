// Package quota bounds what the namespace takes of the cluster.
package quota

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of the component; ObjectName of its objects.
const (
	Name       = "quota"
	ObjectName = "headroom"
)

// Args configure the bounds.
type Args struct {
	Namespace  workload.Namespace
	Hard       map[string]string // the most of each resource, such as requests.cpu; none: no ResourceQuota
	LimitRange bool              // true: containers that state no size get a small one
}

// Quota is the component.
type Quota struct {
	pulumi.ResourceState
}

// New makes the ResourceQuota and the LimitRange that are asked for.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Quota, error) {
	q := &Quota{}
	if err := ctx.RegisterComponentResource("headroom:infra:Quota", args.Namespace.Resource(Name), q, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	if len(args.Hard) > 0 {
		_, err := corev1.NewResourceQuota(ctx, args.Namespace.Resource(ObjectName), &corev1.ResourceQuotaArgs{
			Metadata: workload.Metadata(args.Namespace, Name, ObjectName),
			Spec:     corev1.ResourceQuotaSpecArgs{Hard: pulumi.ToStringMap(args.Hard)},
		}, pulumi.Parent(q), workload.Timeouts())
		if err != nil {
			return nil, fmt.Errorf("making the ResourceQuota %s: %w", ObjectName, err)
		}
	}
	if args.LimitRange {
		_, err := corev1.NewLimitRange(ctx, args.Namespace.Resource(ObjectName), &corev1.LimitRangeArgs{
			Metadata: workload.Metadata(args.Namespace, Name, ObjectName),
			Spec: corev1.LimitRangeSpecArgs{Limits: corev1.LimitRangeItemArray{corev1.LimitRangeItemArgs{
				Type:           pulumi.String("Container"),
				DefaultRequest: pulumi.StringMap{"cpu": pulumi.String("50m"), "memory": pulumi.String("64Mi")},
				Default:        pulumi.StringMap{"cpu": pulumi.String("500m"), "memory": pulumi.String("256Mi")},
			}}},
		}, pulumi.Parent(q))
		if err != nil {
			return nil, fmt.Errorf("making the LimitRange %s: %w", ObjectName, err)
		}
	}
	return q, ctx.RegisterResourceOutputs(q, pulumi.Map{"bounds": pulumi.Int(len(args.Hard))})
}
