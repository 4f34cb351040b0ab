package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func newTestCluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := New(filepath.Join(t.TempDir(), "state"), t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAStateDirectoryThatWouldBeDangerousToRemoveIsRefused(t *testing.T) {
	for state, accepted := range map[string]bool{"/": false, "/var": false, "/a:b/c": false, "/var/lib/headroom-cluster": true} {
		_, err := New(state, "/bin", io.Discard)
		if (err == nil) != accepted {
			t.Errorf("--state %s: %v", state, err)
		}
	}
}

func TestADirectoryOfSomeoneElseIsRefused(t *testing.T) {
	c := newTestCluster(t)
	if err := c.checkState(); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if err := replace(c.path("thesis.tex"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.checkState(); err == nil || !strings.Contains(err.Error(), "neither empty nor a cluster's") {
		t.Errorf("one with another file: %v", err)
	}
	if err := replace(c.machineFile(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := c.checkState(); err != nil {
		t.Errorf("a cluster's own: %v", err)
	}
}

func TestEveryUserHasAKubeconfigWithItsOwnCertificate(t *testing.T) {
	c := newTestCluster(t)
	if _, err := c.writeConfig(); err != nil {
		t.Fatal(err)
	}
	for name, user := range users {
		text, err := os.ReadFile(c.path(name))
		if err != nil {
			t.Fatal(err)
		}
		var kubeconfig struct {
			CurrentContext string `json:"current-context"`
			Clusters       []struct{ Cluster struct{ Server string } }
			Users          []struct {
				User struct {
					Certificate string `json:"client-certificate-data"`
				}
			}
		}
		if err := json.Unmarshal(text, &kubeconfig); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		held, err := base64.StdEncoding.DecodeString(kubeconfig.Users[0].User.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := os.ReadFile(c.cert(user))
		if err != nil {
			t.Fatal(err)
		}
		if string(held) != string(issued) {
			t.Errorf("%s does not hold the certificate of %s", name, user)
		}
		if kubeconfig.CurrentContext != "headroom-local" || kubeconfig.Clusters[0].Cluster.Server != "https://127.0.0.1:16443" {
			t.Errorf("%s: context %s, server %s", name, kubeconfig.CurrentContext, kubeconfig.Clusters[0].Cluster.Server)
		}
		info, err := os.Stat(c.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

func TestConfigurationIsWrittenOnceAndForAll(t *testing.T) {
	c := newTestCluster(t)
	for i, want := range []bool{true, false} {
		if renewed, err := c.writeConfig(); err != nil || renewed != want {
			t.Errorf("run %d: renewed = %t (%v), want %t", i+1, renewed, err, want)
		}
	}
	c.clock = func() time.Time { return time.Now().AddDate(0, 11, 20) }
	if renewed, err := c.writeConfig(); err != nil || !renewed {
		t.Errorf("before the certificates' end: renewed = %t (%v)", renewed, err)
	}
}

func TestFilesThatComponentsReadAreAmongTheWritten(t *testing.T) {
	c := newTestCluster(t)
	if _, err := c.writeConfig(); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.components() {
		for _, argument := range p.arguments {
			_, value, found := strings.Cut(argument, "=")
			if !found {
				value = argument
			}
			if strings.HasPrefix(value, c.path("pki")) || strings.Contains(filepath.Base(value), ".") && strings.HasPrefix(value, c.state+"/") {
				if !exists(value) {
					t.Errorf("%s is told to read %s, which is not written", p.name, value)
				}
			}
		}
	}
}

func TestNoTwoComponentsShareAPort(t *testing.T) {
	seen := map[use]string{}
	for _, p := range newTestCluster(t).components() {
		for _, u := range p.listens {
			if other := seen[u]; other != "" {
				t.Errorf("%s and %s both listen on %v", other, p.name, u)
			}
			seen[u] = p.name
		}
	}
}

func TestALogsRelevantLinesAreItsErrors(t *testing.T) {
	cases := []struct {
		name, log string
		want      []string
	}{
		{"klog errors", "I1123 a\nE1123 b\nI1123 c\nF1123 d\n", []string{"E1123 b", "F1123 d"}},
		{"etcd's", `{"level":"info","msg":"a"}` + "\n" + `{"level":"fatal","msg":"b"}` + "\n", []string{`{"level":"fatal","msg":"b"}`}},
		{"containerd's", "time=x level=info msg=a\ntime=x level=error msg=b\n", []string{"time=x level=error msg=b"}},
		{"none: the last", "a\n\nb\nc\nd\n", []string{"b", "c", "d"}},
		{"more than asked for: the last", "E0001 a\nE0001 b\nE0001 c\nE0001 d\n", []string{"E0001 b", "E0001 c", "E0001 d"}},
		{"an empty log", "", nil},
	}
	for _, c := range cases {
		if got := relevant(c.log, 3); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestImportedImagesAreReadFromCtr(t *testing.T) {
	const out = "unpacking localhost/headroom/dispatcher:1 (sha256:aa)...done\nunpacking localhost/headroom/scaler:1 (sha256:bb)...done\n"
	want := []string{"localhost/headroom/dispatcher:1", "localhost/headroom/scaler:1"}
	if got := imported(out); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAwaitEndsAsSoonAsItsProgramDoes(t *testing.T) {
	died := make(chan error, 1)
	died <- errors.New("exit status 1")
	began := time.Now()
	err := await(t.Context(), time.Minute, died, func(context.Context) error { return errors.New("connection refused") })
	if err == nil || !strings.Contains(err.Error(), "ended: exit status 1") || time.Since(began) > 30*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
