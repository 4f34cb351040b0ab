// Package disruption bounds how many pods of a component a drain of nodes may
// take at a time.
package disruption

import (
	"fmt"
	"strconv"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of the component.
const Name = "disruption"

// Budget is of one component's pods. It bounds what is missing rather than what
// is left, so that a drain gets through also where there is one pod.
type Budget struct {
	Component      string
	MaxUnavailable string // a number from 1, or a percentage, which is rounded up
}

// Args configure the budgets.
type Args struct {
	Namespace workload.Namespace
	Budgets   []Budget
}

// Disruption is the component.
type Disruption struct {
	pulumi.ResourceState
}

// New makes a PodDisruptionBudget for each component.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Disruption, error) {
	d := &Disruption{}
	if err := ctx.RegisterComponentResource("headroom:infra:Disruption", args.Namespace.Resource(Name), d, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	for _, b := range args.Budgets {
		_, err := policyv1.NewPodDisruptionBudget(ctx, args.Namespace.Resource(b.Component), &policyv1.PodDisruptionBudgetArgs{
			Metadata: workload.Metadata(args.Namespace, b.Component, b.Component),
			Spec: policyv1.PodDisruptionBudgetSpecArgs{
				Selector:       metav1.LabelSelectorArgs{MatchLabels: workload.Selector(b.Component)},
				MaxUnavailable: numberOrPercentage(b.MaxUnavailable),
				// A pod that isn't ready serves nobody and keeps no node.
				UnhealthyPodEvictionPolicy: pulumi.String("AlwaysAllow"),
			},
		}, pulumi.Parent(d))
		if err != nil {
			return nil, fmt.Errorf("making the PodDisruptionBudget %s: %w", b.Component, err)
		}
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{"budgets": pulumi.Int(len(args.Budgets))})
}

func numberOrPercentage(text string) pulumi.Input {
	if number, err := strconv.Atoi(text); err == nil {
		return pulumi.Int(number)
	}
	return pulumi.String(text)
}
