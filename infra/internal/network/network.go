// Package network says which pods may talk to which: nothing reaches a pod of
// headroom but what is listed here, and by config it reaches nothing else.
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
	From       []string // names of components
	Namespaces []string // namespaces of which all pods may, too; none, and no From: everyone, also outside the cluster
	To         string   // name of a component
	Port       int      // of the container
}

// Outward lets pods of a component reach a port anywhere. It is for what no
// policy can name: the Kubernetes API has an address that is the cluster's own
// affair, and so may the others have.
type Outward struct {
	From  string // name of a component
	Ports []int
}

// Args configure the policies.
type Args struct {
	Namespace workload.Namespace
	Exclusive bool // true: the namespace holds nothing else, so everything in it is closed
	Edges     []Edge
	Egress    *Egress // nil: pods may reach everything
}

// Egress closes the pods to the other side: they reach what Edges lead to, what
// is listed here, and the cluster's DNS.
type Egress struct{ Outward []Outward }

// Network is the component.
type Network struct {
	pulumi.ResourceState
}

// New makes one policy that denies everything and one for each component that
// is reached, or that reaches something.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Network, error) {
	n := &Network{}
	if err := ctx.RegisterComponentResource("headroom:infra:Network", args.Namespace.Resource(Name), n, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	closed := pulumi.StringMap{}
	if !args.Exclusive {
		closed[workload.PartOfLabel] = pulumi.String(workload.PartOf)
	}
	policies := policiesOf(args)
	policies = append(policies, policy{name: "default-deny", pods: closed})
	for _, p := range policies {
		if err := p.register(ctx, args, pulumi.Parent(n)); err != nil {
			return nil, err
		}
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"policies": pulumi.Int(len(policies))})
}

// policy is what the pods of one component may do; without rules, nothing.
type policy struct {
	name    string
	pods    pulumi.StringMap
	ingress networkingv1.NetworkPolicyIngressRuleArray
	egress  networkingv1.NetworkPolicyEgressRuleArray
}

// policiesOf groups the edges by component.
func policiesOf(args Args) []policy {
	var policies []policy
	of := func(component string) *policy {
		i := slices.IndexFunc(policies, func(p policy) bool { return p.name == component })
		if i < 0 {
			i = len(policies)
			policies = append(policies, policy{name: component, pods: workload.Selector(component)})
		}
		return &policies[i]
	}
	for _, edge := range args.Edges {
		to := of(edge.To)
		to.ingress = append(to.ingress, ingress(edge))
	}
	if args.Egress == nil {
		return policies
	}
	for _, edge := range args.Edges {
		for _, name := range edge.From {
			from := of(name)
			from.egress = append(from.egress, networkingv1.NetworkPolicyEgressRuleArgs{
				To: networkingv1.NetworkPolicyPeerArray{component(edge.To)}, Ports: tcp(edge.Port),
			})
		}
	}
	for _, outward := range args.Egress.Outward {
		from := of(outward.From)
		from.egress = append(from.egress, networkingv1.NetworkPolicyEgressRuleArgs{Ports: tcp(outward.Ports...)})
	}
	for i := range policies {
		if policies[i].egress != nil {
			policies[i].egress = append(policies[i].egress, dns())
		}
	}
	return policies
}

func ingress(edge Edge) networkingv1.NetworkPolicyIngressRuleArgs {
	rule := networkingv1.NetworkPolicyIngressRuleArgs{Ports: tcp(edge.Port)}
	var peers networkingv1.NetworkPolicyPeerArray
	for _, name := range edge.From {
		peers = append(peers, component(name))
	}
	for _, name := range edge.Namespaces {
		peers = append(peers, networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: metav1.LabelSelectorArgs{
			MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)},
		}})
	}
	if peers != nil {
		rule.From = peers
	}
	return rule
}

func component(name string) networkingv1.NetworkPolicyPeerArgs {
	return networkingv1.NetworkPolicyPeerArgs{PodSelector: metav1.LabelSelectorArgs{MatchLabels: workload.Selector(name)}}
}

func tcp(numbers ...int) networkingv1.NetworkPolicyPortArray {
	var ports networkingv1.NetworkPolicyPortArray
	for _, number := range numbers {
		ports = append(ports, networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(number), Protocol: pulumi.String("TCP")})
	}
	return ports
}

// dns is open to everywhere: it may be pods of any label, or an address of the
// node's own.
func dns() networkingv1.NetworkPolicyEgressRuleArgs {
	return networkingv1.NetworkPolicyEgressRuleArgs{Ports: networkingv1.NetworkPolicyPortArray{
		networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(53), Protocol: pulumi.String("UDP")},
		networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(53), Protocol: pulumi.String("TCP")},
	}}
}

func (p policy) register(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) error {
	types := []string{"Ingress"}
	spec := networkingv1.NetworkPolicySpecArgs{
		PodSelector: metav1.LabelSelectorArgs{MatchLabels: p.pods},
		Ingress:     p.ingress,
	}
	if args.Egress != nil {
		types = append(types, "Egress")
		spec.Egress = p.egress
	}
	spec.PolicyTypes = pulumi.ToStringArray(types)
	_, err := networkingv1.NewNetworkPolicy(ctx, args.Namespace.Resource(p.name), &networkingv1.NetworkPolicyArgs{
		Metadata: workload.Metadata(args.Namespace, Name, p.name), Spec: spec,
	}, opts...)
	if err != nil {
		return fmt.Errorf("making the NetworkPolicy %s: %w", p.name, err)
	}
	return nil
}
