package main

import (
	"context"
	"io/fs"
	"log/slog"
	"math"
	"runtime"
	"strings"
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
// many. GOMAXPROCS is its concern with --cpu-max only: Go's own follows a cgroup's
// limit.
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
	limit := cpuquota.NewWatcher(o.cores(root, machine), float64(machine), log)
	s := &sizer{
		options: o, limit: limit, metrics: modelapi.NewMetrics(command.Version(), limit.Cores), log: log, cores: limit.Cores(),
	}
	s.threads()
	go limit.Follow(ctx, every, s.follow)
	return s
}

// cores is what reads the CPU limit: the cgroup's, or the one of --cpu-max where
// that is less.
func (o *options) cores(root fs.FS, machine int) func() (float64, error) {
	return func() (float64, error) {
		cores, err := cpuquota.Cores(root, machine)
		if err != nil || o.CPUMax == "" {
			return cores, err
		}
		limit, err := cpuquota.File(root, strings.TrimPrefix(o.CPUMax, "/"), machine)
		return min(cores, limit), err
	}
}

// threads has Go use as many threads as it does by itself under a cgroup's limit.
func (s *sizer) threads() {
	if s.options.CPUMax != "" {
		runtime.GOMAXPROCS(min(runtime.NumCPU(), max(2, int(math.Ceil(s.cores)))))
	}
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
	s.threads()
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
