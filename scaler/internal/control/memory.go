package control

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"headroom.dev/scaler/internal/policy"
)

const (
	// saveEvery is the time between savings while nothing is scaled, and between
	// tries to load.
	saveEvery = 10 * time.Second
	// savedHolds is how old a saved state may be to be taken over.
	savedHolds = 5 * time.Minute
	// storeTimeout bounds each loading and saving, lastTimeout the one at the end.
	storeTimeout = 5 * time.Second
	lastTimeout  = 3 * time.Second

	savedVersion = 1
)

// saved is what the policy remembers as the [Store] has it.
type saved struct {
	Version int          `json:"version"`
	At      time.Time    `json:"at"`
	State   policy.State `json:"state"`
}

// memory saves and loads what the policy remembers, beside the loop: no turn ever
// waits for it.
type memory struct {
	store           Store
	saving, loading health

	saves chan policy.State // at most the latest
	loads chan int          // number of the request
	found chan found

	// Run's goroutine only: the number of the last request, whether it was answered,
	// when to ask and save again, and whether this scaler led in the last turn.
	asked    int
	answered bool
	askAgain time.Time
	nextSave time.Time
	led      bool
}

// found answers a request to load; saved is nil where nothing was saved.
type found struct {
	request int
	saved   *saved
	err     error
}

func newMemory(store Store, saving, loading health) *memory {
	return &memory{
		store: store, saving: saving, loading: loading, answered: store == nil,
		saves: make(chan policy.State, 1), loads: make(chan int, 1), found: make(chan found, 1),
	}
}

// start runs the memory until the context is done or stop is called, which waits
// for its end.
func (m *memory) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case request := <-m.loads:
				s, err := m.load(ctx)
				m.loading.note(err)
				replace(m.found, found{request, s, err})
			case state := <-m.saves:
				m.saving.note(m.save(ctx, state, storeTimeout))
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// ask requests a loading, which is answered on found.
func (m *memory) ask(now time.Time) {
	m.asked++
	m.answered, m.askAgain = false, now.Add(saveEvery)
	replace(m.loads, m.asked)
}

// saveLast saves when everything else has ended.
func (m *memory) saveLast(ctx context.Context, state policy.State) {
	m.saving.note(m.save(context.WithoutCancel(ctx), state, lastTimeout))
}

func (m *memory) save(ctx context.Context, state policy.State, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := json.Marshal(saved{Version: savedVersion, At: state.Last, State: state})
	if err != nil {
		return err
	}
	return m.store.Save(ctx, text)
}

func (m *memory) load(ctx context.Context) (*saved, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	text, err := m.store.Load(ctx)
	if err != nil || text == nil {
		return nil, err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil || s.Version != savedVersion {
		// It is replaced by the next saving, so it is no failure that could go on.
		m.loading.log.Warn("what was saved can't be read, going on without", "error", fmt.Sprint(err), "version", s.Version, "readable", savedVersion)
		return nil, nil
	}
	return &s, nil
}

// replace puts v into a channel of one place, in the place of what is there. Only
// one goroutine may put things into it.
func replace[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}
