package kubescale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"headroom.dev/scaler/internal/control"
)

// Target is what is scaled: a [control.Target]. Make one with [NewTarget].
type Target struct {
	ref       Ref
	container string
	object    dynamic.ResourceInterface
	pods      typedcorev1.PodInterface
	watches   kubernetes.Interface
	log       *slog.Logger
	events    record.EventBroadcaster
	recorder  record.EventRecorder

	hidden   trouble // pods can't be listed
	watching trouble
	marking  trouble
	resizing trouble

	running  context.Context // until Close
	end      context.CancelFunc
	watchers sync.WaitGroup

	mu      sync.Mutex
	uid     types.UID // empty until the first Read
	watch   *podWatch // nil until the selector is known
	unwatch context.CancelFunc
	told    told
	resizes resizes
}

// Options are what a [Target] may be told besides what to scale.
type Options struct {
	// Identity is the scaler's own, for its events.
	Identity string
	// Container is the one whose CPU [Target.Resize] changes. Empty means the first
	// of each pod.
	Container string
	// Log gets what goes wrong without being an error of a call.
	Log *slog.Logger
}

// NewTarget makes the target that ref names. It doesn't call the API server. Close
// it to end its watch and the publishing of events. Its methods may be called from
// several goroutines.
func NewTarget(client *Client, ref Ref, options Options) (*Target, error) {
	resource, err := ref.resource()
	if err != nil {
		return nil, err
	}
	log := options.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("target", ref.String())
	// Scaling is rare and each event matters, so they may come faster than
	// client-go's default of one in five minutes after the first 25.
	events := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{QPS: 0.2, BurstSize: 100})
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.Kubernetes.CoreV1().Events(ref.Namespace)})
	running, end := context.WithCancel(context.Background())
	return &Target{
		ref: ref, container: options.Container, log: log, events: events, running: running, end: end,
		object:   client.Dynamic.Resource(resource).Namespace(ref.Namespace),
		pods:     client.Kubernetes.CoreV1().Pods(ref.Namespace),
		watches:  client.Watches,
		recorder: events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "headroom-scaler", Host: options.Identity}),
		hidden:   trouble{log: log, what: "listing pods (ready replicas come from the target's status: no starting ones, lead times, marks or resizing)"},
		watching: trouble{log: log, what: "watching pods"},
		marking:  trouble{log: log, what: "marking the pods with the least work to go first"},
		resizing: trouble{log: log, what: "resizing pods in place"},
		told:     told{},
	}, nil
}

// Close ends the watch and the publishing of events; those not sent yet are lost.
func (t *Target) Close() {
	t.end()
	t.watchers.Wait()
	t.events.Shutdown()
}

// String names the target, as in "deployment headroom/model-server".
func (t *Target) String() string { return t.ref.String() }

// Announce publishes an event of type Normal about the target. reason is one word in
// CamelCase.
func (t *Target) Announce(reason, message string) {
	t.mu.Lock()
	uid := t.uid
	t.mu.Unlock()
	t.recorder.Event(t.ref.object(uid), corev1.EventTypeNormal, reason, message)
}

// Read returns the replicas that the target is told to have, from its scale, and
// how they are, from a watch on the pods that the scale selects; the first Read
// starts it. Where pods can't be listed, or the scale has no selector, Ready is
// status.readyReplicas of the target, 0 if it has none, and nothing is known of
// those that start. Errors name the target; a watch that has failed for more than
// 30 s is one.
func (t *Target) Read(ctx context.Context) (control.Replicas, error) {
	object, err := t.object.Get(ctx, t.ref.Name, metav1.GetOptions{})
	if err != nil {
		return control.Replicas{}, fmt.Errorf("reading %s: %w", t, explained(err))
	}
	scale, err := t.object.Get(ctx, t.ref.Name, metav1.GetOptions{}, "scale")
	if err != nil {
		return control.Replicas{}, fmt.Errorf("reading the scale of %s: %w", t, err)
	}
	spec, err := number(scale, "spec", "replicas")
	if err != nil {
		return control.Replicas{}, fmt.Errorf("reading the scale of %s: %w", t, err)
	}
	selector, _, err := unstructured.NestedString(scale.Object, "status", "selector")
	if err != nil {
		return control.Replicas{}, fmt.Errorf("reading the scale of %s: %w", t, err)
	}
	replicas := control.Replicas{Spec: spec, Annotations: object.GetAnnotations(), Version: scale.GetResourceVersion()}
	t.mu.Lock()
	t.uid = object.GetUID()
	t.mu.Unlock()

	pods, err := t.look(ctx, selector)
	switch {
	case errors.Is(err, errHidden):
		t.hidden.note(err)
		replicas.Resizes.Unsupported = true
		if replicas.Ready, err = number(object, "status", "readyReplicas"); err != nil {
			return control.Replicas{}, fmt.Errorf("reading %s: %w", t, err)
		}
		return replicas, nil
	case err != nil:
		return control.Replicas{}, fmt.Errorf("reading the pods of %s: %w", t, err)
	}
	t.hidden.note(nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	replicas.Ready, replicas.Starting = count(pods, now)
	replicas.BecameReady = t.told.fresh(pods, now)
	replicas.Resizes = t.resizes.count(pods, now)
	return replicas, nil
}

// look returns the pods of the selector, from a watch that is started anew where
// the selector has changed.
func (t *Target) look(ctx context.Context, selector string) ([]pod, error) {
	if selector == "" { // which would select every pod of the namespace
		return nil, fmt.Errorf("%w: the scale has no status.selector", errHidden)
	}
	t.mu.Lock()
	if t.watch == nil || t.watch.selector != selector {
		if t.unwatch != nil {
			t.unwatch()
		}
		watch := newPodWatch(t.pods, t.watches.CoreV1().Pods(t.ref.Namespace), selector, t.container, &t.watching)
		running, unwatch := context.WithCancel(t.running)
		t.watch, t.unwatch = watch, unwatch
		t.watchers.Go(func() { watch.run(running) })
	}
	watch := t.watch
	t.mu.Unlock()
	return watch.snapshot(ctx)
}

// known returns the pods as the watch has them now, none where it has none.
func (t *Target) known(ctx context.Context) ([]pod, error) {
	t.mu.Lock()
	watch := t.watch
	t.mu.Unlock()
	if watch == nil {
		return nil, errHidden
	}
	return watch.snapshot(ctx)
}

// number reads a count that is absent where it is 0.
func number(object *unstructured.Unstructured, path ...string) (int, error) {
	n, _, err := unstructured.NestedInt64(object.Object, path...)
	return int(n), err
}

// explained adds what is behind a path that the API server doesn't know: it says
// only that it "could not find the requested resource".
func explained(err error) error {
	if unknownPath(err) {
		return fmt.Errorf("%w (is apiVersion right, and does the plural need to be given?)", err)
	}
	return err
}

// unknownPath tells that the API server has no such resource or subresource, as
// against no such object: where it is the path, the server answers with a page that
// isn't of the API, or names nothing that it didn't find.
func unknownPath(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Name == "" || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
