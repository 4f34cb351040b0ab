// Package dispatchtest gives the dispatcher's tests what it works with: a real
// redis-server, and model servers that do as they are told.
package dispatchtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisPassword is the password of every Redis here.
const RedisPassword = "s3cret-of-the-test"

// Redis is a redis-server of a test. It keeps what it is told on disk, so that
// it still has it after a restart.
type Redis struct {
	t       testing.TB
	address string
	config  string
	process *exec.Cmd
}

// StartRedis starts a redis-server that ends with the test.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatalf("this test needs a real redis-server in PATH (Debian: apt-get install redis-server): %v", err)
	}
	r := &Redis{t: t, address: FreeAddress(t)}
	_, port, _ := net.SplitHostPort(r.address)
	folder := t.TempDir()
	r.config = filepath.Join(folder, "redis.conf")
	config := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nrequirepass %s\nappendonly yes\nappendfsync always\nsave \"\"\nmaxmemory-policy noeviction\n",
		port, folder, RedisPassword)
	if err := os.WriteFile(r.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

// FreeAddress is an address on this machine that nobody listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Address is where it listens.
func (r *Redis) Address() string { return r.address }

// URL is where it is, without its password.
func (r *Redis) URL() string { return "redis://" + r.address + "/0" }

// Start starts it again after Kill.
func (r *Redis) Start() {
	r.t.Helper()
	r.process = exec.Command("redis-server", r.config)
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	client := r.Client()
	defer func() { _ = client.Close() }()
	Eventually(r.t, 10*time.Second, "redis-server answers", func() bool {
		return client.Ping(context.Background()).Err() == nil
	})
}

// Kill ends it at once.
func (r *Redis) Kill() {
	if r.process == nil {
		return
	}
	_ = r.process.Process.Signal(syscall.SIGCONT)
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
	r.process = nil
}

// Freeze stops it in its tracks: connections stay open, nothing is answered.
func (r *Redis) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (r *Redis) Thaw() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.process.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// Client talks to it.
func (r *Redis) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: r.address, Password: RedisPassword, Protocol: 2})
}

// QueueLength is the number of entries in the dispatchers' queue, and how many of
// them a dispatcher has taken; both 0 while there is no queue.
func QueueLength(t testing.TB, client redis.UniversalClient) (entries, taken int64) {
	t.Helper()
	for _, priority := range []string{"high", "normal", "low"} {
		key := "{headroom}:queue:" + priority
		n, err := client.XLen(context.Background(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		entries += n
		if pending, err := client.XPending(context.Background(), key, "dispatchers").Result(); err == nil {
			taken += pending.Count
		}
	}
	return entries, taken
}

// Eventually waits until condition holds, and ends the test when it does not
// in time.
func Eventually(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
