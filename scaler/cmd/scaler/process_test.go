package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headroom.dev/scaler/internal/controls"
	"headroom.dev/scaler/internal/promtest"
)

// process is a scaler as it runs in a cluster.
type process struct {
	log   syncBuffer
	cmd   *exec.Cmd
	ended chan error
}

func start(t *testing.T, config, kubeconfig string) *process {
	t.Helper()
	p := &process{ended: make(chan error, 1)}
	p.cmd = exec.Command(os.Args[0], "--config", config, "--kubeconfig", kubeconfig)
	p.cmd.Env = append(os.Environ(), asScaler+"=1")
	p.cmd.Stderr = &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("a scaler's log:\n%s", p.log.String())
		}
	})
	return p
}

// end asks the process to end and waits for it.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("SIGTERM: %v, want exit code 0", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("SIGTERM: still running after 10 s")
	}
}

// says waits until the process has logged a text.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	promtest.Eventually(t, 15*time.Second, func() error {
		if !strings.Contains(p.log.String(), text) {
			return fmt.Errorf("%q was not logged", text)
		}
		return nil
	})
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
	api := newAPIServer(1)
	apiHTTP := httptest.NewServer(api)
	t.Cleanup(func() { apiHTTP.CloseClientConnections(); apiHTTP.Close() })

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
	configure := func(more string) string {
		return write(t, dir, "scaler.yaml", `
target: {namespace: headroom, name: model-server}
prometheus: {url: "`+prom.URL+`", timeout: 400ms}
signals: {latencyQuantile: none}
tick: 500ms
scaleIn: {stabilization: 3s, step: 1, share: 0, interval: 1s}
listen: "`+listen+`"
`+more)
	}
	file := configure("")
	scaler := start(t, file, kubeconfig)
	eventually := func(what string, check func() bool) {
		t.Helper()
		promtest.Eventually(t, time.Minute, func() error { // the long window takes half of it to forget a load
			var ok bool
			var now string
			api.locked(func() {
				ok = check()
				now = fmt.Sprintf("%d replicas after %v, lease of %q, events %q", api.spec, api.writes, api.holder(), api.events)
			})
			if !ok {
				return fmt.Errorf("%s: %s", what, now)
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

	// 36/s of 100 ms are 3.6 erlangs, which 5 to 7 replicas serve.
	load(36)
	eventually("about 6 replicas for 36 requests/s", func() bool { return api.spec >= 5 && api.spec <= 7 })
	eventually("an event", func() bool { return len(api.events) > 0 && strings.HasPrefix(api.events[0], "ScaledOut: From 1 to ") })

	// Both sides go away while the load ends: nothing is taken away, and all recovers.
	api.locked(func() { api.down = true })
	scaler.says(t, "reading the target fails")
	api.locked(func() { api.down = false })
	scaler.says(t, "reading the target works again")
	prom.Freeze(t)
	scaler.says(t, "hold_untrusted")
	load(0)
	var top int
	api.locked(func() {
		if top = api.spec; top < 5 {
			t.Errorf("%d replicas while nothing could be known, want at least 5", top)
		}
	})
	prom.Thaw(t)
	eventually("1 replica for no load, a step at a time", func() bool { return api.spec == 1 })
	api.locked(func() {
		down := api.writes[len(api.writes)-top+1:]
		for i, to := range down {
			if to != top-1-i {
				t.Errorf("written %v, want from %d a step at a time to 1", api.writes, top)
				break
			}
		}
	})
	if status, body, err := get("http://" + listen + "/metrics"); err != nil || status != http.StatusOK ||
		!strings.Contains(body, fmt.Sprintf(`headroom_scaler_scalings_total{direction="in"} %d`, top-1)) || !strings.Contains(body, "headroom_scaler_leader 1") {
		t.Errorf("/metrics: %d %v\n%s", status, err, body)
	}

	// People interfere: they scale, they order, they change the config, and get it wrong.
	api.locked(func() { api.scale(3); api.annotations = map[string]string{controls.Pause: "yes"} })
	eventually("events about what people did", func() bool {
		all := strings.Join(api.events, "\n")
		return strings.Contains(all, "ScaleChanged: somebody else changed the scale from 1 to 3; ") && strings.Contains(all, "BadAnnotation: annotation headroom.dev/pause: ")
	})
	configure("replicas: {min: 4}\n")
	eventually("4 replicas as the new config wants", func() bool { return api.spec == 4 })
	scaler.says(t, `"changed":["replicas.min: 1 → 4"]`)
	configure("replicas: {min: 40}\n")
	scaler.says(t, "the config file is not used")
	if _, body, err := get("http://" + listen + "/metrics"); err != nil || !strings.Contains(body, "headroom_scaler_config_reload_failed 1") {
		t.Errorf("/metrics after a bad config: %v\n%s", err, body)
	}
	configure("replicas: {min: 4}\nlease: {name: other}\n")
	scaler.says(t, `"keys":["lease.name"]`)

	// What it decided can be replayed elsewhere.
	_, text, err := get("http://" + listen + "/debug/decisions")
	if err != nil {
		t.Fatal(err)
	}
	var out, wrong bytes.Buffer
	if code := run([]string{"explain", write(t, dir, "decisions.json", text)}, nil, &out, &wrong); code != 0 || !strings.Contains(out.String(), "each is what was recorded") {
		t.Errorf("explain: exit code %d\n%s%s", code, &wrong, &out)
	}

	// It ends in order, and the next goes on from what it knew.
	scaler.end(t)
	api.locked(func() {
		if api.holder() != "" {
			t.Errorf("the lease is still held by %q", api.holder())
		}
		if state, _ := api.state["state.json"].(string); !strings.Contains(state, `"since"`) {
			t.Errorf("kept: %q", api.state)
		}
	})
	configure("replicas: {min: 4}\n")
	next := start(t, file, kubeconfig)
	next.says(t, "taking over what was saved")
	next.end(t)
	api.locked(func() {
		if len(api.strange) > 0 {
			t.Errorf("asked for more than its role allows: %q", slices.Compact(api.strange))
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
