package onnx

import (
	"context"
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"headroom.dev/apps/internal/interrupt"
)

// Runner runs a session, one run at a time. It is not for concurrent use.
type Runner struct {
	session         *ort.DynamicAdvancedSession
	options         *ort.RunOptions
	inputs, outputs [1]ort.Value
	guard           *interrupt.Guard
}

// NewRunner makes a Runner.
func (s *Session) NewRunner() (*Runner, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("creating ONNX Runtime's run options: %w", err)
	}
	return &Runner{
		session: s.session, options: options,
		// It fails only on options that are none.
		guard: interrupt.New(func() { _ = options.Terminate() }),
	}, nil
}

// Close frees the runner.
func (r *Runner) Close() { _ = r.options.Destroy() }

// Run runs the network on input into output. When ctx ends first, ONNX Runtime
// is told to stop, which it does before the network's next node, and the error
// is ctx's.
func (r *Runner) Run(ctx context.Context, input, output *Buffer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.inputs[0], r.outputs[0] = input.value, output.value
	r.guard.Begin(ctx, 0)
	err := r.session.RunWithOptions(r.inputs[:], r.outputs[:], r.options)
	if stopped, _ := r.guard.End(); stopped {
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
