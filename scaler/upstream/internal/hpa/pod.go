package hpa

import (
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// shape is what the controller reads of a pod.
type shape struct {
	ready, pending   bool
	created, readyAt float64
}

func shapeOf(p *protocol.Pods) shape {
	return shape{ready: p.Ready, pending: p.Pending, created: p.Created, readyAt: *p.ReadyAt}
}

func podSpec(cpuRequest float64) v1.PodSpec {
	request := resource.NewMilliQuantity(int64(math.Round(cpuRequest*1000)), resource.DecimalSI)
	return v1.PodSpec{Containers: []v1.Container{{
		Name:      target,
		Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: *request}},
	}}}
}

func (w *world) newPod(i int, s shape) *v1.Pod {
	created := metav1.NewTime(w.at(s.created))
	phase, ready := v1.PodRunning, v1.ConditionFalse
	if s.pending {
		phase = v1.PodPending
	}
	if s.ready {
		ready = v1.ConditionTrue
	}
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: w.names[i], Namespace: namespace, Labels: podLabels, CreationTimestamp: created,
		},
		Spec: w.spec,
		Status: v1.PodStatus{
			Phase:     phase,
			StartTime: &created,
			Conditions: []v1.PodCondition{{
				Type: v1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(w.at(s.readyAt)),
			}},
		},
	}
}
