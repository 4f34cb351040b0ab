//go:build e2e

package kubescale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headroom.dev/scaler/internal/control"
)

// The cluster is that of KUBECONFIG, its user may do everything, and TEST_IMAGE is
// an image that its nodes have, whose containers run until they are told to end.
// TEST_COMMAND is a command for it, if it needs one.

// place is a namespace of a test's own.
type place struct {
	*Client
	namespace string
}

func newPlace(t *testing.T) place {
	t.Helper()
	client, err := Connect(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := client.Kubernetes.CoreV1().Namespaces().Create(context.Background(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kubescale-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Kubernetes.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return place{client, made.Name}
}

func (p place) target(t *testing.T, ref Ref) *Target {
	t.Helper()
	ref.Namespace = p.namespace
	target, err := NewTarget(p.Client, ref, Options{Identity: "e2e", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target
}

// template is a pod of the test's image.
func template(t *testing.T) corev1.PodTemplateSpec {
	t.Helper()
	image := os.Getenv("TEST_IMAGE")
	if image == "" {
		t.Skip("TEST_IMAGE is not set")
	}
	cpu := func(text string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(text), corev1.ResourceMemory: resource.MustParse("32Mi")}
	}
	grace := int64(1)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "e2e"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "server", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: strings.Fields(os.Getenv("TEST_COMMAND")),
				Resources: corev1.ResourceRequirements{Requests: cpu("15m"), Limits: cpu("30m")},
			}},
		},
	}
}

func (p place) deployment(t *testing.T, replicas int32) {
	t.Helper()
	_, err := p.Kubernetes.AppsV1().Deployments(p.namespace).Create(context.Background(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Template: template(t),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "e2e"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (p place) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	list, err := p.Kubernetes.CoreV1().Pods(p.namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// until reads the target until it is as wanted.
func until(t *testing.T, target *Target, what string, done func(control.Replicas) bool) control.Replicas {
	t.Helper()
	var last control.Replicas
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		got, err := target.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done(got) {
			return got
		}
		last = got
	}
	t.Fatalf("not within a minute: %s; at last %+v", what, last)
	return last
}

func ready(n int) func(control.Replicas) bool {
	return func(r control.Replicas) bool { return r.Ready == n && len(r.Starting) == 0 }
}

// scale orders n replicas as the control loop does: where the target has changed
// since it was read, as its controller writes its status, from what it is now. It
// returns what the order was based on.
func scale(t *testing.T, target *Target, n int, why string, work map[string]float64) control.Replicas {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		seen, err := target.Read(t.Context())
		if err == nil {
			err = target.Scale(t.Context(), seen, n, why, work)
		}
		switch {
		case err == nil:
			return seen
		case !errors.Is(err, control.ErrChanged) || time.Now().After(deadline):
			t.Fatal(err)
		}
	}
}

func TestE2EADeploymentIsScaledOutAndInByWork(t *testing.T) {
	p := newPlace(t)
	p.deployment(t, 1)
	target := p.target(t, Ref{APIVersion: "apps/v1", Kind: "Deployment", Name: "e2e"})
	until(t, target, "1 ready", ready(1))

	seen := scale(t, target, 4, "demand: a test", nil)
	if err := target.Scale(t.Context(), seen, 9, "too late", nil); !errors.Is(err, control.ErrChanged) {
		t.Errorf("a second write of what was seen: %v, want %v", err, control.ErrChanged)
	}
	told := 0
	until(t, target, "4 ready", func(r control.Replicas) bool {
		for _, c := range r.BecameReady {
			told += c.Count
			t.Logf("%d became ready after %s", c.Count, c.Age)
			if c.Age <= 0 || c.Age > time.Minute {
				t.Errorf("a lead time of %s", c.Age)
			}
		}
		return ready(4)(r)
	})
	if told != 3 {
		t.Errorf("%d lead times, want 3", told)
	}

	work, keep := map[string]float64{}, map[string]bool{}
	for i, pod := range p.pods(t) {
		work[pod.Status.PodIP] = float64(10 - i)
		if i < 2 {
			keep[pod.Name] = true
		}
	}
	scale(t, target, 2, "scale_in: a test", work)
	until(t, target, "2 ready", ready(2))
	for _, pod := range p.pods(t) {
		if pod.DeletionTimestamp == nil && !keep[pod.Name] {
			t.Errorf("pod %s is left, want those with the most work: %v", pod.Name, keep)
		}
	}

	var found string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && !strings.Contains(found, "ScaledIn"); time.Sleep(100 * time.Millisecond) {
		list, err := p.Kubernetes.CoreV1().Events(p.namespace).List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.kind=Deployment,source=headroom-scaler",
		})
		if err != nil {
			t.Fatal(err)
		}
		found = ""
		for _, e := range list.Items {
			found += fmt.Sprintf("%s: %s\n", e.Reason, e.Message)
		}
	}
	if !strings.Contains(found, "ScaledOut: From 1 to 4 replicas, demand: a test") || !strings.Contains(found, "ScaledIn: From 4 to 2 replicas, scale_in: a test") {
		t.Errorf("events:\n%s", found)
	}
}

func TestE2EPodsAreResizedInPlace(t *testing.T) {
	p := newPlace(t)
	p.deployment(t, 2)
	ref := Ref{APIVersion: "apps/v1", Kind: "Deployment", Name: "e2e"}
	target := p.target(t, ref)
	until(t, target, "2 ready", ready(2))
	to := func(target *Target, factor float64, what string, want control.Resizes) {
		t.Helper()
		if err := target.Resize(t.Context(), factor); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		until(t, target, what, func(r control.Replicas) bool { return r.Resizes == want })
		t.Logf("%s within %s", what, time.Since(began).Round(time.Millisecond))
	}
	limits := func() (out []string) {
		for _, pod := range p.pods(t) {
			if n := pod.Status.ContainerStatuses[0].RestartCount; n > 0 {
				t.Errorf("pod %s has restarted", pod.Name)
			}
			out = append(out, pod.Status.ContainerStatuses[0].Resources.Limits.Cpu().String())
		}
		return out
	}
	to(target, 2.5, "raised", control.Resizes{Raised: 2})
	if got := strings.Join(limits(), " "); got != "75m 75m" {
		t.Errorf("limits %s, want 75m each", got)
	}
	target.Close()

	next := p.target(t, ref)
	until(t, next, "raised pods are recognised", func(r control.Replicas) bool { return r.Resizes.Raised == 2 })
	to(next, 1, "back", control.Resizes{})
	if got := strings.Join(limits(), " "); got != "30m 30m" {
		t.Errorf("limits %s, want 30m each", got)
	}
	to(next, 100000, "infeasible", control.Resizes{Infeasible: 2})
	if err := next.Resize(t.Context(), 100000); err != nil {
		t.Fatal(err)
	}
	until(t, next, "infeasible still", func(r control.Replicas) bool { return r.Resizes.Infeasible == 2 })
	if got := strings.Join(limits(), " "); got != "30m 30m" {
		t.Errorf("limits %s, want 30m each", got)
	}
	for _, pod := range p.pods(t) {
		if got := pod.Spec.Containers[0].Resources.Limits.Cpu().String(); got != "30m" {
			t.Errorf("pod %s is told to have %s, want its usual CPU back", pod.Name, got)
		}
	}
}

// rights are all that this package needs, for a Deployment.
var rights = []rbacv1.PolicyRule{
	{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get"}},
	{APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, Verbs: []string{"get", "update"}},
	{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch", "patch"}},
	{APIGroups: []string{""}, Resources: []string{"pods/resize"}, Verbs: []string{"patch"}},
	{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "patch"}},
	{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}},
}

// as is the place as somebody sees it who has these rights in it.
func (p place) as(t *testing.T, name string, rules []rbacv1.PolicyRule) place {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name}
	roles := p.Kubernetes.RbacV1()
	if _, err := roles.Roles(p.namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := roles.RoleBindings(p.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		p.awaitRight(t, name, rule)
	}
	config, err := restConfig(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = name
	client, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return place{client, p.namespace}
}

// awaitRight waits until the API server goes by a rule: it takes it over a moment
// after it was made.
func (p place) awaitRight(t *testing.T, user string, rule rbacv1.PolicyRule) {
	t.Helper()
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	asked := &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace},
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: p.namespace, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: subresource,
			Name: strings.Join(rule.ResourceNames, ""),
		}},
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		review, err := p.Kubernetes.AuthorizationV1().LocalSubjectAccessReviews(p.namespace).Create(t.Context(), asked, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed {
			return
		}
	}
	t.Fatalf("%s may not %s %s, a minute after it was allowed to", user, rule.Verbs[0], rule.Resources[0])
}

func TestE2ENoOtherRightsAreNeededAndWithoutSomeItGoesOn(t *testing.T) {
	p := newPlace(t)
	p.deployment(t, 1)
	ref := Ref{APIVersion: "apps/v1", Kind: "Deployment", Name: "e2e"}
	all := p.as(t, "all", rights)
	target := all.target(t, ref)
	until(t, target, "1 ready", ready(1))
	if err := target.Resize(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	until(t, target, "raised", func(r control.Replicas) bool { return r.Resizes == control.Resizes{Raised: 1} })
	scale(t, target, 2, "demand: a test", nil)
	until(t, target, "2 ready", ready(2))
	work := map[string]float64{}
	for _, pod := range p.pods(t) {
		work[pod.Name] = 1
	}
	scale(t, target, 1, "scale_in: a test", work)
	marked := false
	for _, pod := range p.pods(t) {
		marked = marked || pod.Annotations[corev1.PodDeletionCost] == "-1"
	}
	if !marked {
		t.Error("no pod is marked")
	}
	if err := NewStore(all.Client, p.namespace, "state").Save(t.Context(), []byte("{}")); err != nil {
		t.Error(err)
	}
	election, err := NewElection(all.Client, p.namespace, "scaler", "e2e", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, resign := context.WithTimeout(t.Context(), 10*time.Second)
	defer resign()
	ended := make(chan struct{})
	go func() { election.Run(ctx); close(ended) }()
	for ctx.Err() == nil && !election.Leads() {
		time.Sleep(50 * time.Millisecond)
	}
	if !election.Leads() {
		t.Error("doesn't lead")
	}
	resign()
	<-ended

	without := func(name string) []rbacv1.PolicyRule {
		return slices.DeleteFunc(slices.Clone(rights), func(r rbacv1.PolicyRule) bool { return r.Resources[0] == name })
	}
	until(t, p.as(t, "no-pods", without("pods")).target(t, ref), "by the status", func(r control.Replicas) bool { return r.Ready == 1 && r.Resizes.Unsupported })
	target = p.as(t, "no-resize", without("pods/resize")).target(t, ref)
	until(t, target, "1 ready", ready(1))
	if err := target.Resize(t.Context(), 3); err != nil {
		t.Error(err)
	}
	until(t, target, "unsupported", func(r control.Replicas) bool { return r.Resizes.Unsupported })
}

func TestE2EACustomResourceIsScaled(t *testing.T) {
	p := newPlace(t)
	group := strings.ReplaceAll(p.namespace, "-", "") + ".example.com"
	definitions := p.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err := definitions.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "rollouts." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced",
			"names": map[string]any{"plural": "rollouts", "singular": "rollout", "kind": "Rollout"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec":   map[string]any{"type": "object", "properties": map[string]any{"replicas": map[string]any{"type": "integer"}}},
					"status": map[string]any{"type": "object", "properties": map[string]any{"replicas": map[string]any{"type": "integer"}, "selector": map[string]any{"type": "string"}}},
				}}},
				"subresources": map[string]any{"status": map[string]any{}, "scale": map[string]any{
					"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
				}},
			}},
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { definitions.Delete(context.Background(), "rollouts."+group, metav1.DeleteOptions{}) })

	rollouts := p.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "rollouts"}).Namespace(p.namespace)
	rollout := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "Rollout", "metadata": map[string]any{"name": "e2e"}, "spec": map[string]any{"replicas": int64(2)},
	}}
	var made *unstructured.Unstructured
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if made, err = rollouts.Create(t.Context(), rollout, metav1.CreateOptions{}); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	made.Object["status"] = map[string]any{"selector": "app=none"}
	if _, err := rollouts.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	target := p.target(t, Ref{APIVersion: group + "/v1", Kind: "Rollout", Name: "e2e"})
	seen, err := target.Read(t.Context())
	if err != nil || seen.Spec != 2 {
		t.Fatalf("%+v, %v", seen, err)
	}
	if err := target.Scale(t.Context(), seen, 0, "idle: a test", nil); err != nil {
		t.Fatal(err)
	}
	if seen, err = target.Read(t.Context()); err != nil || seen.Spec != 0 {
		t.Errorf("%+v, %v after scaling to 0", seen, err)
	}
	if _, err := p.target(t, Ref{APIVersion: group + "/v1", Kind: "Rollout", Resource: "rolloutes", Name: "e2e"}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "plural") {
		t.Errorf("%v for a wrong plural, want a hint at it", err)
	}
}

func TestE2EStateIsKept(t *testing.T) {
	p := newPlace(t)
	store := NewStore(p.Client, p.namespace, "state")
	if got, err := store.Load(t.Context()); got != nil || err != nil {
		t.Fatalf("%q, %v before anything was saved", got, err)
	}
	for _, state := range []string{`{"n":1}`, `{"n":2}`} {
		if err := store.Save(t.Context(), []byte(state)); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Load(t.Context()); string(got) != state || err != nil {
			t.Fatalf("%q, %v; want %s", got, err, state)
		}
	}
}
