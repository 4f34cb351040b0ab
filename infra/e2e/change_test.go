//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// upAfterAKill kills a first `pulumi up` half-way, with its providers, and goes on
// with another, as docs/stacks.md tells people to.
func upAfterAKill(t *testing.T, s *stack) {
	cmd := exec.CommandContext(t.Context(), "pulumi", "--non-interactive", "--color=never", "--cwd", s.root,
		"up", "--yes", "--skip-preview", "--stack", s.name)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "some of the stack is there", 2*time.Minute, func() error {
		select {
		case err := <-ended:
			t.Fatalf("pulumi up ended by itself: %v\n%s", err, log.String())
		default:
		}
		if out, err := command(t, time.Minute, "kubectl", "-n", namespace, "get", "deployments", "-o", "name"); err != nil || strings.TrimSpace(out) == "" {
			return errors.New("no Deployment yet")
		}
		return nil
	})
	for _, pid := range append([]int{cmd.Process.Pid}, childrenOf(t, cmd.Process.Pid)...) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("killing process %d: %v", pid, err)
		}
	}
	<-ended

	s.run(t, "cancel", "--yes")
	s.run(t, "refresh", "--yes", "--skip-preview", "--clear-pending-creates")
	s.run(t, "up", "--yes", "--skip-preview")
	s.run(t, "preview", "--expect-no-changes")
	// A field with two owners can't be changed by either.
	owners := kubectl(t, "-n", namespace, "get", "deployments,statefulsets,services,configmaps,secrets", "-l", "app.kubernetes.io/part-of=headroom",
		"--show-managed-fields", "-o", `jsonpath={range .items[*]}{.kind}{" "}{.metadata.name}{range .metadata.managedFields[?(@.operation=="Apply")]}{" "}{.manager}{end}{"\n"}{end}`)
	for line := range strings.Lines(owners) {
		if fields := strings.Fields(line); len(fields) != 3 || fields[2] != "headroom" {
			t.Errorf("kind, name and owners of what was applied: %s", line)
		}
	}
}

// keepsThePolicy: the stack as it is breaks none of the rules, whoever checks them;
// an image whose name may be another one's tomorrow breaks one.
func keepsThePolicy(t *testing.T, s *stack) {
	s.set(t, "policy", "enforce")
	byPack := []string{"preview", "--policy-pack", filepath.Join(s.root, "infra", "policypack")}
	s.run(t, "preview", "--expect-no-changes")
	s.run(t, byPack...)

	s.set(t, "redisImage", "redis:latest")
	const problem = "Deployment redis: container redis runs redis:latest, which may be another image tomorrow: name a version or a digest"
	for _, args := range [][]string{{"preview"}, byPack} {
		out, err := s.try(t, args...)
		if err == nil || !strings.Contains(out, problem) {
			t.Errorf("pulumi %s: %v, want an error that says %q:\n%s", strings.Join(args, " "), err, problem, out)
		}
		s.set(t, "policy", "off") // the pack speaks for itself
	}
	s.unset(t, "redisImage", "policy")
}

// childrenOf are the processes that a process has started.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("process %d has no list of its children: %v", pid, err)
	}
	var children []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // that thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}

// changesUnderLoad: another promise reaches whoever keeps it, and then every model
// server and dispatcher is replaced at 20 requests a second, of which none fails.
func changesUnderLoad(t *testing.T, s *stack, outputs map[string]string) {
	// The promise is such that only a request that is lost fails, not one that is late.
	const promise = "5s"
	s.set(t, "sloLatency", promise)
	s.run(t, "up", "--yes", "--skip-preview")
	eventually(t, "all scalers go by the new promise", 30*time.Second, func() error {
		for _, pod := range staying(t, namespace, "scaler") {
			got, err := promiseOf(t, pod.Metadata.Name)
			if err != nil {
				return fmt.Errorf("asking %s: %w", pod.Metadata.Name, err)
			}
			if got != promise {
				return fmt.Errorf("%s goes by %q", pod.Metadata.Name, got)
			}
		}
		return nil
	})

	annotate(t, "headroom.dev/floor=3")
	awaitReady(t, 3)
	before := podsOf(t, "model-server", "dispatcher")
	load := startLoad(t, outputs, "constant:rate=20,length=300s")
	s.set(t, "modelServerMemory", "500Mi")
	s.set(t, "backendConcurrency", "2")
	s.run(t, "up", "--yes", "--skip-preview")
	awaitReady(t, 3)
	eventually(t, "only new pods", time.Minute, func() error {
		now := podsOf(t, "model-server", "dispatcher")
		for uid, name := range before {
			if now[uid] != "" {
				return fmt.Errorf("%s is still there", name)
			}
		}
		return nil
	})
	load.end(t)

	annotate(t, "headroom.dev/floor-")
	for key, value := range map[string]string{"sloLatency": "500ms", "backendConcurrency": "1"} {
		s.set(t, key, value)
	}
	s.run(t, "up", "--yes", "--skip-preview")
}

// promiseOf is the latency that a scaler goes by.
func promiseOf(t *testing.T, pod string) (string, error) {
	t.Helper()
	out, err := command(t, time.Minute, "kubectl", "get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod+":8002/proxy/debug/decisions")
	if err != nil {
		return "", fmt.Errorf("%w: %.200s", err, out) // it starts, or is on its way out
	}
	var journal struct {
		Config struct{ SLO time.Duration }
	}
	if err := json.Unmarshal([]byte(out), &journal); err != nil {
		return "", fmt.Errorf("%w: %.200s", err, out)
	}
	return journal.Config.SLO.String(), nil
}

// awaitReady waits until the scaled Deployment has so many ready pods of its present
// template and no other.
func awaitReady(t *testing.T, want int) {
	t.Helper()
	all := fmt.Sprintf("%d/%d/%d", want, want, want)
	eventually(t, fmt.Sprintf("%d ready replicas", want), 2*time.Minute, func() error {
		now := kubectl(t, "-n", namespace, "get", "deployment", "model-server", "-o", "jsonpath={.status.replicas}/{.status.updatedReplicas}/{.status.readyReplicas}")
		if now != all {
			return fmt.Errorf("replicas, up-to-date ones and ready ones are %s", now)
		}
		return nil
	})
}

// podsOf are the pods of the components, by UID.
func podsOf(t *testing.T, components ...string) map[string]string {
	t.Helper()
	out := kubectl(t, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name in ("+strings.Join(components, ",")+")",
		"-o", `jsonpath={range .items[*]}{.metadata.uid} {.metadata.name}{"\n"}{end}`)
	pods := map[string]string{}
	for line := range strings.Lines(out) {
		if uid, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			pods[uid] = name
		}
	}
	return pods
}

// load is a load test that runs.
type load struct {
	cmd    *exec.Cmd
	log    *bytes.Buffer
	folder string
}

// startLoad returns when the first requests have been sent.
func startLoad(t *testing.T, outputs map[string]string, trace string) *load {
	t.Helper()
	l := &load{log: &bytes.Buffer{}, folder: filepath.Join(t.TempDir(), "run")}
	l.cmd = exec.CommandContext(t.Context(), filepath.Join("..", "..", ".headroom", "bin", "loadtest"), "run",
		"--target", outputs["dispatcherUrl"], "--prometheus", outputs["prometheusUrl"],
		"--trace", trace, "--images", filepath.Join("..", "..", "models", "vehicles", "samples"), "--out", l.folder,
		"--lag-bound", "1h") // it shares the cores with all the rest, and no latency is judged here
	l.cmd.Stdout, l.cmd.Stderr = l.log, l.log
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the load arrives", time.Minute, func() error {
		ready := kubectl(t, "get", "--raw", "/api/v1/namespaces/"+namespace+"/services/prometheus:9090/proxy/api/v1/query?query="+
			url.QueryEscape(`sum(rate(dispatcher_requests_total[5s])) > 15`))
		if !strings.Contains(ready, `"value"`) {
			return errors.New("fewer than 15 requests/s")
		}
		return nil
	})
	return l
}

// end stops the load and has every request answered.
func (l *load) end(t *testing.T) {
	t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Wait(); err != nil {
		t.Logf("loadtest: %v", err) // its summary tells more
	}
	raw, err := os.ReadFile(filepath.Join(l.folder, "summary.json"))
	if err != nil {
		t.Fatalf("%v\n%s", err, l.log.String())
	}
	var summary struct {
		Requests struct{ Sent, Answered, Refused, Failed int }
	}
	if err := json.Unmarshal(raw, &summary); err != nil {
		t.Fatal(err)
	}
	t.Logf("requests: %+v", summary.Requests)
	if r := summary.Requests; r.Sent < 300 || r.Answered != r.Sent {
		t.Errorf("of %d requests %d were answered; the others: %v", r.Sent, r.Answered, unanswered(t, filepath.Join(l.folder, "requests.csv.gz")))
	}
}

// unanswered are the records of the requests that were not answered, the columns'
// names first.
func unanswered(t *testing.T, path string) [][]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(records, func(r []string) bool { return slices.Contains(r, "answered") })
}
