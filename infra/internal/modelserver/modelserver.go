// Package modelserver runs the model servers, the replicas that are scaled.
package modelserver

import (
	"fmt"
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of everything here; the Deployment is the scalers' target,
// the Service is what the dispatcher watches.
const Name = "model-server"

// The ports of a replica.
var (
	Port        = workload.Port{Name: "http", Number: 6001}
	GRPCPort    = workload.Port{Name: "grpc", Number: 9000} // the Open Inference Protocol; no policy lets anyone reach it
	MetricsPort = workload.Port{Name: workload.MetricsPort, Number: 8001}
)

// Args configure the model servers.
type Args struct {
	Namespace              workload.Namespace
	Image, ImagePullPolicy string
	Replicas               *int   // nil where a scaler owns the number: `pulumi up` must not undo its decisions
	CPURequest, CPULimit   string // quantities
	Memory                 string // quantity, request and limit
	MemoryBytes            int64  // the same in bytes
	Placement              workload.Placement
	Tracing                workload.Tracing
}

// ModelServer is the component.
type ModelServer struct {
	pulumi.ResourceState

	Deployment string // its name
	Endpoints  string // NAMESPACE/SERVICE whose endpoints are the replicas
}

// New makes the Deployment and the Service.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*ModelServer, error) {
	m := &ModelServer{Deployment: Name, Endpoints: args.Namespace.Name + "/" + Name}
	if err := ctx.RegisterComponentResource("headroom:infra:ModelServer", args.Namespace.Resource(Name), m, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	_, err := workload.NewDeployment(ctx, workload.Args{
		Namespace:       args.Namespace,
		Name:            Name,
		Replicas:        args.Replicas,
		Image:           args.Image,
		ImagePullPolicy: args.ImagePullPolicy,
		Args: append([]string{
			"--model", "/model",
			"--listen", fmt.Sprintf(":%d", Port.Number),
			"--grpc-listen", fmt.Sprintf(":%d", GRPCPort.Number),
			"--metrics-listen", fmt.Sprintf(":%d", MetricsPort.Number),
			// Pictures and bodies must fit beside the network, whatever comes.
			"--max-decode-memory", strconv.FormatInt(args.MemoryBytes/2, 10),
			"--max-body-memory", strconv.FormatInt(args.MemoryBytes/4, 10),
		}, args.Tracing.Flags()...),
		// What pictures leave behind is collected before the limit is reached; the
		// rest is for ONNX Runtime and libjpeg, of which Go knows nothing.
		Env: append(corev1.EnvVarArray{corev1.EnvVarArgs{
			Name: pulumi.String("GOMEMLIMIT"), Value: pulumi.String(strconv.FormatInt(args.MemoryBytes*6/10, 10)),
		}}, args.Tracing.Env()...),
		Ports: []workload.Port{Port, GRPCPort, MetricsPort},
		Resources: workload.Resources{
			CPURequest: args.CPURequest, CPULimit: args.CPULimit,
			MemoryRequest: args.Memory, MemoryLimit: args.Memory,
		},
		CPUInPlace: true, // the scaler may lend a replica some while others start
		// A new replica counts within a second of being ready. A busy one is slow
		// to answer under its CPU limit, and taking it out or restarting it would
		// make the others busier: the other tries are patient.
		Startup:     workload.HTTPProbe("/healthz", Port.Name, workload.Cadence{Period: 1, Timeout: 2, Failures: 60}),
		Readiness:   workload.HTTPProbe("/readyz", Port.Name, workload.Cadence{Period: 1, Timeout: 2, Failures: 5}),
		Liveness:    workload.HTTPProbe("/healthz", Port.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
		GracePeriod: 30,
		Placement:   args.Placement,
	}, pulumi.Parent(m))
	if err != nil {
		return nil, err
	}
	if _, err := workload.NewService(ctx, args.Namespace, Name, Port, workload.Internal(), pulumi.Parent(m)); err != nil {
		return nil, err
	}
	if err := workload.NewMetricsService(ctx, args.Namespace, Name, MetricsPort, pulumi.Parent(m)); err != nil {
		return nil, err
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{
		"deployment": pulumi.String(m.Deployment), "endpoints": pulumi.String(m.Endpoints),
	})
}
