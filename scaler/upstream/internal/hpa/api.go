package hpa

import (
	"context"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	scaleclient "k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
)

// Each type here and in the files beside it is the part of an API that the
// controller uses; the interface embedded stands for the rest. They give the
// same timelines as the fake clientset with informers over it, in less than a
// third of the time.

// informer is one whose cache never changes.
type informer struct {
	cache.SharedIndexInformer
	object any
}

func (i informer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	handler.OnAdd(i.object, true)
	return nil, nil
}

func (informer) HasSynced() bool { return true }

type scales struct {
	scaleclient.ScaleInterface
	world *world
}

func (s scales) Scales(string) scaleclient.ScaleInterface { return s }

func (s scales) Get(context.Context, schema.GroupResource, string, metav1.GetOptions) (*autoscalingv1.Scale, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: target, Namespace: namespace},
		Spec:       autoscalingv1.ScaleSpec{Replicas: s.world.wanted},
		Status:     autoscalingv1.ScaleStatus{Replicas: s.world.observed.Replicas, Selector: selector},
	}, nil
}

func (s scales) Update(_ context.Context, _ schema.GroupResource, scale *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.wanted = scale.Spec.Replicas
	return scale, nil
}

// events takes every event and keeps none.
type events struct{ core.EventInterface }

func (e events) Events(string) core.EventInterface { return e }

func (events) CreateWithEventNamespace(event *v1.Event) (*v1.Event, error) { return event, nil }

func (events) UpdateWithEventNamespace(event *v1.Event) (*v1.Event, error) { return event, nil }

func (events) PatchWithEventNamespace(event *v1.Event, _ []byte) (*v1.Event, error) {
	return event, nil
}
