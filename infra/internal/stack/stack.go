// Package stack composes headroom out of its components.
package stack

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/metricsserver"
	"headroom.dev/infra/internal/modelserver"
	"headroom.dev/infra/internal/network"
	"headroom.dev/infra/internal/prometheus"
	"headroom.dev/infra/internal/redis"
	"headroom.dev/infra/internal/scaler"
	"headroom.dev/infra/internal/workload"
)

// Outputs are the stack's outputs, by name.
type Outputs map[string]pulumi.Input

// New makes everything that cfg, which was checked, asks for.
func New(ctx *pulumi.Context, cfg config.Config) (Outputs, error) {
	provider, err := newProvider(ctx, cfg)
	if err != nil {
		return nil, err
	}
	onCluster := pulumi.Provider(provider)

	namespace, err := newNamespace(ctx, cfg, onCluster)
	if err != nil {
		return nil, err
	}
	queue, err := redis.New(ctx, redis.Args{
		Namespace: namespace,
		Image:     cfg.Images.Redis, ImagePullPolicy: cfg.ImagePullPolicy,
		MaxMemory: cfg.RedisMaxMemoryBytes(),
		Password:  cfg.RedisPassword,
	}, onCluster)
	if err != nil {
		return nil, err
	}
	metrics, err := prometheus.New(ctx, prometheus.Args{
		Namespace: namespace,
		Image:     cfg.Images.Prometheus, ImagePullPolicy: cfg.ImagePullPolicy,
		ScrapeInterval: cfg.PrometheusScrapeInterval,
		Retention:      cfg.PrometheusRetention,
		Exposure:       exposure(cfg, cfg.PrometheusNodePort),
		ClusterDomain:  cfg.ClusterDomain,
		Targets:        targets(),
	}, onCluster)
	if err != nil {
		return nil, err
	}
	models, err := modelserver.New(ctx, modelserver.Args{
		Namespace: namespace,
		Image:     cfg.Images.ModelServer, ImagePullPolicy: cfg.ImagePullPolicy,
		Replicas:   fixedReplicas(cfg),
		CPURequest: cfg.ModelServerCPURequest, CPULimit: cfg.ModelServerCPULimit,
		Memory: cfg.ModelServerMemory, MemoryBytes: cfg.ModelServerMemoryBytes(),
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
		RedisURL:           queue.URL,
		RedisPassword:      queue.Password,
		RedisVersion:       queue.Version,
		Backends:           models.Endpoints,
		Exposure:           exposure(cfg, cfg.DispatcherNodePort),
		ColdStart:          coldStart(cfg),
	}, onCluster)
	if err != nil {
		return nil, err
	}
	if err := newScaler(ctx, cfg, namespace, models.Deployment, metrics.ClusterURL, onCluster); err != nil {
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
			Namespace: namespace, Exclusive: cfg.CreateNamespace, Edges: edges(cfg),
		}, onCluster)
		if err != nil {
			return nil, err
		}
	}
	return Outputs{
		"namespace":        namespace.Input,
		"dispatcherUrl":    door.URL,
		"prometheusUrl":    metrics.URL,
		"scaler":           pulumi.String(string(cfg.Scaler)),
		"targetDeployment": pulumi.String(models.Deployment),
	}, nil
}

// newProvider names the cluster explicitly, so that a change of the
// kubeconfig's current context is never silently another cluster when
// kubeContext is set.
func newProvider(ctx *pulumi.Context, cfg config.Config) (*kubernetes.Provider, error) {
	args := &kubernetes.ProviderArgs{
		// A changed config is updated in place; by default it would be deleted and
		// made anew under the pods that mount it.
		EnableConfigMapMutable: pulumi.Bool(true),
		EnableSecretMutable:    pulumi.Bool(true),
	}
	if cfg.KubeContext != "" {
		args.Context = pulumi.String(cfg.KubeContext)
	}
	provider, err := kubernetes.NewProvider(ctx, "kubernetes", args)
	if err != nil {
		return nil, fmt.Errorf("making the Kubernetes provider: %w", err)
	}
	return provider, nil
}

func newNamespace(ctx *pulumi.Context, cfg config.Config, opts ...pulumi.ResourceOption) (workload.Namespace, error) {
	if !cfg.CreateNamespace {
		return workload.Namespace{Name: cfg.Namespace, Input: pulumi.String(cfg.Namespace)}, nil
	}
	labels := workload.Labels(cfg.Namespace)
	for _, mode := range []string{"enforce", "warn", "audit"} {
		labels["pod-security.kubernetes.io/"+mode] = pulumi.String("restricted")
	}
	namespace, err := corev1.NewNamespace(ctx, "namespace", &corev1.NamespaceArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(cfg.Namespace), Labels: labels},
	}, opts...)
	if err != nil {
		return workload.Namespace{}, fmt.Errorf("making the Namespace %s: %w", cfg.Namespace, err)
	}
	return workload.Namespace{Name: cfg.Namespace, Input: namespace.Metadata.Name().Elem()}, nil
}

// targets are what Prometheus scrapes: the same whoever scales, so that
// swapping the scaler doesn't restart Prometheus and lose its data.
func targets() []prometheus.Target {
	target := func(name string, port workload.Port) prometheus.Target {
		return prometheus.Target{Job: name, Service: workload.MetricsService(name), Port: port.Number}
	}
	return []prometheus.Target{
		target(dispatcher.Name, dispatcher.MetricsPort),
		target(modelserver.Name, modelserver.MetricsPort),
		target(scaler.Name, scaler.Port),
	}
}

func exposure(cfg config.Config, nodePort int) workload.Exposure {
	return workload.Exposure{Type: cfg.ServiceType, NodePort: nodePort, Address: cfg.NodeAddress}
}

// edges are the ways between the components. The dispatcher and Prometheus are
// what people use, from wherever they are.
func edges(cfg config.Config) []network.Edge {
	monitor := []string{prometheus.Name}
	door := []string{dispatcher.Name}
	all := []network.Edge{
		{To: dispatcher.Name, Port: dispatcher.Port.Number},
		{To: dispatcher.Name, Port: dispatcher.MetricsPort.Number, From: monitor},
		{To: modelserver.Name, Port: modelserver.Port.Number, From: door},
		{To: modelserver.Name, Port: modelserver.MetricsPort.Number, From: monitor},
		{To: prometheus.Name, Port: prometheus.Port.Number},
		{To: redis.Name, Port: redis.Port.Number, From: door},
	}
	if cfg.Scaler == config.ScalerCustom {
		all = append(all, network.Edge{To: scaler.Name, Port: scaler.Port.Number, From: monitor})
	}
	if cfg.FromZero() {
		all = append(all, network.Edge{To: scaler.Name, Port: scaler.Port.Number, From: door})
	}
	return all
}
