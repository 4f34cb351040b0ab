package hpa

import (
	"time"

	autoscalingv2 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/autoscaling/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Behavior says how fast the autoscaler may go.
type Behavior struct{ Up, Down Rules }

// Rules bound the steps of one direction.
type Rules struct {
	Stabilization time.Duration // how long the most cautious wish counts, whole seconds
	Percent, Pods int           // most that is added or removed in Period; 0: not bounded by this one
	Period        time.Duration // whole seconds
	Select        string        // of the two bounds: Max, Min; or Disabled: no step at all
}

func (b Behavior) args() autoscalingv2.HorizontalPodAutoscalerBehaviorArgs {
	return autoscalingv2.HorizontalPodAutoscalerBehaviorArgs{ScaleUp: b.Up.args(), ScaleDown: b.Down.args()}
}

func (r Rules) args() autoscalingv2.HPAScalingRulesArgs {
	rules := autoscalingv2.HPAScalingRulesArgs{
		StabilizationWindowSeconds: pulumi.Int(int(r.Stabilization / time.Second)),
		SelectPolicy:               pulumi.String(r.Select),
	}
	var policies autoscalingv2.HPAScalingPolicyArray
	for _, bound := range []struct {
		kind  string
		value int
	}{{"Pods", r.Pods}, {"Percent", r.Percent}} {
		if bound.value > 0 {
			policies = append(policies, autoscalingv2.HPAScalingPolicyArgs{
				Type: pulumi.String(bound.kind), Value: pulumi.Int(bound.value), PeriodSeconds: pulumi.Int(int(r.Period / time.Second)),
			})
		}
	}
	rules.Policies = policies
	return rules
}
