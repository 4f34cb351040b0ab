package workload

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Wish is how hard it is that a component's pods keep apart.
type Wish string

// The wishes; an empty one is None.
const (
	None      Wish = "none"
	Preferred Wish = "preferred" // a pod for which there is no such place goes elsewhere
	Required  Wish = "required"  // it waits for one
)

const (
	zoneLabel = "topology.kubernetes.io/zone"
	nodeLabel = "kubernetes.io/hostname"
)

// The labels by which Kubernetes tells the pods of one revision from those of
// the next.
const (
	deploymentRevision  = "pod-template-hash"
	statefulSetRevision = "controller-revision-hash"
)

// Placement says where a component's pods run, and which go first.
type Placement struct {
	Spread        Wish // evenly over zones and over nodes
	Apart         Wish // no two on one node
	PriorityClass string
	NodeSelector  map[string]string
	Tolerations   []Toleration
}

// Toleration lets a pod run on nodes with a taint.
type Toleration struct{ Key, Operator, Value, Effect string }

// Alone is the placement of a component that has one pod, which has none to
// keep apart from.
func (p Placement) Alone() Placement {
	p.Spread, p.Apart = None, None
	return p
}

// apply places the pods of a component. Only pods of the same revision are
// compared: in a rollout the new ones need not wait until the old ones are gone.
func (p Placement) apply(pod *corev1.PodSpecArgs, component, revision string) {
	selector := metav1.LabelSelectorArgs{MatchLabels: Selector(component)}
	sameRevision := pulumi.ToStringArray([]string{revision})

	unsatisfiable := map[Wish]string{Preferred: "ScheduleAnyway", Required: "DoNotSchedule"}[p.Spread]
	if unsatisfiable != "" {
		var constraints corev1.TopologySpreadConstraintArray
		for _, label := range []string{zoneLabel, nodeLabel} {
			constraints = append(constraints, corev1.TopologySpreadConstraintArgs{
				TopologyKey: pulumi.String(label), MaxSkew: pulumi.Int(1), WhenUnsatisfiable: pulumi.String(unsatisfiable),
				LabelSelector: selector, MatchLabelKeys: sameRevision,
				NodeTaintsPolicy: pulumi.String("Honor"), // nodes that it can't run on don't count as empty
			})
		}
		pod.TopologySpreadConstraints = constraints
	}

	term := corev1.PodAffinityTermArgs{TopologyKey: pulumi.String(nodeLabel), LabelSelector: selector, MatchLabelKeys: sameRevision}
	switch p.Apart {
	case Preferred:
		pod.Affinity = corev1.AffinityArgs{PodAntiAffinity: corev1.PodAntiAffinityArgs{
			PreferredDuringSchedulingIgnoredDuringExecution: corev1.WeightedPodAffinityTermArray{
				corev1.WeightedPodAffinityTermArgs{Weight: pulumi.Int(100), PodAffinityTerm: term},
			},
		}}
	case Required:
		pod.Affinity = corev1.AffinityArgs{PodAntiAffinity: corev1.PodAntiAffinityArgs{
			RequiredDuringSchedulingIgnoredDuringExecution: corev1.PodAffinityTermArray{term},
		}}
	}

	if p.PriorityClass != "" {
		pod.PriorityClassName = pulumi.String(p.PriorityClass)
	}
	if len(p.NodeSelector) > 0 {
		pod.NodeSelector = pulumi.ToStringMap(p.NodeSelector)
	}
	if len(p.Tolerations) > 0 {
		pod.Tolerations = tolerations(p.Tolerations)
	}
}

func tolerations(list []Toleration) corev1.TolerationArray {
	var all corev1.TolerationArray
	for _, t := range list {
		toleration := corev1.TolerationArgs{Operator: pulumi.String(t.Operator)}
		for _, part := range []struct {
			value string
			into  *pulumi.StringPtrInput
		}{{t.Key, &toleration.Key}, {t.Value, &toleration.Value}, {t.Effect, &toleration.Effect}} {
			if part.value != "" {
				*part.into = pulumi.String(part.value)
			}
		}
		all = append(all, toleration)
	}
	return all
}
