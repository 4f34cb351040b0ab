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
	if full != least {
		t.Errorf("the example says\n%+v, the defaults are\n%+v", full, least)
	}
	want := Config{
		Target:     Target{"headroom", "Deployment", "model-server"},
		Prometheus: Prometheus{"http://prometheus.headroom.svc:9090", 800 * time.Millisecond},
		SLO:        SLO{500 * time.Millisecond, 0.99},
		Replicas:   Replicas{1, 10},
		Tick:       time.Second,
		ScaleOut:   ScaleOut{0.8},
		ScaleIn:    ScaleIn{time.Minute, 1, 10 * time.Second},
		Lease:      Lease{true, "headroom", "headroom-scaler"},
		Listen:     ":8002",
	}
	if full != want {
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
		"namespace": "elsewhere", "name": "other", "url": "https://other", "timeout": "300ms", "latency": "1s",
		"quantile": "0.9", "min": "2", "max": "11", "tick": "3s", "utilization": "0.5",
		"stabilization": "30s", "step": "2", "interval": "20s", "enabled": "false", "listen": "127.0.0.1:9",
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var walk func(node *yaml.Node)
	changed := 0
	walk = func(node *yaml.Node) {
		for i := 0; i+1 < len(node.Content); i += 2 {
			k, v := node.Content[i], node.Content[i+1]
			if v.Kind == yaml.MappingNode {
				walk(v)
				continue
			}
			if k.Value == "kind" {
				continue // has one allowed value
			}
			value, style := v.Value, v.Style
			v.Value, v.Style = other[k.Value], 0
			out, err := yaml.Marshal(&doc)
			if err != nil {
				t.Fatal(err)
			}
			got, problems := Parse(out)
			if problems != nil || got == original {
				t.Errorf("%s: %s instead of %s: %v, %+v", k.Value, v.Value, value, problems, got)
			}
			v.Value, v.Style = value, style
			changed++
		}
	}
	walk(doc.Content[0])
	if changed != 17 {
		t.Errorf("%d keys were changed, want 17", changed)
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
				t.Fatal("the fixture doesn't say what it breaks")
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
	for _, file := range append(files, example) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, problems := Parse(text)
		if problems == nil && (c.Replicas.Min < 1 || c.Replicas.Min > c.Replicas.Max || c.Prometheus.Timeout >= c.Tick || c.Target.Name == "") {
			t.Errorf("accepted: %+v", c)
		}
		for _, p := range problems {
			if p == "" || strings.ContainsAny(p, "\n\r") || len(p) > 600 {
				t.Errorf("not a line for people: %q", p)
			}
		}
	})
}
