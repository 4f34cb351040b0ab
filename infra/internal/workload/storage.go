package workload

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Storage is a volume that outlives pods.
type Storage struct {
	Size  string // quantity; empty: there is no such volume
	Class string // name of a StorageClass; empty: the cluster's default
}

// Used tells whether there is such a volume.
func (s Storage) Used() bool { return s.Size != "" }

// claim is the name of a claim for it. Another class is another volume, so that
// it is made before the one that a pod still has goes.
func (s Storage) claim(name string) string {
	if s.Class == "" {
		return name
	}
	return name + "-" + strings.ReplaceAll(s.Class, ".", "-")
}

func (s Storage) spec() corev1.PersistentVolumeClaimSpecArgs {
	spec := corev1.PersistentVolumeClaimSpecArgs{
		AccessModes: pulumi.StringArray{pulumi.String("ReadWriteOnce")},
		Resources:   corev1.VolumeResourceRequirementsArgs{Requests: pulumi.StringMap{"storage": pulumi.String(s.Size)}},
	}
	if s.Class != "" {
		spec.StorageClassName = pulumi.String(s.Class)
	}
	return spec
}

// NewClaim makes a PersistentVolumeClaim. A larger size is taken over in place
// where the StorageClass can; another class is another claim.
func NewClaim(ctx *pulumi.Context, ns Namespace, component, name string, storage Storage, opts ...pulumi.ResourceOption) (*corev1.PersistentVolumeClaim, error) {
	return newClaim(ctx, ns, component, storage.claim(name), storage, opts...)
}

func newClaim(ctx *pulumi.Context, ns Namespace, component, name string, storage Storage, opts ...pulumi.ResourceOption) (*corev1.PersistentVolumeClaim, error) {
	metadata := Metadata(ns, component, name)
	// Whoever mounts it waits for it. By itself it is not bound before there is
	// a pod, where the class chooses a place by the pod's.
	metadata.Annotations = Annotations(map[string]string{"pulumi.com/skipAwait": "true"})
	claim, err := corev1.NewPersistentVolumeClaim(ctx, ns.Resource(name), &corev1.PersistentVolumeClaimArgs{
		Metadata: metadata, Spec: storage.spec(),
	}, append(opts, Timeouts())...)
	if err != nil {
		return nil, fmt.Errorf("making the PersistentVolumeClaim %s: %w", name, err)
	}
	return claim, nil
}

// ClaimVolume is a volume of its own life.
func ClaimVolume(claim *corev1.PersistentVolumeClaim) corev1.VolumeArgs {
	return corev1.VolumeArgs{PersistentVolumeClaim: corev1.PersistentVolumeClaimVolumeSourceArgs{
		ClaimName: claim.Metadata.Name().Elem(),
	}}
}

// templateSize is what a StatefulSet says that its claims ask for. It can't be
// changed there, so the claims, which can grow, are made beside it, under the
// names by which it looks for them: it makes none.
const templateSize = "1Gi"

// NewStatefulSet makes pods with names that stay, NAME-0, NAME-1 and so on, and
// the headless Service NAME below which each has a DNS name, ready or not. They
// start at the same time, and change one after the other, the last one first.
// args.Replicas must be set. Each of args.Volumes that is Claimed is one of
// storage for each pod.
func NewStatefulSet(ctx *pulumi.Context, args Args, port Port, storage Storage, opts ...pulumi.ResourceOption) (*appsv1.StatefulSet, error) {
	if err := NewHeadlessService(ctx, args.Namespace, args.Name, args.Name, port, opts...); err != nil {
		return nil, err
	}
	var (
		claims    []pulumi.Resource
		templates corev1.PersistentVolumeClaimTypeArray
	)
	args.Volumes = slices.Clone(args.Volumes)
	for i := range args.Volumes {
		v := &args.Volumes[i]
		if !v.Claimed {
			continue
		}
		v.Name = storage.claim(v.Name)
		for ordinal := range *args.Replicas {
			claim, err := newClaim(ctx, args.Namespace, args.Name, fmt.Sprintf("%s-%s-%d", v.Name, args.Name, ordinal), storage, opts...)
			if err != nil {
				return nil, err
			}
			claims = append(claims, claim)
		}
		templates = append(templates, corev1.PersistentVolumeClaimTypeArgs{
			Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(v.Name), Labels: Selector(args.Name)},
			Spec:     Storage{Size: templateSize, Class: storage.Class}.spec(),
		})
	}
	spec := appsv1.StatefulSetSpecArgs{
		Replicas:             pulumi.Int(*args.Replicas),
		ServiceName:          pulumi.String(args.Name),
		RevisionHistoryLimit: pulumi.Int(3),
		// One that waits for another to be ready must not keep it from starting.
		PodManagementPolicy: pulumi.String("Parallel"),
		UpdateStrategy:      appsv1.StatefulSetUpdateStrategyArgs{Type: pulumi.String("RollingUpdate")},
		Selector:            metav1.LabelSelectorArgs{MatchLabels: Selector(args.Name)},
		Template:            podTemplate(args, statefulSetRevision),
	}
	if templates != nil {
		spec.VolumeClaimTemplates = templates
	}
	set, err := appsv1.NewStatefulSet(ctx, args.Namespace.Resource(args.Name), &appsv1.StatefulSetArgs{
		Metadata: Metadata(args.Namespace, args.Name, args.Name),
		Spec:     spec,
	}, append(opts, Timeouts(), pulumi.DependsOn(claims))...)
	if err != nil {
		return nil, fmt.Errorf("making the StatefulSet %s: %w", args.Name, err)
	}
	return set, nil
}
