package kubescale

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headroom.dev/scaler/internal/control"
)

func TestAnyObjectWithAScaleIsReadAndScaled(t *testing.T) {
	for _, c := range []struct {
		what, path string
		ref        Ref
	}{
		{"a Deployment", deploymentPath, deployment},
		{"a StatefulSet", "/apis/apps/v1/namespaces/headroom/statefulsets/model-server",
			Ref{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: namespace, Name: name}},
		{"a Rollout of Argo", "/apis/argoproj.io/v1alpha1/namespaces/headroom/rollouts/model-server",
			Ref{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Namespace: namespace, Name: name}},
		{"a custom resource with a plural of its own", "/apis/example.com/v1/namespaces/headroom/fleet/model-server",
			Ref{APIVersion: "example.com/v1", Kind: "Fleet", Resource: "fleet", Namespace: namespace, Name: name}},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newServer(t)
				server.putTarget(c.path, c.ref.APIVersion, c.ref.Kind, 2, 0)
				server.putPod(readyPod("one"))
				target, _ := server.target(t, c.ref, "")
				ctx := context.Background()

				seen, err := target.Read(ctx)
				if err != nil || seen.Spec != 2 || seen.Ready != 1 || seen.Version == "" || !maps.Equal(seen.Annotations, map[string]string{"owner": "somebody"}) {
					t.Fatalf("read %+v, %v", seen, err)
				}
				if err := target.Scale(ctx, seen, 5, "demand: 36 requests/s", nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // events of the same nanosecond would have the same name
				if seen, err = target.Read(ctx); err != nil || seen.Spec != 5 {
					t.Fatalf("read %+v, %v after scaling to 5", seen, err)
				}
				if err := target.Scale(ctx, seen, 0, "idle: nothing came", nil); err != nil {
					t.Fatal(err)
				}
				if seen, err = target.Read(ctx); err != nil || seen.Spec != 0 {
					t.Fatalf("read %+v, %v after scaling to 0", seen, err)
				}
				time.Sleep(time.Second)
				target.Announce("Paused", "by annotation, until noon")
				synctest.Wait()
				events := server.events()
				for reason, message := range map[string]string{
					"ScaledOut": "From 2 to 5 replicas, demand: 36 requests/s",
					"ScaledIn":  "From 5 to 0 replicas, idle: nothing came",
					"Paused":    "by annotation, until noon",
				} {
					e := events[reason]
					want := corev1.ObjectReference{APIVersion: c.ref.APIVersion, Kind: c.ref.Kind, Namespace: namespace, Name: name, UID: e.InvolvedObject.UID}
					if e.Message != message || e.Type != corev1.EventTypeNormal || e.InvolvedObject != want || string(want.UID) != "uid-"+c.ref.Kind {
						t.Errorf("event %s is %q of type %s about %+v", reason, e.Message, e.Type, e.InvolvedObject)
					}
				}
			})
		})
	}
}

func TestATargetThatWasChangedMeanwhileIsLeftAlone(t *testing.T) {
	for what, change := range map[string]func(*apiServer, control.Replicas) error{
		"by another scaler": func(s *apiServer, seen control.Replicas) error {
			other, err := NewTarget(s.client(t), deployment, Options{})
			if err != nil {
				return err
			}
			defer other.Close()
			return other.Scale(context.Background(), seen, 3, "somebody else", nil)
		},
		"by a person": func(s *apiServer, _ control.Replicas) error {
			s.putTarget(deploymentPath, "apps/v1", "Deployment", 3, 2)
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newServer(t)
				server.putTarget(deploymentPath, "apps/v1", "Deployment", 2, 2)
				target, _ := server.target(t, deployment, "")
				ctx := context.Background()
				seen, err := target.Read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if err := change(server, seen); err != nil {
					t.Fatal(err)
				}
				if err := target.Scale(ctx, seen, 9, "too late", nil); !errors.Is(err, control.ErrChanged) {
					t.Errorf("%v, want %v", err, control.ErrChanged)
				}
				if now, err := target.Read(ctx); err != nil || now.Spec != 3 {
					t.Errorf("%+v, %v; want the 3 replicas of whoever came first", now, err)
				}
				synctest.Wait()
				for _, e := range server.events() {
					if strings.Contains(e.Message, "too late") {
						t.Errorf("an event says %q", e.Message)
					}
				}
			})
		})
	}
}

func TestErrorsNameTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t)
		target, _ := server.target(t, deployment, "")
		ctx := context.Background()
		if _, err := target.Read(ctx); err == nil || !strings.Contains(err.Error(), "deployment headroom/model-server") || !apierrors.IsNotFound(err) || strings.Contains(err.Error(), "plural") {
			t.Errorf("%v, want not found, with the name", err)
		}
		for _, answer := range []*metav1.Status{unknown(), unknownPage()} {
			server.answers(func(request) *metav1.Status { return answer })
			if _, err := target.Read(ctx); err == nil || !strings.Contains(err.Error(), "plural") {
				t.Errorf("%v, want a hint at the plural", err)
			}
		}
		if err := target.Scale(ctx, control.Replicas{Spec: 1}, -1, "why", nil); err == nil || !strings.Contains(err.Error(), "-1 replicas") {
			t.Errorf("%v for a negative count", err)
		}
	})
}

func TestATargetNeedsAllOfItsName(t *testing.T) {
	for what, ref := range map[string]Ref{
		"no apiVersion":            {Kind: "Deployment", Namespace: namespace, Name: name},
		"no kind":                  {APIVersion: "apps/v1", Namespace: namespace, Name: name},
		"no namespace":             {APIVersion: "apps/v1", Kind: "Deployment", Name: name},
		"no name":                  {APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace},
		"an apiVersion of 3 parts": {APIVersion: "apps/v1/beta", Kind: "Deployment", Namespace: namespace, Name: name},
	} {
		if _, err := NewTarget(&Client{}, ref, Options{}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
