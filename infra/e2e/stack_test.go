//go:build e2e

// Package e2e proves the stack on a real cluster: a real `pulumi up`, real
// requests, real scaling. Run it with `make e2e`.
package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const namespace = "headroom-e2e"

// TestStack tells one story, because each step needs the one before it: up, a
// request, a burst that scales out and in, people's orders, the end of the
// leading scaler, zero model servers, the HPA in the scaler's place, down.
func TestStack(t *testing.T) {
	settings := map[string]string{
		"namespace":            namespace,
		"dispatcherNodePort":   "30601",
		"prometheusNodePort":   "30190",
		"scaleInStabilization": "15s",
		"bridgeCeiling":        "2",
		// One that is in force at no time that matters: it is there to be understood.
		"schedules[0].name":     "new-year",
		"schedules[0].cron":     "0 0 1 1 *",
		"schedules[0].duration": "1m",
		"schedules[0].floor":    "1",
	}
	s := newStack(t, "dev", settings)
	others := objectsOfHeadroom(t)
	if notFound(t, "get", "apiservice", "v1beta1.metrics.k8s.io") != nil {
		s.set(t, "metricsServer", "false") // another stack on this cluster brought it
	}
	t.Cleanup(func() { diagnose(t) })

	step(t, "a bad setting creates nothing", func(t *testing.T) {
		s.set(t, "scaler", "vpa")
		s.set(t, "minReplicas", "11")
		defer s.set(t, "scaler", "custom")
		defer s.set(t, "minReplicas", "1")
		out, err := s.try(t, "up", "--yes", "--skip-preview")
		if err == nil {
			t.Fatal("pulumi up accepted scaler: vpa")
		}
		for _, want := range []string{"headroom:scaler", `"vpa"`, "custom, hpa, none", "headroom:minReplicas", "11"} {
			if !strings.Contains(out, want) {
				t.Errorf("the error does not say %q:\n%s", want, out)
			}
		}
		if strings.Contains(out, "goroutine ") {
			t.Errorf("the error shows a stack trace:\n%s", out)
		}
		if err := notFound(t, "get", "namespace", namespace); err != nil {
			t.Error(err)
		}
	})

	var outputs map[string]string
	step(t, "pulumi up creates the stack, also after one that was killed", func(t *testing.T) {
		upAfterAKill(t, s)
		outputs = s.outputs(t)
		for _, name := range contractOutputs(t) {
			if outputs[name] == "" {
				t.Errorf("output %s is missing", name)
			}
		}
	})

	step(t, "what breaks the policy is told in preview", func(t *testing.T) { keepsThePolicy(t, s) })

	step(t, "a request is answered", func(t *testing.T) {
		// A first request to a cold stack may take longer than the SLO.
		reply := query(t, outputs["dispatcherUrl"], "10s")
		if got := reply.Predictions[0].Label; got != "fire engine" {
			t.Errorf("fire-engine.jpg is classified as %q", got)
		}
	})

	step(t, "a burst adds replicas, and its end removes them", func(t *testing.T) {
		lent := followCPU(t)
		burst(t, outputs)
		awaitReplicas(t, 1, 3*time.Minute)
		checkCPU(t, lent())
	})

	step(t, "every rule is evaluated, and every panel of the dashboards has data", func(t *testing.T) {
		everyRuleIsEvaluated(t, outputs["prometheusUrl"])
		everyPanelHasData(t, outputs["prometheusUrl"])
	})

	step(t, "the scaler said why", func(t *testing.T) {
		log := scalerLog(t)
		for _, want := range []string{`"reason"`, "scale_in"} {
			if !strings.Contains(log, want) {
				t.Errorf("the scaler's log has no %s", want)
			}
		}
		if events := kubectl(t, "-n", namespace, "get", "events", "--field-selector=involvedObject.name=model-server", "-o", "jsonpath={.items[*].reason}"); !strings.Contains(events, "Scaled") {
			t.Errorf("no scaling event on the Deployment; its events: %s", events)
		}
	})

	step(t, "people's orders are followed and no drift", func(t *testing.T) { followsOrders(t, s) })
	step(t, "another scaler takes over from one that goes away", takesOver)
	step(t, "model servers and dispatchers are replaced under load", func(t *testing.T) { changesUnderLoad(t, s, outputs) })
	step(t, "the last model server goes, and a request brings one back", func(t *testing.T) { goesToZero(t, s, outputs) })

	step(t, "hpa takes over without touching a model server pod", func(t *testing.T) {
		before := modelServerPods(t, namespace)
		s.set(t, "minReplicas", "1")
		s.set(t, "scaler", "hpa")
		s.run(t, "up", "--yes", "--skip-preview")
		after := modelServerPods(t, namespace)
		survivors := 0
		for _, p := range after {
			if slices.ContainsFunc(before, func(q pod) bool { return q.Metadata.UID == p.Metadata.UID }) {
				survivors++
			}
			for _, c := range p.Status.ContainerStatuses {
				if c.RestartCount != 0 {
					t.Errorf("%s was restarted", p.Metadata.Name)
				}
			}
		}
		// The scaler may have taken one away just before it went, never all.
		if survivors == 0 || survivors < len(after) {
			t.Errorf("of %d pods before and %d after, %d are the same", len(before), len(after), survivors)
		}
		if err := notFound(t, "-n", namespace, "get", "deployment", "scaler"); err != nil {
			t.Error(err)
		}
		eventually(t, "the HPA reads CPU", 2*time.Minute, func() error {
			utilization := kubectl(t, "-n", namespace, "get", "hpa", "model-server", "-o", "jsonpath={.status.currentMetrics[0].resource.current.averageUtilization}")
			if utilization == "" {
				return fmt.Errorf("no CPU utilization yet")
			}
			return nil
		})
		if got := s.outputs(t)["scaler"]; got != "hpa" {
			t.Errorf("output scaler is %q", got)
		}
		query(t, outputs["dispatcherUrl"], "10s")
		s.run(t, "preview", "--expect-no-changes")
	})

	step(t, "destroy leaves nothing", func(t *testing.T) { leavesNothing(t, s, others) })
}

// step runs a part of the story; what comes after a failed one would only
// confuse, so it ends the test.
func step(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}

// burst replays 100 seconds with a jump from 4 to 30 requests a second, and
// checks while it runs that replicas rise, and afterwards what it measured.
func burst(t *testing.T, outputs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	rates := strings.Repeat("4 ", 15) + strings.Repeat("30 ", 60) + strings.Repeat("4 ", 25)
	trace := filepath.Join(dir, "burst.txt")
	if err := os.WriteFile(trace, []byte(rates), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "run")
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "..", ".headroom", "bin", "loadtest"), "run",
		"--target", outputs["dispatcherUrl"], "--prometheus", outputs["prometheusUrl"], "--scaler", outputs["scaler"],
		"--trace", trace, "--images", filepath.Join("..", "..", "models", "vehicles", "samples"), "--out", out,
		"--lag-bound", "1h") // the load tester shares the cores with all the rest, and no latency is judged here
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "scale-out", 90*time.Second, func() error {
		if n := replicas(t, namespace); n < 2 {
			return fmt.Errorf("%d replicas", n)
		}
		return nil
	})
	if err := cmd.Wait(); err != nil {
		t.Fatalf("loadtest: %v\n%s", err, log.String())
	}

	var summary struct {
		Requests struct{ Scheduled, Answered, Unsent int }
		Replicas struct{ Peak int }
	}
	raw, err := os.ReadFile(filepath.Join(out, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &summary); err != nil {
		t.Fatal(err)
	}
	t.Logf("summary: %s", raw)
	if want := 15*4 + 60*30 + 25*4; summary.Requests.Scheduled < want*9/10 {
		t.Errorf("%d requests were scheduled, the trace holds about %d", summary.Requests.Scheduled, want)
	}
	if share := float64(summary.Requests.Answered) / float64(summary.Requests.Scheduled); share < 0.9 {
		t.Errorf("only %.1f%% of the requests were answered", 100*share)
	}
	if summary.Replicas.Peak < 2 {
		t.Errorf("the timeline's peak is %d replicas", summary.Replicas.Peak)
	}
}

type reply struct {
	Predictions []struct {
		Label       string
		Probability float64
	}
}

// query sends a picture and checks the answer against the contract. The timeout
// is the promise where it is empty.
func query(t *testing.T, dispatcher, timeout string) reply {
	t.Helper()
	picture, err := os.ReadFile(filepath.Join("..", "..", "models", "vehicles", "samples", "fire-engine.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dispatcher+"/query", bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	if timeout != "" {
		request.Header.Set("Headroom-Timeout", timeout)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", response.Status, body)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "contract", "reply.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func contractOutputs(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "contract", "outputs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var contract struct{ Outputs []struct{ Name string } }
	if err := json.Unmarshal(raw, &contract); err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(contract.Outputs))
	for _, o := range contract.Outputs {
		names = append(names, o.Name)
	}
	return names
}

// diagnose prints what a person would look at first when the test failed.
func diagnose(t *testing.T) {
	if !t.Failed() {
		return
	}
	for _, args := range [][]string{
		{"get", "pods,deployments,hpa,endpointslices", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "--selector=app.kubernetes.io/name=scaler", "--prefix", "--tail=30"},
		{"logs", "deployment/dispatcher", "--tail=30"},
		{"logs", "deployment/model-server", "--tail=30"},
	} {
		cmd := exec.Command("kubectl", append([]string{"-n", namespace}, args...)...)
		out, _ := cmd.CombinedOutput()
		t.Logf("kubectl %s:\n%s", strings.Join(args, " "), out)
	}
}
