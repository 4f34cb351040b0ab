package processes

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"headroom.dev/scaler/internal/config"
)

const (
	// restartMin and restartMax bound the pause before a process that has ended is
	// started again. It doubles each time, until one has lasted.
	restartMin, restartMax = time.Second, 30 * time.Second
	lasted                 = time.Minute

	// The probes are those that the cluster's kubelet is told to make, but one that
	// starts is asked more often.
	probeStarting, probeReady = 250 * time.Millisecond, time.Second
	probeTimeout              = 2 * time.Second
	probeFailures             = 5
)

// run keeps a process for the replica until the context is done.
func (t *Target) run(ctx context.Context, r *replica) {
	defer t.gone(r)
	pause := restartMin
	for {
		began := time.Now()
		err := t.once(ctx, r)
		if ctx.Err() != nil {
			return
		}
		t.become(r, starting)
		if time.Since(began) >= lasted {
			pause = restartMin
		}
		t.options.Log.Warn("a replica has ended and is started again", "replica", r.host, "why", err.Error(), "in", pause.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMax)
	}
}

// once runs the process until it ends. When the context is done it ends it: it asks
// it to, and kills it when it takes too long. It returns why the process has ended.
func (t *Target) once(ctx context.Context, r *replica) error {
	cmd := exec.Command(t.options.Command[0], t.arguments(r)...)
	cmd.Stdout, cmd.Stderr = t.options.Output, t.options.Output
	// A group of its own: Ctrl-C is for who drains it. Whatever ends this process, the
	// other one doesn't outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := start{cmd, make(chan error, 1)}
	t.starts <- started
	if err := <-started.done; err != nil {
		return err
	}
	var ended error
	done := make(chan struct{})
	go func() {
		ended = cmd.Wait()
		close(done)
	}()
	held := make(chan struct{})
	go func() {
		defer close(held)
		if err := r.quota.hold(cmd.Process, done); err != nil {
			t.options.Log.Error("a replica isn't held to its CPU limit", "replica", r.host, "error", err.Error())
		}
	}()
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		t.probe(r, done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		t.stop(cmd.Process, done)
	}
	<-held
	<-probed
	if ended == nil {
		return errors.New("it ended by itself")
	}
	return ended
}

// stop ends a process in time, with those that it has started.
func (t *Target) stop(p *os.Process, done <-chan struct{}) {
	_ = p.Signal(syscall.SIGTERM) // it has ended already, or it gets it
	patience := time.NewTimer(t.options.Drain)
	defer patience.Stop()
	select {
	case <-done:
		return
	case <-patience.C:
	}
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // it has ended already, or it ends now
	<-done
}

func (t *Target) arguments(r *replica) []string {
	values := strings.NewReplacer(
		config.AddressVariable, t.address(r), config.MetricsVariable, t.metricsAddress(r), config.CPUMaxVariable, r.cpuMax)
	out := make([]string, len(t.options.Command)-1)
	for i, argument := range t.options.Command[1:] {
		out[i] = values.Replace(argument)
	}
	return out
}

// probe follows whether the replica is ready until done is closed.
func (t *Target) probe(r *replica, done <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	every, failures, is := probeStarting, 0, false
	for {
		switch {
		case t.answers(ctx, r):
			every, failures, is = probeReady, 0, true
			t.become(r, ready)
		case ctx.Err() != nil:
			return
		default:
			if failures++; is && failures == probeFailures {
				every, is = probeStarting, false
				t.become(r, starting)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

func (t *Target) answers(ctx context.Context, r *replica) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.address(r)+t.options.Readiness, nil)
	if err != nil {
		return false
	}
	response, err := t.client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection is used again
	return response.StatusCode == http.StatusOK
}
