package kubescale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// watchTime is how long one watch lives. The pods are listed anew before the next
	// one, so it bounds how long a connection that died unnoticed can matter.
	watchTime = 2 * time.Minute
	// staleAfter is how old the last sure news of the pods may be.
	staleAfter = 30 * time.Second
	// retryMin and retryMax bound the pause before a list or a watch is tried again.
	retryMin, retryMax = 250 * time.Millisecond, 5 * time.Second
	// hiddenRetry is that pause where listing is forbidden, which a person has to change.
	hiddenRetry = time.Minute
)

// errHidden means that the pods can't be listed, and won't soon.
var errHidden = errors.New("pods can't be listed")

// podWatch knows the pods of a selector. client-go's informers are not used: they
// don't tell when a watch has been failing for a time, retry as rarely as every
// 30 s, and pass news on through a queue, where its time of arrival is lost.
type podWatch struct {
	selector  string
	container string
	calls     typedcorev1.PodInterface
	watches   typedcorev1.PodInterface
	trouble   *trouble

	mu     sync.Mutex
	pods   map[types.UID]pod
	listed bool
	open   bool      // the watch
	sure   time.Time // while it isn't: when the pods were last known to be these
	err    error     // of the last try
	once   sync.Once
	tried  chan struct{} // closed after the first try
}

func newPodWatch(calls, watches typedcorev1.PodInterface, selector, container string, trouble *trouble) *podWatch {
	return &podWatch{selector: selector, container: container, calls: calls, watches: watches, trouble: trouble, tried: make(chan struct{})}
}

// snapshot returns the pods by name. It waits until they were listed once, or that
// has failed. The error is errHidden where they can't be listed.
func (w *podWatch) snapshot(ctx context.Context) ([]pod, error) {
	select {
	case <-w.tried:
	case <-ctx.Done():
		return nil, fmt.Errorf("listing them: %w", ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.listed:
		return nil, w.err
	case !w.open && time.Since(w.sure) > staleAfter:
		return nil, fmt.Errorf("the watch has failed for %s: %w", time.Since(w.sure).Round(time.Second), w.err)
	}
	pods := make([]pod, 0, len(w.pods))
	for _, p := range w.pods {
		pods = append(pods, p)
	}
	slices.SortFunc(pods, func(a, b pod) int { return cmp.Compare(a.name, b.name) })
	return pods, nil
}

// run lists and watches until the context is done.
func (w *podWatch) run(ctx context.Context) {
	pause := retryMin
	for {
		began := time.Now()
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil && time.Since(began) > retryMax { // its time was up
			pause = retryMin
		} else {
			pause = min(2*pause, retryMax)
		}
		w.failed(err)
		wait := pause
		if errors.Is(err, errHidden) {
			wait = hiddenRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// follow lists the pods and then takes what a watch brings, until the watch ends.
func (w *podWatch) follow(ctx context.Context) error {
	listing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := w.calls.List(listing, metav1.ListOptions{LabelSelector: w.selector})
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: %w", errHidden, err)
	case err != nil:
		return fmt.Errorf("listing them: %w", err)
	}
	w.replace(list.Items)

	// The server ends the watch in time; where it doesn't, this does. It may take no
	// longer to begin than any call.
	watching, cancel := context.WithTimeout(ctx, watchTime+callTimeout)
	defer cancel()
	slow := time.AfterFunc(callTimeout, cancel)
	seconds := int64(watchTime / time.Second)
	news, err := w.watches.Watch(watching, metav1.ListOptions{
		LabelSelector: w.selector, ResourceVersion: list.ResourceVersion, TimeoutSeconds: &seconds,
	})
	slow.Stop()
	if err != nil {
		return fmt.Errorf("watching them: %w", err)
	}
	defer news.Stop()
	w.opened()
	defer w.closed()
	for event := range news.ResultChan() {
		if err := w.take(event); err != nil {
			return fmt.Errorf("watching them: %w", err)
		}
	}
	return nil
}

func (w *podWatch) replace(items []corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pods := make(map[types.UID]pod, len(items))
	for i := range items {
		if p, ok := w.read(&items[i], time.Time{}); ok {
			pods[p.uid] = p
		}
	}
	w.pods, w.listed, w.sure = pods, true, time.Now()
	w.triedOnce()
}

func (w *podWatch) take(event watch.Event) error {
	arrived := time.Now()
	if event.Type == watch.Error {
		return apierrors.FromObject(event.Object)
	}
	p, ok := event.Object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("a %T came", event.Object)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now, ok := w.read(p, arrived)
	if ok && event.Type != watch.Deleted {
		w.pods[p.UID] = now
	} else {
		delete(w.pods, p.UID)
	}
	return nil
}

func (w *podWatch) read(p *corev1.Pod, arrived time.Time) (pod, bool) {
	if before, known := w.pods[p.UID]; known {
		return newPod(p, w.container, &before, arrived)
	}
	return newPod(p, w.container, nil, arrived)
}

func (w *podWatch) opened() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open, w.err = true, nil
	w.trouble.note(nil)
}

func (w *podWatch) closed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open, w.sure = false, time.Now()
}

// failed notes that a try has ended in an error, nil where only its time was up.
func (w *podWatch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		return
	}
	w.err = err
	w.triedOnce()
	if errors.Is(err, errHidden) { // which is told otherwise
		w.pods, w.listed = nil, false
		return
	}
	w.trouble.note(err, "selector", w.selector)
}

// triedOnce lets those go on who wait for the first list.
func (w *podWatch) triedOnce() { w.once.Do(func() { close(w.tried) }) }
