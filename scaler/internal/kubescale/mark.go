package kubescale

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// markAnnotation repeats a cost of deletion that this scaler wrote. A cost without
// it, or another, is somebody else's and left alone.
const markAnnotation = "headroom.dev/deletion-cost"

// mark gives the pods with the least work, as many as are to go, costs of deletion
// below the usual 0, the least to the pod with the least work, and takes back what
// an earlier call gave to others. A failure is logged when it begins and when it ends.
func (t *Target) mark(ctx context.Context, remove int, work map[string]float64) {
	if deadline, ok := ctx.Deadline(); ok {
		// The rest is for the scaling itself.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	pods, err := t.known(ctx)
	if err != nil {
		return // Read says so
	}
	costs := remarked(pods, remove, work)
	if len(costs) == 0 {
		return
	}
	var mu sync.Mutex
	var failed int
	var first error
	each(costs, func(c cost) {
		err := t.annotate(ctx, c.pod, map[string]*string{corev1.PodDeletionCost: c.value, markAnnotation: c.value})
		if err == nil || gone(err) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if failed++; first == nil {
			first = fmt.Errorf("annotating pod %s: %w", c.pod.name, err)
		}
	})
	t.marking.note(first, "pods", len(costs), "failed", failed)
}

// cost is what one pod's cost of deletion is to become; nil takes it away.
type cost struct {
	pod   *pod
	value *string
}

// remarked returns the changes that leave costs below 0 with just those pods that
// have the least work, as many as are to go. Of pods with the same work those go
// first that were ready last; those whose work isn't known go after all others, and
// where none is known the controller chooses as it usually does. Pods that aren't
// ready go before all these anyway.
func remarked(pods []pod, remove int, work map[string]float64) []cost {
	var candidates []*pod
	var out []cost
	var known int
	for i := range pods {
		p := &pods[i]
		ours := p.marked != "" && p.marked == p.cost
		switch {
		case !p.ranked || p.cost != "" && !ours:
		case p.ready:
			candidates = append(candidates, p)
			if _, ok := workOf(p, work); ok {
				known++
			}
		case ours:
			out = append(out, cost{pod: p})
		}
	}
	slices.SortFunc(candidates, func(a, b *pod) int {
		workA, knownA := workOf(a, work)
		workB, knownB := workOf(b, work)
		switch {
		case knownA != knownB && knownA:
			return -1
		case knownA != knownB:
			return 1
		}
		return cmp.Or(cmp.Compare(workA, workB), b.since.Compare(a.since), cmp.Compare(a.name, b.name))
	})
	if known == 0 {
		remove = 0
	}
	remove = min(remove, len(candidates))
	for i, p := range candidates {
		switch {
		case i < remove:
			if value := strconv.Itoa(i - remove); value != p.cost {
				out = append(out, cost{pod: p, value: &value})
			}
		case p.cost != "":
			out = append(out, cost{pod: p})
		}
	}
	return out
}

func workOf(p *pod, work map[string]float64) (float64, bool) {
	for _, host := range p.hosts {
		if requests, ok := work[host]; ok {
			return requests, true
		}
	}
	return 0, false
}

// annotate sets the annotations of this very pod, not of another of its name; nil
// takes one away.
func (t *Target) annotate(ctx context.Context, p *pod, annotations map[string]*string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.uid, "annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = t.pods.Patch(ctx, p.name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// gone tells that a pod isn't there any more, or another of the same name is, and
// so needs nothing.
func gone(err error) bool {
	return apierrors.IsNotFound(err) && !unknownPath(err) || apierrors.IsConflict(err)
}
