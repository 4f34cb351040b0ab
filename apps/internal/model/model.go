package model

import (
	"fmt"
	"os"
	"path/filepath"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
)

// MaxBatch is the most pictures that a network may take at a time.
const MaxBatch = 64

// Model is a loaded model.
type Model struct {
	resolved
	labels  []string
	session *onnx.Session
	// One of these is how pixels become elements, by the input's type.
	singles imaging.Tables[float32]
	halves  imaging.Tables[uint16]
	bytes   imaging.Tables[uint8]
}

// Load loads the network that spec describes from folder. onnx.Start must have
// been called. What spec leaves open and the network tells (names, types,
// layout, size, channels) is taken from the network. What does not fit together
// is refused with an error of one line that names the tensor, what was found
// and what was expected.
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
	r, err := resolve(path, spec, len(labels), inputs, outputs)
	if err != nil {
		return nil, err
	}
	session, err := onnx.Open(path, r.input.Name, r.output.Name)
	if err != nil {
		return nil, err
	}

	m := &Model{resolved: r, labels: labels, session: session}
	in := r.spec.Input
	switch in.Type {
	case onnx.Float16:
		m.halves = imaging.NewTables(in.Scale, in.Mean, in.Std, onnx.Half)
	case onnx.Uint8:
		m.bytes = imaging.NewTables(in.Scale, in.Mean, in.Std, func(v float32) uint8 { return uint8(v) })
	default:
		m.singles = imaging.NewTables(in.Scale, in.Mean, in.Std, func(v float32) float32 { return v })
	}
	return m, nil
}

// Name is the model's name.
func (m *Model) Name() string { return m.spec.Name }

// Version is the model's version; it may be empty.
func (m *Model) Version() string { return m.spec.Version }

// Classes is the number of classes.
func (m *Model) Classes() int { return m.classes }

// Labels are the classes in words, or none.
func (m *Model) Labels() []string { return m.labels }

// Input is the network's input; its first dimension is -1 where the batch is
// open.
func (m *Model) Input() onnx.Tensor { return m.input }

// Output is the network's output; its first dimension is -1 where the batch is
// open.
func (m *Model) Output() onnx.Tensor { return m.output }

// Batch is the number of pictures that the network takes at a time; 0 where it
// is open.
func (m *Model) Batch() int { return m.batch }

// Close frees the model. Its Preparers, Lanes and Runners must have been
// closed.
func (m *Model) Close() error { return m.session.Close() }

func (m *Model) geometry() imaging.Geometry {
	in := m.spec.Input
	return imaging.Geometry{
		Width: in.Width, Height: in.Height, Resize: in.Resize, ShorterSide: in.ShorterSide, Pad: uint8(in.Pad),
	}
}
