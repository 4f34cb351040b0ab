package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The test binary is the scaler when this is set: processes without a second build.
const asScaler = "TEST_RUN_AS_SCALER"

func TestMain(m *testing.M) {
	if os.Getenv(asScaler) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLine(t *testing.T) {
	const example = "../../../contract/scaler-config.example.yaml"
	dir := t.TempDir()
	bad := write(t, dir, "bad.yaml", "target: {namespace: headroom, name: model-server}\nprometheus: {url: \"http://p:9090\"}\nreplicas: {min: 3, max: 2}\n")
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	busy := write(t, dir, "busy.yaml", "target: {namespace: headroom, name: model-server}\nprometheus: {url: \"http://p:9090\"}\nlisten: \""+taken.Listener.Addr().String()+"\"\n")
	kubeconfig := write(t, dir, "kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]}`)
	html := write(t, dir, "page.html", "<!doctype html>")
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
		{"help tells the commands", []string{"--help"}, 0, "run --config=FILE"},
		{"help tells the flags of a command and their variables", []string{"run", "--help"}, 0, "$KUBECONFIG"},
		{"a good config is checked without a cluster", []string{"--config", example, "--check-config"}, 0, example + " is good"},
		{"the command that runs may be named", []string{"run", "--config", example, "--check-config"}, 0, example + " is good"},
		{"no config", nil, 2, "scaler: missing flags: --config=FILE\n"},
		{"a config that isn't there", []string{"--config", "/no.yaml"}, 2, "scaler: config file: open /no.yaml: no such file or directory\n"},
		{"a bad config", []string{"--config", bad}, 2, "scaler: " + bad + ": replicas.min: 3 is more than replicas.max, which is 2\n"},
		{"an unknown flag", []string{"--config", example, "--dry"}, 2, "scaler: unknown flag --dry\n"},
		{"an unknown log level", []string{"--config", example, "--log-level", "loud"}, 2, "scaler: --log-level must be one of \"debug\",\"info\",\"warn\",\"error\" but got \"loud\"\n"},
		{"no cluster", []string{"--config", example}, 2, "scaler: no --kubeconfig was given, and this is not a pod with a service account\n"},
		{"a kubeconfig that isn't there", []string{"--config", example, "--kubeconfig", "/no"}, 2, "scaler: --kubeconfig /no: stat /no: no such file or directory\n"},
		{"a port that is taken", []string{"--config", busy, "--kubeconfig", kubeconfig}, 1, "scaler: listen " + taken.Listener.Addr().String() + ": listen tcp " + taken.Listener.Addr().String() + ": bind: address already in use\n"},
		{"nothing to explain", []string{"explain"}, 2, "scaler: expected \"<file>\"\n"},
		{"a recording that isn't there", []string{"explain", "/no.json"}, 2, "scaler: open /no.json: no such file or directory\n"},
		{"a recording that is none", []string{"explain", html}, 2, "scaler: " + html + ": not a recording of decisions: invalid character '<' looking for beginning of value\n"},
		{"an empty standard input", []string{"explain", "-"}, 2, "scaler: -: not a recording of decisions: unexpected end of JSON input\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(tc.args, strings.NewReader(""), &stdout, &stderr)
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
