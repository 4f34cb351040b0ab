//go:build !nokubernetes

package endpoints

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/fleet"
)

// Client connects to the cluster of a kubeconfig file, or, where the file's
// name is empty, to the one that this program runs in. Nothing is sent yet.
func Client(kubeconfig string) (discoveryclient.EndpointSlicesGetter, error) {
	var config *rest.Config
	var err error
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		config, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, err
	}
	config.UserAgent = "headroom-dispatcher"
	return discoveryclient.NewForConfig(config)
}

// UseLogger sends what the Kubernetes client library itself logs to log. It
// applies to the whole process.
func UseLogger(log *slog.Logger) { klog.SetSlogLogger(log) }

// Watch reports the replicas behind service at every change until ctx ends.
// While the API server is out of reach the last report stands. It needs get,
// list and watch on endpointslices in the Service's namespace.
func Watch(ctx context.Context, client discoveryclient.EndpointSlicesGetter, service Service, log *slog.Logger, report func([]fleet.Endpoint)) error {
	source := client.EndpointSlices(service.Namespace)
	selector := discovery.LabelServiceName + "=" + service.Name
	informer := cache.NewSharedInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return source.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return source.Watch(ctx, o)
		},
	}, client), &discovery.EndpointSlice{}, 0)

	failing := false
	var mu sync.Mutex
	health := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil && !failing:
			log.Warn("can't watch the replicas; the last known ones stand", "service", service.Namespace+"/"+service.Name, "error", err.Error())
		case err == nil && failing:
			log.Info("watching the replicas again", "service", service.Namespace+"/"+service.Name)
		}
		failing = err != nil
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			health(err)
		}
	}); err != nil {
		return fmt.Errorf("watch %s/%s: %w", service.Namespace, service.Name, err)
	}

	// Reports come from one goroutine, so that an older one can't overtake.
	dirty := make(chan struct{}, 1)
	mark := func() {
		select {
		case dirty <- struct{}{}:
		default:
		}
	}
	changed := func(any) { health(nil); mark() }
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
	}); err != nil {
		return fmt.Errorf("watch %s/%s: %w", service.Namespace, service.Name, err)
	}
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	health(nil)
	mark()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-dirty:
			var slices []*discovery.EndpointSlice
			for _, o := range informer.GetStore().List() {
				if s, ok := o.(*discovery.EndpointSlice); ok {
					slices = append(slices, s)
				}
			}
			report(FromSlices(slices, service.Port))
		}
	}
}

// FromSlices is the replicas that slices name, ordered by URL. Slices without
// a port called port count for nothing. An address in several slices counts
// once, in the state that promises least: slices are updated one after the
// other, and a replica is better spared than hit while it goes.
func FromSlices(endpointSlices []*discovery.EndpointSlice, port string) []fleet.Endpoint {
	states := map[string]dispatch.State{}
	for _, s := range endpointSlices {
		number, ok := portNumber(s, port)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			// All addresses of an endpoint are the same pod.
			url := "http://" + net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(number)))
			state := stateOf(e.Conditions)
			if known, ok := states[url]; !ok || rank(state) < rank(known) {
				states[url] = state
			}
		}
	}
	list := make([]fleet.Endpoint, 0, len(states))
	for url, state := range states {
		list = append(list, fleet.Endpoint{URL: url, State: state})
	}
	slices.SortFunc(list, func(a, b fleet.Endpoint) int { return strings.Compare(a.URL, b.URL) })
	return list
}

func portNumber(s *discovery.EndpointSlice, name string) (int32, bool) {
	for _, p := range s.Ports {
		if p.Port != nil && p.Name != nil && *p.Name == name {
			return *p.Port, true
		}
	}
	return 0, false
}

// stateOf follows the API's rules for conditions that are not set.
func stateOf(c discovery.EndpointConditions) dispatch.State {
	switch {
	case c.Terminating != nil && *c.Terminating:
		return dispatch.Terminating
	case c.Ready == nil || *c.Ready:
		return dispatch.Ready
	}
	return dispatch.Starting
}

func rank(s dispatch.State) int {
	return slices.Index([]dispatch.State{dispatch.Terminating, dispatch.Starting, dispatch.Ready}, s)
}
