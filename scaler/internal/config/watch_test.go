package config

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const valid = "target: {namespace: ns, name: web}\nprometheus: {url: \"http://p:9090\"}\n"

// watching is a Watch in a bubble of testing/synctest, where time passes when
// all in it wait for it.
type watching struct {
	mu      sync.Mutex
	changes []Config
	errs    []error
}

// look lets it look once, and returns all that it has told by then.
func (w *watching) look() ([]Config, []error) {
	time.Sleep(watchEvery)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes), slices.Clone(w.errs)
}

func watchFile(t *testing.T, path string) *watching {
	t.Helper()
	from, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{}
	go Watch(t.Context(), path, from, func(c Config, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.errs = append(w.errs, err)
			return
		}
		w.changes = append(w.changes, c)
	})
	synctest.Wait()
	return w
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWatchTellsChangesAndProblemsOnce(t *testing.T) { synctest.Test(t, tellsOnce) }

func tellsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scaler.yaml")
	put(t, path, valid)
	w := watchFile(t, path)
	var changes []Config
	var errs []error
	for _, step := range []struct {
		name    string
		text    string // "" removes the file
		changes int
		errs    int
	}{
		{"the same file is no change", valid, 0, 0},
		{"nor is a comment", valid + "# hello\n", 0, 0},
		{"nor a default that is written out", valid + "tick: 1s\n", 0, 0},
		{"another value is", valid + "tick: 2s\n", 1, 0},
		{"a bad value is a problem", valid + "tick: 2\n", 1, 1},
		{"the same problem is no news", valid + "tick: 2 # hello\n", 1, 1},
		{"on another line it is", valid + "# hello\ntick: 2\n", 1, 2},
		{"a file that is gone is a problem", "", 1, 3},
		{"what was valid before is told when it is back", valid + "tick: 2s\n", 2, 3},
		{"and a way back is a change", valid, 3, 3},
	} {
		if step.text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			put(t, path, step.text)
		}
		if changes, errs = w.look(); len(changes) != step.changes || len(errs) != step.errs {
			t.Fatalf("%s: %d changes and %d errors, want %d and %d: %v", step.name, len(changes), len(errs), step.changes, step.errs, errs)
		}
	}
	if changes[0].Tick != 2*time.Second || changes[1].Tick != 2*time.Second || changes[2].Tick != time.Second {
		t.Errorf("ticks of %s, %s and %s, want 2s, 2s and 1s", changes[0].Tick, changes[1].Tick, changes[2].Tick)
	}
	if !strings.Contains(errs[0].Error(), path+": line 3: tick: 2 is not allowed") {
		t.Errorf("%v, want the problem as Load has it", errs[0])
	}
}

// A ConfigMap volume has each version in a folder of its own, ..data as a link to
// the present one, and the file as a link into ..data.
func TestWatchSeesAConfigMapsLinkSwapped(t *testing.T) { synctest.Test(t, seesALinkSwapped) }

func seesALinkSwapped(t *testing.T) {
	volume := t.TempDir()
	publish := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(volume, version), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(volume, version, "scaler.yaml"), text)
		if err := os.Symlink(version, filepath.Join(volume, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(volume, "scaler.yaml")
	if err := os.Symlink("..data/scaler.yaml", path); err != nil {
		t.Fatal(err)
	}
	publish("..1", valid)
	w := watchFile(t, path)
	publish("..2", valid+"replicas: {max: 20}\n")
	if err := os.RemoveAll(filepath.Join(volume, "..1")); err != nil {
		t.Fatal(err)
	}
	changes, errs := w.look()
	if len(changes) != 1 || changes[0].Replicas.Max != 20 || len(errs) != 0 {
		t.Errorf("%+v, %v; want one change to 20 replicas", changes, errs)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	Watch(ctx, "none.yaml", Config{}, func(Config, error) { t.Error("was told something") })
}
