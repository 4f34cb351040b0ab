package kubescale

import (
	"encoding/json"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// usualAnnotation keeps what a pod was created with, from before its first raise
// on. It is on the pod, so that it outlives the scaler, is right for the pods of
// every revision of a rollout, and needs no template, which not every target has.
const usualAnnotation = "headroom.dev/usual-cpu"

// share is CPU in thousandths of a core; 0 where none is set.
type share struct{ request, limit int64 }

// times is the share multiplied, to whole thousandths of a core.
func (s share) times(factor float64) share {
	return share{request: int64(math.Round(float64(s.request) * factor)), limit: int64(math.Round(float64(s.limit) * factor))}
}

func shareOf(r corev1.ResourceRequirements) share {
	return share{request: r.Requests.Cpu().MilliValue(), limit: r.Limits.Cpu().MilliValue()}
}

// resizeState is what became of a pod's last change of CPU.
type resizeState int

const (
	settled resizeState = iota
	pending
	deferred
	infeasible
)

// podCPU is the CPU of the container that may get more of it.
type podCPU struct {
	container string
	// resizable says that it has a limit, and that changing it restarts nothing.
	resizable bool
	// recorded says that usual is kept in the annotation.
	recorded          bool
	usual, spec, used share // what it was created with, what its spec says, and what it has
	state             resizeState
}

// usualCPU is the content of the annotation.
type usualCPU struct {
	Container string            `json:"container"`
	Request   resource.Quantity `json:"request"`
	Limit     resource.Quantity `json:"limit"`
}

// record is the annotation of a pod that has its usual CPU.
func (c *podCPU) record() (string, error) {
	text, err := json.Marshal(usualCPU{
		Container: c.container,
		Request:   *resource.NewMilliQuantity(c.usual.request, resource.DecimalSI),
		Limit:     *resource.NewMilliQuantity(c.usual.limit, resource.DecimalSI),
	})
	return string(text), err
}

// cpuOf reads the CPU of the container of that name, the first where it is empty;
// but of the one that the annotation names, where a raise has left one.
func cpuOf(p *corev1.Pod, name string) podCPU {
	var usual usualCPU
	recorded := json.Unmarshal([]byte(p.Annotations[usualAnnotation]), &usual) == nil && usual.Container != "" && usual.Limit.MilliValue() > 0
	if recorded {
		name = usual.Container
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if name != "" && c.Name != name {
			continue
		}
		cpu := podCPU{container: c.Name, recorded: recorded, spec: shareOf(c.Resources)}
		cpu.usual, cpu.used = cpu.spec, cpu.spec
		if recorded {
			cpu.usual = share{request: usual.Request.MilliValue(), limit: usual.Limit.MilliValue()}
		}
		for j := range p.Status.ContainerStatuses {
			if s := &p.Status.ContainerStatuses[j]; s.Name == c.Name && s.Resources != nil {
				cpu.used = shareOf(*s.Resources)
			}
		}
		cpu.resizable = cpu.usual.limit > 0
		for _, policy := range c.ResizePolicy {
			if policy.ResourceName == corev1.ResourceCPU && policy.RestartPolicy == corev1.RestartContainer {
				cpu.resizable = false
			}
		}
		cpu.state = stateOf(p, &cpu)
		return cpu
	}
	return podCPU{}
}

// stateOf reads the conditions of a resize, as far as they are about the present
// spec. Of what the pod has only the limit is compared: the kubelet reports a
// request as read back from the kernel, which rounds it.
func stateOf(p *corev1.Pod, cpu *podCPU) resizeState {
	state := settled
	if cpu.used.limit != cpu.spec.limit {
		state = pending
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		old := c.ObservedGeneration != 0 && c.ObservedGeneration < p.Generation
		switch {
		case c.Status != corev1.ConditionTrue || old:
		case c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonDeferred:
			return deferred
		case c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonInfeasible:
			return infeasible
		case c.Type == corev1.PodResizeInProgress:
			state = pending
		}
	}
	return state
}
