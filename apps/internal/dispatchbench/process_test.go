package dispatchbench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCPUOfStat(t *testing.T) {
	// The name may hold what separates fields.
	got, err := cpuOfStat("17 (a ) b) S 1 17 17 0 -1 4194304 100 0 0 0 150 50 7 8 20 0 9 0 1234 1 2 3\n")
	if err != nil || got != 2 {
		t.Errorf("got %v s, %v; want 150 and 50 ticks", got, err)
	}
	for _, text := range []string{"", "17 (a) S 1 17", "17 (a) S 1 17 17 0 -1 4194304 100 0 0 0 x 50 7 8"} {
		if got, err := cpuOfStat(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func testBench(t *testing.T) *bench {
	client := newClient()
	t.Cleanup(client.CloseIdleConnections)
	return &bench{Config: Config{Folder: t.TempDir(), SubjectCPUs: "0"}, client: client}
}

// A program has its flags and no settings from the environment, is watched, and
// is gone when it is stopped.
func TestProcess(t *testing.T) {
	t.Setenv("BACKENDS", "http://elsewhere")
	b := testBench(t)
	done := filepath.Join(b.Folder, "done")
	p, err := b.start("a program", "0", "sh", "-c", `n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done; echo "${BACKENDS:-none}" >"$0"; sleep 60`, done)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	err = p.await(t.Context(), func() bool {
		text, err = os.ReadFile(done)
		return len(text) > 0
	})
	if err != nil || string(text) != "none\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if cpu, err := p.cpu(); err != nil || cpu <= 0 || cpu > 10 {
		t.Errorf("it took %v s of CPU time, %v", cpu, err)
	}
	p.stop()
	if err := syscall.Kill(p.command.Process.Pid, 0); err == nil {
		t.Error("it still runs")
	}
}

func TestAProgramThatEndsSaysWhy(t *testing.T) {
	p, err := testBench(t).start("a program", "", "sh", "-c", "echo no port is free >&2; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	err = p.awaitOrStop(t.Context(), func() bool { return false })
	if err == nil || err.Error() != "a program ended: no port is free" {
		t.Errorf("got %v", err)
	}
}

func TestAProgramThatIsNotReadyIsStopped(t *testing.T) {
	p, err := testBench(t).start("a program", "", "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.awaitOrStop(ctx, func() bool { return false }); err == nil {
		t.Error("it is said to be ready")
	}
	if err := syscall.Kill(p.command.Process.Pid, 0); err == nil {
		t.Error("it still runs")
	}
}

// A program that can end by itself is let to.
func TestEnd(t *testing.T) {
	b := testBench(t)
	done := filepath.Join(b.Folder, "done")
	p, err := b.start("a program", "", "sh", "-c", `trap 'echo tidy >"$0"; exit' TERM; echo ready; while :; do sleep 0.01; done`, done)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.await(t.Context(), func() bool { return p.lastWords() == "ready" }); err != nil {
		t.Fatal(err)
	}
	p.end()
	if text, err := os.ReadFile(done); err != nil || string(text) != "tidy\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

// Redis is started where there is none, and asynqbench's failure is told.
func TestRedisAndPeer(t *testing.T) {
	b := testBench(t)
	redis, err := b.startRedis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer redis.end()
	b.Peers, b.payload = filepath.Join(b.Folder, "peer"), "a-file"
	peer := func(script string) (work, error) {
		if err := os.WriteFile(b.Peers, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		return b.peer(t.Context(), 7, "raw", "--count", "2")
	}
	w, err := peer(`[ "$*" = "raw --count 2 --redis ` + b.redis + ` --db 7 --payload a-file" ] && echo '{"jobs":3,"seconds":2,"cpu_seconds":0.5}'`)
	if err != nil || w.Jobs != 3 || w.rate() != 1.5 || w.perCPU() != 6 {
		t.Errorf("got %+v, %v", w, err)
	}
	if _, err := peer("echo broken >&2; exit 1"); err == nil || !strings.Contains(err.Error(), "asynqbench raw --count 2: exit status 1: broken") {
		t.Errorf("got %v", err)
	}
	if _, err := peer("echo no JSON"); err == nil || !strings.Contains(err.Error(), `printed "no JSON\n"`) {
		t.Errorf("got %v", err)
	}
}
