package processes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/promtest"
)

func parseList(t *testing.T, text []byte) []listed {
	t.Helper()
	var list []listed
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return list
}

// The list is what the dispatcher's tests read too.
func TestTheListIsTheContracts(t *testing.T) {
	text, err := os.ReadFile("../../../contract/replicas.example.json")
	if err != nil {
		t.Fatal(err)
	}
	want := parseList(t, text)
	target := &Target{options: Options{Port: 6001, MetricsPort: 8001, Folder: t.TempDir()}}
	for i, s := range []state{terminating, starting, ready} {
		target.replicas = append(target.replicas, &replica{host: fmt.Sprint("127.8.0.", 3-i), state: s})
	}
	target.list()
	written, err := os.ReadFile(filepath.Join(target.options.Folder, ListFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := parseList(t, written); !reflect.DeepEqual(got, want) {
		t.Errorf("written\n%s\nthe contract has\n%s", written, text)
	}
}

func TestReplicasStartAreReadyAndEnd(t *testing.T) {
	f := begin(t, nil)
	f.await("127.90.0.1 starting")
	f.scale(3, nil)
	f.await("127.90.0.1 starting, 127.90.0.2 starting, 127.90.0.3 starting")
	if seen := f.read(); seen.Spec != 3 || seen.Ready != 0 || len(seen.Starting) == 0 || seen.BecameReady != nil || !seen.Resizes.Unsupported {
		t.Errorf("%+v, want 3 that start", seen)
	}
	f.put("127.90.0.1.ready")
	f.put("127.90.0.3.ready")
	f.await("127.90.0.1 ready, 127.90.0.2 starting, 127.90.0.3 ready")
	seen := f.read()
	told := 0
	for _, c := range seen.BecameReady {
		if c.Age <= 0 || c.Age > 20*time.Second {
			t.Errorf("ready after %s", c.Age)
		}
		told += c.Count
	}
	if seen.Ready != 2 || told != 2 || len(seen.Starting) != 1 || seen.Starting[0].Count != 1 {
		t.Errorf("%+v, want 2 that became ready and 1 that starts", seen)
	}
	if again := f.read(); again.BecameReady != nil {
		t.Errorf("told twice: %+v", again.BecameReady)
	}

	// Whoever isn't ready goes first, then the one with the least work.
	f.scale(2, map[string]float64{"127.90.0.1": 0, "127.90.0.2": 0, "127.90.0.3": 1})
	f.await("127.90.0.1 ready, 127.90.0.3 ready")
	pids := []int{f.pid("127.90.0.1"), f.pid("127.90.0.3")}
	f.scale(1, map[string]float64{"127.90.0.1": 2, "127.90.0.3": 1})
	f.await("127.90.0.1 ready")
	gone(t, pids[1])
	// An address is not used again while there are others.
	f.scale(2, nil)
	f.await("127.90.0.1 ready, 127.90.0.4 starting")
	f.Close()
	gone(t, pids[0])
	if got := f.listed(); got != "" {
		t.Errorf("listed after the end: %s", got)
	}
}

func TestWhoGoesFirst(t *testing.T) {
	now := time.Now()
	young := &replica{host: "young", state: ready, born: now}
	old := &replica{host: "old", state: ready, born: now.Add(-time.Hour)}
	fresh := &replica{host: "fresh", state: starting, born: now.Add(-time.Minute)}
	for name, tc := range map[string]struct {
		work map[string]float64
		want string
	}{
		"nothing known: the youngest, after those that aren't ready": {nil, "fresh young old"},
		"the least work":                   {map[string]float64{"old": 0, "young": 2}, "fresh old young"},
		"the same work: the youngest":      {map[string]float64{"old": 1, "young": 1}, "fresh young old"},
		"work that isn't known comes last": {map[string]float64{"old": 9}, "fresh old young"},
		"work of one that isn't ready":     {map[string]float64{"fresh": 9}, "fresh young old"},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*replica{old, fresh, young}
			slices.SortStableFunc(all, func(a, b *replica) int { return before(a, b, tc.work) })
			if got := fmt.Sprint(all[0].host, " ", all[1].host, " ", all[2].host); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestAReplicaThatCrashesIsStartedAgain(t *testing.T) {
	f := begin(t, nil)
	f.put("ready")
	f.await("127.90.0.1 ready")
	f.read()
	pid := f.pid("127.90.0.1")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.await("127.90.0.1 starting")
	if seen := f.read(); seen.Spec != 1 || seen.Ready != 0 || len(seen.Starting) != 1 {
		t.Errorf("%+v, want one that starts", seen)
	}
	f.await("127.90.0.1 ready")
	if again := f.pid("127.90.0.1"); again == pid {
		t.Error("it is the process that was killed")
	}
	if seen := f.read(); seen.Ready != 1 || seen.BecameReady != nil {
		t.Errorf("%+v, want one that is ready, whose lead time was told", seen)
	}
}

func TestOneThatNeverRunsIsTriedAgainAndCanBeTakenAway(t *testing.T) {
	f := begin(t, func(o *Options) {
		if err := os.WriteFile(filepath.Join(o.Folder, "broken"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f.scale(2, nil)
	f.scale(0, nil)
	f.await("")
}

func TestOneThatDoesNotEndIsKilled(t *testing.T) {
	f := begin(t, func(o *Options) {
		o.Drain = 200 * time.Millisecond
		if err := os.WriteFile(filepath.Join(o.Folder, "stubborn"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f.put("ready")
	f.await("127.90.0.1 ready")
	pid := f.pid("127.90.0.1")
	f.Close()
	gone(t, pid)
}

func TestReplicasDieWithTheirScaler(t *testing.T) {
	f := begin(t, nil) // for its folder and its helpers; its own replica is another
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "ready"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := optionsIn(folder)
	cmd := exec.Command(os.Args[0], folder, fmt.Sprint(o.Port))
	cmd.Env = append(os.Environ(), asReplica+"=parent")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.folder, f.options.Port = folder, o.Port
	promtest.Eventually(t, 20*time.Second, func() error {
		text, err := os.ReadFile(filepath.Join(folder, ListFile))
		if err == nil && !strings.Contains(string(text), `"ready"`) {
			err = errors.New("not ready yet")
		}
		return err
	})
	pid := f.pid("127.90.0.1")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	gone(t, pid)
}

func TestMoreCPUWhileOthersStart(t *testing.T) {
	f := begin(t, func(o *Options) { o.CPU = 0.2 })
	f.put("127.90.0.1.ready")
	f.scale(2, nil)
	f.await("127.90.0.1 ready, 127.90.0.2 starting")
	told := func(host string) string {
		text, err := os.ReadFile(filepath.Join(f.folder, host, "cpu.max"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	for _, step := range []struct {
		factor      float64
		first, last string
		raised      int
	}{{1, "20000 100000", "20000 100000", 0}, {2.5, "50000 100000", "20000 100000", 1}, {1, "20000 100000", "20000 100000", 0}} {
		if err := f.Resize(t.Context(), step.factor); err != nil {
			t.Fatal(err)
		}
		seen := f.read()
		if a, b := told("127.90.0.1"), told("127.90.0.2"); a != step.first || b != step.last || seen.Resizes != (control.Resizes{Raised: step.raised}) {
			t.Errorf("times %g: %s and %s, %+v; want %s and %s, %d raised", step.factor, a, b, seen.Resizes, step.first, step.last, step.raised)
		}
	}
	for _, factor := range []float64{0.5, -1} {
		if err := f.Resize(t.Context(), factor); err == nil {
			t.Errorf("a factor of %g was taken", factor)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	f := begin(t, nil)
	seen := f.read()
	f.scale(2, nil)
	if err := f.Scale(t.Context(), seen, 3, "why", nil); !errors.Is(err, control.ErrChanged) {
		t.Errorf("scaled what had changed: %v", err)
	}
	if err := f.Scale(t.Context(), f.read(), -1, "why", nil); err == nil {
		t.Error("scaled to -1")
	}
	if seen := f.read(); seen.Spec != 2 {
		t.Errorf("%d replicas, want 2", seen.Spec)
	}
}

func TestThereAreAsManyReplicasAsAddresses(t *testing.T) {
	f := begin(t, func(o *Options) { o.Network = netip.MustParsePrefix("127.91.0.0/30") })
	if err := f.Scale(t.Context(), f.read(), 3, "why", nil); err == nil || !strings.Contains(err.Error(), "no address is free") {
		t.Errorf("%v, want that no address is free", err)
	}
	if seen := f.read(); seen.Spec != 2 {
		t.Errorf("%d replicas, want the 2 that there is room for", seen.Spec)
	}
}

func TestAProgramThatIsNotThere(t *testing.T) {
	o := optionsIn(t.TempDir())
	o.Command[0] = "/nowhere/modelserver"
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "processes.command: ") {
		t.Errorf("%v, want an error that names the key", err)
	}
	o = optionsIn("/proc/nowhere")
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "processes.folder: ") {
		t.Errorf("%v, want an error that names the key", err)
	}
}
