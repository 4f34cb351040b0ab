package kubescale

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"headroom.dev/scaler/internal/control"
)

const namespace, name = "headroom", "model-server"

// cluster is client-go's fake, taught what it lacks: the scale subresource, with
// the version check of a real API server.
func cluster(t *testing.T, spec, ready int32) *fake.Clientset {
	t.Helper()
	client := fake.NewClientset(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "1"},
		Spec:       appsv1.DeploymentSpec{Replicas: &spec},
		Status:     appsv1.DeploymentStatus{ReadyReplicas: ready},
	})
	deployments := appsv1.SchemeGroupVersion.WithResource("deployments")
	read := func(name string) (*appsv1.Deployment, error) {
		object, err := client.Tracker().Get(deployments, namespace, name)
		if err != nil {
			return nil, err
		}
		return object.(*appsv1.Deployment).DeepCopy(), nil
	}
	scaleOf := func(d *appsv1.Deployment) *autoscalingv1.Scale {
		return &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: d.Name, ResourceVersion: d.ResourceVersion},
			Spec:       autoscalingv1.ScaleSpec{Replicas: *d.Spec.Replicas},
		}
	}
	client.PrependReactor("get", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "scale" {
			return false, nil, nil
		}
		d, err := read(a.(clienttesting.GetAction).GetName())
		if err != nil {
			return true, nil, err
		}
		return true, scaleOf(d), nil
	})
	client.PrependReactor("update", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "scale" {
			return false, nil, nil
		}
		scale := a.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
		d, err := read(scale.Name)
		if err != nil {
			return true, nil, err
		}
		if scale.ResourceVersion != d.ResourceVersion {
			return true, nil, apierrors.NewConflict(deployments.GroupResource(), scale.Name, errors.New("the object has been modified"))
		}
		version, err := strconv.Atoi(d.ResourceVersion)
		if err != nil {
			return true, nil, err
		}
		d.ResourceVersion, d.Spec.Replicas = strconv.Itoa(version+1), &scale.Spec.Replicas
		return true, scaleOf(d), client.Tracker().Update(deployments, d, namespace)
	})
	return client
}

func events(t *testing.T, client *fake.Clientset) []corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events(namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func TestScalingWritesTheScaleSubresourceAndAnEvent(t *testing.T) {
	client := cluster(t, 2, 1)
	target := NewDeployment(client, namespace, name, "me")
	defer target.Close()
	ctx := context.Background()

	seen, err := target.Read(ctx)
	if err != nil || seen != (control.Replicas{Spec: 2, Ready: 1, Version: "1"}) {
		t.Fatalf("read %+v, %v", seen, err)
	}
	if err := target.Scale(ctx, seen, 5, "demand: 36 requests/s"); err != nil {
		t.Fatal(err)
	}
	if seen, err = target.Read(ctx); err != nil || seen.Spec != 5 {
		t.Fatalf("read %+v, %v after scaling to 5", seen, err)
	}
	if err := target.Scale(ctx, seen, 4, "scale_in: less"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two events", func() bool { return len(events(t, client)) == 2 })
	want := map[string]string{
		"ScaledOut": "From 2 to 5 replicas, demand: 36 requests/s",
		"ScaledIn":  "From 5 to 4 replicas, scale_in: less",
	}
	for _, e := range events(t, client) {
		if want[e.Reason] != e.Message || e.InvolvedObject.Kind != "Deployment" || e.InvolvedObject.Name != name || e.Type != corev1.EventTypeNormal {
			t.Errorf("event %s of %s %s: %q", e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message)
		}
	}
	for _, a := range client.Actions() {
		if a.GetVerb() != "get" && a.GetResource().Resource == "deployments" && a.GetSubresource() != "scale" {
			t.Errorf("%s of deployments/%s, want nothing but its scale to be written", a.GetVerb(), a.GetSubresource())
		}
	}
}

func TestATargetThatWasChangedMeanwhileIsLeftAlone(t *testing.T) {
	client := cluster(t, 2, 2)
	target := NewDeployment(client, namespace, name, "me")
	defer target.Close()
	ctx := context.Background()
	seen, err := target.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Scale(ctx, seen, 3, "somebody else"); err != nil {
		t.Fatal(err)
	}
	err = target.Scale(ctx, seen, 9, "too late")
	if !errors.Is(err, control.ErrChanged) {
		t.Errorf("%v, want %v", err, control.ErrChanged)
	}
	if now, err := target.Read(ctx); err != nil || now.Spec != 3 {
		t.Errorf("%+v, %v; want the 3 replicas of whoever came first", now, err)
	}
	eventually(t, "the one event", func() bool { return len(events(t, client)) == 1 })
}

func TestErrorsNameTheDeployment(t *testing.T) {
	client := fake.NewClientset()
	target := NewDeployment(client, namespace, name, "me")
	defer target.Close()
	if _, err := target.Read(context.Background()); err == nil || !strings.Contains(err.Error(), "headroom/model-server") || !apierrors.IsNotFound(err) {
		t.Errorf("%v, want not found, with the name", err)
	}
	if err := target.Scale(context.Background(), control.Replicas{Spec: 1}, -1, "why"); err == nil {
		t.Error("a negative count was accepted")
	}
}

func TestOneLeadsAndTheNextTakesOverWhenItEnds(t *testing.T) {
	client := cluster(t, 1, 1)
	var elections []*Election
	var resign []func()
	for _, id := range []string{"first", "second"} {
		e, err := NewElection(client, namespace, "headroom-scaler", id, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { e.Run(ctx); close(done) }()
		stop := func() { cancel(); <-done }
		t.Cleanup(stop)
		elections, resign = append(elections, e), append(resign, stop)
		if id == "first" {
			eventually(t, "the first leads", e.Leads)
		}
	}
	if elections[1].Leads() {
		t.Fatal("two lead")
	}
	resign[0]()
	if elections[0].Leads() {
		t.Error("the one that ended still leads")
	}
	lease, err := client.CoordinationV1().Leases(namespace).Get(context.Background(), "headroom-scaler", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder == "first" {
		t.Error("the lease was not given back")
	}
	eventually(t, "the second leads", elections[1].Leads)
}

// A role without the right to write the Lease must not leave a silent follower.
func TestALeaseThatCannotBeWrittenIsSaidOnce(t *testing.T) {
	client := cluster(t, 1, 1)
	tries := make(chan struct{}, 100)
	forbidden := true
	client.PrependReactor("create", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		if len(tries) == 2 {
			forbidden = false
		}
		tries <- struct{}{}
		return forbidden, nil, apierrors.NewForbidden(appsv1.Resource("leases"), "headroom-scaler", errors.New("no such right"))
	})
	var log lockedBuilder
	e, err := NewElection(client, namespace, "headroom-scaler", "me", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "leading", e.Leads)
	if text := log.String(); strings.Count(text, "no such right") != 1 || strings.Count(text, "the lease can be used again") != 1 || len(tries) != 3 {
		t.Errorf("%d tries, and two refusals were logged as:\n%s", len(tries), text)
	}
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWithoutAKubeconfigOutsideAPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Connect(""); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("%v, want an error that names the flag", err)
	}
	if _, err := Connect("/no/such/file"); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("%v, want an error that names the file", err)
	}
}
