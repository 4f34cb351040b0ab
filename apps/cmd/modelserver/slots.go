package main

import (
	"context"
	"io/fs"
	"log/slog"
	"math"
	"sync"
	"time"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/cpuquota"
	"headroom.dev/apps/internal/modelapi"
)

// limitEvery is the time between two looks at the CPU limit: a pod's can be
// changed while it runs.
const limitEvery = time.Second

// sizer has as many slots as the CPU limit has cores, unless a flag says how
// many. GOMAXPROCS is not its concern: Go's own follows the limit.
type sizer struct {
	options options
	limit   *cpuquota.Watcher
	metrics *modelapi.Metrics
	log     *slog.Logger

	mu    sync.Mutex
	cores float64
	model *classifier.Classifier // nil until it is loaded
}

// startSizer follows the CPU limit until ctx ends, looking at the files under root
// every so often; where these tell none, it is the machine's cores.
func startSizer(ctx context.Context, o options, root fs.FS, machine int, every time.Duration, log *slog.Logger) *sizer {
	limit := cpuquota.NewWatcher(func() (float64, error) { return cpuquota.Cores(root, machine) }, float64(machine), log)
	s := &sizer{
		options: o, limit: limit, metrics: modelapi.NewMetrics(command.Version(), limit.Cores), log: log, cores: limit.Cores(),
	}
	go limit.Follow(ctx, every, s.follow)
	return s
}

// places is how many slots there should be, and how many requests that wait for
// one.
func (s *sizer) places() (slots, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options.places(s.cores)
}

// places are what the flags say, or else what goes with so many cores.
func (o *options) places(cores float64) (slots, waiting int) {
	slots, waiting = o.Slots, o.MaxWaiting
	if slots == 0 {
		slots = max(1, int(math.Ceil(cores)))
	}
	if waiting < 0 {
		waiting = 4 * slots
	}
	return slots, waiting
}

// loaded makes model the one whose slots are changed.
func (s *sizer) loaded(model *classifier.Classifier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.model = model
	s.resize()
}

// follow is told of another CPU limit, in cores.
func (s *sizer) follow(cores float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Info("the CPU limit has changed", "from", s.cores, "to", cores)
	s.cores = cores
	s.resize()
}

// resize gives the model the slots that it should have. The caller holds mu.
func (s *sizer) resize() {
	if s.model == nil {
		return
	}
	slots, waiting := s.options.places(s.cores)
	before := s.model.Slots()
	if slots == before {
		return
	}
	if err := s.model.Resize(slots, waiting); err != nil {
		s.log.Error("not as many slots as the CPU limit allows", "error", err.Error())
	}
	s.metrics.SetSlots(s.model.Slots())
	s.log.Info("the slots follow the CPU limit", "from", before, "to", s.model.Slots(), "max_waiting", waiting)
}
