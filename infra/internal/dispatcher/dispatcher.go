// Package dispatcher runs the dispatcher, the service's front door.
package dispatcher

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/redis"
	"headroom.dev/infra/internal/workload"
)

// Name is the name of everything here, also of the Service.
const Name = "dispatcher"

// The ports of a dispatcher.
var (
	Port        = workload.Port{Name: "http", Number: 5001}
	MetricsPort = workload.Port{Name: workload.MetricsPort, Number: 8000}
)

// memory is the most bytes that a dispatcher may have. Callers' pictures take up to
// a quarter of it, and those that it works on about as much.
const memory = 512 << 20

// drainDelay and what a dispatcher then lets finish (10 s) are within gracePeriod. The
// delay is for proxies and load balancers: kube-proxy alone may take some seconds to
// lead no new connection to a pod that is on its way out.
const (
	drainDelay  = 5 * time.Second
	gracePeriod = 30 // seconds
)

// Args configure the dispatcher.
type Args struct {
	Namespace              workload.Namespace
	Image, ImagePullPolicy string
	Replicas               int
	SLOLatency             time.Duration
	BackendConcurrency     int // requests that one model server is sent at a time
	Redis                  redis.Connection
	APIKeysSecret          string // whose APIKeysKey lists the callers' keys; empty: everybody may call
	Backends               string // NAMESPACE/SERVICE of the model servers
	Exposure               workload.Exposure
	Tracing                workload.Tracing
	ColdStart              ColdStart
	Placement              workload.Placement
}

// ColdStart says what becomes of requests while there is no model server.
type ColdStart struct {
	Allowance time.Duration // how long they may wait for the first one; 0: no longer than others
	WakeURL   string        // each of its addresses is told of them
}

// flags are none where model servers never go to zero.
func (c ColdStart) flags() []string {
	if c.Allowance == 0 {
		return nil
	}
	return []string{"--cold-start-allowance", c.Allowance.String(), "--wake", c.WakeURL}
}

// Dispatcher is the component.
type Dispatcher struct {
	pulumi.ResourceState

	URL pulumi.StringOutput // as reached from outside
}

// New makes the permission to watch the model servers' endpoints, the
// Deployment and the Service.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Dispatcher, error) {
	d := &Dispatcher{}
	if err := ctx.RegisterComponentResource("headroom:infra:Dispatcher", args.Namespace.Resource(Name), d, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	account, err := workload.Grant(ctx, args.Namespace, Name, []workload.Permission{
		{Group: "discovery.k8s.io", Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"}},
	}, pulumi.Parent(d))
	if err != nil {
		return nil, err
	}
	_, err = workload.NewDeployment(ctx, workload.Args{
		Namespace:       args.Namespace,
		Name:            Name,
		Replicas:        &args.Replicas,
		Image:           args.Image,
		ImagePullPolicy: args.ImagePullPolicy,
		Args: slices.Concat([]string{
			"--redis", args.Redis.URL,
			"--endpoints-of", args.Backends,
			"--slo", args.SLOLatency.String(),
			"--max-picture-memory", strconv.Itoa(memory / 4),
			"--backend-concurrency", strconv.Itoa(args.BackendConcurrency),
			"--listen", fmt.Sprintf(":%d", Port.Number),
			"--metrics-listen", fmt.Sprintf(":%d", MetricsPort.Number),
			"--drain-delay", drainDelay.String(),
		}, args.ColdStart.flags(), redisFlags(args.Redis), apiKeysFlags(args.APIKeysSecret), args.Tracing.Flags()),
		Env: slices.Concat(args.Redis.Env, corev1.EnvVarArray{corev1.EnvVarArgs{
			// Go collects garbage before the container is over its limit.
			Name: pulumi.String("GOMEMLIMIT"), Value: pulumi.String(strconv.Itoa(memory * 8 / 10)),
		}}, args.Tracing.Env()),
		Ports:          []workload.Port{Port, MetricsPort},
		Resources:      workload.Resources{CPURequest: "100m", CPULimit: "2", MemoryRequest: "64Mi", MemoryLimit: strconv.Itoa(memory)},
		Startup:        workload.HTTPProbe("/healthz", Port.Name, workload.Cadence{Period: 1, Timeout: 2, Failures: 60}),
		Readiness:      workload.HTTPProbe("/readyz", Port.Name, workload.Cadence{Period: 2, Timeout: 2, Failures: 2}),
		Liveness:       workload.HTTPProbe("/healthz", Port.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
		ServiceAccount: account,
		GracePeriod:    gracePeriod,
		Placement:      args.Placement,
		Annotations:    annotations(args.Redis),
		Volumes:        slices.Concat(volume("redis-ca", redisCAFolder, args.Redis.CASecret, redis.CAKey), volume("api-keys", apiKeysFolder, args.APIKeysSecret, APIKeysKey)),
	}, pulumi.Parent(d))
	if err != nil {
		return nil, err
	}
	service, err := workload.NewService(ctx, args.Namespace, Name, Port, args.Exposure, pulumi.Parent(d))
	if err != nil {
		return nil, err
	}
	d.URL = args.Exposure.URL(args.Namespace, Name, Port, service)
	if err := workload.NewMetricsService(ctx, args.Namespace, Name, MetricsPort, pulumi.Parent(d)); err != nil {
		return nil, err
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{"url": d.URL})
}
