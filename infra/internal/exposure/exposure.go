// Package exposure leads clients outside the cluster to a Service: by an
// Ingress, or by a route of a Gateway.
package exposure

import (
	"fmt"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of the component.
const Name = "exposure"

// Args configure the way in. Exactly one of Ingress and Gateway is set.
type Args struct {
	Namespace workload.Namespace
	Service   string // its name, and that of the Ingress or route
	Port      workload.Port
	Host      string // host name that clients use
	TLS       bool   // whether they speak https
	Ingress   *Ingress
	Gateway   *Gateway
}

// Ingress is the way in by an Ingress' controller.
type Ingress struct {
	Class       string // name of the IngressClass; empty: the cluster's default
	TLSSecret   string // with TLS, the certificate's Secret; empty: the controller's own certificate
	Annotations map[string]string
}

// Gateway is the way in by a Gateway, which is there already.
type Gateway struct {
	Name      string
	Namespace string        // empty: the stack's own
	Listener  string        // empty: every one that takes the host
	Timeout   time.Duration // of a request, whole seconds; 0: the Gateway's own
}

// Exposure is the component.
type Exposure struct {
	pulumi.ResourceState

	URL string // as clients reach the Service
}

// New makes the Ingress or the HTTPRoute.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Exposure, error) {
	scheme := "http"
	if args.TLS {
		scheme = "https"
	}
	e := &Exposure{URL: scheme + "://" + args.Host}
	if err := ctx.RegisterComponentResource("headroom:infra:Exposure", args.Namespace.Resource(Name), e, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	newWay := newIngress
	if args.Gateway != nil {
		newWay = newRoute
	}
	if err := newWay(ctx, args, pulumi.Parent(e), workload.Timeouts()); err != nil {
		return nil, err
	}
	return e, ctx.RegisterResourceOutputs(e, pulumi.Map{"url": pulumi.String(e.URL)})
}

func newIngress(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) error {
	metadata := workload.Metadata(args.Namespace, args.Service, args.Service)
	metadata.Annotations = workload.Annotations(args.Ingress.Annotations)
	spec := networkingv1.IngressSpecArgs{
		Rules: networkingv1.IngressRuleArray{networkingv1.IngressRuleArgs{
			Host: pulumi.String(args.Host),
			Http: networkingv1.HTTPIngressRuleValueArgs{Paths: networkingv1.HTTPIngressPathArray{networkingv1.HTTPIngressPathArgs{
				Path: pulumi.String("/"), PathType: pulumi.String("Prefix"),
				Backend: networkingv1.IngressBackendArgs{Service: networkingv1.IngressServiceBackendArgs{
					Name: pulumi.String(args.Service),
					Port: networkingv1.ServiceBackendPortArgs{Name: pulumi.String(args.Port.Name)},
				}},
			}}},
		}},
	}
	if args.Ingress.Class != "" {
		spec.IngressClassName = pulumi.String(args.Ingress.Class)
	}
	if args.TLS {
		tls := networkingv1.IngressTLSArgs{Hosts: pulumi.ToStringArray([]string{args.Host})}
		if args.Ingress.TLSSecret != "" {
			tls.SecretName = pulumi.String(args.Ingress.TLSSecret)
		}
		spec.Tls = networkingv1.IngressTLSArray{tls}
	}
	_, err := networkingv1.NewIngress(ctx, args.Namespace.Resource(args.Service), &networkingv1.IngressArgs{Metadata: metadata, Spec: spec}, opts...)
	if err != nil {
		return fmt.Errorf("making the Ingress %s: %w", args.Service, err)
	}
	return nil
}

func newRoute(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) error {
	parent := pulumi.Map{"name": pulumi.String(args.Gateway.Name)}
	if args.Gateway.Namespace != "" {
		parent["namespace"] = pulumi.String(args.Gateway.Namespace)
	}
	if args.Gateway.Listener != "" {
		parent["sectionName"] = pulumi.String(args.Gateway.Listener)
	}
	rule := pulumi.Map{
		"matches": pulumi.Array{pulumi.Map{
			"path": pulumi.StringMap{"type": pulumi.String("PathPrefix"), "value": pulumi.String("/")},
		}},
		"backendRefs": pulumi.Array{pulumi.Map{
			"name": pulumi.String(args.Service), "port": pulumi.Int(args.Port.Number),
		}},
	}
	if args.Gateway.Timeout > 0 {
		rule["timeouts"] = pulumi.StringMap{"request": pulumi.String(args.Gateway.Timeout.String())}
	}
	_, err := apiextensions.NewCustomResource(ctx, args.Namespace.Resource(args.Service), &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("gateway.networking.k8s.io/v1"),
		Kind:       pulumi.String("HTTPRoute"),
		Metadata:   workload.Metadata(args.Namespace, args.Service, args.Service),
		OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{
			"parentRefs": pulumi.Array{parent},
			"hostnames":  pulumi.ToStringArray([]string{args.Host}),
			"rules":      pulumi.Array{rule},
		}},
	}, opts...)
	if err != nil {
		return fmt.Errorf("making the HTTPRoute %s: %w", args.Service, err)
	}
	return nil
}
