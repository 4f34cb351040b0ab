package hpa

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	listers "k8s.io/client-go/listers/autoscaling/v2"
	"k8s.io/client-go/tools/cache"
)

// autoscalers holds the one HorizontalPodAutoscaler; only the controller's
// worker uses it.
type autoscalers struct {
	stored *autoscalingv2.HorizontalPodAutoscaler
}

type autoscalerClient struct {
	client.HorizontalPodAutoscalerInterface
	*autoscalers
}

func (c autoscalerClient) HorizontalPodAutoscalers(string) client.HorizontalPodAutoscalerInterface {
	return c
}

// UpdateStatus stores the status alone, as the API server does: the controller
// fills in its copy of the spec.
func (c autoscalerClient) UpdateStatus(_ context.Context, h *autoscalingv2.HorizontalPodAutoscaler, _ metav1.UpdateOptions) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	c.stored = c.stored.DeepCopy()
	h.Status.DeepCopyInto(&c.stored.Status)
	return c.stored, nil
}

type autoscalerInformer struct{ *autoscalers }

func (i autoscalerInformer) Informer() cache.SharedIndexInformer { return informer{object: i.stored} }

func (i autoscalerInformer) Lister() listers.HorizontalPodAutoscalerLister {
	return autoscalerLister{autoscalers: i.autoscalers}
}

type autoscalerLister struct {
	listers.HorizontalPodAutoscalerNamespaceLister
	*autoscalers
}

func (l autoscalerLister) HorizontalPodAutoscalers(string) listers.HorizontalPodAutoscalerNamespaceLister {
	return l
}

func (l autoscalerLister) Get(string) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	return l.stored, nil
}
