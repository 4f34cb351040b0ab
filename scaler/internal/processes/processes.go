// Package processes is a target of replicas that are processes on this machine: a
// whole loop without Kubernetes, for trying and for tests. Each replica has a
// loopback address of its own and, with a CPU limit, is held to it from outside. It
// works on Linux.
package processes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
)

// Options say what a replica is.
type Options struct {
	// Command is the program and its arguments, with variables as in
	// [headroom.dev/scaler/internal/config.Processes].
	Command []string
	// Network is where each replica gets an address: part of 127.0.0.0/8.
	Network netip.Prefix
	// Port takes requests, MetricsPort is scraped.
	Port, MetricsPort int
	// Readiness is the path at Port that answers 200 when a replica is ready.
	Readiness string
	// CPU is the cores that a replica may use; 0 for no limit.
	CPU float64
	// Folder is for the list of the replicas and their CPU limits; it is made.
	Folder string
	// Drain is how long a replica may take to end before it is killed.
	Drain time.Duration
	// Output is where the processes write, both outputs of each.
	Output *os.File
	Log    *slog.Logger
}

// state is that of a replica, as the list tells it.
type state string

const (
	starting    state = "starting"
	ready       state = "ready"
	terminating state = "terminating"
)

// replica is one that is to be, is, or is ending. Target.mu guards its state.
type replica struct {
	host   string
	cpuMax string // the file that tells its CPU limit
	quota  quota
	born   time.Time // when it was ordered
	end    context.CancelFunc

	state  state
	since  time.Time // when it became ready, while it is
	told   bool      // its lead time was
	raised bool      // it has more CPU than usual
}

// Target is what is scaled: a [control.Target]. Make one with [New].
type Target struct {
	options Options
	client  *http.Client
	starts  chan start
	running sync.WaitGroup

	mu       sync.Mutex
	spec     int
	version  int
	replicas []*replica // in the order of their starts
	last     netip.Addr // that was given away
}

// New makes a target of one replica, as a Deployment begins, and starts it: none at
// all would mean that scaling is switched off. It fails where the program or the
// folder is no good. Close it to end the replicas.
func New(o Options) (*Target, error) {
	if _, err := exec.LookPath(o.Command[0]); err != nil {
		return nil, fmt.Errorf("processes.command: %w", err)
	}
	if err := os.MkdirAll(o.Folder, 0o755); err != nil {
		return nil, fmt.Errorf("processes.folder: %w", err)
	}
	t := &Target{options: o, starts: make(chan start), last: o.Network.Addr(), client: &http.Client{Timeout: probeTimeout}}
	go t.fork()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.add(); err != nil {
		close(t.starts)
		return nil, fmt.Errorf("processes.folder: %w", err)
	}
	t.spec = 1
	t.list() // one that an earlier run left is wrong
	return t, nil
}

// Close ends all replicas, and returns when they have ended. Nothing may be called
// after it.
func (t *Target) Close() {
	t.mu.Lock()
	t.remove(len(t.replicas), nil)
	t.mu.Unlock()
	t.running.Wait()
	close(t.starts)
	t.client.CloseIdleConnections()
}

// String names the target, as in "processes of modelserver".
func (t *Target) String() string { return "processes of " + filepath.Base(t.options.Command[0]) }

// Announce logs what would be an event elsewhere.
func (t *Target) Announce(reason, message string) {
	t.options.Log.Info(message, "target", t.String(), "event", reason)
}

// Read returns the replicas as they are. It never fails.
func (t *Target) Read(context.Context) (control.Replicas, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := control.Replicas{Spec: t.spec, Version: strconv.Itoa(t.version)}
	out.Resizes.Unsupported = t.options.CPU == 0
	var ages, leads []time.Duration
	now := time.Now()
	for _, r := range t.replicas {
		switch r.state {
		case terminating:
		case starting:
			ages = append(ages, now.Sub(r.born))
		case ready:
			out.Ready++
			if !r.told {
				r.told = true
				leads = append(leads, r.since.Sub(r.born))
			}
			if r.raised {
				out.Resizes.Raised++
			}
		}
	}
	out.Starting = policy.Cohorts(ages, time.Second)
	out.BecameReady = policy.Cohorts(leads, 10*time.Millisecond)
	return out, nil
}

// Scale starts replicas, or ends those that aren't ready, and then those with the
// least work. The error is [control.ErrChanged] when somebody else scaled meanwhile.
func (t *Target) Scale(_ context.Context, seen control.Replicas, to int, why string, work map[string]float64) error {
	if to < 0 {
		return fmt.Errorf("scaling %s: %d replicas: must be 0 or more", t, to)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if seen.Version != strconv.Itoa(t.version) {
		return fmt.Errorf("scaling %s from %d to %d: %w", t, seen.Spec, to, control.ErrChanged)
	}
	from, reason := t.spec, "ScaledOut"
	if to < from {
		reason = "ScaledIn"
		t.remove(from-to, work)
	}
	var err error
	for t.spec = min(from, to); t.spec < to && err == nil; {
		if err = t.add(); err == nil {
			t.spec++
		}
	}
	t.version++
	t.list()
	if err != nil {
		return fmt.Errorf("scaling %s from %d to %d: %w", t, from, to, err)
	}
	t.Announce(reason, fmt.Sprintf("From %d to %d replicas, %s", from, to, why))
	return nil
}

// add starts one replica more. The caller holds mu.
func (t *Target) add() error {
	host, err := t.free()
	if err != nil {
		return err
	}
	r := &replica{host: host.String(), born: time.Now(), state: starting}
	if t.options.CPU > 0 {
		folder := filepath.Join(t.options.Folder, r.host)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		r.cpuMax = filepath.Join(folder, "cpu.max")
		if err := r.limit(t.options.CPU); err != nil {
			return err
		}
	}
	ctx, end := context.WithCancel(context.Background())
	r.end, t.last = end, host
	t.replicas = append(t.replicas, r)
	t.running.Go(func() { t.run(ctx, r) })
	return nil
}

// free is the next address that no replica has. They are given in turn, so that what
// is measured of one isn't taken for the next one's.
func (t *Target) free() (netip.Addr, error) {
	first := t.options.Network.Addr().Next()
	host := t.last.Next()
	for range 1 << (32 - t.options.Network.Bits()) {
		// The last address of a network is for broadcasts.
		if !t.options.Network.Contains(host.Next()) {
			host = first
		}
		if text := host.String(); !slices.ContainsFunc(t.replicas, func(r *replica) bool { return r.host == text }) {
			return host, nil
		}
		host = host.Next()
	}
	return netip.Addr{}, errors.New("no address is free")
}

// remove ends so many replicas. The caller holds mu.
func (t *Target) remove(count int, work map[string]float64) {
	var candidates []*replica
	for _, r := range t.replicas {
		if r.state != terminating {
			candidates = append(candidates, r)
		}
	}
	slices.SortStableFunc(candidates, func(a, b *replica) int { return before(a, b, work) })
	for _, r := range candidates[:min(count, len(candidates))] {
		r.state = terminating
		r.end()
	}
	t.list()
}

// before orders replicas by who goes first: those that aren't ready, then those with
// the least work, then those of which nothing is known; among equals, the youngest.
func before(a, b *replica, work map[string]float64) int {
	class := func(r *replica) int {
		_, known := work[r.host]
		switch {
		case r.state != ready:
			return 0
		case known:
			return 1
		}
		return 2
	}
	if c := cmp.Compare(class(a), class(b)); c != 0 {
		return c
	}
	if class(a) == 1 {
		if c := cmp.Compare(work[a.host], work[b.host]); c != 0 {
			return c
		}
	}
	return b.born.Compare(a.born)
}

// Resize gives every ready replica factor times its usual CPU, and the others what
// is usual. Without a CPU limit it does nothing.
func (t *Target) Resize(_ context.Context, factor float64) error {
	if !(factor >= 1) || math.IsInf(factor, 0) {
		return fmt.Errorf("resizing the %s: factor %g: must be 1 or more", t, factor)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.options.CPU == 0 {
		return nil
	}
	var failed error
	for _, r := range t.replicas {
		cores := t.options.CPU
		if r.state == ready {
			cores *= factor
		}
		if r.quota.cores() == cores || r.state == terminating {
			continue
		}
		if err := r.limit(cores); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		r.raised = cores > t.options.CPU
	}
	return failed
}

// become notes the state of a replica, unless it is ending.
func (t *Target) become(r *replica, s state) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.state == terminating || r.state == s {
		return
	}
	if r.state = s; s == ready {
		r.since = time.Now()
	}
	t.list()
}

// gone forgets a replica.
func (t *Target) gone(r *replica) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replicas = slices.DeleteFunc(t.replicas, func(other *replica) bool { return other == r })
	t.list()
	if r.cpuMax != "" {
		_ = os.RemoveAll(filepath.Dir(r.cpuMax)) // it would only be a left-over
	}
}

func (t *Target) address(r *replica) string {
	return net.JoinHostPort(r.host, strconv.Itoa(t.options.Port))
}

func (t *Target) metricsAddress(r *replica) string {
	return net.JoinHostPort(r.host, strconv.Itoa(t.options.MetricsPort))
}

// start is a command that is to be started, and where to tell how that went.
type start struct {
	cmd  *exec.Cmd
	done chan error
}

// fork starts commands, on one thread that lives as long as the target: a child
// that is to die with its parent dies with the thread that started it.
func (t *Target) fork() {
	runtime.LockOSThread()
	for s := range t.starts {
		s.done <- s.cmd.Start()
	}
}
