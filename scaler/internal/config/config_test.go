package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const example = "../../../contract/scaler-config.example.yaml"

// The example shows every key with its default, so with only what is required
// the config is the same, and every key in it is one that is known.
func TestTheContractsExampleShowsTheDefaults(t *testing.T) {
	full, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	least, problems := Parse([]byte(`
target: {namespace: headroom, name: model-server}
prometheus: {url: "http://prometheus.headroom.svc:9090"}`))
	if problems != nil {
		t.Fatal(problems)
	}
	if !full.Equal(least) {
		t.Errorf("the example says\n%+v, the defaults are\n%+v", full, least)
	}
	want := Config{
		Target:     Target{"headroom", "apps/v1", "Deployment", "deployments", "model-server", ""},
		Mode:       Active,
		Prometheus: Prometheus{"http://prometheus.headroom.svc:9090", 800 * time.Millisecond, time.Second, 10 * time.Second},
		Signals:    defaultSignals(),
		SLO:        SLO{500 * time.Millisecond, 0.99},
		Replicas:   Replicas{1, 10, 5 * time.Minute},
		Tick:       time.Second,
		LeadTime:   15 * time.Second,
		ScaleOut:   ScaleOut{0.85, 0, 0, 0},
		ScaleIn:    ScaleIn{0.1, time.Minute, 1, 0.25, 5 * time.Second},
		Fallback:   Fallback{0, 0},
		Bridge:     Bridge{1},
		Lease:      Lease{true, "headroom", "headroom-scaler"},
		State:      State{"headroom-scaler-state"},
		Listen:     ":8002",
	}
	if !full.Equal(want) {
		t.Errorf("the example was read as\n%+v, want\n%+v", full, want)
	}
}

// Changing any key of the example changes the config: none is read and dropped.
func TestEveryKeyCounts(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	original, _ := Parse(text)
	other := map[string]string{
		"target.namespace": "elsewhere", "target.apiVersion": "argoproj.io/v1alpha1", "target.kind": "Rollout",
		"target.resource": "rollouts", "target.name": "other", "target.container": "server",
		"mode":           "dry-run",
		"prometheus.url": "https://other", "prometheus.timeout": "300ms", "prometheus.scrapeInterval": "2s", "prometheus.staleAfter": "5s",
		"signals.arrivals": "rate(hits[$window])", "signals.serviceMean": "vector(0.1)",
		"signals.freshness.arrivals": `hits{job="web", code=~"2.{2}",}`, "signals.freshness.service": "other{}",
		"slo.latency": "1s", "slo.quantile": "0.9",
		"replicas.min": "0", "replicas.max": "11", "replicas.idleAfter": "1m",
		"tick": "3s", "leadTime": "20s",
		"scaleOut.utilization": "0.5", "scaleOut.step": "2", "scaleOut.share": "0.5", "scaleOut.interval": "1s",
		"scaleIn.tolerance": "0", "scaleIn.stabilization": "30s", "scaleIn.step": "2", "scaleIn.share": "0", "scaleIn.interval": "20s",
		"fallback.after": "10m", "fallback.replicas": "2",
		"bridge.ceiling": "4",
		"lease.enabled":  "false", "lease.namespace": "elsewhere", "lease.name": "other",
		"state.configMap": "other", "listen": "127.0.0.1:9",
	}
	// What needs another key to be allowed.
	with := map[string]string{
		"scaleOut.step": "scaleOut.interval", "scaleOut.share": "scaleOut.interval", "fallback.replicas": "fallback.after",
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	leaves := map[string]*yaml.Node{}
	var walk func(prefix string, node *yaml.Node)
	walk = func(prefix string, node *yaml.Node) {
		for i := 0; i+1 < len(node.Content); i += 2 {
			path, v := prefix+node.Content[i].Value, node.Content[i+1]
			switch v.Kind {
			case yaml.MappingNode:
				walk(path+".", v)
			case yaml.ScalarNode:
				leaves[path] = v
			}
		}
	}
	walk("", doc.Content[0])
	read := func() (Config, []string) {
		out, err := yaml.Marshal(&doc)
		if err != nil {
			t.Fatal(err)
		}
		return Parse(out)
	}
	// change gives a key its other value until what it returns is called.
	change := func(path string) func() {
		node := leaves[path]
		if node == nil {
			return func() {}
		}
		before, value := *node, other[path]
		if value == "" && strings.HasPrefix(path, "signals.") {
			value = "none"
		}
		*node = yaml.Node{Kind: yaml.ScalarNode, Value: value}
		return func() { *node = before }
	}
	for path := range leaves {
		back := change(with[path])
		without, _ := read()
		undo := change(path)
		got, problems := read()
		if problems != nil || got.Equal(without) || got.Equal(original) {
			t.Errorf("%s: %s: %v, %+v", path, leaves[path].Value, problems, got)
		}
		undo()
		back()
	}
	all := Defaults()
	for path := range all.keys() {
		if leaves[path] == nil {
			t.Errorf("the example doesn't show %s", path)
		}
	}
	if _, problems := read(); problems != nil || len(leaves) != len(all.keys()) {
		t.Errorf("%d keys were changed of %d, %v", len(leaves), len(all.keys()), problems)
	}
}

func TestThePluralOfAKindThatHasNoneGiven(t *testing.T) {
	c, problems := Parse([]byte(`
target: {namespace: ns, apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web}
prometheus: {url: "http://p:9090"}`))
	if problems != nil || c.Target.Resource != "rollouts" {
		t.Errorf("%q, %v; want rollouts", c.Target.Resource, problems)
	}
}

func TestASignalThatIsSwitchedOffHasNoQuery(t *testing.T) {
	c, problems := Parse([]byte(`
target: {namespace: ns, name: web}
prometheus: {url: "http://p:9090"}
signals: {backlog: none, slots: vector(4), work: none}`))
	want := defaultSignals()
	want.Backlog, want.Slots, want.Work = "", "vector(4)", ""
	if problems != nil || c.Signals != want {
		t.Errorf("%+v, %v; want %+v", c.Signals, problems, want)
	}
}

// Each fixture in testdata breaks a rule, and says in its last lines what is to be said.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("fixtures: %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if problem, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, file+": "+strings.TrimSpace(problem))
				}
			}
			if len(want) == 0 {
				t.Error("the fixture doesn't say what it breaks")
			}
			got, err := Load(file)
			if err == nil {
				t.Fatalf("accepted: %+v", got)
			}
			if lines := strings.Split(err.Error(), "\n"); !slices.Equal(lines, want) {
				t.Errorf("said:\n%s\nwant:\n%s", err, strings.Join(want, "\n"))
			}
		})
	}
}

func TestAFileThatIsNotThere(t *testing.T) {
	_, err := Load("testdata/none.yaml")
	if err == nil || !strings.Contains(err.Error(), "testdata/none.yaml") {
		t.Errorf("%v, want an error that names the file", err)
	}
}

func TestAFileThatIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat("#", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than the 1048576 bytes allowed") {
		t.Errorf("%v, want an error that says it is too large", err)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range append(files, example, processesExample) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, problems := Parse(text)
		if problems == nil {
			bounded := c.Replicas.Min >= 0 && c.Replicas.Min <= c.Replicas.Max && c.Fallback.Replicas <= c.Replicas.Max
			if !bounded || c.Prometheus.Timeout >= c.Tick || (c.Target.Name == "" || c.Target.Resource == "") == !c.Processes.Given() || c.Signals.Arrivals == "" || c.Signals.ServiceMean == "" {
				t.Errorf("accepted: %+v", c)
			}
			for _, s := range c.Schedules {
				if s.starts == nil || s.Name == "" || s.Floor > c.Replicas.Max {
					t.Errorf("accepted: %+v", s)
				}
			}
			if floor, _ := Floor(c.Schedules, time.Now()); floor > c.Replicas.Max {
				t.Errorf("a floor of %d in %+v", floor, c)
			}
		}
		for _, p := range problems {
			if p == "" || strings.ContainsAny(p, "\n\r") || len(p) > 600 {
				t.Errorf("not a line for people: %q", p)
			}
		}
	})
}
