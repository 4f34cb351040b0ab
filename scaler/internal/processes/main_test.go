package processes

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/promtest"
)

// asReplica has the test's own program be something else: a replica that is ready
// when the file FOLDER/HOST.ready or FOLDER/ready is there, one that burns CPU, or a
// scaler that dies.
const asReplica = "HEADROOM_TEST_REPLICA"

func TestMain(m *testing.M) {
	switch os.Getenv(asReplica) {
	case "":
		os.Exit(m.Run())
	case "burn":
		burn()
	case "parent":
		parent()
	default:
		serve(os.Getenv(asReplica), os.Args[1])
	}
}

// serve answers as a model server does. It ends on SIGTERM, but not where
// FOLDER/stubborn is there, and at once where FOLDER/broken is.
func serve(folder, address string) {
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(folder, name))
		return err == nil
	}
	if there("broken") {
		os.Exit(3)
	}
	if there("stubborn") {
		signal.Ignore(syscall.SIGTERM)
	}
	host, _, _ := strings.Cut(address, ":")
	err := http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/pid":
			fmt.Fprint(w, os.Getpid())
		case !there("ready") && !there(host+".ready"):
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// burn keeps two threads busy.
func burn() {
	var sum atomic.Uint64
	spin := func() {
		for sum.Add(1) > 0 {
		}
	}
	go spin()
	spin()
}

// parent is a scaler that is killed.
func parent() {
	port := os.Args[2]
	os.Setenv(asReplica, os.Args[1])
	o := optionsIn(os.Args[1])
	fmt.Sscan(port, &o.Port)
	if _, err := New(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

var ports atomic.Int32

// optionsIn are those of replicas that this test plays.
func optionsIn(folder string) Options {
	return Options{
		Command: []string{os.Args[0], "$address"}, Network: netip.MustParsePrefix("127.90.0.0/24"),
		Port: int(20000 + (int32(os.Getpid())*16+ports.Add(1))%20000), MetricsPort: 8001,
		Readiness: "/readyz", Folder: folder, Drain: 10 * time.Second, Output: os.Stderr, Log: slog.New(slog.DiscardHandler),
	}
}

// fleet is a target of replicas that this test plays.
type fleet struct {
	*Target
	t      *testing.T
	folder string
	closed sync.Once
}

// Close ends the replicas, once.
func (f *fleet) Close() { f.closed.Do(f.Target.Close) }

func begin(t *testing.T, change func(*Options)) *fleet {
	t.Helper()
	folder := t.TempDir()
	t.Setenv(asReplica, folder)
	o := optionsIn(folder)
	if change != nil {
		change(&o)
	}
	target, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{Target: target, t: t, folder: folder}
	t.Cleanup(f.Close)
	return f
}

// put makes a file in the folder that the replicas look at.
func (f *fleet) put(name string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.folder, name), nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) read() control.Replicas {
	f.t.Helper()
	seen, err := f.Read(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return seen
}

func (f *fleet) scale(to int, work map[string]float64) {
	f.t.Helper()
	if err := f.Scale(f.t.Context(), f.read(), to, "why", work); err != nil {
		f.t.Fatal(err)
	}
}

// await waits until the list says so: HOST STATE, each on a line.
func (f *fleet) await(want string) {
	f.t.Helper()
	promtest.Eventually(f.t, 20*time.Second, func() error {
		if got := f.listed(); got != want {
			return fmt.Errorf("listed are %q, want %q", got, want)
		}
		return nil
	})
}

func (f *fleet) listed() string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.folder, ListFile))
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, e := range parseList(f.t, text) {
		host, _, _ := strings.Cut(e.Targets[0], ":")
		out = append(out, host+" "+e.Labels[labelState])
	}
	return strings.Join(out, ", ")
}

// pid asks a replica for its process.
func (f *fleet) pid(host string) int {
	f.t.Helper()
	var pid int
	resp, err := http.Get(fmt.Sprintf("http://%s:%d/pid", host, f.options.Port))
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		f.t.Fatal(err)
	}
	return pid
}

// gone waits until a process isn't there any more.
func gone(t *testing.T, pid int) {
	t.Helper()
	promtest.Eventually(t, 10*time.Second, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("process %d is there: %s", pid, stat)
		}
		return nil
	})
}

func burning(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asReplica+"=burn", "GOMAXPROCS=2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}
