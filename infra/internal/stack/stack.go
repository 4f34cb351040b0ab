// Package stack composes headroom out of its components.
package stack

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/metricsserver"
	"headroom.dev/infra/internal/modelserver"
	"headroom.dev/infra/internal/network"
	"headroom.dev/infra/internal/scaler"
	"headroom.dev/infra/internal/workload"
	"headroom.dev/infra/policy"
)

// Headroom is everything, as one component.
type Headroom struct {
	pulumi.ResourceState

	Namespace        pulumi.StringOutput
	DispatcherURL    pulumi.StringOutput // as reached from the host that runs the program
	PrometheusURL    pulumi.StringOutput // as reached from the host that runs the program
	Scaler           pulumi.StringOutput // custom, hpa or none
	TargetDeployment pulumi.StringOutput // name of the Deployment that is scaled
}

// Outputs are the outputs by the names that contract/outputs.json gives them.
func (h *Headroom) Outputs() pulumi.Map {
	return pulumi.Map{
		"namespace":        h.Namespace,
		"dispatcherUrl":    h.DispatcherURL,
		"prometheusUrl":    h.PrometheusURL,
		"scaler":           h.Scaler,
		"targetDeployment": h.TargetDeployment,
	}
}

// New makes everything that cfg asks for, as children of one component. Where
// cfg breaks a rule the error is of type config.Problems, and nothing is made.
func New(ctx *pulumi.Context, name string, cfg config.Config, opts ...pulumi.ResourceOption) (*Headroom, error) {
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, problems
	}
	h := &Headroom{}
	if err := ctx.RegisterComponentResource("headroom:infra:Headroom", name, h, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", name, err)
	}
	var onCluster pulumi.ResourceOption = pulumi.Parent(h)
	if ctx.Project() == config.Project {
		// This project's stacks are older than the component: what is in it now had
		// no parent.
		onCluster = pulumi.Composite(onCluster, pulumi.Aliases([]pulumi.Alias{{NoParent: pulumi.Bool(true)}}))
	}

	namespace, err := newNamespace(ctx, name, cfg, onCluster)
	if err != nil {
		return nil, err
	}
	queue, err := newQueue(ctx, cfg, namespace, onCluster)
	if err != nil {
		return nil, err
	}
	metrics, err := newMonitoring(ctx, cfg, namespace, onCluster)
	if err != nil {
		return nil, err
	}
	models, err := modelserver.New(ctx, modelserver.Args{
		Namespace: namespace,
		Image:     cfg.Images.ModelServer, ImagePullPolicy: cfg.ImagePullPolicy,
		Replicas:   fixedReplicas(cfg),
		CPURequest: cfg.ModelServerCPURequest, CPULimit: cfg.ModelServerCPULimit,
		Memory: cfg.ModelServerMemory, MemoryBytes: cfg.ModelServerMemoryBytes(),
		Placement: modelServerPlacement(cfg),
		Tracing:   tracing(cfg),
	}, onCluster)
	if err != nil {
		return nil, err
	}
	door, err := dispatcher.New(ctx, dispatcher.Args{
		Namespace: namespace,
		Image:     cfg.Images.Dispatcher, ImagePullPolicy: cfg.ImagePullPolicy,
		Replicas:           cfg.DispatcherReplicas,
		SLOLatency:         cfg.SLOLatency,
		BackendConcurrency: cfg.BackendConcurrency,
		Redis:              queue.Connection,
		APIKeysSecret:      cfg.APIKeysSecret,
		Backends:           models.Endpoints,
		Exposure:           service(cfg, cfg.DispatcherNodePort),
		ColdStart:          coldStart(cfg),
		Tracing:            tracing(cfg),
		Placement:          placement(cfg, cfg.DispatcherReplicas),
	}, onCluster)
	if err != nil {
		return nil, err
	}
	if err := newScaler(ctx, cfg, namespace, models.Deployment, metrics.ClusterURL, onCluster); err != nil {
		return nil, err
	}
	dispatcherURL, err := newExposure(ctx, cfg, namespace, door.URL, onCluster)
	if err != nil {
		return nil, err
	}
	if err := newBounds(ctx, cfg, namespace, onCluster); err != nil {
		return nil, err
	}
	if cfg.MetricsServer {
		_, err := metricsserver.New(ctx, metricsserver.Args{
			Image: cfg.Images.MetricsServer, ImagePullPolicy: cfg.ImagePullPolicy,
		}, onCluster)
		if err != nil {
			return nil, err
		}
	}
	if cfg.NetworkPolicies {
		_, err := network.New(ctx, network.Args{
			Namespace: namespace, Exclusive: cfg.CreateNamespace, Edges: edges(cfg), Egress: egress(cfg),
		}, onCluster)
		if err != nil {
			return nil, err
		}
	}
	h.Namespace = namespace.Input.ToStringOutput()
	h.DispatcherURL = dispatcherURL
	h.PrometheusURL = metrics.URL
	h.Scaler = pulumi.String(string(cfg.Scaler)).ToStringOutput()
	h.TargetDeployment = pulumi.String(models.Deployment).ToStringOutput()
	return h, ctx.RegisterResourceOutputs(h, h.Outputs())
}

// Program makes the provider and the component, and exports the outputs. What
// it asks for is held to the policy.
func Program(cfg config.Config) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error {
		err := policy.Register(ctx, cfg.Policy, policy.Options{AllowNodePorts: cfg.ServiceType == "NodePort"})
		if err != nil {
			return err
		}
		cluster, err := NewProvider(ctx, "kubernetes", cfg.KubeContext)
		if err != nil {
			return err
		}
		h, err := New(ctx, config.Project, cfg, pulumi.Provider(cluster))
		if err != nil {
			return err
		}
		for name, value := range h.Outputs() {
			ctx.Export(name, value)
		}
		return nil
	}
}

// NewProvider makes a Kubernetes provider for the context of that name, or for
// the kubeconfig's current one where it is empty. Named, it is never silently
// another cluster when the current one changes.
func NewProvider(ctx *pulumi.Context, name, kubeContext string, opts ...pulumi.ResourceOption) (*kubernetes.Provider, error) {
	args := &kubernetes.ProviderArgs{
		// A changed config is updated in place; by default it would be deleted and
		// made anew under the pods that mount it.
		EnableConfigMapMutable: pulumi.Bool(true),
		EnableSecretMutable:    pulumi.Bool(true),
	}
	if kubeContext != "" {
		args.Context = pulumi.String(kubeContext)
	}
	provider, err := kubernetes.NewProvider(ctx, name, args, opts...)
	if err != nil {
		return nil, fmt.Errorf("making the Kubernetes provider: %w", err)
	}
	return provider, nil
}

// newNamespace makes the namespace, or names the one that is there. Resources of
// a component with another name than this project's carry that name, so that
// one program can make several.
func newNamespace(ctx *pulumi.Context, name string, cfg config.Config, opts ...pulumi.ResourceOption) (workload.Namespace, error) {
	namespace := workload.Namespace{Name: cfg.Namespace, Input: pulumi.String(cfg.Namespace)}
	if name != config.Project {
		namespace.Prefix = name + "-"
	}
	if !cfg.CreateNamespace {
		return namespace, nil
	}
	labels := workload.Labels(cfg.Namespace)
	for _, mode := range []string{"enforce", "warn", "audit"} {
		labels["pod-security.kubernetes.io/"+mode] = pulumi.String("restricted")
	}
	made, err := corev1.NewNamespace(ctx, namespace.Resource("namespace"), &corev1.NamespaceArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(cfg.Namespace), Labels: labels, Annotations: workload.Annotations(nil)},
	}, opts...)
	if err != nil {
		return workload.Namespace{}, fmt.Errorf("making the Namespace %s: %w", cfg.Namespace, err)
	}
	namespace.Input = made.Metadata.Name().Elem()
	return namespace, nil
}

// edges are the ways between the components. The dispatcher is what people use,
// from wherever they are.
func edges(cfg config.Config) []network.Edge {
	door := []string{dispatcher.Name}
	all := []network.Edge{
		{To: dispatcher.Name, Port: dispatcher.Port.Number, Namespaces: cfg.Exposure.ClientNamespaces},
		watched(cfg, dispatcher.Name, dispatcher.MetricsPort.Number),
		{To: modelserver.Name, Port: modelserver.Port.Number, From: door},
		watched(cfg, modelserver.Name, modelserver.MetricsPort.Number),
	}
	all = append(all, queueEdges(cfg)...)
	all = append(all, monitoringEdges(cfg)...)
	if cfg.Scaler == config.ScalerCustom {
		all = append(all, watched(cfg, scaler.Name, scaler.Port.Number))
	}
	if cfg.FromZero() {
		all = append(all, network.Edge{To: scaler.Name, Port: scaler.Port.Number, From: door})
	}
	return all
}

// egress is where pods go that is none of ours: the Kubernetes API.
func egress(cfg config.Config) *network.Egress {
	if !cfg.NetworkPolicyEgress {
		return nil
	}
	outward := []network.Outward{{From: dispatcher.Name, Ports: slices.Concat(cfg.APIServerPorts, queuePorts(cfg), tracingPorts(cfg))}}
	if ports := tracingPorts(cfg); ports != nil {
		outward = append(outward, network.Outward{From: modelserver.Name, Ports: ports})
	}
	if cfg.Scaler == config.ScalerCustom {
		outward = append(outward, network.Outward{From: scaler.Name, Ports: cfg.APIServerPorts})
	}
	return &network.Egress{Outward: append(outward, monitoringOutward(cfg)...)}
}
