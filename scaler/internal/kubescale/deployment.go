package kubescale

import (
	"context"
	"fmt"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"headroom.dev/scaler/internal/control"
)

// Deployment is the target: a [control.Target].
type Deployment struct {
	client    kubernetes.Interface
	namespace string
	name      string
	events    record.EventBroadcaster
	recorder  record.EventRecorder
}

// NewDeployment makes the target of that name. identity is the scaler's own, for
// its events. Close it to end the publishing of events.
func NewDeployment(client kubernetes.Interface, namespace, name, identity string) *Deployment {
	// Scaling is rare and each event matters, so they may come faster than
	// client-go's default of one in five minutes after the first 25.
	events := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{QPS: 0.2, BurstSize: 100})
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(namespace)})
	return &Deployment{
		client: client, namespace: namespace, name: name, events: events,
		recorder: events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "headroom-scaler", Host: identity}),
	}
}

// Close ends the publishing of events; those not sent yet are lost.
func (d *Deployment) Close() { d.events.Shutdown() }

func (d *Deployment) String() string { return "deployment " + d.namespace + "/" + d.name }

// Read returns the replicas that the Deployment is told to have, from its scale
// subresource, and those that are ready, from its status. Errors name the Deployment.
func (d *Deployment) Read(ctx context.Context) (control.Replicas, error) {
	deployment, err := d.client.AppsV1().Deployments(d.namespace).Get(ctx, d.name, metav1.GetOptions{})
	if err != nil {
		return control.Replicas{}, fmt.Errorf("reading %s: %w", d, err)
	}
	scale, err := d.client.AppsV1().Deployments(d.namespace).GetScale(ctx, d.name, metav1.GetOptions{})
	if err != nil {
		return control.Replicas{}, fmt.Errorf("reading the scale of %s: %w", d, err)
	}
	return control.Replicas{
		Spec:    int(scale.Spec.Replicas),
		Ready:   int(deployment.Status.ReadyReplicas),
		Version: scale.ResourceVersion,
	}, nil
}

// Scale writes the scale subresource, provided that the Deployment is still the
// version that was seen, and publishes an event with why.
func (d *Deployment) Scale(ctx context.Context, seen control.Replicas, to int, why string) error {
	if to < 0 || to > math.MaxInt32 {
		return fmt.Errorf("scaling %s: %d replicas: must be 0 to %d", d, to, math.MaxInt32)
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: d.name, ResourceVersion: seen.Version},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(to)},
	}
	_, err := d.client.AppsV1().Deployments(d.namespace).UpdateScale(ctx, d.name, scale, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err):
		return fmt.Errorf("scaling %s from %d to %d: %w", d, seen.Spec, to, control.ErrChanged)
	case err != nil:
		return fmt.Errorf("scaling %s from %d to %d: %w", d, seen.Spec, to, err)
	}
	reason := "ScaledOut"
	if to < seen.Spec {
		reason = "ScaledIn"
	}
	target := &corev1.ObjectReference{
		APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Namespace: d.namespace, Name: d.name,
	}
	d.recorder.Eventf(target, corev1.EventTypeNormal, reason, "From %d to %d replicas, %s", seen.Spec, to, why)
	return nil
}
