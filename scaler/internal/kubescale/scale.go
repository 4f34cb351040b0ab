package kubescale

import (
	"context"
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headroom.dev/scaler/internal/control"
)

// Scale writes the target's scale, provided that it is still the version that was
// seen, and publishes an event with why. Before it lowers the count it marks the
// pods with the least work, by pod IP or name, to go first, in at most half of the
// time that the context leaves; that this fails stops nothing. to is 0 or more. The
// error is [control.ErrChanged] when somebody else wrote the target meanwhile.
func (t *Target) Scale(ctx context.Context, seen control.Replicas, to int, why string, work map[string]float64) error {
	if to < 0 || to > math.MaxInt32 {
		return fmt.Errorf("scaling %s: %d replicas: must be 0 to %d", t, to, math.MaxInt32)
	}
	reason := "ScaledOut"
	if to < seen.Spec {
		reason = "ScaledIn"
		t.mark(ctx, seen.Spec-to, work)
	}
	scale := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale",
		"metadata": map[string]any{"namespace": t.ref.Namespace, "name": t.ref.Name, "resourceVersion": seen.Version},
		"spec":     map[string]any{"replicas": int64(to)},
	}}
	_, err := t.object.Update(ctx, scale, metav1.UpdateOptions{}, "scale")
	switch {
	case apierrors.IsConflict(err):
		return fmt.Errorf("scaling %s from %d to %d: %w", t, seen.Spec, to, control.ErrChanged)
	case err != nil:
		return fmt.Errorf("scaling %s from %d to %d: %w", t, seen.Spec, to, err)
	}
	t.mu.Lock()
	uid := t.uid
	t.mu.Unlock()
	t.recorder.Eventf(t.ref.object(uid), corev1.EventTypeNormal, reason, "From %d to %d replicas, %s", seen.Spec, to, why)
	return nil
}
