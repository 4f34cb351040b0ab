package kubescale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headroom.dev/scaler/internal/control"
)

const (
	// infeasibleFor is how long a pod that can't have more CPU isn't asked again.
	infeasibleFor = time.Minute
	// unsupportedFor is that time where nothing can be resized at all.
	unsupportedFor = 10 * time.Minute
)

// resizes remembers what can't be resized, until when.
type resizes struct {
	unsupported time.Time
	infeasible  map[types.UID]time.Time
}

// count tells what became of the ready pods' last changes: each pod is in one
// number at most.
func (r *resizes) count(pods []pod, now time.Time) control.Resizes {
	out := control.Resizes{Unsupported: now.Before(r.unsupported)}
	for i := range pods {
		p := &pods[i]
		switch {
		case !p.ready:
		case p.cpu.state == infeasible || now.Before(r.infeasible[p.uid]):
			out.Infeasible++
		case p.cpu.state == deferred:
			out.Deferred++
		case p.cpu.state == pending:
			out.Pending++
		case p.cpu.used.limit > p.cpu.usual.limit:
			out.Raised++
		}
	}
	return out
}

// raise is one pod's change of CPU.
type raise struct {
	pod *pod
	to  share
}

// plan returns the changes that give every ready pod factor times its usual CPU.
// Pods that aren't ready are given nothing, and keep what they have of it. A pod
// whose node can't give it that gets its usual CPU back and is left alone for a time.
func (r *resizes) plan(pods []pod, factor float64, now time.Time) []raise {
	remembered := r.infeasible
	r.infeasible = map[types.UID]time.Time{} // without the pods that are gone
	var out []raise
	for i := range pods {
		p := &pods[i]
		if p.cpu.state == infeasible && p.cpu.spec != p.cpu.usual {
			r.infeasible[p.uid] = now.Add(infeasibleFor)
		} else if until := remembered[p.uid]; now.Before(until) {
			r.infeasible[p.uid] = until
		}
		to := p.cpu.usual.times(factor)
		switch {
		case !p.cpu.resizable:
			continue
		case now.Before(r.infeasible[p.uid]):
			to = p.cpu.usual
		case !p.ready && p.cpu.spec.limit <= to.limit:
			continue
		}
		if to != p.cpu.spec {
			out = append(out, raise{pod: p, to: to})
		}
	}
	return out
}

// errUnsupported means that pods can't be resized in place, here or at all.
var errUnsupported = errors.New("pods can't be resized in place")

// Resize gives every ready pod factor times the CPU request and limit that its
// container was created with, to whole thousandths of a core. With a factor of 1
// every pod that has more gets its usual CPU back, also one that an earlier scaler
// raised. It looks at the pods as they are now, so it is to be called again and
// again: also to take back what a node can't give. Where the API server, its
// authorization or the pods themselves don't allow it, it does nothing for 10
// minutes, and Read says so. factor is 1 or more. The error names the first pod that
// could not be changed.
func (t *Target) Resize(ctx context.Context, factor float64) error {
	if !(factor >= 1) || math.IsInf(factor, 0) {
		return fmt.Errorf("resizing the pods of %s: factor %g: must be 1 or more", t, factor)
	}
	pods, err := t.known(ctx)
	switch {
	case errors.Is(err, errHidden):
		return nil // Read says so
	case err != nil:
		return fmt.Errorf("resizing the pods of %s: %w", t, err)
	}
	now := time.Now()
	t.mu.Lock()
	if now.Before(t.resizes.unsupported) {
		t.mu.Unlock()
		return nil
	}
	raises := t.resizes.plan(pods, factor, now)
	t.mu.Unlock()
	if factor > 1 && fixed(pods) {
		t.unsupported(fmt.Errorf("%w: no ready pod has a CPU limit that can change without a restart", errUnsupported))
		return nil
	}

	var mu sync.Mutex
	var failed int
	var first error
	each(raises, func(r raise) {
		err := t.resize(ctx, r)
		if err == nil || gone(err) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if failed++; first == nil || errors.Is(err, errUnsupported) {
			first = fmt.Errorf("pod %s: %w", r.pod.name, err)
		}
	})
	switch {
	case errors.Is(first, errUnsupported):
		t.unsupported(first)
		return nil
	case first != nil:
		return fmt.Errorf("resizing the pods of %s: %d of %d failed: %w", t, failed, len(raises), first)
	case len(raises) > 0:
		t.resizing.note(nil)
	}
	return nil
}

// fixed tells that there are ready pods and that none of them can be resized.
func fixed(pods []pod) bool {
	ready := 0
	for i := range pods {
		if pods[i].ready {
			ready++
			if pods[i].cpu.resizable {
				return false
			}
		}
	}
	return ready > 0
}

func (t *Target) unsupported(err error) {
	t.resizing.note(err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resizes.unsupported = time.Now().Add(unsupportedFor)
}

// resize changes one pod. Its usual CPU is recorded first, since it can't be told
// any more from a pod that was raised.
func (t *Target) resize(ctx context.Context, r raise) error {
	if !r.pod.cpu.recorded {
		record, err := r.pod.cpu.record()
		if err != nil {
			return err
		}
		if err := t.annotate(ctx, r.pod, map[string]*string{usualAnnotation: &record}); err != nil {
			return supported(err)
		}
	}
	set := map[string]map[string]string{}
	for kind, milli := range map[string]int64{"requests": r.to.request, "limits": r.to.limit} {
		if milli > 0 {
			set[kind] = map[string]string{"cpu": resource.NewMilliQuantity(milli, resource.DecimalSI).String()}
		}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": r.pod.uid},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": r.pod.cpu.container, "resources": set}}},
	})
	if err != nil {
		return err
	}
	_, err = t.pods.Patch(ctx, r.pod.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) && !denied(err) {
		// Validation or admission refuses this pod: a quota, a LimitRange, a node too old.
		t.mu.Lock()
		t.resizes.infeasible[r.pod.uid] = time.Now().Add(infeasibleFor)
		t.mu.Unlock()
	}
	return supported(err)
}

// supported makes an error that concerns all pods one of errUnsupported.
func supported(err error) error {
	if unknownPath(err) || apierrors.IsMethodNotSupported(err) || denied(err) {
		return fmt.Errorf("%w: %w", errUnsupported, err)
	}
	return err
}

// denied tells that the scaler has no right to do it. Admission, which may refuse
// one pod only, answers Forbidden too, but in other words.
func denied(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot patch resource")
}
