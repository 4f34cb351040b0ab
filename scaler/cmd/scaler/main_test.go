package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headroom.dev/scaler/internal/promtest"
)

// The test binary is the scaler when this is set: processes without a second build.
const asScaler = "TEST_RUN_AS_SCALER"

func TestMain(m *testing.M) {
	if os.Getenv(asScaler) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// apiServer is as much of Kubernetes' REST API as the scaler uses.
type apiServer struct {
	mu      sync.Mutex
	down    bool
	spec    int
	version int
	writes  []int
	lease   map[string]any
	events  []string
	strange []string // requests that the scaler has no right to
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	answer := func(status int, object any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(object)
	}
	refuse := func(status int, reason string) {
		answer(status, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status, "message": reason})
	}
	body := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && err != io.EOF {
		refuse(http.StatusBadRequest, "BadRequest")
		return
	}
	const deployment = "/apis/apps/v1/namespaces/headroom/deployments/model-server"
	const leases = "/apis/coordination.k8s.io/v1/namespaces/headroom/leases"
	meta := map[string]any{"name": "model-server", "namespace": "headroom", "resourceVersion": strconv.Itoa(a.version)}
	scale := func() map[string]any {
		return map[string]any{"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": map[string]any{"replicas": a.spec}}
	}
	switch r.Method + " " + r.URL.Path {
	case "GET " + deployment:
		answer(http.StatusOK, map[string]any{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": meta, "status": map[string]any{"readyReplicas": a.spec}})
	case "GET " + deployment + "/scale":
		answer(http.StatusOK, scale())
	case "PUT " + deployment + "/scale":
		if body["metadata"].(map[string]any)["resourceVersion"] != strconv.Itoa(a.version) {
			refuse(http.StatusConflict, "Conflict")
			return
		}
		a.spec = int(body["spec"].(map[string]any)["replicas"].(float64))
		a.version++
		a.writes = append(a.writes, a.spec)
		answer(http.StatusOK, scale())
	case "GET " + leases + "/headroom-scaler":
		if a.lease == nil {
			refuse(http.StatusNotFound, "NotFound")
			return
		}
		answer(http.StatusOK, a.lease)
	case "POST " + leases, "PUT " + leases + "/headroom-scaler":
		a.lease = body
		answer(http.StatusOK, body)
	case "POST /api/v1/namespaces/headroom/events":
		a.events = append(a.events, fmt.Sprint(body["reason"], ": ", body["message"]))
		answer(http.StatusCreated, body)
	default:
		a.strange = append(a.strange, r.Method+" "+r.URL.Path)
		refuse(http.StatusForbidden, "Forbidden")
	}
}

func (a *apiServer) locked(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

func (a *apiServer) holder() string {
	spec, _ := a.lease["spec"].(map[string]any)
	holder, _ := spec["holderIdentity"].(string)
	return holder
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(url string) (int, string, error) {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// The process as it runs in a cluster: a real Prometheus on one side, an API
// server's answers on the other.
func TestTheScalerScales(t *testing.T) {
	door, server := promtest.NewExporter(t), promtest.NewExporter(t)
	load := func(rate float64) {
		door.Counter("dispatcher_requests_total", rate, nil)
		server.Counter("inference_requests_total", rate, prometheus.Labels{"outcome": "answered"})
		server.Counter("process_cpu_seconds_total", rate*0.015, nil)
		server.Histogram("inference_latency_seconds", rate, 0.1)
	}
	for _, gauge := range []string{"dispatcher_queue_size", "dispatcher_queue_oldest_age_seconds", "dispatcher_in_flight"} {
		door.Gauge(gauge, 0)
	}
	server.Gauge("inference_slots", 1)
	server.Gauge("modelserver_ready", 1)
	server.Gauge("modelserver_cpu_limit_cores", 0.15)
	load(0)
	prom := promtest.Start(t, map[string][]string{"dispatcher": {door.Address}, "model-server": {server.Address}})
	api := &apiServer{spec: 1, version: 1}
	apiHTTP := httptest.NewServer(api)
	t.Cleanup(apiHTTP.Close)

	dir := t.TempDir()
	kubeconfig := write(t, dir, "kubeconfig", `
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "`+apiHTTP.URL+`"}}]
users: [{name: test, user: {}}]
`)
	listen := promtest.FreeAddress(t)
	file := write(t, dir, "scaler.yaml", `
target: {namespace: headroom, name: model-server}
prometheus: {url: "`+prom.URL+`", timeout: 400ms}
tick: 500ms
scaleIn: {stabilization: 3s, interval: 1s}
listen: "`+listen+`"
`)
	var log syncBuffer
	cmd := exec.Command(os.Args[0], "--config", file, "--kubeconfig", kubeconfig)
	cmd.Env = append(os.Environ(), asScaler+"=1")
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the scaler's log:\n%s", log.String())
		}
	})
	eventually := func(what string, check func() bool) {
		t.Helper()
		promtest.Eventually(t, time.Minute, func() error { // the long window takes half of it to forget a load
			var ok bool
			api.locked(func() { ok = check() })
			if !ok {
				return fmt.Errorf("%s: %d replicas after %v, lease of %q, events %q", what, api.spec, api.writes, api.holder(), api.events)
			}
			return nil
		})
	}

	eventually("the scaler leads", func() bool { return api.holder() != "" })
	promtest.Eventually(t, 10*time.Second, func() error {
		for _, path := range []string{"/healthz", "/readyz"} {
			if status, body, err := get("http://" + listen + path); err != nil || status != http.StatusOK {
				return errors.Join(fmt.Errorf("%s: %d %s", path, status, body), err)
			}
		}
		return nil
	})

	// 36/s of 100 ms are 3.6 erlangs: 5 replicas.
	load(36)
	eventually("5 replicas for 36 requests/s", func() bool { return api.spec == 5 })
	eventually("an event", func() bool { return len(api.events) > 0 && strings.HasPrefix(api.events[0], "ScaledOut: From 1 to ") })

	// Both sides go away while the load ends: nothing is taken away, and all recovers.
	api.locked(func() { api.down = true })
	promtest.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(log.String(), "reading the target fails") {
			return fmt.Errorf("the API server's absence was not logged")
		}
		return nil
	})
	api.locked(func() { api.down = false })
	prom.Freeze(t)
	promtest.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(log.String(), "hold_untrusted") || !strings.Contains(log.String(), "reading the target works again") {
			return fmt.Errorf("no decision without Prometheus was logged")
		}
		return nil
	})
	load(0)
	api.locked(func() {
		if api.spec != 5 {
			t.Errorf("%d replicas while nothing could be known, want 5", api.spec)
		}
	})
	prom.Thaw(t)
	eventually("1 replica for no load, a step at a time", func() bool {
		return strings.HasSuffix(fmt.Sprint(api.writes), " 5 4 3 2 1]") || fmt.Sprint(api.writes) == "[5 4 3 2 1]"
	})
	if status, body, err := get("http://" + listen + "/metrics"); err != nil || status != http.StatusOK ||
		!strings.Contains(body, `headroom_scaler_scalings_total{direction="in"} 4`) || !strings.Contains(body, "headroom_scaler_leader 1") {
		t.Errorf("/metrics: %d %v\n%s", status, err, body)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("SIGTERM: %v, want exit code 0", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("SIGTERM: still running after 10 s")
	}
	api.locked(func() {
		if api.holder() != "" {
			t.Errorf("the lease is still held by %q", api.holder())
		}
		if len(api.strange) > 0 {
			t.Errorf("asked for more than its role allows: %q", api.strange)
		}
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestCommandLine(t *testing.T) {
	const example = "../../../contract/scaler-config.example.yaml"
	dir := t.TempDir()
	bad := write(t, dir, "bad.yaml", "target: {namespace: headroom, name: model-server}\nprometheus: {url: \"http://p:9090\"}\nreplicas: {min: 3, max: 2}\n")
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	busy := write(t, dir, "busy.yaml", "target: {namespace: headroom, name: model-server}\nprometheus: {url: \"http://p:9090\"}\nlisten: \""+taken.Listener.Addr().String()+"\"\n")
	kubeconfig := write(t, dir, "kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]}`)
	for _, variable := range []string{"KUBECONFIG", "CONFIG", "CHECK_CONFIG", "LOG_LEVEL", "KUBERNETES_SERVICE_HOST"} {
		t.Setenv(variable, "")
		if err := os.Unsetenv(variable); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string // on stdout where the code is 0, else the whole of stderr
	}{
		{"help tells the flags and their variables", []string{"--help"}, 0, "$KUBECONFIG"},
		{"a good config is checked without a cluster", []string{"--config", example, "--check-config"}, 0, example + " is good"},
		{"no config", nil, 2, "scaler: missing flags: --config=FILE\n"},
		{"a config that isn't there", []string{"--config", "/no.yaml"}, 2, "scaler: config file: open /no.yaml: no such file or directory\n"},
		{"a bad config", []string{"--config", bad}, 2, "scaler: " + bad + ": replicas.min: 3 is more than replicas.max, which is 2\n"},
		{"an unknown flag", []string{"--config", example, "--dry"}, 2, "scaler: unknown flag --dry\n"},
		{"an unknown log level", []string{"--config", example, "--log-level", "loud"}, 2, "scaler: --log-level must be one of \"debug\",\"info\",\"warn\",\"error\" but got \"loud\"\n"},
		{"no cluster", []string{"--config", example}, 2, "scaler: no --kubeconfig was given, and this is not a pod with a service account\n"},
		{"a kubeconfig that isn't there", []string{"--config", example, "--kubeconfig", "/no"}, 2, "scaler: --kubeconfig /no: stat /no: no such file or directory\n"},
		{"a port that is taken", []string{"--config", busy, "--kubeconfig", kubeconfig}, 1, "scaler: listen " + taken.Listener.Addr().String() + ": listen tcp " + taken.Listener.Addr().String() + ": bind: address already in use\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(tc.args, &stdout, &stderr)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			switch {
			case tc.code == 0 && (!strings.Contains(stdout.String(), tc.says) || stderr.Len() > 0):
				t.Errorf("said %q and %q, want %q on stdout", &stdout, &stderr, tc.says)
			case tc.code != 0 && stderr.String() != tc.says:
				t.Errorf("said %q, want %q", &stderr, tc.says)
			}
		})
	}
}
