// Package network says which pods may talk to which: nothing reaches a pod of
// headroom but what is listed here.
package network

import (
	"fmt"
	"slices"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of the component and of the policy that denies.
const Name = "network"

// Edge lets pods of one component reach a port of another.
type Edge struct {
	From []string // names of components; none: everyone, also outside the cluster
	To   string   // name of a component
	Port int      // of the container
}

// Args configure the policies.
type Args struct {
	Namespace workload.Namespace
	Exclusive bool // true: the namespace holds nothing else, so everything in it is closed
	Edges     []Edge
}

// Network is the component.
type Network struct {
	pulumi.ResourceState
}

// New makes one policy that denies everything and one for each component that
// is reached.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Network, error) {
	n := &Network{}
	if err := ctx.RegisterComponentResource("headroom:infra:Network", Name, n, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	closed := pulumi.StringMap{}
	if !args.Exclusive {
		closed[workload.PartOfLabel] = pulumi.String(workload.PartOf)
	}
	if err := policy(ctx, args.Namespace, "default-deny", closed, nil, pulumi.Parent(n)); err != nil {
		return nil, err
	}
	names, rules := ingress(args.Edges)
	for _, name := range names {
		if err := policy(ctx, args.Namespace, name, workload.Selector(name), rules[name], pulumi.Parent(n)); err != nil {
			return nil, err
		}
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"policies": pulumi.Int(1 + len(names))})
}

// ingress groups the edges by the component that they lead to.
func ingress(edges []Edge) (names []string, rules map[string]networkingv1.NetworkPolicyIngressRuleArray) {
	rules = map[string]networkingv1.NetworkPolicyIngressRuleArray{}
	for _, edge := range edges {
		rule := networkingv1.NetworkPolicyIngressRuleArgs{
			Ports: networkingv1.NetworkPolicyPortArray{networkingv1.NetworkPolicyPortArgs{
				Port: pulumi.Int(edge.Port), Protocol: pulumi.String("TCP"),
			}},
		}
		var peers networkingv1.NetworkPolicyPeerArray
		for _, from := range edge.From {
			peers = append(peers, networkingv1.NetworkPolicyPeerArgs{
				PodSelector: metav1.LabelSelectorArgs{MatchLabels: workload.Selector(from)},
			})
		}
		if peers != nil {
			rule.From = peers
		}
		if !slices.Contains(names, edge.To) {
			names = append(names, edge.To)
		}
		rules[edge.To] = append(rules[edge.To], rule)
	}
	return names, rules
}

func policy(ctx *pulumi.Context, ns workload.Namespace, name string, pods pulumi.StringMap, rules networkingv1.NetworkPolicyIngressRuleArray, opts ...pulumi.ResourceOption) error {
	_, err := networkingv1.NewNetworkPolicy(ctx, name, &networkingv1.NetworkPolicyArgs{
		Metadata: workload.Metadata(ns, Name, name),
		Spec: networkingv1.NetworkPolicySpecArgs{
			PodSelector: metav1.LabelSelectorArgs{MatchLabels: pods},
			PolicyTypes: pulumi.StringArray{pulumi.String("Ingress")},
			Ingress:     rules,
		},
	}, opts...)
	if err != nil {
		return fmt.Errorf("making the NetworkPolicy %s: %w", name, err)
	}
	return nil
}
