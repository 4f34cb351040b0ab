package hpa

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// newAutoscaler is the object as the API server stores it.
func newAutoscaler(o protocol.HPA) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: target, Namespace: namespace},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				APIVersion: deployments.GroupVersion().String(), Kind: deployments.Kind, Name: target,
			},
			MinReplicas: &o.Min,
			MaxReplicas: o.Max,
		},
	}
	if o.CPUPercent > 0 {
		h.Spec.Metrics = append(h.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name: v1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{
					Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &o.CPUPercent,
				},
			},
		})
	}
	if o.QueuePerReplica > 0 {
		h.Spec.Metrics = append(h.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: queueMetric},
				Target: autoscalingv2.MetricTarget{
					Type:         autoscalingv2.AverageValueMetricType,
					AverageValue: resource.NewMilliQuantity(milli(o.QueuePerReplica), resource.DecimalSI),
				},
			},
		})
	}
	if !o.BehaviorUnset {
		// Only a behavior that is there is filled in.
		h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
		defaults.SetDefaults_HorizontalPodAutoscalerBehavior(h)
	}
	return h
}
