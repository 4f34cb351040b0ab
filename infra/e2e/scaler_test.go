//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// followCPU watches the model servers' CPU: a line with the pod's name, its limit
// by the spec, the limit that it has, and how often it was restarted.
func followCPU(t *testing.T) func() []string {
	t.Helper()
	return follow(t, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name=model-server", "--watch", "-o",
		`jsonpath={.metadata.name},{.spec.containers[0].resources.limits.cpu},`+
			`{.status.containerStatuses[0].resources.limits.cpu},{.status.containerStatuses[0].restartCount}{"\n"}`)
}

// checkCPU: while others started, a model server had more CPU than usual, without
// a restart, and in the end all have what the Deployment says.
func checkCPU(t *testing.T, seen []string) {
	t.Helper()
	usual := kubectl(t, "-n", namespace, "get", "deployment", "model-server", "-o", "jsonpath={.spec.template.spec.containers[0].resources.limits.cpu}")
	lent := map[string]bool{}
	for _, line := range seen {
		parts := strings.Split(line, ",")
		if len(parts) != 4 {
			t.Fatalf("a pod is told as %q", line)
		}
		if got := parts[2]; got != "" && got != usual && got == parts[1] {
			lent[parts[0]+" "+got] = true
		}
		if restarts := parts[3]; restarts != "" && restarts != "0" {
			t.Errorf("%s was restarted", parts[0])
		}
	}
	t.Logf("usual CPU limit: %s; lent: %v", usual, lent)
	if len(lent) == 0 {
		t.Errorf("no model server had more CPU than usual; seen:\n%s", strings.Join(seen, "\n"))
	}
	eventually(t, "the usual CPU", 30*time.Second, func() error {
		for _, p := range modelServerPods(t, namespace) {
			if got := p.Spec.Containers[0].Resources.Limits["cpu"]; got != usual {
				return fmt.Errorf("%s has %s", p.Metadata.Name, got)
			}
		}
		return nil
	})
}

// followsOrders: what people order by annotations and with kubectl scale is
// followed, told, and nothing that Pulumi would undo.
func followsOrders(t *testing.T, s *stack) {
	annotate(t, "headroom.dev/floor=2")
	awaitReplicas(t, 2, 30*time.Second)
	annotate(t, "headroom.dev/pause=in", "headroom.dev/floor-")
	eventually(t, "scaling in is paused", 30*time.Second, func() error {
		if !strings.Contains(scalerLog(t), `"reason":"paused"`) {
			return errors.New("the scaler's log does not say so")
		}
		return nil
	})
	if n := replicas(t, namespace); n != 2 {
		t.Errorf("%d replicas while scaling in is paused, want 2", n)
	}

	kubectl(t, "-n", namespace, "scale", "deployment/model-server", "--replicas=3")
	eventually(t, "the event about another's scaling", 30*time.Second, func() error {
		events := kubectl(t, "-n", namespace, "get", "events", "--field-selector=involvedObject.name=model-server,reason=ScaleChanged", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(events, "from 2 to 3") {
			return fmt.Errorf("events: %q", events)
		}
		return nil
	})

	s.checkNoDrift(t)
	if pause := kubectl(t, "-n", namespace, "get", "deployment", "model-server", "-o", `jsonpath={.metadata.annotations.headroom\.dev/pause}`); pause != "in" {
		t.Errorf("the annotation headroom.dev/pause is %q after a refresh, want in", pause)
	}
	if n := replicas(t, namespace); n != 3 {
		t.Errorf("%d replicas while scaling in is paused, want 3", n)
	}
}

// takesOver has the leading scaler's pod go away. Another leads then, the pod in its
// place starts with what was saved, and scaling goes on in steps.
func takesOver(t *testing.T) {
	counts := follow(t, "-n", namespace, "get", "deployment", "model-server", "--watch", "-o", `jsonpath={.spec.replicas}{"\n"}`)
	before := scalerPods(t)
	gone := leader(t)
	pod, _, _ := strings.Cut(gone, "_")
	kubectl(t, "-n", namespace, "delete", "pod", pod, "--force", "--grace-period=0", "--wait=false")
	eventually(t, "another leader", time.Minute, func() error {
		if now := leader(t); now == gone || now == "" {
			return fmt.Errorf("the Lease is held by %q", now)
		}
		return nil
	})
	eventually(t, "what was saved is taken over", 30*time.Second, func() error {
		fresh := slices.DeleteFunc(scalerPods(t), func(pod string) bool { return slices.Contains(before, pod) })
		if len(fresh) == 0 {
			return errors.New("no new pod")
		}
		// Until its container runs, a pod has no log.
		if log, err := command(t, time.Minute, "kubectl", "-n", namespace, "logs", fresh[0], "--tail=-1"); err != nil || !strings.Contains(log, "taking over what was saved") {
			return fmt.Errorf("the log of %s doesn't say so: %s", fresh[0], log)
		}
		return nil
	})
	annotate(t, "headroom.dev/pause-")
	awaitReplicas(t, 1, time.Minute)

	last := 3
	for _, line := range counts() {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		if n < last-1 || n > last {
			t.Errorf("from %d replicas to %d", last, n)
		}
		last = n
	}
}

// scalerPods are the names of the scalers' pods.
func scalerPods(t *testing.T) []string {
	t.Helper()
	return strings.Fields(kubectl(t, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name=scaler", "-o", "jsonpath={.items[*].metadata.name}"))
}

// leader is who holds the Lease: its pod's name, _ and more.
func leader(t *testing.T) string {
	t.Helper()
	return kubectl(t, "-n", namespace, "get", "lease", "headroom-scaler", "-o", "jsonpath={.spec.holderIdentity}")
}

// goesToZero: with minReplicas 0 an idle service has no model server, which is no
// drift, and a request that comes then is answered all the same.
func goesToZero(t *testing.T, s *stack, outputs map[string]string) {
	s.set(t, "minReplicas", "0")
	s.set(t, "idleAfter", "20s")
	s.run(t, "up", "--yes", "--skip-preview")
	awaitReplicas(t, 0, 90*time.Second)
	eventually(t, "the last model server has gone", time.Minute, func() error {
		if left := podsOf(t, "model-server"); len(left) > 0 {
			return fmt.Errorf("pods: %v", left)
		}
		return nil
	})
	s.checkNoDrift(t)

	started := time.Now()
	query(t, outputs["dispatcherUrl"], "") // a caller who chooses a deadline is held to it
	t.Logf("answered from zero after %.1f s", time.Since(started).Seconds())
	if n := replicas(t, namespace); n < 1 {
		t.Errorf("%d replicas after a request", n)
	}
	scalerLog(t)
	// There must be model servers for the HPA to find.
	annotate(t, "headroom.dev/pause=in")
}
