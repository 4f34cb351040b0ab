package faulttest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatchtest"
)

// shown is how much of a process' log a failed test shows.
const shown = 64 << 10

// process is a program of a test. It must not end unless the test ends it.
type process struct {
	t    testing.TB
	name string
	path string
	args []string
	env  []string

	mu    sync.Mutex
	log   bytes.Buffer
	cmd   *exec.Cmd
	ended chan struct{}
	// felled says that the test has ended it or stopped it in its tracks.
	felled bool
}

func launch(t testing.TB, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, path: path, args: args, env: env}
	p.start()
	t.Cleanup(func() {
		if !p.alive() && !p.wasFelled() {
			t.Errorf("%s ended by itself", name)
		}
		p.kill()
		if t.Failed() {
			p.showLog()
		}
	})
	return p
}

// Write adds to the process' log.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(text)
}

func (p *process) showLog() {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log.Bytes()
	p.t.Logf("the last of what %s said:\n%s", p.name, log[max(0, len(log)-shown):])
}

// start starts it, again after kill.
func (p *process) start() {
	p.t.Helper()
	cmd := exec.Command(p.path, p.args...)
	// The flags of all programs here can be set by the environment too, and
	// this must not be the tester's.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, p.env...)
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.ended, p.felled = cmd, ended, false
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
}

// kill ends it at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	<-ended
}

// freeze stops it in its tracks: its connections stay open, and nothing
// happens on them.
func (p *process) freeze() { p.signal(syscall.SIGSTOP) }

// thaw lets it go on.
func (p *process) thaw() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.felled = s != syscall.SIGCONT
	_ = p.cmd.Process.Signal(s)
}

func (p *process) wasFelled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.felled
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// fixedAddress is an address on this machine that nobody listens on. It is not
// among those that outgoing connections get, so that a process that is started
// again finds it free again.
func fixedAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// redisServer is a redis-server in a process of its own.
type redisServer struct {
	*process
	address string
	client  *redis.Client
}

// startRedis starts a redis-server with settings of redis.conf, in pairs, such
// as "--appendonly", "yes".
func startRedis(t testing.TB, settings ...string) *redisServer {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("this test needs a real redis-server in PATH (Debian: apt-get install redis-server): %v", err)
	}
	address := fixedAddress(t)
	_, port, _ := net.SplitHostPort(address)
	r := &redisServer{address: address}
	r.process = launch(t, "redis-server", path, nil, append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--requirepass", dispatchtest.RedisPassword,
		"--save", "", "--maxmemory-policy", "noeviction",
	}, settings...)...)
	r.client = redis.NewClient(&redis.Options{Addr: address, Password: dispatchtest.RedisPassword, Protocol: 2})
	t.Cleanup(func() { _ = r.client.Close() })
	r.awaitAnswer()
	return r
}

// keeping are settings of a Redis that still has what it was told after it was
// killed; fsync is redis.conf's appendfsync.
func keeping(fsync string) []string {
	return []string{"--appendonly", "yes", "--appendfsync", fsync}
}

func (r *redisServer) awaitAnswer() {
	r.t.Helper()
	dispatchtest.Eventually(r.t, 10*time.Second, "redis-server answers", func() bool {
		return r.client.Ping(r.t.Context()).Err() == nil
	})
}

func (r *redisServer) startAgain() {
	r.t.Helper()
	r.start()
	r.awaitAnswer()
}
