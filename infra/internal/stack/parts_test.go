package stack

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func asJSON(t *testing.T, value any) string {
	t.Helper()
	content, err := json.Marshal(value)
	require.NoError(t, err)
	return string(content)
}

func decoded(t *testing.T, value any) string {
	t.Helper()
	text, _ := value.(string)
	content, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	return string(content)
}

// keys are the paths of all values in a JSON object.
func keys(prefix string, o object) []string {
	var found []string
	for key, value := range o {
		if inner, ok := value.(object); ok {
			found = append(found, keys(prefix+key+".", inner)...)
		} else {
			found = append(found, prefix+key)
		}
	}
	return found
}

// normal writes every duration in the same way: 60s and 1m0s are one.
func normal(o object) object {
	same := object{}
	for key, value := range o {
		switch v := value.(type) {
		case object:
			same[key] = normal(v)
		case string:
			same[key] = v
			if d, err := time.ParseDuration(v); err == nil {
				same[key] = d.String()
			}
		default:
			same[key] = v
		}
	}
	return same
}

// tool is a program that `make test` installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "%s is needed: make test installs it", name)
	return path
}

// Prometheus itself accepts the config that it is given.
func TestPrometheusAcceptsItsConfig(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, settings := range [][]string{
		{"prometheusScrapeInterval=1s"}, {"prometheusScrapeInterval=1500ms"}, {"scaler=hpa", "prometheusScrapeInterval=60s"},
		{"redisExporterImage=exporter:1", "alertmanagerUrl=https://alertmanager.example/prefix", "prometheusRetention=30d"},
	} {
		folder := mounted(t, build(t, settings...).one(t, configMaps, "prometheus"))
		out, err := exec.Command(promtool, "check", "config", filepath.Join(folder, "prometheus.yml")).CombinedOutput()
		require.NoError(t, err, "%s:\n%s", settings, out)
		require.Contains(t, string(out), "1 rule files found")
		require.NotContains(t, string(out), "WARNING")
	}
}

// mounted is a folder with the ConfigMap's keys as files.
func mounted(t *testing.T, configMap registered) string {
	t.Helper()
	folder := t.TempDir()
	data, _ := at(configMap.body, "data").(object)
	require.NotEmpty(t, data)
	for key, content := range data {
		require.NoError(t, os.WriteFile(filepath.Join(folder, key), []byte(content.(string)), 0o600))
	}
	return folder
}

// A real Redis, started by the pod's own command with the Secret's config
// file, answers the pod's own probe, and nobody who lacks the password.
func TestRedisStartsFromThePodsCommandAndAsksForThePassword(t *testing.T) {
	server, client := tool(t, "redis-server"), tool(t, "redis-cli")
	b := build(t)
	secret := b.one(t, secrets, "redis")
	container := b.one(t, deployments, "redis").containers()[0]

	folder := t.TempDir()
	conf := filepath.Join(folder, "redis.conf")
	require.NoError(t, os.WriteFile(conf, []byte(decoded(t, at(secret.body, "data", "redis.conf"))), 0o600))
	command := append(texts(container["command"]), texts(container["args"])...)
	require.Equal(t, "redis-server", command[0])
	for i, part := range command {
		switch part {
		case "/etc/redis-secret/redis.conf":
			command[i] = conf
		case "/data":
			command[i] = folder
		}
	}
	port := freePort(t)
	redis := exec.Command(server, append(command[1:], "--port", port, "--bind", "127.0.0.1")...)
	var log strings.Builder
	redis.Stdout, redis.Stderr = &log, &log
	require.NoError(t, redis.Start())
	exited := make(chan error, 1)
	go func() { exited <- redis.Wait() }()
	t.Cleanup(func() {
		_ = redis.Process.Kill()
		<-exited
	})

	probe := texts(at(container, "readinessProbe", "exec", "command"))
	require.Equal(t, "redis-cli", probe[0])
	ask := func(password string, command ...string) (string, error) {
		cli := exec.Command(client, append([]string{"-h", "127.0.0.1", "-p", port}, command...)...)
		cli.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
		out, err := cli.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	password := decoded(t, at(secret.body, "data", "password"))
	deadline := time.Now().Add(20 * time.Second)
	for {
		out, err := ask(password, probe[1:]...)
		if err == nil {
			require.Equal(t, "PONG", out)
			break
		}
		select {
		case end := <-exited:
			exited <- end
			t.Fatalf("redis-server ended: %v\n%s", end, log.String())
		case <-time.After(20 * time.Millisecond):
		}
		require.True(t, time.Now().Before(deadline), "not ready: %s %v", out, err)
	}

	out, err := ask("not-the-password", probe[1:]...)
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "the probe must fail with the wrong password, it said %q", out)
	require.Contains(t, out, "NOAUTH")

	for setting, want := range map[string]string{"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": fmt.Sprint(256 << 20), "save": ""} {
		out, err := ask(password, "config", "get", setting)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(setting+"\n"+want), out)
	}
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", redis.Process.Pid))
	require.NoError(t, err)
	require.NotContains(t, string(arguments), password)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}
