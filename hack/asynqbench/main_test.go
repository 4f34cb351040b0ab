package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Each way does jobs, takes CPU time for them, and leaves nothing in Redis.
func TestEachWay(t *testing.T) {
	address := startRedis(t)
	client := redis.NewClient(&redis.Options{Addr: address, DB: 3})
	defer client.Close()
	payload := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(payload, bytes.Repeat([]byte("p"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{
		"raw --warm-up 10ms", "raw --warm-up 10ms --count 16", "saturate --warm-up 10ms --in-flight 1000", "saturate --warm-up 10ms --poll 1ms --in-flight 3",
		"pickup --rate 100 --poll 1ms",
	} {
		t.Run(way, func(t *testing.T) {
			if err := client.Set(t.Context(), "left", "by another", 0).Err(); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			args := append(strings.Fields(way), "--redis", address, "--db", "3", "--payload", payload, "--stretch", "300ms")
			if err := run(args, &b); err != nil {
				t.Fatal(err)
			}
			var found outcome
			if err := json.Unmarshal(b.Bytes(), &found); err != nil {
				t.Fatal(err)
			}
			if found.Jobs < 5 || found.Seconds < 0.2 || found.CPUSeconds <= 0 {
				t.Errorf("got %+v", found)
			}
			if picks := strings.HasPrefix(way, "pickup"); picks != (len(found.Pickups) == int(found.Jobs)) {
				t.Errorf("%d pick-ups of %d jobs", len(found.Pickups), found.Jobs)
			}
			if keys, err := client.DBSize(t.Context()).Result(); err != nil || keys != 0 {
				t.Errorf("left %d keys, %v", keys, err)
			}
		})
	}
}

func startRedis(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(address)
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "")
	if err := server.Start(); err != nil {
		t.Fatalf("this test needs redis-server in PATH (Debian: apt-get install redis-server): %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
