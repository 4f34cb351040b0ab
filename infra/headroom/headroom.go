// Package headroom is the whole service as one component, for Pulumi programs
// of others.
//
// Its settings are those of this project's stacks, as typed values:
//
//	args := headroom.Defaults()
//	args.Images.ModelServer = "registry.example/modelserver@sha256:…"
//	args.MaxReplicas = 20
//	service, err := headroom.New(ctx, "pictures", args, pulumi.Provider(cluster))
package headroom

import (
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/stack"
)

// Args are the settings. Every field's range is checked by Validate, which
// names the fields as Pulumi.yaml names the keys. KubeContext and Policy have no
// meaning here: the provider names the cluster, and policy.Register is the
// program's to call.
//
// Start from Defaults: a zero is a value of its own in many fields.
type Args = config.Config

type (
	Images       = config.Images       // references of the container images
	Custom       = config.Custom       // headroom's own scaler
	Schedule     = config.Schedule     // a least number of model servers at times that are known beforehand
	HPABehavior  = config.HPABehavior  // how fast Kubernetes' HorizontalPodAutoscaler goes
	HPARules     = config.HPARules     // in one direction
	Redis        = config.Redis        // the queue
	Exposure     = config.Exposure     // how clients reach the dispatcher
	Monitoring   = config.Monitoring   // whose Prometheus, and what shows it
	Tracing      = config.Tracing      // where spans go
	Availability = config.Availability // what keeps the service up while nodes come and go
	Toleration   = config.Toleration   // of a node's taint
	Quota        = config.Quota        // the most that the namespace may ask for
)

// Scaler says who sets the number of model servers.
type Scaler = config.Scaler

// The scalers.
const (
	ScalerCustom = config.ScalerCustom // headroom's own, driven by the latency promise
	ScalerHPA    = config.ScalerHPA    // Kubernetes' HorizontalPodAutoscaler on CPU
	ScalerNone   = config.ScalerNone   // nobody: a fixed number
)

// Problems is every rule that Args break, as one error of one line each.
type Problems = config.Problems

// Headroom is the component.
type Headroom = stack.Headroom

// Defaults are the settings that a stack has which sets none. The images that
// this project builds have no default.
func Defaults() Args { return config.Defaults() }

// New makes everything that args ask for, as children of one component of that
// name. Several in one program need a namespace each. Where args break a rule the error is of type Problems, and nothing is
// made.
//
// The Kubernetes provider is the one in opts, or the program's default one.
// One that NewProvider makes updates configs in place.
func New(ctx *pulumi.Context, name string, args Args, opts ...pulumi.ResourceOption) (*Headroom, error) {
	return stack.New(ctx, name, args, opts...)
}

// NewProvider makes a Kubernetes provider for the context of that name, or for
// the kubeconfig's current one where it is empty.
func NewProvider(ctx *pulumi.Context, name, kubeContext string, opts ...pulumi.ResourceOption) (*kubernetes.Provider, error) {
	return stack.NewProvider(ctx, name, kubeContext, opts...)
}
