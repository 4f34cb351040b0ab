//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProd brings up what Pulumi.prod.yaml asks for, but for what one node without
// a registry, volumes and an Ingress controller can't have, and loses the node of
// Redis that holds what people were promised.
func TestProd(t *testing.T) {
	s := newStack(t, "prod", map[string]string{
		"namespace":             namespace,
		"dispatcherNodePort":    "30601",
		"prometheusNodePort":    "30190",
		"imagesFile":            ".headroom/images.json",
		"antiAffinity":          "preferred",
		"modelServerCpuRequest": "150m",
		"modelServerCpuLimit":   "150m",
	})
	s.unset(t, "requireDigests", "modelServerImage", "dispatcherImage", "scalerImage", "redisImage", "redisExporterImage", "prometheusImage",
		"redisStorage", "prometheusStorage", "prometheusRetentionSize",
		"exposure", "exposureHost", "ingressClass", "ingressTlsSecret", "ingressAnnotations", "clientNamespaces")
	t.Cleanup(func() { diagnose(t) })
	others := objectsOfHeadroom(t)

	var outputs map[string]string
	step(t, "pulumi up creates the stack", func(t *testing.T) {
		s.run(t, "up", "--yes", "--skip-preview")
		s.run(t, "preview", "--expect-no-changes")
		outputs = s.outputs(t)
		query(t, outputs["dispatcherUrl"], "10s")
	})

	step(t, "a result outlives the node of Redis that took it", func(t *testing.T) {
		dispatcher := outputs["dispatcherUrl"]
		result := dispatcher + queryLater(t, dispatcher)
		// Until then the copy may not have it.
		eventually(t, "the result is there", 30*time.Second, func() error { return answered(t, result) })
		before := masterOfRedis(t)
		kubectl(t, "-n", namespace, "delete", "pod", before, "--grace-period=0", "--force")
		query(t, dispatcher, "10s") // who waits for the answer needs no Redis
		eventually(t, "another node is the master", time.Minute, func() error {
			if now := masterOfRedis(t); now == before {
				return fmt.Errorf("%s is the master still", now)
			}
			return nil
		})
		eventually(t, "the result is there again", 30*time.Second, func() error { return answered(t, result) })
		kubectl(t, "-n", namespace, "rollout", "status", "statefulset/redis-node", "--timeout=60s")
	})

	step(t, "a drain takes one dispatcher at a time", func(t *testing.T) {
		kubectl(t, "-n", namespace, "rollout", "status", "deployment/dispatcher", "--timeout=60s")
		pods := staying(t, namespace, "dispatcher")
		if len(pods) != 3 {
			t.Fatalf("%d dispatchers, want 3", len(pods))
		}
		if out, err := evict(t, pods[0].Metadata.Name); err != nil {
			t.Errorf("the first one could not be evicted: %v\n%s", err, out)
		}
		out, err := evict(t, pods[1].Metadata.Name)
		if err == nil || !strings.Contains(out, "disruption budget") {
			t.Errorf("the second one at the same time: %v\n%s", err, out)
		}
	})

	step(t, "destroy leaves nothing", func(t *testing.T) { leavesNothing(t, s, others) })
}

// queryLater sends a picture whose result is fetched later, and returns the path
// of the result.
func queryLater(t *testing.T, dispatcher string) string {
	t.Helper()
	picture, err := os.ReadFile(filepath.Join("..", "..", "models", "vehicles", "samples", "fire-engine.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dispatcher+"/query", bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Prefer", "respond-async")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %s, %v", response.Status, body, err)
	}
	return response.Header.Get("Location")
}

// answered is nil where there is a result at address, and it is right.
func answered(t *testing.T, address string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), "fire engine") {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

// masterOfRedis is the pod that a sentinel says is the master.
func masterOfRedis(t *testing.T) string {
	t.Helper()
	answer := kubectl(t, "-n", namespace, "exec", "redis-sentinel-0", "--",
		"redis-cli", "-p", "26379", "-e", "sentinel", "get-master-addr-by-name", "headroom")
	host, _, ok := strings.Cut(answer, ".")
	if !ok {
		t.Fatalf("the sentinel answers %q", answer)
	}
	return host
}

// evict asks for a pod's end as a drain does, which a budget may refuse.
func evict(t *testing.T, pod string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "kubectl", "create", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod+"/eviction", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q}}`, pod))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err
}
