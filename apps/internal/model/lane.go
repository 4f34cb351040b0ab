package model

import (
	"context"
	"errors"
	"fmt"
	"image"
	"time"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/reply"
)

// Preparer makes inputs of pictures, one at a time. It keeps its buffers.
type Preparer struct {
	model   *Model
	decoder *imaging.Decoder
	scaler  *imaging.Scaler
	picture imaging.Picture
}

// NewPreparer makes a Preparer of pictures within limits.
func (m *Model) NewPreparer(limits imaging.Limits) (*Preparer, error) {
	decoder, err := imaging.NewDecoder(m.geometry(), limits)
	if err != nil {
		return nil, err
	}
	return &Preparer{model: m, decoder: decoder, scaler: imaging.NewScaler(m.geometry())}, nil
}

// Close frees the preparer.
func (p *Preparer) Close() { p.decoder.Close() }

// Decode decodes a picture, which Fill then uses. An unusable picture is an
// *imaging.Error; when ctx is done early the error is ctx's.
func (p *Preparer) Decode(ctx context.Context, picture []byte) (err error) {
	p.picture, err = p.decoder.Decode(ctx, picture)
	if p.model.spec.Input.Orientation == Stored {
		p.picture.Orientation = imaging.Upright
	}
	return err
}

// Fill writes the decoded picture into the lane's input. The error is ctx's,
// when that ends first.
func (p *Preparer) Fill(ctx context.Context, lane *Lane) error {
	in := p.model.spec.Input
	pixels, err := p.scaler.Scale(ctx, p.picture)
	p.picture = imaging.Picture{}
	p.decoder.Release()
	if err != nil {
		return err
	}
	switch {
	case p.model.singles != nil:
		imaging.Pack(lane.input.Singles(), pixels, p.model.singles, in.Layout, in.Color)
	case p.model.halves != nil:
		imaging.Pack(lane.input.Halves(), pixels, p.model.halves, in.Layout, in.Color)
	default:
		imaging.Pack(lane.input.Bytes(), pixels, p.model.bytes, in.Layout, in.Color)
	}
	return nil
}

// Lane is the place of one picture on its way through the network: its input
// and its output.
type Lane struct {
	model         *Model
	input, output *onnx.Buffer
	values        []float32
}

// NewLane makes a Lane.
func (m *Model) NewLane() (*Lane, error) {
	input, err := onnx.NewBuffer(m.single(m.input))
	if err != nil {
		return nil, err
	}
	output, err := onnx.NewBuffer(m.single(m.output))
	if err != nil {
		input.Close()
		return nil, err
	}
	return &Lane{model: m, input: input, output: output, values: make([]float32, m.classes)}, nil
}

// single is the tensor for one picture.
func (m *Model) single(t onnx.Tensor) onnx.Tensor {
	if m.batch == 1 { // whose output may have no batch
		return t
	}
	return t.Rows(1)
}

// Close frees the lane.
func (l *Lane) Close() {
	l.input.Close()
	l.output.Close()
}

// SetInput writes one picture's input as it is: raw has the elements in the
// machine's order of bytes.
func (l *Lane) SetInput(raw []byte) error {
	own := l.input.Raw()
	if len(raw) != len(own) {
		return fmt.Errorf("input %q of model %s takes %d bytes for one picture; got %d", l.model.input.Name, l.model.Name(), len(own), len(raw))
	}
	copy(own, raw)
	return nil
}

// Output is the network's answer as it is, valid until the lane's next run.
func (l *Lane) Output() []byte { return l.output.Raw() }

// Predictions appends the k most probable classes (all, where there are fewer)
// to dst, most probable first.
func (l *Lane) Predictions(dst []reply.Prediction, k int) ([]reply.Prediction, error) {
	l.output.Floats(l.values)
	if err := probabilities(l.values, l.model.spec.Output, l.model.tolerance()); err != nil {
		return dst, fmt.Errorf("output %q of model %s: %w", l.model.output.Name, l.model.Name(), err)
	}
	return top(dst, l.values, l.model.labels, k), nil
}

// Runner runs the network, one run at a time.
type Runner struct {
	model         *Model
	runner        *onnx.Runner
	input, output *onnx.Buffer // of more than one picture; nil where that is never needed
	batch         int
}

// NewRunner makes a Runner of up to batch pictures a run, at least 1. It is
// the network's own batch where that is fixed.
func (m *Model) NewRunner(batch int) (*Runner, error) {
	if m.batch > 0 {
		batch = m.batch
	}
	runner, err := m.session.NewRunner()
	if err != nil {
		return nil, err
	}
	r := &Runner{model: m, runner: runner, batch: batch}
	if batch > 1 {
		if r.input, err = onnx.NewRows(m.input, batch); err == nil {
			r.output, err = onnx.NewRows(m.output, batch)
		}
		if err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// Close frees the runner.
func (r *Runner) Close() {
	for _, buffer := range []*onnx.Buffer{r.input, r.output} {
		if buffer != nil {
			buffer.Close()
		}
	}
	r.runner.Close()
}

// Batch is the most lanes that a run takes.
func (r *Runner) Batch() int { return r.batch }

// Run runs the network on the lanes, 1 to Batch of them. When ctx ends first,
// the run is ended and the error is ctx's.
func (r *Runner) Run(ctx context.Context, lanes []*Lane) error {
	err := r.run(ctx, lanes)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("running model %s: %w", r.model.Name(), err)
}

func (r *Runner) run(ctx context.Context, lanes []*Lane) error {
	if len(lanes) == 1 && r.model.batch <= 1 {
		return r.runner.Run(ctx, lanes[0].input, lanes[0].output)
	}
	rows := len(lanes)
	if r.model.batch > 0 {
		rows = r.model.batch
	}
	for i, lane := range lanes {
		if err := r.input.CopyRow(i, lane.input, 0); err != nil {
			return err
		}
	}
	if err := r.runner.Run(ctx, r.input.Rows(rows), r.output.Rows(rows)); err != nil {
		return err
	}
	for i, lane := range lanes {
		if err := lane.output.CopyRow(0, r.output, i); err != nil {
			return err
		}
	}
	return nil
}

// WarmUp classifies a grey picture rounds times, so that the first request
// finds memory allocated and code in the caches, and returns the time of the
// fastest run. It fails where the model does not work or answers with other
// things than its spec says.
func (r *Runner) WarmUp(ctx context.Context, preparer *Preparer, lane *Lane, rounds int) (fastest time.Duration, err error) {
	in := r.model.spec.Input
	grey := image.NewGray(image.Rect(0, 0, in.Width, in.Height))
	for i := range grey.Pix {
		grey.Pix[i] = 128
	}
	for range rounds {
		preparer.picture = imaging.Picture{Image: grey}
		if err := preparer.Fill(ctx, lane); err != nil {
			return 0, err
		}
		begin := time.Now()
		err := r.Run(ctx, []*Lane{lane})
		if took := time.Since(begin); fastest == 0 || took < fastest {
			fastest = took
		}
		if err == nil {
			_, err = lane.Predictions(nil, 1)
		}
		if err != nil {
			return 0, fmt.Errorf("warming up model %s: %w", r.model.Name(), err)
		}
	}
	return fastest, nil
}
