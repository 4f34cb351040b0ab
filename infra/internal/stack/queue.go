package stack

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/network"
	"headroom.dev/infra/internal/prometheus"
	"headroom.dev/infra/internal/redis"
	"headroom.dev/infra/internal/workload"
)

// newQueue makes the Redis that holds the queue, or connects to the one that is
// there.
func newQueue(ctx *pulumi.Context, cfg config.Config, namespace workload.Namespace, opts ...pulumi.ResourceOption) (*redis.Redis, error) {
	r := cfg.Redis
	if r.External() {
		return redis.Connect(ctx, redis.External{
			Namespace: namespace,
			URL:       r.URL, Mode: r.Mode,
			Password: r.Password, PasswordSecret: r.PasswordSecret, CASecret: r.TLSSecret,
		}, opts...)
	}
	return redis.New(ctx, redis.Args{
		Namespace: namespace,
		Image:     cfg.Images.Redis, ImagePullPolicy: cfg.ImagePullPolicy,
		ClusterDomain: cfg.ClusterDomain,
		MaxMemory:     r.MaxMemoryBytes(),
		Password:      r.Password, SecondPassword: r.SecondPassword,
		Replicas:  r.Replicas,
		Storage:   workload.Storage{Size: r.Storage, Class: r.StorageClass},
		Scratch:   r.StorageLeast(),
		TLSSecret: r.TLSSecret, ExporterImage: cfg.Images.RedisExporter,
		Placement: placement(cfg, 1+r.Replicas),
	}, opts...)
}

func tracing(cfg config.Config) workload.Tracing { return workload.Tracing(cfg.Tracing) }

// queuePods are the components of Redis that have more than one pod.
func queuePods(cfg config.Config) []string {
	if cfg.Redis.External() || cfg.Redis.Replicas == 0 {
		return nil
	}
	return []string{redis.NodeName, redis.SentinelName}
}

func queueTargets(cfg config.Config) []prometheus.Target {
	if cfg.Images.RedisExporter == "" {
		return nil
	}
	return []prometheus.Target{{
		Job: redis.Name, Service: workload.MetricsService(redis.Monitored(cfg.Redis.Replicas)), Port: redis.MetricsPort.Number,
	}}
}

// queueEdges are the ways to and between the pods of Redis.
func queueEdges(cfg config.Config) []network.Edge {
	if cfg.Redis.External() {
		return nil
	}
	const door, node, sentinel = dispatcher.Name, redis.NodeName, redis.SentinelName
	edges := []network.Edge{{To: redis.Name, Port: redis.Port.Number, From: []string{door}}}
	if cfg.Redis.Replicas > 0 {
		edges = []network.Edge{
			{To: node, Port: redis.Port.Number, From: []string{door, node, sentinel}},
			{To: sentinel, Port: redis.SentinelPort.Number, From: []string{door, node, sentinel}},
		}
	}
	if cfg.Images.RedisExporter != "" {
		edges = append(edges, watched(cfg, redis.Monitored(cfg.Redis.Replicas), redis.MetricsPort.Number))
	}
	return edges
}

// queuePorts are those of a Redis that is not the stack's: the ports in the URL,
// and Redis' usual one, where sentinels and clusters mostly lead to.
func queuePorts(cfg config.Config) []int {
	if !cfg.Redis.External() {
		return nil
	}
	ports := []int{redis.Port.Number}
	u, err := url.Parse(cfg.Redis.URL)
	if err != nil {
		return ports
	}
	for _, address := range append(u.Query()["addr"], u.Host) {
		if port, err := strconv.Atoi((&url.URL{Host: address}).Port()); err == nil {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// tracingPorts are the collector's.
func tracingPorts(cfg config.Config) []int {
	if cfg.Tracing.Endpoint == "" {
		return nil
	}
	return []int{portOf(cfg.Tracing.Endpoint)}
}
