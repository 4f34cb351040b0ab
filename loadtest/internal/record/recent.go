package record

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// recentSeconds is how far Recent looks back.
const recentSeconds = 10

// Recent holds the latencies of the answers of the last ten seconds, and of all
// since the last time they were asked for. It may be used by many goroutines.
type Recent struct {
	mu     sync.Mutex
	window *hdrhistogram.WindowedHistogram
	// turned is how many seconds of the run have been begun.
	turned int
}

// NewRecent returns one that has seen nothing. Percentiles are exact to 1%.
func NewRecent() *Recent {
	const digits = 2
	return &Recent{window: hdrhistogram.NewWindowed(recentSeconds, 1, longestTracked.Microseconds(), digits)}
}

// Add counts an answer; what was not answered has no latency.
func (r *Recent) Add(of Record) {
	if of.Outcome != Answered {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Inside the histogram's range, so there is no error to handle.
	_ = r.window.Current.RecordValue(min(max(of.Latency, 0), longestTracked).Microseconds())
}

// Quantiles returns percentiles (0 to 1) in seconds as of an instant since the
// run's start, which is not before that of an earlier call; NaN where nothing
// was answered.
func (r *Recent) Quantiles(elapsed time.Duration, quantiles ...float64) []float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	values := make([]float64, len(quantiles))
	all := r.window.Merge()
	for i, q := range quantiles {
		values[i] = math.NaN()
		if all.TotalCount() > 0 {
			values[i] = float64(all.ValueAtPercentile(q*100)) / 1e6
		}
	}
	second := int(elapsed / time.Second)
	for range min(second-r.turned, recentSeconds) {
		r.window.Rotate()
	}
	r.turned = max(r.turned, second)
	return values
}
