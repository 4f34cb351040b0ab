// Package promtest runs a real Prometheus for a test.
package promtest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const readyWithin = 30 * time.Second

// Start runs the Prometheus in PATH, which scrapes the given addresses
// (host:port) of each job every interval, and returns its base URL when it is
// ready. It is ended with the test. Where there is none in PATH, the test fails.
func Start(t *testing.T, interval time.Duration, jobs map[string][]string) string {
	t.Helper()
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("this test needs a prometheus in PATH: %v", err)
	}
	var config strings.Builder
	fmt.Fprintf(&config, "global: {scrape_interval: %[1]dms, scrape_timeout: %[1]dms}\nscrape_configs:\n", interval.Milliseconds())
	for job, addresses := range jobs {
		fmt.Fprintf(&config, "- {job_name: %s, static_configs: [{targets: [%s]}]}\n", job, strings.Join(addresses, ", "))
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	address := FreeAddress(t)
	command := exec.Command(binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address, "--log.level=warn")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	deadline := time.Now().Add(readyWithin)
	for {
		response, err := http.Get("http://" + address + "/-/ready")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return "http://" + address
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("prometheus is not ready after %v: %v", readyWithin, err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// FreeAddress returns a local host:port on which nobody listens.
func FreeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}
