package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/onnxtest"
	"headroom.dev/apps/internal/picture"
)

func TestPlaces(t *testing.T) {
	for name, test := range map[string]struct {
		slots, maxWaiting int
		cores             float64
		wantSlots         int
		wantWaiting       int
	}{
		"a slot a core, and four that wait for each": {0, -1, 2, 2, 8},
		"a part of a core is a slot":                 {0, -1, 2.1, 3, 12},
		"less than a core is one":                    {0, -1, 0.15, 1, 4},
		"how many wait may be given":                 {0, 7, 2, 2, 7},
		"and that none does":                         {0, 0, 2, 2, 0},
		"slots that are given stay":                  {3, -1, 8, 3, 12},
	} {
		t.Run(name, func(t *testing.T) {
			o := options{Slots: test.slots, MaxWaiting: test.maxWaiting}
			if slots, waiting := o.places(test.cores); slots != test.wantSlots || waiting != test.wantWaiting {
				t.Errorf("%d slots and %d that wait, want %d and %d", slots, waiting, test.wantSlots, test.wantWaiting)
			}
		})
	}
}

// resized is all of a model server but its process, in a container whose CPU limit
// the test sets.
type resized struct {
	root    string
	sizer   *sizer
	api     http.Handler
	metrics http.Handler
}

func startResized(t *testing.T, slots int, cores string) *resized {
	t.Helper()
	r := &resized{root: t.TempDir()}
	r.limit(t, cores)
	o := options{
		Model: modelFolder(t), OrtLib: onnxtest.Library(t), Slots: slots, MaxWaiting: -1, MaxBatch: 1,
		MaxPixels: 1_000_000, MaxDecodeMemory: 1 << 28, DecodeTimeout: 10 * time.Second,
	}
	spec, err := model.ReadSpec(o.Model)
	if err != nil {
		t.Fatal(err)
	}
	labels, err := spec.ReadLabels(o.Model)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	r.sizer = startSizer(ctx, o, os.DirFS(r.root), 8, 5*time.Millisecond, log)
	api := modelapi.New(modelapi.Config{
		Limits: picture.Limits{Body: 1 << 20, Memory: 1 << 28, Time: 10 * time.Second}, Timeout: 20 * time.Second, Metrics: r.sizer.metrics, Log: log,
	})
	r.api, r.metrics = api.Handler(), r.sizer.metrics.Handler()
	if err := load(ctx, r.sizer, spec, labels, api); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		r.sizer.mu.Lock() // nothing is resized any more
		defer r.sizer.mu.Unlock()
		if err := r.sizer.model.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// limit sets the CPU limit: a quota in microseconds of 100 ms.
func (r *resized) limit(t *testing.T, quota string) {
	t.Helper()
	path := filepath.Join(r.root, "sys/fs/cgroup/cpu.max")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path+".new", []byte(quota+" 100000\n"), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func (r *resized) metric(name string) string {
	w := httptest.NewRecorder()
	r.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(w.Body.String())
	if found == nil {
		return ""
	}
	return found[1]
}

func (r *resized) await(t *testing.T, name, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); r.metric(name) != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is %s, want %s", name, r.metric(name), want)
		}
	}
}

func (r *resized) classify(picture []byte) (status int) {
	w := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(picture))
	request.Header.Set("Content-Type", "image/png")
	r.api.ServeHTTP(w, request)
	return w.Code
}

func TestSlotsFollowTheCPULimitUnderLoad(t *testing.T) {
	r := startResized(t, 0, "15000")
	r.await(t, "inference_slots", "1")
	r.await(t, "modelserver_cpu_limit_cores", "0.15")
	picture := greenPNG(t)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 { // no more than may wait for a single slot
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status := r.classify(picture); status != http.StatusOK {
					t.Errorf("answered %d", status)
					return
				}
			}
		})
	}
	for _, change := range []struct{ quota, cores, slots string }{
		{"200000", "2", "2"}, {"90000", "0.9", "1"}, {"250000", "2.5", "3"}, {"max", "8", "8"}, {"100000", "1", "1"},
	} {
		r.limit(t, change.quota)
		r.await(t, "modelserver_cpu_limit_cores", change.cores)
		r.await(t, "inference_slots", change.slots)
	}
	close(stop)
	load.Wait()
}

func TestSlotsThatAFlagSetsStay(t *testing.T) {
	r := startResized(t, 2, "100000")
	r.limit(t, "400000")
	r.await(t, "modelserver_cpu_limit_cores", "4")
	// The next change is told after this one was dealt with.
	r.limit(t, "300000")
	r.await(t, "modelserver_cpu_limit_cores", "3")
	r.await(t, "inference_slots", "2")
}

// What changes while the model is loaded counts once it is.
func TestTheCPULimitChangesBeforeTheModelIsLoaded(t *testing.T) {
	r := startResized(t, 0, "100000")
	r.await(t, "inference_slots", "1")
	second := &sizer{options: options{MaxWaiting: -1}, metrics: r.sizer.metrics, log: r.sizer.log, cores: 1}
	second.follow(3)
	second.loaded(r.sizer.model)
	r.await(t, "inference_slots", "3")
}

// The limit of --cpu-max is followed like a cgroup's, which holds where it is less,
// and Go's threads follow both.
func TestTheCPULimitOfAFile(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := &resized{root: t.TempDir()}
	r.limit(t, "600000")
	put := func(quota string) {
		t.Helper()
		path := filepath.Join(r.root, "cpu.max")
		if err := errors.Join(os.WriteFile(path+".new", []byte(quota+" 100000\n"), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	put("15000")
	r.sizer = startSizer(t.Context(), options{CPUMax: "/cpu.max"}, os.DirFS(r.root), 8, 5*time.Millisecond, slog.New(slog.DiscardHandler))
	r.metrics = r.sizer.metrics.Handler()
	r.await(t, "modelserver_cpu_limit_cores", "0.15")
	if n := runtime.GOMAXPROCS(0); n > 2 {
		t.Errorf("%d threads with 0.15 cores, want 2 at most", n)
	}
	put("700000")
	r.await(t, "modelserver_cpu_limit_cores", "6")
	r.limit(t, "300000")
	r.await(t, "modelserver_cpu_limit_cores", "3")
	put("200000")
	r.await(t, "modelserver_cpu_limit_cores", "2")
}
