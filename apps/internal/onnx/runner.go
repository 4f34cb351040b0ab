package onnx

import (
	"context"
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// Runner runs a session, one run at a time. It is not for concurrent use.
type Runner struct {
	session         *ort.DynamicAdvancedSession
	options         *ort.RunOptions
	inputs, outputs [1]ort.Value
	// runs and ended hand a run to the watcher and back; terminated is the
	// watcher's word that it ended the run.
	runs       chan context.Context
	ended      chan struct{}
	terminated bool
}

// NewRunner makes a Runner.
func (s *Session) NewRunner() (*Runner, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("creating ONNX Runtime's run options: %w", err)
	}
	r := &Runner{session: s.session, options: options, runs: make(chan context.Context), ended: make(chan struct{})}
	go r.watch()
	return r, nil
}

// Close frees the runner.
func (r *Runner) Close() {
	close(r.runs)
	_ = r.options.Destroy()
}

// watch terminates runs that outlast their context.
func (r *Runner) watch() {
	for ctx := range r.runs {
		select {
		case <-r.ended:
			continue
		case <-ctx.Done():
		}
		r.terminated = r.options.Terminate() == nil
		<-r.ended
	}
}

// Run runs the network on input into output. When ctx ends first, ONNX Runtime
// is told to stop, which it does before the network's next node, and the error
// is ctx's.
func (r *Runner) Run(ctx context.Context, input, output *Buffer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.inputs[0], r.outputs[0] = input.value, output.value
	r.runs <- ctx
	err := r.session.RunWithOptions(r.inputs[:], r.outputs[:], r.options)
	r.ended <- struct{}{}
	if r.terminated {
		r.terminated = false
		if unset := r.options.UnsetTerminate(); unset != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("making ONNX Runtime ready for another run: %w", unset))
		}
		if err != nil {
			return ctx.Err()
		}
	}
	if err != nil {
		return oneLine(err)
	}
	return nil
}
