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
	// Images are references of the container images.
	Images = config.Images

	// Custom is headroom's own scaler.
	Custom = config.Custom

	// Schedule is a least number of model servers at times that are known beforehand.
	Schedule = config.Schedule

	// HPABehavior says how fast Kubernetes' HorizontalPodAutoscaler goes.
	HPABehavior = config.HPABehavior

	// HPARules are those in one direction.
	HPARules = config.HPARules

	// Redis is the queue.
	Redis = config.Redis

	// Exposure says how clients reach the dispatcher.
	Exposure = config.Exposure

	// Monitoring says whose Prometheus, and what shows it.
	Monitoring = config.Monitoring

	// Tracing says where spans go.
	Tracing = config.Tracing

	// Availability is what keeps the service up while nodes come and go.
	Availability = config.Availability

	// Toleration is one of a node's taint.
	Toleration = config.Toleration

	// Quota is the most that the namespace may ask for.
	Quota = config.Quota
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
