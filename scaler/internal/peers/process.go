package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Process is a running upstream. It holds one session at a time and is for one
// goroutine; sessions side by side take a Process each.
type Process struct {
	ctx     context.Context
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Reader
	stderr  *tail
	open    *Session
	ended   error // why the process is of no more use
}

var errClosed = errors.New("upstream: the process was closed")

// Start runs the program upstream at the path binary. It ends with Close, or
// when ctx does.
func Start(ctx context.Context, binary string) (*Process, error) {
	p := &Process{ctx: ctx, cmd: exec.CommandContext(ctx, binary), stderr: &tail{}}
	p.cmd.Stderr = p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	p.answers = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	return p, nil
}

// Close ends the process and waits for it. It returns why the process had ended
// before, if it had.
func (p *Process) Close() error {
	if p.ended != nil {
		if errors.Is(p.ended, errClosed) {
			return nil
		}
		return p.ended
	}
	p.ended = errClosed
	_ = p.stdin.Close() // the end of its input ends it
	if err := p.cmd.Wait(); err != nil {
		p.ended = p.death(err)
		return p.ended
	}
	return nil
}

// request is one line to upstream; exactly one key is set.
type request struct {
	Start   *start       `json:"start,omitempty"`
	Observe *Observation `json:"observe,omitempty"`
	End     *struct{}    `json:"end,omitempty"`
}

type start struct {
	HPA *HPAOptions `json:"hpa,omitempty"`
	KPA *KPAOptions `json:"kpa,omitempty"`
}

// ask sends a line and returns the replicas of its answer. An error other than
// that of a value JSON doesn't have is the end of the process.
func (p *Process) ask(r request) (int, error) {
	if p.ended != nil {
		return 0, p.ended
	}
	line, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("upstream: %w", err)
	}
	// When the process is gone the answer, or its lack, says why.
	_, _ = p.stdin.Write(append(line, '\n'))
	reply, _ := p.answers.ReadBytes('\n')
	var answer struct {
		Replicas *int   `json:"replicas"`
		Error    string `json:"error"`
	}
	switch err := json.Unmarshal(reply, &answer); {
	case len(reply) == 0:
		p.ended = p.death(p.cmd.Wait())
	case err == nil && answer.Error != "":
		_ = p.cmd.Wait() // it ends by itself, and has said why
		p.ended = fmt.Errorf("upstream: %s", answer.Error)
	case err != nil || answer.Replicas == nil:
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.ended = fmt.Errorf("upstream: the answer is %.80q: must hold replicas or error", reply)
	default:
		return *answer.Replicas, nil
	}
	_ = p.stdin.Close()
	return 0, p.ended
}

// death says how the process ended and what it said last.
func (p *Process) death(err error) error {
	switch {
	case p.ctx.Err() != nil:
		return fmt.Errorf("upstream: stopped: %w", context.Cause(p.ctx))
	case err == nil:
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("upstream: ended by itself: %w: %s", err, p.stderr)
}
