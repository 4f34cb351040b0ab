//go:build cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headroom.dev/hack/localcluster/internal/host"
	"headroom.dev/hack/localcluster/internal/imagetar"
)

// The tests take up and down the one cluster that a machine can have, in a
// state directory of their own. They run as root, one after the other.
const testState = "/var/lib/headroom-cluster-test"

// inspector asks without a proxy and over a new connection each time.
var inspector = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func binaries(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../../.headroom/bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newCluster is a cluster on a machine that has none, taken down after the
// test.
func newCluster(t *testing.T, binaries string) *Cluster {
	t.Helper()
	c, err := New(testState, binaries, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.VerifyClean(); err != nil {
		t.Fatalf("the test needs a machine without a cluster (localcluster down): %v", err)
	}
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
		if err := c.VerifyClean(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func up(t *testing.T, c *Cluster, within time.Duration) {
	t.Helper()
	began := time.Now()
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > within {
		t.Errorf("up took %s, want %s at most", took, within)
	}
}

// eventually waits until the check holds, a minute at most.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	err := await(t.Context(), time.Minute, nil, func(context.Context) error { return holds() })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func kubectl(t *testing.T, c *Cluster, arguments ...string) (string, error) {
	t.Helper()
	command := exec.Command(filepath.Join(c.binaries, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig()}, arguments...)...)
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %v: %w: %s", arguments, err, out)
	}
	return string(out), err
}

// ask calls the probe through its node port.
func ask(path string) (string, error) {
	reply, err := inspector.Get("http://127.0.0.1:30999" + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", reply.Status, text)
	}
	return string(text), err
}

// deployProbe runs two pods of the probe behind a service.
func deployProbe(t *testing.T, c *Cluster) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-o", binary, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build probe: %v\n%s", err, out)
	}
	archive, err := os.Create(binary + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(imagetar.Write(archive, binary, "localhost/headroom/probe:1"), archive.Close()); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(t.Context(), []string{archive.Name()}); err != nil {
		t.Fatal(err)
	}
	if _, err := kubectl(t, c, "apply", "-f", "testdata/probe.yaml"); err != nil {
		t.Fatal(err)
	}
}

// checkProbe checks names and addresses from inside of a pod and from the node.
func checkProbe(t *testing.T, c *Cluster) {
	t.Helper()
	if _, err := kubectl(t, c, "rollout", "status", "deployment/probe", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	eventually(t, "both pods answer a pod through the service's name and address", func() error {
		name, err := ask("/get?url=" + url.QueryEscape("http://probe/name"))
		if err != nil {
			return err
		}
		if seen[name] = true; len(seen) < 2 {
			return fmt.Errorf("only %v answered so far", seen)
		}
		return nil
	})
	// After a rollout a rule may lead to a pod that has just ended.
	for host, want := range map[string]string{"kubernetes.default": "[10.96.0.1]", "kubernetes.default.svc.cluster.local": "[10.96.0.1]"} {
		eventually(t, "in a pod, "+host+" resolves to "+want, func() error {
			got, err := ask("/resolve?host=" + host)
			if err == nil && got != want {
				err = fmt.Errorf("it resolves to %s", got)
			}
			return err
		})
	}
	eventually(t, "the API server answers a pod", func() error {
		got, err := ask("/get?url=" + url.QueryEscape("https://kubernetes.default.svc/version"))
		if err == nil && !strings.Contains(got, "v1.35.4") {
			err = fmt.Errorf("it has the version %s", got)
		}
		return err
	})
	// A kubelet that has just started anew does not know its pods yet.
	eventually(t, "logs are served", func() error {
		_, err := kubectl(t, c, "logs", "-l", "app=probe")
		return err
	})
}

func pids(t *testing.T, c *Cluster, selects func(host.Process) bool) map[int]bool {
	t.Helper()
	members, err := c.members()
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, member := range members {
		if selects(member) {
			found[member.PID] = true
		}
	}
	return found
}

func isProbe(p host.Process) bool { return p.Executable == "probe" }

// kill sends SIGKILL once, as a crash would, and waits for the ends.
func kill(t *testing.T, c *Cluster, selects func(host.Process) bool) {
	t.Helper()
	victims := pids(t, c, selects)
	if len(victims) == 0 {
		t.Fatal("there is nothing to kill")
	}
	for pid := range victims {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	eventually(t, "the killed processes end", func() error {
		for pid := range pids(t, c, selects) {
			if victims[pid] {
				return fmt.Errorf("process %d is there", pid)
			}
		}
		return nil
	})
}

func TestAClusterServesPodsAndSurvivesKills(t *testing.T) {
	c := newCluster(t, binaries(t))
	up(t, c, 2*time.Minute)
	up(t, c, time.Second) // it is up already
	if out, err := kubectl(t, c, "get", "nodes"); err != nil || !strings.Contains(out, "headroom-local   Ready") {
		t.Fatalf("nodes: %s (%v)", out, err)
	}
	deployProbe(t, c)
	checkProbe(t, c)

	t.Log("kubelet and containerd are killed; the pods' processes go on")
	before := pids(t, c, isProbe)
	kill(t, c, func(p host.Process) bool { return p.Executable == "kubelet" || p.Executable == "containerd" })
	if err := c.Status(t.Context()); err == nil {
		t.Error("status finds nothing wrong")
	}
	up(t, c, time.Minute)
	checkProbe(t, c)
	for pid := range pids(t, c, isProbe) {
		if !before[pid] {
			t.Errorf("pod process %d is not one of %v", pid, before)
		}
	}
	if _, err := kubectl(t, c, "rollout", "restart", "deployment/probe"); err != nil {
		t.Fatal(err)
	}
	checkProbe(t, c)

	t.Log("every process is killed, and the bridge and packet filter rules are gone, as after a restart of the machine")
	kill(t, c, func(host.Process) bool { return true })
	if err := errors.Join(host.RemoveBridge(bridge), host.RemoveChains(chainPrefixes...)); err != nil {
		t.Fatal(err)
	}
	up(t, c, 2*time.Minute)
	checkProbe(t, c)

	t.Log("every process is killed; down finds only what they left")
	kill(t, c, func(host.Process) bool { return true })
	if err := c.VerifyClean(); err == nil {
		t.Error("what killed processes left goes unnoticed")
	}
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.VerifyClean(); err != nil {
		t.Error(err)
	}
	if err := c.Down(t.Context()); err != nil {
		t.Errorf("down where nothing is: %v", err)
	}
}

func TestAFirstStartThatWasKilledIsStartedOver(t *testing.T) {
	c := newCluster(t, binaries(t))
	// What a run leaves that is killed between two of its steps: some programs
	// running, no other trace of them than their mark.
	if err := errors.Join(c.remember(), host.CreateCgroup(cgroup), loadBridgeFilter(), setUpNetwork()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.writeConfig(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.start(c.components()[1]); err != nil {
		t.Fatal(err)
	}
	orphans := pids(t, c, func(host.Process) bool { return true })
	if err := os.Truncate(c.cert("ca"), 10); err != nil {
		t.Fatal(err)
	}
	up(t, c, 2*time.Minute)
	for pid := range pids(t, c, func(host.Process) bool { return true }) {
		if orphans[pid] {
			t.Errorf("process %d of the killed run goes on", pid)
		}
	}
}

func TestAFailedStartSaysWhyAndStopsWhatItStarted(t *testing.T) {
	dir := t.TempDir()
	links, err := os.ReadDir(binaries(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if err := os.Symlink(filepath.Join(binaries(t), link.Name()), filepath.Join(dir, link.Name())); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(dir, "kube-scheduler")
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho 'E0102 out of luck' >&2\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, dir)
	err = c.Up(t.Context())
	if err == nil {
		t.Fatal("a scheduler that ends at once goes unnoticed")
	}
	for _, want := range []string{"kube-scheduler ended", "exit status 7", "out of luck", c.log("kube-scheduler")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	left, err := c.Leftovers()
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0] != "directory "+testState {
		t.Errorf("beside the logs' directory there are %v", left)
	}
}

func TestATakenPortIsNamedWithItsHolder(t *testing.T) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", etcdPort))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	c := newCluster(t, binaries(t))
	err = c.Up(t.Context())
	want := fmt.Sprintf("port %d (tcp), which etcd needs at 127.0.0.1, is taken by cluster.test (pid %d)", etcdPort, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
