package stack

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/disruption"
	"headroom.dev/infra/internal/modelserver"
	"headroom.dev/infra/internal/quota"
	"headroom.dev/infra/internal/scaler"
	"headroom.dev/infra/internal/workload"
)

// placement is of a component with a fixed number of pods.
func placement(cfg config.Config, pods int) workload.Placement {
	a := cfg.Availability
	p := workload.Placement{
		Spread: workload.Wish(a.TopologySpread), Apart: workload.Wish(a.AntiAffinity), PriorityClass: a.PriorityClass,
	}
	if pods < 2 {
		return p.Alone()
	}
	return p
}

// modelServerPlacement never makes a model server wait for a node of its own:
// there may be more of them than nodes.
func modelServerPlacement(cfg config.Config) workload.Placement {
	a := cfg.Availability
	p := workload.Placement{
		Spread: workload.Wish(a.TopologySpread), Apart: workload.Wish(a.AntiAffinity), PriorityClass: a.PriorityClass,
		NodeSelector: a.ModelServerNodeSelector,
	}
	if p.Apart == workload.Required {
		p.Apart = workload.Preferred
	}
	for _, t := range a.ModelServerTolerations {
		p.Tolerations = append(p.Tolerations, workload.Toleration(t))
	}
	return p
}

// budgets are for what can lose a pod and serve on. The number of model servers
// is the scaler's affair, and may be one.
func budgets(cfg config.Config) []disruption.Budget {
	all := []disruption.Budget{{Component: modelserver.Name, MaxUnavailable: cfg.Availability.ModelServerMaxUnavailable}}
	for _, component := range queuePods(cfg) {
		all = append(all, disruption.Budget{Component: component, MaxUnavailable: "1"})
	}
	for _, fixed := range []struct {
		component string
		pods      int
	}{
		{dispatcher.Name, cfg.DispatcherReplicas},
		{scaler.Name, scalers(cfg)},
	} {
		if fixed.pods > 1 {
			all = append(all, disruption.Budget{Component: fixed.component, MaxUnavailable: "1"})
		}
	}
	return all
}

// scalers is the number of pods of headroom's own scaler.
func scalers(cfg config.Config) int {
	if cfg.Scaler != config.ScalerCustom {
		return 0
	}
	return cfg.Custom.Replicas
}

// newBounds makes the disruption budgets and what bounds the namespace.
func newBounds(ctx *pulumi.Context, cfg config.Config, namespace workload.Namespace, opts ...pulumi.ResourceOption) error {
	a := cfg.Availability
	if a.DisruptionBudgets {
		if _, err := disruption.New(ctx, disruption.Args{Namespace: namespace, Budgets: budgets(cfg)}, opts...); err != nil {
			return err
		}
	}
	if a.Quota.Set() || a.LimitRange {
		_, err := quota.New(ctx, quota.Args{Namespace: namespace, Hard: a.Quota.Hard(), LimitRange: a.LimitRange}, opts...)
		if err != nil {
			return err
		}
	}
	return nil
}
