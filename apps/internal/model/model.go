package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/reply"
)

// Model is a loaded model.
type Model struct {
	spec    Spec
	labels  []string
	classes int
	session *onnx.Session
	singles *imaging.Tables[float32]
	halves  *imaging.Tables[uint16]
}

// Load loads the network that spec describes from folder. onnx.Start must have
// been called. What does not fit together is refused with an error of one line
// that names the tensor, what was found and what was expected.
func Load(folder string, spec Spec, labels []string) (*Model, error) {
	path := filepath.Join(folder, spec.File)
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("model file missing: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("model file %s is not a regular file", path)
	}
	inputs, outputs, err := onnx.Describe(path)
	if err != nil {
		return nil, err
	}
	input, err := checkInput(path, inputs, spec.Input)
	if err != nil {
		return nil, err
	}
	output, classes, err := checkOutput(path, outputs, spec.Output)
	if err != nil {
		return nil, err
	}
	if len(labels) > 0 && len(labels) != classes {
		return nil, fmt.Errorf("%s has %d labels; output %q of %s has %d classes",
			filepath.Join(folder, spec.Labels), len(labels), output.Name, path, classes)
	}
	session, err := onnx.Open(path, input, output)
	if err != nil {
		return nil, err
	}

	m := &Model{spec: spec, labels: labels, classes: classes, session: session}
	in := spec.Input
	if in.Type == onnx.Float16 {
		m.halves = imaging.NewTables(in.Scale, in.Mean, in.Std, onnx.Half)
	} else {
		m.singles = imaging.NewTables(in.Scale, in.Mean, in.Std, func(v float32) float32 { return v })
	}
	return m, nil
}

func checkInput(path string, inputs []onnx.Tensor, spec Input) (onnx.Tensor, error) {
	if len(inputs) != 1 {
		return onnx.Tensor{}, fmt.Errorf("%s has %d inputs (%s); expected 1", path, len(inputs), names(inputs))
	}
	found := inputs[0]
	expected := onnx.Tensor{Name: spec.Name, Type: spec.Type, Shape: spec.Shape()}
	if found.Name != expected.Name {
		return onnx.Tensor{}, fmt.Errorf("%s: the input is called %q; input.name in %s expects %q", path, found.Name, SpecFile, expected.Name)
	}
	if found.Type != expected.Type || !found.Holds(expected.Shape) {
		return onnx.Tensor{}, fmt.Errorf("%s: input %q is %v; %s expects %v", path, found.Name, found, SpecFile, expected)
	}
	return expected, nil
}

func checkOutput(path string, outputs []onnx.Tensor, spec Output) (output onnx.Tensor, classes int, err error) {
	i := slices.IndexFunc(outputs, func(t onnx.Tensor) bool { return t.Name == spec.Name })
	if i < 0 {
		return onnx.Tensor{}, 0, fmt.Errorf("%s: the outputs are called %s; output.name in %s expects %q", path, names(outputs), SpecFile, spec.Name)
	}
	found := outputs[i]
	output = found.Single()
	n, wide := int64(1), 0
	for _, d := range output.Shape {
		if d != 1 {
			wide++
		}
		n *= d
	}
	if (output.Type != onnx.Float32 && output.Type != onnx.Float16) || n < 1 || n > math.MaxInt32 || wide > 1 || len(output.Shape) == 0 {
		return onnx.Tensor{}, 0, fmt.Errorf("%s: output %q is %v; expected float32 or float16 with one number a class, such as [1,1000]", path, found.Name, found)
	}
	return output, int(n), nil
}

func names(tensors []onnx.Tensor) string {
	result := make([]string, len(tensors))
	for i, t := range tensors {
		result[i] = fmt.Sprintf("%q", t.Name)
	}
	return strings.Join(result, ", ")
}

// Name is the model's name.
func (m *Model) Name() string { return m.spec.Name }

// Classes is the number of classes.
func (m *Model) Classes() int { return m.classes }

// Close frees the model. Its Slots must have been closed.
func (m *Model) Close() error { return m.session.Close() }

// Slot is what one classification at a time needs. It is not for concurrent
// use.
type Slot struct {
	model     *Model
	maxPixels int64
	scaler    *imaging.Scaler
	run       *onnx.Run
	order     []int
}

// NewSlot makes a Slot for pictures of at most maxPixels pixels.
func (m *Model) NewSlot(maxPixels int64) (*Slot, error) {
	run, err := m.session.NewRun()
	if err != nil {
		return nil, err
	}
	in := m.spec.Input
	return &Slot{
		model: m, maxPixels: maxPixels, run: run,
		scaler: imaging.NewScaler(in.Width, in.Height, in.Resize),
		order:  make([]int, m.classes),
	}, nil
}

// Close frees the slot.
func (s *Slot) Close() { s.run.Close() }

// WarmUp classifies a grey picture rounds times, so that the first request
// finds memory allocated and code in the caches. It fails where the model does
// not work or answers with other things than its spec says.
func (s *Slot) WarmUp(rounds int) error {
	in := s.model.spec.Input
	grey := image.NewGray(image.Rect(0, 0, in.Width, in.Height))
	for i := range grey.Pix {
		grey.Pix[i] = 128
	}
	for range rounds {
		if _, err := s.classify(grey, 1); err != nil {
			return fmt.Errorf("warming up model %s: %w", s.model.Name(), err)
		}
	}
	return nil
}

// Classify answers with the k most probable classes (all, where there are
// fewer), most probable first. An unusable picture is an *imaging.Error; when
// ctx is done early the error is ctx's; any other error is the model's.
func (s *Slot) Classify(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
	decoded, err := imaging.Decode(ctx, picture, s.maxPixels)
	if err != nil {
		return nil, err
	}
	return s.classify(decoded, k)
}

func (s *Slot) classify(picture image.Image, k int) ([]reply.Prediction, error) {
	s.fill(picture)
	output, err := s.run.Do()
	if err != nil {
		return nil, fmt.Errorf("running model %s: %w", s.model.Name(), err)
	}
	probabilities, err := probabilities(output, s.model.spec.Output.Kind)
	if err != nil {
		return nil, fmt.Errorf("output %q of model %s: %w", s.model.spec.Output.Name, s.model.Name(), err)
	}
	return s.top(probabilities, k), nil
}

// fill writes picture into the input tensor.
func (s *Slot) fill(picture image.Image) {
	in := s.model.spec.Input
	pixels := s.scaler.Scale(picture)
	if s.model.halves != nil {
		imaging.Pack(s.run.Halves(), pixels, s.model.halves, in.Layout, in.Color)
	} else {
		imaging.Pack(s.run.Singles(), pixels, s.model.singles, in.Layout, in.Color)
	}
}

func (s *Slot) top(probabilities []float64, k int) []reply.Prediction {
	for i := range s.order {
		s.order[i] = i
	}
	slices.SortFunc(s.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(probabilities[b], probabilities[a]), cmp.Compare(a, b))
	})
	predictions := make([]reply.Prediction, min(k, len(s.order)))
	for i := range predictions {
		class := s.order[i]
		predictions[i] = reply.Prediction{Class: class, Probability: probabilities[class]}
		if len(s.model.labels) > 0 {
			predictions[i].Label = s.model.labels[class]
		}
	}
	return predictions
}

// sumTolerance is how far from 1 the sum of a network's own probabilities may
// be: halves have 11 bits, and a thousand of them add their errors up.
const sumTolerance = 0.05

// probabilities turns a network's output into probabilities.
func probabilities(output []float32, kind Kind) ([]float64, error) {
	result := make([]float64, len(output))
	highest := math.Inf(-1)
	for i, v := range output {
		result[i] = float64(v)
		if math.IsNaN(result[i]) || math.IsInf(result[i], 0) {
			return nil, fmt.Errorf("class %d is %v, which is no finite number", i, v)
		}
		highest = max(highest, result[i])
	}
	sum := 0.0
	if kind == Logits {
		// exp of a difference that is never above 0 can't overflow.
		for i, v := range result {
			result[i] = math.Exp(v - highest)
			sum += result[i]
		}
		for i := range result {
			result[i] /= sum
		}
		return result, nil
	}
	for i, v := range result {
		sum += v
		if v < -sumTolerance || v > 1+sumTolerance {
			return nil, fmt.Errorf("class %d is %v, which is no probability: is output.kind in %s logits?", i, v, SpecFile)
		}
		result[i] = min(max(v, 0), 1)
	}
	if math.Abs(sum-1) > sumTolerance {
		return nil, fmt.Errorf("the classes add up to %.3f, not 1: is output.kind in %s logits?", sum, SpecFile)
	}
	return result, nil
}

// NewSlots makes and warms up n slots.
func (m *Model) NewSlots(n int, maxPixels int64, warmUps int) ([]*Slot, error) {
	result := make([]*Slot, 0, n)
	for range n {
		slot, err := m.NewSlot(maxPixels)
		if err == nil {
			result = append(result, slot)
			err = slot.WarmUp(warmUps)
		}
		if err != nil {
			for _, s := range result {
				s.Close()
			}
			return nil, err
		}
	}
	if len(result) == 0 {
		return nil, errors.New("a model needs at least one slot")
	}
	return result, nil
}
