package stack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A real Prometheus, started with the pod's own arguments and config, loads the
// rules, and learns without a restart that another scaler is in charge.
func TestPrometheusLearnsWhoScalesWhileItRuns(t *testing.T) {
	binary := tool(t, "prometheus")
	b := build(t)
	port, folder, data := freePort(t), t.TempDir(), t.TempDir()
	local := strings.NewReplacer("localhost:9090", "127.0.0.1:"+port, "15000ms", "1000ms", "10000ms", "900ms")

	// What the kubelet mounts is a link to a folder that it replaces as a whole.
	version := 0
	mount := func(b built) {
		version++
		name := fmt.Sprintf("..v%d", version)
		require.NoError(t, os.Mkdir(filepath.Join(folder, name), 0o700))
		content, _ := at(b.one(t, configMaps, "prometheus").body, "data").(object)
		for key, text := range content {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name, key), []byte(local.Replace(text.(string))), 0o600))
			if version == 1 {
				require.NoError(t, os.Symlink(filepath.Join("..data", key), filepath.Join(folder, key)))
			}
		}
		require.NoError(t, os.Symlink(name, filepath.Join(folder, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	}
	mount(b)

	var args []string
	for _, arg := range texts(b.one(t, deployments, "prometheus").containers()[0]["args"]) {
		args = append(args, strings.NewReplacer("/etc/prometheus", folder, "=/prometheus", "="+data, "=:9090", "=127.0.0.1:"+port).Replace(arg))
	}
	prometheus := exec.Command(binary, args...)
	var log bytes.Buffer
	prometheus.Stdout, prometheus.Stderr = &log, &log
	require.NoError(t, prometheus.Start())
	t.Cleanup(func() {
		_ = prometheus.Process.Kill()
		_ = prometheus.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})

	ask := func(path string, into any) error {
		response, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		return json.Unmarshal(body, into)
	}
	series := func(query string) int {
		var answer struct{ Data struct{ Result []any } }
		if ask("/api/v1/query?query="+url.QueryEscape(query), &answer) != nil {
			return -1
		}
		return len(answer.Data.Result)
	}
	up := func(scaler string) int { return series(fmt.Sprintf(`up{job="prometheus",scaler="%s"} == 1`, scaler)) }
	await := func(what string, holds func() bool) {
		t.Helper()
		deadline := time.Now().Add(60 * time.Second)
		for !holds() {
			require.True(t, time.Now().Before(deadline), what)
			time.Sleep(100 * time.Millisecond)
		}
	}
	await("it scrapes itself", func() bool { return up("custom") == 1 })
	var loaded struct {
		Data struct{ Groups []struct{ Name string } }
	}
	require.NoError(t, ask("/api/v1/rules", &loaded))
	require.Len(t, loaded.Data.Groups, 4)

	mount(build(t, "scaler=hpa"))
	await("it knows of the other scaler", func() bool { return up("hpa") == 1 && up("custom") == 0 })
	await("it evaluates its rules", func() bool { return series("prometheus_rule_evaluation_failures_total") > 0 })
	require.Equal(t, 0, series("prometheus_rule_evaluation_failures_total > 0"))
}
