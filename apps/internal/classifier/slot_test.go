package classifier_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/onnxtest"
)

// runs keeps when each run of the network began and ended.
type runs struct {
	mu      sync.Mutex
	ended   sync.Cond
	list    [][2]time.Time
	onBatch func()
}

func newRuns() *runs {
	r := &runs{}
	r.ended.L = &r.mu
	return r
}

func (r *runs) Observe(stage classifier.Stage, took time.Duration) {
	if stage != classifier.Run {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.list = append(r.list, [2]time.Time{now.Add(-took), now})
	r.ended.Broadcast()
}

func (r *runs) Batch(int) {
	if r.onBatch != nil {
		r.onBatch()
	}
}

// await waits for n more runs that begin from now on.
func (r *runs) await(n int) {
	begin := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.since(begin)) < n {
		r.ended.Wait()
	}
}

// since are the runs that began after an instant. The caller holds mu.
func (r *runs) since(begin time.Time) (list [][2]time.Time) {
	for _, run := range r.list {
		if run[0].After(begin) {
			list = append(list, run)
		}
	}
	return list
}

// together is the most of the runs between two instants that were under way at a
// time.
func (r *runs) together(from, to time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := 0
	list := slices.DeleteFunc(r.since(from), func(run [2]time.Time) bool { return run[1].After(to) })
	for _, a := range list {
		n := 0
		for _, b := range list {
			if !b[0].After(a[0]) && b[1].After(a[0]) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// The slots of a real network go from 1 to 2 and back while requests of both kinds
// keep coming: all are answered rightly, and as many run at a time as there are
// slots.
func TestSlotsChangeUnderLoad(t *testing.T) {
	for name, batch := range map[string]int{"one at a time": 1, "in batches": 4} {
		t.Run(name, func(t *testing.T) {
			config, _ := defaults()
			observed := newRuns()
			config.Slots, config.Waiting, config.MaxBatch, config.Observer = 1, 0, batch, observed
			c := start(t, onnxtest.Network{Width: 64, Height: 64, Flat: true, Open: true, Work: 60}, config)
			resize := func(slots int) time.Time {
				if err := c.Resize(slots, 100); err != nil {
					t.Error(err)
				}
				if got := c.Slots(); got != slots {
					t.Errorf("%d slots, want %d", got, slots)
				}
				return time.Now()
			}
			began := resize(1) // and as many may wait as come
			var load sync.WaitGroup
			stop := make(chan struct{})
			for i := range 8 {
				load.Go(func() {
					for class := i % 3; ; class = (class + 1) % 3 {
						select {
						case <-stop:
							return
						default:
						}
						if i%2 == 0 {
							// Nothing to decode: the network is what takes time.
							if _, err := c.Infer(t.Context(), inference.Normal, 1, make([]byte, 64*64*3*4)); err != nil {
								t.Errorf("a row: %v", err)
								return
							}
							continue
						}
						got, err := c.Classify(t.Context(), inference.Normal, pictureOf(t, class), 1, nil)
						if err != nil || got.Predictions[0].Class != class {
							t.Errorf("picture of %d: got %+v, %v", class, got, err)
							return
						}
					}
				})
			}
			observed.await(10)
			grown := resize(2)
			for observed.together(grown, time.Now()) < 2 && time.Since(grown) < 20*time.Second {
				observed.await(5)
			}
			shrinking := time.Now()
			shrunk := resize(1)
			observed.await(10)
			close(stop)
			load.Wait()
			for _, phase := range []struct {
				name     string
				from, to time.Time
				want     int
			}{
				{"before", began, grown, 1}, {"with two slots", grown, shrinking, 2}, {"after", shrunk, time.Now(), 1},
			} {
				if got := observed.together(phase.from, phase.to); got != phase.want {
					t.Errorf("%s: %d ran at a time, want %d", phase.name, got, phase.want)
				}
			}
		})
	}
}

// Rows that are under way when slots are taken away are answered, and the rest of
// the request makes do with the slots that are left, and no place to wait.
func TestSlotsAreTakenAwayAmidARequestOfManyRows(t *testing.T) {
	config, _ := defaults()
	observed := newRuns()
	config.Slots, config.Waiting, config.Observer = 4, 16, observed
	c := start(t, onnxtest.Network{Width: 1, Height: 1, Flat: true}, config)
	input := rows(slices.Repeat([]int{0, 1, 2, 2}, 16)...)
	for range 30 {
		if err := c.Resize(4, 16); err != nil {
			t.Fatal(err)
		}
		observed.onBatch = sync.OnceFunc(func() {
			if err := c.Resize(1, 0); err != nil {
				t.Error(err)
			}
		})
		got, err := c.Infer(t.Context(), inference.Normal, 64, input)
		if err != nil || !bytes.Equal(got, input) {
			t.Fatalf("got %d bytes of %d, %v", len(got), len(input), err)
		}
		if c.Slots() != 1 {
			t.Errorf("%d slots, want 1", c.Slots())
		}
	}
}
