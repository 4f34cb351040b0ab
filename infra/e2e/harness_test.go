//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stack is a Pulumi stack of the test's own, made from Pulumi.dev.yaml with
// another namespace and other ports, so that a dev stack that is up on the same
// cluster is not touched and Pulumi.dev.yaml stays as it is.
type stack struct {
	name, root string
}

// newStack copies another stack's settings and removes what a killed run left.
func newStack(t *testing.T, base string, settings map[string]string) *stack {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"KUBECONFIG", "PULUMI_BACKEND_URL"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s is not set: run these tests with `make e2e`", name)
		}
	}
	s := &stack{name: "e2e", root: root}
	config := filepath.Join(root, "Pulumi.e2e.yaml") // ignored by git
	copied, err := os.ReadFile(filepath.Join(root, "Pulumi."+base+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(config) })
	if _, err := s.try(t, "stack", "select", s.name); err == nil {
		s.run(t, "destroy", "--yes", "--skip-preview")
		s.run(t, "stack", "rm", "--yes", "--preserve-config", s.name)
	}
	s.run(t, "stack", "init", s.name)
	for key, value := range settings {
		s.set(t, key, value)
	}
	return s
}

// set is `pulumi config set`; the key may be a path such as schedules[0].name.
func (s *stack) set(t *testing.T, key, value string) {
	t.Helper()
	s.run(t, "config", "set", "--path", key, value)
}

// unset has keys at their defaults again.
func (s *stack) unset(t *testing.T, keys ...string) {
	t.Helper()
	s.run(t, append([]string{"config", "rm-all"}, keys...)...)
}

// leavesNothing destroys the stack, of which only what others had made before may
// be left.
func leavesNothing(t *testing.T, s *stack, others string) {
	t.Helper()
	s.run(t, "destroy", "--yes", "--skip-preview")
	eventually(t, "the namespace is gone", time.Minute, func() error {
		return notFound(t, "get", "namespace", namespace)
	})
	if left := objectsOfHeadroom(t); left != others {
		t.Errorf("there are\n%s\nwhere there were\n%s", left, others)
	}
	s.run(t, "stack", "rm", "--yes", "--preserve-config", s.name)
}

// objectsOfHeadroom are those of all stacks of the cluster, inside namespaces and
// outside.
func objectsOfHeadroom(t *testing.T) string {
	t.Helper()
	return kubectl(t, "get", "namespaces,clusterroles,clusterrolebindings,apiservices,priorityclasses,persistentvolumes,"+
		"roles,rolebindings,serviceaccounts,deployments,statefulsets,services,secrets,persistentvolumeclaims",
		"-A", "-l", "app.kubernetes.io/part-of=headroom", "-o", "name")
}

// checkNoDrift has neither the program nor the cluster ask for a change.
func (s *stack) checkNoDrift(t *testing.T) {
	t.Helper()
	s.run(t, "preview", "--expect-no-changes")
	s.run(t, "refresh", "--yes", "--skip-preview")
	s.run(t, "preview", "--expect-no-changes")
}

// run runs a pulumi command that has to succeed and returns its output.
func (s *stack) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.try(t, args...)
	if err != nil {
		t.Fatalf("pulumi %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *stack) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	full := append([]string{"--non-interactive", "--color=never", "--cwd", s.root}, args...)
	if args[0] != "stack" || args[1] == "output" {
		full = append(full, "--stack", s.name)
	}
	started := time.Now()
	out, err := command(t, 5*time.Minute, "pulumi", full...)
	t.Logf("pulumi %s: %.1f s", strings.Join(args, " "), time.Since(started).Seconds())
	return out, err
}

// outputs are the stack's outputs.
func (s *stack) outputs(t *testing.T) map[string]string {
	t.Helper()
	var outputs map[string]string
	if err := json.Unmarshal([]byte(s.run(t, "stack", "output", "--json")), &outputs); err != nil {
		t.Fatal(err)
	}
	return outputs
}

// command runs a program to its end and returns stdout, or stderr after it
// where it failed.
func command(t *testing.T, timeout time.Duration, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

// kubectl runs a kubectl command that has to succeed and returns its output.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, time.Minute, "kubectl", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// follow returns the lines that a kubectl command, such as get --watch, prints
// until its result is called.
func follow(t *testing.T, args ...string) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() []string {
		t.Helper()
		cancel()
		_ = cmd.Wait() // it has been told to end
		if stderr.Len() > 0 {
			t.Fatalf("kubectl %s: %s", strings.Join(args, " "), stderr.String())
		}
		return strings.Split(strings.TrimSpace(stdout.String()), "\n")
	}
}

// pod is what the tests ask of a pod.
type pod struct {
	Metadata struct {
		Name, UID         string
		DeletionTimestamp *string
	}
	Spec struct {
		Containers []struct {
			Resources struct{ Limits map[string]string }
		}
	}
	Status struct {
		ContainerStatuses []struct {
			RestartCount int
			Ready        bool
		}
	}
}

// modelServerPods are the pods of the scaled Deployment that are not on their
// way out.
func modelServerPods(t *testing.T, namespace string) []pod {
	t.Helper()
	return staying(t, namespace, "model-server")
}

// staying are the pods of a component that are not on their way out.
func staying(t *testing.T, namespace, component string) []pod {
	t.Helper()
	var list struct{ Items []pod }
	out := kubectl(t, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name="+component, "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var staying []pod
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp == nil {
			staying = append(staying, p)
		}
	}
	return staying
}

// eventually asks once a second until check returns nil, and fails with its
// last error when that took too long.
func eventually(t *testing.T, what string, timeout time.Duration, check func() error) {
	t.Helper()
	started := time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			t.Logf("%s: after %.0f s", what, time.Since(started).Seconds())
			return
		}
		if time.Since(started) > timeout {
			t.Fatalf("%s: not within %s: %v", what, timeout, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		case <-ticker.C:
		}
	}
}

// replicas is the scale that the Deployment asks for.
func replicas(t *testing.T, namespace string) int {
	t.Helper()
	var n int
	out := kubectl(t, "-n", namespace, "get", "deployment", "model-server", "-o", "jsonpath={.spec.replicas}")
	if _, err := fmt.Sscan(out, &n); err != nil {
		t.Fatalf("spec.replicas is %q: %v", out, err)
	}
	return n
}

// awaitReplicas waits until the Deployment asks for so many.
func awaitReplicas(t *testing.T, want int, timeout time.Duration) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d replicas", want), timeout, func() error {
		if n := replicas(t, namespace); n != want {
			return fmt.Errorf("%d replicas", n)
		}
		return nil
	})
}

// annotate is `kubectl annotate` of the scaled Deployment.
func annotate(t *testing.T, annotations ...string) {
	t.Helper()
	kubectl(t, append([]string{"-n", namespace, "annotate", "--overwrite", "deployment/model-server"}, annotations...)...)
}

// scalerLog is the log of all scalers. None of it may say that a right is missing.
func scalerLog(t *testing.T) string {
	t.Helper()
	log := kubectl(t, "-n", namespace, "logs", "--selector=app.kubernetes.io/name=scaler", "--tail=-1")
	for line := range strings.Lines(log) {
		if strings.Contains(line, "forbidden") {
			t.Errorf("the scaler lacks a right: %s", line)
		}
	}
	return log
}

// notFound tells whether kubectl's output says that there is no such thing.
func notFound(t *testing.T, args ...string) error {
	t.Helper()
	out, err := command(t, time.Minute, "kubectl", append(args, "--ignore-not-found", "-o", "name")...)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if out = strings.TrimSpace(out); out != "" {
		return errors.New("still there: " + out)
	}
	return nil
}
