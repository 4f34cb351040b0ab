// Package servebench measures the model server against its limits: the same
// decoding, preprocessing and network in a bare loop on the same cores, and the
// standard library's way to preprocess.
package servebench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/reply"
)

// limits are generous: what is measured is not refused.
var limits = imaging.Limits{Pixels: 100_000_000, Time: time.Minute}

// Phase is what was measured in a stretch of time.
type Phase struct {
	// Requests is how many were answered, in Seconds.
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	// P50 and P99 are of the time that a request took, in seconds.
	P50 float64 `json:"p50_s"`
	P99 float64 `json:"p99_s"`
	// Failed is how many were not answered.
	Failed int `json:"failed"`
}

// Rate is requests a second.
func (p Phase) Rate() float64 { return float64(p.Requests) / p.Seconds }

func phase(latencies []time.Duration, failed int, took time.Duration) Phase {
	slices.Sort(latencies)
	return Phase{
		Requests: len(latencies), Failed: failed, Seconds: took.Seconds(),
		P50: Quantile(latencies, 0.5).Seconds(), P99: Quantile(latencies, 0.99).Seconds(),
	}
}

// Quantile is the smallest of the sorted values that at least the share q of
// them does not exceed; 0 where there are none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q * float64(len(sorted)))
	if float64(i) == q*float64(len(sorted)) {
		i--
	}
	return sorted[max(i, 0)]
}

// BareConfig is what a bare loop needs to know.
type BareConfig struct {
	OrtLib, Model string
	Pictures      [][]byte
	// Slots is how many loops there are at a time.
	Slots int
	For   time.Duration
	// Rate is how many pictures a second are begun, evenly spaced; 0 for as many
	// as there can be.
	Rate float64
}

// Bare classifies pictures in a loop that does nothing else.
func Bare(ctx context.Context, config BareConfig) (Phase, error) {
	if err := onnx.Start(config.OrtLib); err != nil {
		return Phase{}, err
	}
	spec, err := model.ReadSpec(config.Model)
	if err != nil {
		return Phase{}, err
	}
	labels, err := spec.ReadLabels(config.Model)
	if err != nil {
		return Phase{}, err
	}
	m, err := model.Load(config.Model, spec, labels)
	if err != nil {
		return Phase{}, err
	}
	loops := make([]*loop, config.Slots)
	for i := range loops {
		if loops[i], err = newLoop(ctx, m); err != nil {
			return Phase{}, err
		}
		for _, picture := range config.Pictures { // so that memory and caches are warm
			if err := loops[i].classify(ctx, picture); err != nil {
				return Phase{}, err
			}
		}
	}
	return run(config.Slots, config.For, config.Rate, func(slot, n int) error {
		return loops[slot].classify(ctx, config.Pictures[n%len(config.Pictures)])
	})
}

// loop is what one picture at a time needs.
type loop struct {
	preparer    *model.Preparer
	lanes       []*model.Lane
	runner      *model.Runner
	predictions []reply.Prediction
}

func newLoop(ctx context.Context, m *model.Model) (*loop, error) {
	preparer, err := m.NewPreparer(limits)
	if err != nil {
		return nil, err
	}
	lane, err := m.NewLane()
	if err != nil {
		return nil, err
	}
	runner, err := m.NewRunner(1)
	if err != nil {
		return nil, err
	}
	_, err = runner.WarmUp(ctx, preparer, lane, 3)
	return &loop{preparer: preparer, lanes: []*model.Lane{lane}, runner: runner}, err
}

func (l *loop) classify(ctx context.Context, picture []byte) (err error) {
	if err := l.preparer.Decode(ctx, picture); err != nil {
		return err
	}
	if err := l.preparer.Fill(ctx, l.lanes[0]); err != nil {
		return err
	}
	if err := l.runner.Run(ctx, l.lanes); err != nil {
		return err
	}
	l.predictions, err = l.lanes[0].Predictions(l.predictions[:0], 5)
	return err
}

// run has do called from a number of workers for a stretch of time: as often as
// they can, or at a rate, evenly spaced. A call's time is then from when it was
// due. The error is that of the first call, where all have failed.
func run(workers int, stretch time.Duration, rate float64, do func(worker, n int) error) (Phase, error) {
	type call struct {
		n   int
		due time.Time
	}
	calls := make(chan call, workers)
	var mu sync.Mutex
	var latencies []time.Duration
	var failed int
	var first error
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for c := range calls {
				begin := c.due
				if begin.IsZero() {
					begin = time.Now()
				}
				err := do(worker, c.n)
				took := time.Since(begin)
				mu.Lock()
				if err == nil {
					latencies = append(latencies, took)
				} else {
					failed++
					if first == nil {
						first = err
					}
				}
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	for n := 0; time.Since(begin) < stretch; n++ {
		c := call{n: n}
		if rate > 0 {
			c.due = begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			time.Sleep(time.Until(c.due))
		}
		calls <- c
	}
	close(calls)
	group.Wait()
	p := phase(latencies, failed, time.Since(begin))
	if p.Requests == 0 {
		return p, fmt.Errorf("none of %d requests was answered: %w", failed, first)
	}
	return p, nil
}
