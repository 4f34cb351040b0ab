package stack

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/hpa"
	"headroom.dev/infra/internal/modelserver"
	"headroom.dev/infra/internal/scaler"
	"headroom.dev/infra/internal/workload"
)

// newScaler makes who sets the number of model servers: one or nobody.
func newScaler(ctx *pulumi.Context, cfg config.Config, namespace workload.Namespace, target, prometheusURL string, opts ...pulumi.ResourceOption) error {
	switch cfg.Scaler {
	case config.ScalerCustom:
		custom := cfg.Custom
		args := scaler.Args{
			Namespace: namespace,
			Image:     cfg.Images.Scaler, ImagePullPolicy: cfg.ImagePullPolicy,
			Replicas:   custom.Replicas,
			DryRun:     custom.Mode == config.ModeDryRun,
			Deployment: target, Container: modelserver.Name,
			PrometheusURL: prometheusURL, ScrapeInterval: cfg.PrometheusScrapeInterval, SeriesNamespace: seriesNamespace(cfg),
			SLOLatency:  cfg.SLOLatency,
			MinReplicas: cfg.MinReplicas, MaxReplicas: cfg.MaxReplicas,
			IdleAfter:            custom.IdleAfter,
			ScaleInStabilization: custom.ScaleInStabilization,
			FallbackAfter:        custom.FallbackAfter, FallbackReplicas: custom.FallbackReplicas,
			BridgeCeiling: custom.BridgeCeiling,
			Placement:     placement(cfg, scalers(cfg)),
		}
		for _, s := range custom.Schedules {
			args.Schedules = append(args.Schedules, scaler.Schedule(s))
		}
		_, err := scaler.New(ctx, args, opts...)
		return err
	case config.ScalerHPA:
		_, err := hpa.New(ctx, hpa.Args{
			Namespace:   namespace,
			Deployment:  target,
			CPUPercent:  cfg.HPACPUPercent,
			MinReplicas: cfg.MinReplicas, MaxReplicas: cfg.MaxReplicas,
			Behavior: hpaBehavior(cfg),
		}, opts...)
		return err
	default:
		return nil
	}
}

// hpaBehavior is nil where it is Kubernetes' own: an autoscaler without one is
// what people have, and what ours is compared with.
func hpaBehavior(cfg config.Config) *hpa.Behavior {
	if cfg.HPABehavior == config.KubernetesHPABehavior() {
		return nil
	}
	return &hpa.Behavior{Up: hpa.Rules(cfg.HPABehavior.Up), Down: hpa.Rules(cfg.HPABehavior.Down)}
}

// fixedReplicas is nil where a scaler owns the number.
func fixedReplicas(cfg config.Config) *int {
	if cfg.Scaler != config.ScalerNone {
		return nil
	}
	return &cfg.Replicas
}

// coldStart has requests wait for the first model server where there may be none.
func coldStart(cfg config.Config) dispatcher.ColdStart {
	if !cfg.FromZero() {
		return dispatcher.ColdStart{}
	}
	return dispatcher.ColdStart{Allowance: cfg.Custom.ColdStartAllowance, WakeURL: scaler.WakeURL()}
}
