package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
	"headroom.dev/apps/internal/tracing/tracingtest"
)

// asDispatcher tells the test's own binary to be the dispatcher.
const asDispatcher = "HEADROOM_TEST_AS_DISPATCHER"

func TestMain(m *testing.M) {
	if os.Getenv(asDispatcher) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	// Nobody's collector is to get what is tested here.
	for _, name := range []string{"OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "TRACE_SAMPLE_RATIO"} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// process is a dispatcher in a process of its own.
type process struct {
	url    string
	cmd    *exec.Cmd
	ended  chan struct{}
	mu     sync.Mutex
	output bytes.Buffer
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asDispatcher+"=1", "REDIS_PASSWORD="+dispatchtest.RedisPassword)
	return cmd
}

func launch(t *testing.T, redis string, args ...string) *process {
	t.Helper()
	address := dispatchtest.FreeAddress(t)
	p := &process{url: "http://" + address, ended: make(chan struct{})}
	p.cmd = program(t, append([]string{
		"--redis", redis, "--listen", address, "--metrics-listen", "127.0.0.1:0", "--drain-delay", "0s",
	}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			p.output.Write(append(lines.Bytes(), '\n'))
			p.mu.Unlock()
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("the dispatcher said:\n%s", p.said())
		}
	})
	return p
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

func (p *process) ready(t *testing.T) {
	t.Helper()
	dispatchtest.Eventually(t, 20*time.Second, "the dispatcher is ready", func() bool {
		status, _, _ := p.do(http.MethodGet, "/readyz", nil)
		return status == http.StatusOK
	})
}

func (p *process) do(method, path string, headers map[string]string) (status int, header http.Header, body []byte) {
	request, err := http.NewRequest(method, p.url+path, strings.NewReader("picture"))
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	for k, v := range headers {
		request.Header.Set(k, v)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	return response.StatusCode, response.Header, body
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exitCode waits for the end.
func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the dispatcher does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func TestAsyncRequestsOutliveAKilledDispatcher(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	stuck := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	first := launch(t, redis.URL(), "--backends", stuck.URL, "--reclaim-after", "1s")
	first.ready(t)
	var locations []string
	for range 5 {
		status, header, body := first.do(http.MethodPost, "/query", map[string]string{"Prefer": "respond-async"})
		if status != http.StatusAccepted {
			t.Fatalf("answered %d %s", status, body)
		}
		locations = append(locations, header.Get("Location"))
	}
	// One is taken, four wait.
	dispatchtest.Eventually(t, 10*time.Second, "one is in flight", func() bool { return stuck.InFlight() == 1 })
	first.signal(t, syscall.SIGKILL)
	first.exitCode(t)

	healthy := dispatchtest.StartReplica(t, nil)
	second := launch(t, redis.URL(), "--backends", healthy.URL, "--reclaim-after", "1s")
	second.ready(t)
	for _, location := range locations {
		dispatchtest.Eventually(t, 15*time.Second, "the result of "+location, func() bool {
			status, _, _ := second.do(http.MethodGet, location, nil)
			return status == http.StatusOK
		})
	}
	if n := len(healthy.Served()); n != 5 {
		t.Errorf("the second dispatcher worked on %d requests, want 5", n)
	}
}

func TestSIGTERMLosesNothing(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	gate := make(chan struct{})
	replica := dispatchtest.StartReplica(t, dispatchtest.Hold(gate, dispatchtest.Predict))
	p := launch(t, redis.URL(), "--backends", replica.URL)
	p.ready(t)
	const crowd = 8
	statuses := make(chan int, crowd)
	for range crowd {
		go func() {
			status, _, _ := p.do(http.MethodPost, "/query", map[string]string{"Headroom-Timeout": "20s"})
			statuses <- status
		}()
	}
	dispatchtest.Eventually(t, 10*time.Second, "all are let in", func() bool {
		return replica.InFlight() == 1 && redisLength(t, redis) == crowd-1
	})
	p.signal(t, syscall.SIGTERM)
	dispatchtest.Eventually(t, 10*time.Second, "it takes no more connections", func() bool {
		status, _, _ := p.do(http.MethodGet, "/readyz", nil)
		return status == 0
	})
	close(gate)
	for range crowd {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("answered %d", status)
		}
	}
	if code := p.exitCode(t); code != command.OK {
		t.Errorf("exit code %d, want 0", code)
	}
	if n := redisLength(t, redis); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// Requests one after the other on kept connections: none may meet the end of its
// connection, however fast they follow each other.
func TestSIGTERMBreaksNoKeptConnection(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	p := launch(t, redis.URL(), "--backends", dispatchtest.StartReplica(t, nil).URL, "--drain-delay", "1s")
	p.ready(t)
	const callers = 8
	var kept, failed atomic.Int64
	var group sync.WaitGroup
	answered := make(chan struct{}, callers)
	for range callers {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for first := true; ; first = false {
				reused := false
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
				})
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/query", strings.NewReader("picture"))
				if err != nil {
					t.Error(err)
					return
				}
				response, err := client.Do(request)
				switch {
				case err == nil:
					_, err = io.Copy(io.Discard, response.Body)
					if err := errors.Join(err, response.Body.Close()); err != nil {
						t.Error(err)
					}
				case reused:
					failed.Add(1)
					return
				default:
					return // the dispatcher takes no more connections
				}
				if reused {
					kept.Add(1)
				}
				if first {
					answered <- struct{}{}
				}
			}
		})
	}
	for range callers {
		<-answered
	}
	p.signal(t, syscall.SIGTERM)
	group.Wait()
	if code := p.exitCode(t); code != command.OK {
		t.Errorf("exit code %d, want 0", code)
	}
	if kept.Load() == 0 {
		t.Error("no connection was used twice")
	}
	if n := failed.Load(); n != 0 {
		t.Errorf("%d of %d callers had their connection broken", n, callers)
	}
}

func TestSIGTERMEndsInTimeAndHandsBack(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	stuck := dispatchtest.StartReplica(t, dispatchtest.Hold(nil, nil))
	p := launch(t, redis.URL(), "--backends", stuck.URL, "--drain", "1s")
	p.ready(t)
	status, header, _ := p.do(http.MethodPost, "/query", map[string]string{"Prefer": "respond-async"})
	if status != http.StatusAccepted {
		t.Fatalf("answered %d", status)
	}
	dispatchtest.Eventually(t, 10*time.Second, "it is in flight", func() bool { return stuck.InFlight() == 1 })
	failure := make(chan []byte, 1)
	go func() {
		_, _, body := p.do(http.MethodPost, "/query", map[string]string{"Headroom-Timeout": "60s"})
		failure <- body
	}()
	dispatchtest.Eventually(t, 10*time.Second, "a caller waits", func() bool { return redisLength(t, redis) == 2 })
	p.signal(t, syscall.SIGTERM)
	var f reply.Failure
	if body := <-failure; json.Unmarshal(body, &f) != nil || f.Error.Code != reply.NotReady {
		t.Errorf("the caller that waited got %s", body)
	}
	if code := p.exitCode(t); code != command.OK {
		t.Errorf("exit code %d, want 0", code)
	}
	other := launch(t, redis.URL(), "--backends", dispatchtest.StartReplica(t, nil).URL, "--reclaim-after", "5m")
	other.ready(t)
	dispatchtest.Eventually(t, 10*time.Second, "another dispatcher has the result", func() bool {
		status, _, _ := other.do(http.MethodGet, header.Get("Location"), nil)
		return status == http.StatusOK
	})
}

func redisLength(t *testing.T, redis *dispatchtest.Redis) int64 {
	t.Helper()
	client := redis.Client()
	defer func() { _ = client.Close() }()
	entries, _ := dispatchtest.QueueLength(t, client)
	return entries
}

func TestSIGTERMSendsTheLastSpans(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	collector := tracingtest.StartCollector(t)
	p := launch(t, redis.URL(), "--backends", dispatchtest.StartReplica(t, nil).URL, "--otlp-endpoint", collector.URL, "--no-direct")
	p.ready(t)
	if status, _, body := p.do(http.MethodPost, "/query", map[string]string{"Headroom-Timeout": "10s"}); status != http.StatusOK {
		t.Fatalf("answered %d %s", status, body)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exitCode(t); code != command.OK {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, name := range []string{"query", "queue", "attempt"} {
		if spans := collector.Named(name); len(spans) != 1 || spans[0].Resource["service.name"] != "dispatcher" {
			t.Errorf("%q spans: %+v, want one of the dispatcher", name, spans)
		}
	}
}

func TestACollectorThatHangsHoldsNobody(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	p := launch(t, redis.URL(), "--backends", dispatchtest.StartReplica(t, nil).URL, "--otlp-endpoint", tracingtest.StartBlackHole(t))
	p.ready(t)
	for range 20 {
		if status, _, body := p.do(http.MethodPost, "/query", map[string]string{"Headroom-Timeout": "2s"}); status != http.StatusOK {
			t.Fatalf("answered %d %s", status, body)
		}
	}
	p.signal(t, syscall.SIGTERM)
	begin := time.Now()
	if code := p.exitCode(t); code != command.OK {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(begin); took > tracing.FlushTime+3*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if !strings.Contains(p.said(), "the last traces are lost") {
		t.Error("the log does not tell of the lost spans")
	}
}

func TestTheStandardVariableNamesTheCollectorToo(t *testing.T) {
	for name, test := range map[string]struct {
		environment []string
		want        string
	}{
		"its own":                 {[]string{"OTLP_ENDPOINT=own"}, `"own"`},
		"OpenTelemetry's":         {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=standard"}, `"standard"`},
		"its own before":          {[]string{"OTLP_ENDPOINT=own", "OTEL_EXPORTER_OTLP_ENDPOINT=standard"}, `"own"`},
		"its own to turn it off":  {[]string{"OTLP_ENDPOINT=", "OTEL_EXPORTER_OTLP_ENDPOINT=standard"}, "none of --backends"},
		"neither, which is right": {nil, "none of --backends"},
	} {
		t.Run(name, func(t *testing.T) {
			// What is missing is told after what is wrong.
			cmd := program(t, "--redis", "redis://h")
			cmd.Env = append(cmd.Env, test.environment...)
			output, _ := cmd.CombinedOutput()
			if !strings.Contains(string(output), test.want) {
				t.Errorf("said %q, want %q", output, test.want)
			}
		})
	}
}

func TestItWaitsForRedis(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	redis.Kill()
	p := launch(t, redis.URL(), "--backends", dispatchtest.StartReplica(t, nil).URL)
	dispatchtest.Eventually(t, 20*time.Second, "it says that it waits", func() bool {
		return strings.Contains(p.said(), `"waiting for Redis","address":"`+redis.Address())
	})
	if status, _, body := p.do(http.MethodGet, "/readyz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("readyz answered %d %s", status, body)
	}
	if status, _, body := p.do(http.MethodGet, "/healthz", nil); status != http.StatusOK {
		t.Errorf("healthz answered %d %s", status, body)
	}
	if status, _, body := p.do(http.MethodPost, "/query", nil); status != http.StatusServiceUnavailable {
		t.Errorf("query answered %d %s", status, body)
	}
	redis.Start()
	p.ready(t)
	if status, _, body := p.do(http.MethodPost, "/query", map[string]string{"Headroom-Timeout": "10s"}); status != http.StatusOK {
		t.Errorf("query answered %d %s", status, body)
	}
	if strings.Contains(p.said(), dispatchtest.RedisPassword) {
		t.Error("the log has the password")
	}
}

func TestSIGTERMEndsTheWaitForRedis(t *testing.T) {
	p := launch(t, "redis://"+dispatchtest.FreeAddress(t), "--backends", "http://127.0.0.1:1")
	dispatchtest.Eventually(t, 20*time.Second, "it waits", func() bool { return strings.Contains(p.said(), "waiting for Redis") })
	p.signal(t, syscall.SIGTERM)
	if code := p.exitCode(t); code != command.OK {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestWhatCanNotWorkIsOneClearLine(t *testing.T) {
	nobody := dispatchtest.FreeAddress(t)
	base := []string{"--redis", "redis://:hidden@" + nobody + "/0", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}
	with := func(args ...string) []string { return append(append([]string(nil), base...), args...) }
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no Redis named":    {[]string{"--backends", "http://h"}, command.Usage, "dispatcher: missing flags: --redis=URL"},
		"no replicas named": {base, command.Usage, "dispatcher: none of --backends, --backends-file and --endpoints-of is given; allowed: exactly one of them"},
		"both": {with("--backends", "http://h", "--endpoints-of", "a/b"), command.Usage,
			"dispatcher: --backends and --endpoints-of are given; allowed: exactly one of them"},
		"all three": {with("--backends", "http://h", "--endpoints-of", "a/b", "--backends-file", "f"), command.Usage,
			"dispatcher: --backends and --backends-file and --endpoints-of are given; allowed: exactly one of them"},
		"a bad URL":     {with("--backends", "http://h,h2"), command.Usage, `dispatcher: --backends: "h2" is not a base URL such as http://127.0.0.1:6001`},
		"a bad service": {with("--endpoints-of", "m"), command.Usage, `dispatcher: --endpoints-of "m" is not NAMESPACE/SERVICE`},
		"a bad SLO":     {with("--backends", "http://h", "--slo", "2m"), command.Usage, "dispatcher: --slo is 2m0s; allowed: 1ms to 1m0s"},
		"a bad allowance": {with("--backends", "http://h", "--cold-start-allowance", "11m"), command.Usage,
			"dispatcher: --cold-start-allowance is 11m0s; allowed: 0s to 10m0s"},
		"a bad URL to wake": {with("--backends", "http://h", "--cold-start-allowance", "1m", "--wake", "scaler:8002"), command.Usage,
			`dispatcher: --wake is "scaler:8002"; allowed: an http or https URL such as http://scaler:8002/wake`},
		"a URL to wake with a password": {with("--backends", "http://h", "--cold-start-allowance", "1m", "--wake", "http://me:hidden@h"), command.Usage,
			"dispatcher: --wake has a user; allowed: a URL such as http://scaler:8002/wake"},
		"nobody waits for who is woken": {with("--backends", "http://h", "--wake", "http://scaler:8002/wake"), command.Usage,
			`dispatcher: --wake is "http://scaler:8002/wake" and --cold-start-allowance is 0s; allowed with --wake: more than 0s, up to 10m0s`},
		"a bad queue": {with("--backends", "http://h", "--max-queue", "0"), command.Usage, "dispatcher: --max-queue is 0; allowed: 1 to 100000"},
		"more at least than at most": {with("--backends", "http://h", "--backend-concurrency", "3", "--max-backend-concurrency", "2"), command.Usage,
			"dispatcher: --max-backend-concurrency is 2; allowed: 0, or --backend-concurrency (3) to 1024"},
		"no deliveries":              {with("--backends", "http://h", "--max-deliveries", "0"), command.Usage, "dispatcher: --max-deliveries is 0; allowed: 1 to 100"},
		"no file of keys":            {with("--backends", "http://h", "--api-keys", "/nowhere"), command.Usage, "dispatcher: --api-keys: open /nowhere: no such file"},
		"a bad mode":                 {with("--backends", "http://h", "--redis-mode", "sharded"), command.Usage, "dispatcher: --redis-mode must be one of "},
		"a CA without TLS":           {with("--backends", "http://h", "--redis-ca", "/nowhere"), command.Usage, "dispatcher: --redis-ca is given without TLS; allowed: only with a rediss:// URL"},
		"sentinels without a master": {with("--backends", "http://h", "--redis-mode", "sentinel"), command.Usage, "dispatcher: --redis has no master_name; allowed: redis://"},
		"a bad address":              {with("--backends", "http://h", "--listen", "5001"), command.Usage, `dispatcher: --listen is "5001"; allowed: host:port or :port`},
		"a bad OTLP endpoint": {with("--backends", "http://h", "--otlp-endpoint", "collector:4318"), command.Usage,
			`dispatcher: --otlp-endpoint is "collector:4318"; allowed: http://host:4318 or the same with https`},
		"an OTLP endpoint with a password": {with("--backends", "http://h", "--otlp-endpoint", "http://me:hidden@h"), command.Usage,
			"dispatcher: --otlp-endpoint has a user; allowed: http://host:4318 or the same with https"},
		"a bad sample ratio": {with("--backends", "http://h", "--trace-sample-ratio", "1.01"), command.Usage,
			"dispatcher: --trace-sample-ratio is 1.01; allowed: 0 to 1"},
		"a sample ratio that is no number": {with("--backends", "http://h", "--trace-sample-ratio", "NaN"), command.Usage,
			"dispatcher: --trace-sample-ratio is NaN; allowed: 0 to 1"},
		"a bad Redis URL": {[]string{"--redis", "http://:hidden@h", "--backends", "http://h"}, command.Usage, "dispatcher: --redis is not a Redis URL; allowed: redis://"},
		"no cluster":      {with("--endpoints-of", "a/b", "--kubeconfig", "/nowhere"), command.Usage, `dispatcher: --endpoints-of "a/b", --kubeconfig "/nowhere": no cluster to ask: `},
		"nobody at Redis": {with("--backends", "http://h", "--redis-wait", "100ms"), command.Error, "dispatcher: redis at " + nobody + " can't be reached within 100ms: "},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, test.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != test.code {
				t.Errorf("ended with %v, want exit code %d", err, test.code)
			}
			var lines []string
			for line := range strings.Lines(stderr.String()) {
				// What it did until then is logged as JSON.
				if !strings.HasPrefix(line, "{") {
					lines = append(lines, line)
				}
			}
			if len(lines) != 1 || !strings.HasPrefix(lines[0], test.want) {
				t.Errorf("said %q, want one line that begins with %q", lines, test.want)
			}
			if strings.Contains(stderr.String(), "hidden") {
				t.Errorf("the password is in %q", stderr.String())
			}
		})
	}
}
