package kubescale

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is what the scaler knows of one pod that runs or is to run.
type pod struct {
	name  string
	uid   types.UID
	hosts []string // by which its work is known: its name and addresses
	born  time.Time
	ready bool
	since time.Time // when it became ready, while it is
	// unclear says that it had restarted before it was first seen, so that its start
	// can't be told from its restart, which may have come long after.
	unclear bool
	// ranked says that a ReplicaSet runs it, which heeds the cost of deletion.
	ranked bool
	// cost is that annotation, and marked what this scaler wrote to it; "" for none.
	cost, marked string
	cpu          podCPU
}

// exactness is how far the API's own times, which are whole seconds, may lie from
// the arrival of the news for the latter to be taken as the more exact one.
// Further apart, the clocks disagree or the news is old.
const exactness = 2 * time.Second

// longestStart is how long after its container's start a pod that nobody has watched
// may have become ready for the first time.
const longestStart = 5 * time.Minute

// newPod takes what matters of a pod. before is what was known of it, nil for
// nothing; arrived is when a watch brought the news, zero where a list did. There
// is none where the pod ends or has ended.
func newPod(p *corev1.Pod, container string, before *pod, arrived time.Time) (pod, bool) {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return pod{}, false
	}
	now := pod{
		name: p.Name, uid: p.UID, hosts: []string{p.Name}, born: p.CreationTimestamp.Time,
		cost: p.Annotations[corev1.PodDeletionCost], marked: p.Annotations[markAnnotation],
		cpu: cpuOf(p, container),
	}
	for _, address := range p.Status.PodIPs {
		now.hosts = append(now.hosts, address.IP)
	}
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
		now.ranked = owner.Kind == "ReplicaSet"
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			now.ready, now.since = true, c.LastTransitionTime.Time
		}
	}
	if before == nil {
		now.born = exacter(now.born, arrived)
		now.unclear = slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
			// It was ready before where it became so long after its container had started.
			late := s.State.Running != nil && now.ready && now.since.Sub(s.State.Running.StartedAt.Time) > longestStart
			return s.RestartCount > 0 || late
		})
		return now, true
	}
	now.born, now.unclear = before.born, before.unclear
	switch {
	case now.ready && before.ready:
		now.since = before.since
	case now.ready:
		now.since = exacter(now.since, arrived)
	}
	return now, true
}

func exacter(stamped, arrived time.Time) time.Time {
	if arrived.Sub(stamped).Abs() <= exactness {
		return arrived
	}
	return stamped
}
