package hpa

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

type podInformer struct{ world *world }

func (podInformer) Informer() cache.SharedIndexInformer { return informer{} }

func (i podInformer) Lister() listers.PodLister { return podLister{world: i.world} }

type podLister struct {
	listers.PodNamespaceLister
	world *world
}

func (l podLister) Pods(string) listers.PodNamespaceLister { return l }

// List returns every pod: all are the Deployment's. The controller is done with
// the slice before time goes on, and so before the world changes.
func (l podLister) List(labels.Selector) ([]*v1.Pod, error) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return l.world.pods, nil
}
