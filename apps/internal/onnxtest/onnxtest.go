// Package onnxtest writes small networks for tests, as ONNX files of which
// every byte comes from here. A network answers with the mean of each of its
// input's three channels, so a test can work the answer out by hand: a red
// picture has its highest value in the red channel.
package onnxtest

import (
	"encoding/binary"
	"os"
	"testing"
)

// Element types of ONNX's TensorProto.DataType.
const (
	Float32 = 1
	Int64   = 7
	Float16 = 10
)

// Network is what can vary.
type Network struct {
	// Type of input and output: Float32 (the default) or Float16.
	Type uint64
	// NHWC: the input is [1,H,W,3], else [1,3,H,W].
	NHWC bool
	// Open leaves the batch dimension of input and output open.
	Open bool
	// Height and Width of the input.
	Height, Width uint64
	// Flat: the output is [1,3], else [1,3,1,1] (or [1,1,1,3] for NHWC).
	Flat bool
	// Softmax applies one to a flat output.
	Softmax bool
	// SecondInput adds an input that the network needs.
	SecondInput bool
}

// Write writes the network to path. Input and output are called "input" and
// "output".
func Write(t testing.TB, path string, n Network) {
	t.Helper()
	if err := os.WriteFile(path, n.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The field numbers below are those of onnx.proto (IR version 8, opset 13).
func (n Network) bytes() []byte {
	if n.Type == 0 {
		n.Type = Float32
	}
	input := []uint64{1, 3, n.Height, n.Width}
	output := []uint64{1, 3, 1, 1}
	axes := []uint64{2, 3}
	if n.NHWC {
		input = []uint64{1, n.Height, n.Width, 3}
		output = []uint64{1, 1, 1, 3}
		axes = []uint64{1, 2}
	}
	keep := uint64(1)
	if n.Flat {
		keep = 0
		output = []uint64{1, 3}
	}

	mean := "output"
	if n.Softmax || n.SecondInput {
		mean = "mean"
	}
	var graph message
	graph.message(1, node("ReduceMean", []string{"input"}, mean, attribute("axes", axes...), attribute("keepdims", keep)))
	switch {
	case n.Softmax:
		graph.message(1, node("Softmax", []string{mean}, "output"))
	case n.SecondInput:
		graph.message(1, node("Add", []string{mean, "bias"}, "output"))
	}
	graph.text(2, "channel-means")
	graph.message(11, value("input", n.Type, input, n.Open))
	if n.SecondInput {
		graph.message(11, value("bias", n.Type, output, n.Open))
	}
	graph.message(12, value("output", n.Type, output, n.Open))

	var opset message
	opset.text(1, "")
	opset.number(2, 13)
	var model message
	model.number(1, 8)
	model.message(7, graph)
	model.message(8, opset)
	return model
}

func node(kind string, inputs []string, output string, attributes ...message) message {
	var m message
	for _, input := range inputs {
		m.text(1, input)
	}
	m.text(2, output)
	m.text(4, kind)
	for _, a := range attributes {
		m.message(5, a)
	}
	return m
}

// attribute is a list of integers for axes and one integer else.
func attribute(name string, values ...uint64) message {
	const kindInt, kindInts = 2, 7
	var m message
	m.text(1, name)
	if name != "axes" {
		m.number(3, values[0])
		m.number(20, kindInt)
		return m
	}
	for _, v := range values {
		m.number(8, v)
	}
	m.number(20, kindInts)
	return m
}

func value(name string, kind uint64, dims []uint64, open bool) message {
	var shape message
	for i, d := range dims {
		var dim message
		if i == 0 && open {
			dim.text(2, "N")
		} else {
			dim.number(1, d)
		}
		shape.message(1, dim)
	}
	var tensor, kindOf, m message
	tensor.number(1, kind)
	tensor.message(2, shape)
	kindOf.message(1, tensor)
	m.text(1, name)
	m.message(2, kindOf)
	return m
}

// message is a protocol buffer's encoding.
type message []byte

func (m *message) number(field int, v uint64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3)
	*m = binary.AppendUvarint(*m, v)
}

func (m *message) text(field int, s string) { m.message(field, message(s)) }

func (m *message) message(field int, inner message) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = binary.AppendUvarint(*m, uint64(len(inner)))
	*m = append(*m, inner...)
}

// Library is the path of the real ONNX Runtime: ORT_LIB, or where the
// repository keeps it. A test fails when there is none.
func Library(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ORT_LIB"); path != "" {
		return path
	}
	path, err := findUpwards(".headroom/lib/libonnxruntime.so.1")
	if err != nil {
		t.Fatalf("the tests need ONNX Runtime: set ORT_LIB, or run make test, which fetches it: %v", err)
	}
	return path
}
