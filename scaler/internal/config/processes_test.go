package config

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

const processesExample = "../../../contract/scaler-config.processes.example.yaml"

func TestTheContractsExampleOfProcesses(t *testing.T) {
	got, err := Load(processesExample)
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Target, want.Lease, want.State = Target{}, Lease{}, State{}
	want.Prometheus.URL = "http://127.0.0.1:9090"
	want.Processes = Processes{
		Command: []string{
			"/opt/headroom/modelserver", "--model=/opt/headroom/model", "--listen=$address", "--metrics-listen=$metrics",
			"--grpc-listen=", "--cpu-max=$cpuMax",
		},
		Network: netip.MustParsePrefix("127.8.0.0/24"), Port: 6001, MetricsPort: 8001, Readiness: "/readyz",
		CPU: 0.15, Folder: "/tmp/headroom", Drain: 10 * time.Second,
	}
	if !got.Equal(want) {
		t.Errorf("read as\n%+v, want\n%+v", got, want)
	}
}

// The example shows the defaults, and changing any key of it changes the config.
func TestEveryKeyOfProcessesCounts(t *testing.T) {
	text, err := os.ReadFile(processesExample)
	if err != nil {
		t.Fatal(err)
	}
	original, problems := Parse(text)
	if problems != nil {
		t.Fatal(problems)
	}
	r := reader{keys: map[string]key{}, words: map[string]words{}}
	defaults := defaultProcesses()
	defaults.keys(&r)
	other := map[string]string{
		"network: 127.8.0.0/24": "network: 127.9.0.0/16", "port: 6001": "port: 6002", "metricsPort: 8001": "metricsPort: 8002",
		"readiness: /readyz": "readiness: /ready", "cpu: 0.15": "cpu: 2", "folder: /tmp/headroom": "folder: /tmp/other", "drain: 10s": "drain: 1s",
	}
	if len(other) != len(r.keys) {
		t.Errorf("%d keys are changed of %d", len(other), len(r.keys))
	}
	for from, to := range other {
		changed := strings.Replace(string(text), "  "+from+" ", "  "+to+" ", 1)
		got, problems := Parse([]byte(changed))
		if changed == string(text) || problems != nil || got.Equal(original) {
			t.Errorf("%s instead of %s: %v, %+v", to, from, problems, got.Processes)
		}
		without := strings.Replace(string(text), "  "+from+" ", "  # ", 1)
		if strings.HasPrefix(from, "cpu") || strings.HasPrefix(from, "folder") {
			continue // of which the example shows no default
		}
		if got, problems := Parse([]byte(without)); problems != nil || !got.Equal(original) {
			t.Errorf("without %s: %v, %+v; want the same", from, problems, got.Processes)
		}
	}
}

func TestAnotherCommandIsAnotherTarget(t *testing.T) {
	text, err := os.ReadFile(processesExample)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := Parse(text)
	changed, problems := Parse([]byte(strings.Replace(string(text), "/opt/headroom/modelserver", "/opt/other", 1)))
	if problems != nil {
		t.Fatal(problems)
	}
	if got := Restart(old, changed); len(got) != 1 || got[0] != "processes" || old.Equal(changed) {
		t.Errorf("%q (equal: %t), want processes", got, old.Equal(changed))
	}
}
