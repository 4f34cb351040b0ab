package cpuquota_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/apps/internal/cpuquota"
)

// quota is a reader that reads as it is told.
type quota struct {
	mu    sync.Mutex
	cores float64
	err   error
	reads int
}

func (q *quota) set(cores float64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cores, q.err = cores, err
}

func (q *quota) read() (float64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reads++
	return q.cores, q.err
}

// follow follows until stop, which returns what it was told.
func follow(t *testing.T, w *cpuquota.Watcher, every time.Duration) (stop func() []float64) {
	ctx, cancel := context.WithCancel(t.Context())
	var told []float64
	var ended sync.WaitGroup
	ended.Go(func() { w.Follow(ctx, every, func(cores float64) { told = append(told, cores) }) })
	return func() []float64 {
		cancel()
		ended.Wait()
		return told
	}
}

func TestAWatcherTellsOfEachChangeWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{cores: 0.5}
		w := cpuquota.NewWatcher(q.read, 8, slog.New(slog.DiscardHandler))
		if w.Cores() != 0.5 {
			t.Errorf("at first %v cores, want 0.5", w.Cores())
		}
		stop := follow(t, w, time.Second)
		for _, cores := range []float64{0.5, 2, 2, 1.5} {
			q.set(cores, nil)
			time.Sleep(time.Second)
			synctest.Wait()
			if w.Cores() != cores {
				t.Errorf("%v cores, want %v", w.Cores(), cores)
			}
		}
		if told := stop(); !slices.Equal(told, []float64{2, 1.5}) {
			t.Errorf("told of %v, want 2 and 1.5", told)
		}
		if q.reads != 5 {
			t.Errorf("read %d times in four seconds, want once more than that", q.reads)
		}
	})
}

func TestAReadThatFailsKeepsTheLastValueAndIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		q := &quota{cores: 2}
		w := cpuquota.NewWatcher(q.read, 8, slog.New(slog.NewTextHandler(&logged, nil)))
		stop := follow(t, w, time.Second)
		for range 2 {
			q.set(0, errors.New("no such luck"))
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if w.Cores() != 2 {
				t.Errorf("%v cores, want 2", w.Cores())
			}
			q.set(2, nil)
			time.Sleep(5 * time.Second)
			synctest.Wait()
		}
		if told := stop(); told != nil {
			t.Errorf("told of %v, want nothing", told)
		}
		for part, want := range map[string]int{"no such luck": 2, "can be read again": 2, "\n": 4} {
			if n := strings.Count(logged.String(), part); n != want {
				t.Errorf("%q was logged %d times, want %d:\n%s", part, n, want, logged.String())
			}
		}
	})
}

func TestWhereNothingCouldBeReadTheFallbackHolds(t *testing.T) {
	q := &quota{err: errors.New("no such luck")}
	if w := cpuquota.NewWatcher(q.read, 8, slog.New(slog.DiscardHandler)); w.Cores() != 8 {
		t.Errorf("%v cores, want 8", w.Cores())
	}
}

// The files are those of a container, in a folder.
func TestAWatcherOfFiles(t *testing.T) {
	for name, test := range map[string]struct {
		file         string
		others       map[string]string
		first, other string
	}{
		"version 2": {
			"sys/fs/cgroup/cpu.max", map[string]string{"proc/self/cgroup": "0::/\n"}, "50000 100000\n", "200000 100000\n",
		},
		"version 1": {
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us",
			map[string]string{"proc/self/cgroup": "3:cpu,cpuacct:/pod/c\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, "50000\n", "200000\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(name, text string) {
				t.Helper()
				path := filepath.Join(root, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range test.others {
				write(name, text)
			}
			write(test.file, test.first)
			files := os.DirFS(root)
			w := cpuquota.NewWatcher(func() (float64, error) { return cpuquota.Cores(files, 8) }, 8, slog.New(slog.DiscardHandler))
			if w.Cores() != 0.5 {
				t.Fatalf("%v cores, want 0.5", w.Cores())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			write(test.file, test.other)
			w.Follow(ctx, time.Millisecond, func(cores float64) {
				if cores != 2 {
					t.Errorf("%v cores, want 2", cores)
				}
				cancel()
			})
			if w.Cores() != 2 {
				t.Errorf("%v cores, want 2", w.Cores())
			}
		})
	}
}
