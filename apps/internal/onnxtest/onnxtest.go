// Package onnxtest writes small networks for tests, as ONNX files of which
// every byte comes from here. A network answers with the mean of each of its
// input's channels, so a test can work the answer out by hand: a red
// picture has its highest value in the red channel.
package onnxtest

import (
	"cmp"
	"encoding/binary"
	"os"
	"strconv"
	"testing"
)

// Element types of ONNX's TensorProto.DataType.
const (
	Float32 = 1
	Uint8   = 2
	Int64   = 7
	Float16 = 10
)

// Network is what can vary.
type Network struct {
	// Type of input and output: Float32 (the default), Float16 or Uint8.
	Type uint64
	// NHWC: the input is [1,H,W,3], else [1,3,H,W].
	NHWC bool
	// Channels of the input, and so classes of the output: 3 when it is 0.
	Channels uint64
	// Batch is the first dimension of input and output: 1 when it is 0.
	Batch uint64
	// Open leaves that dimension open.
	Open bool
	// OpenSize leaves the input's height and width open.
	OpenSize bool
	// OpenClasses leaves the output's classes, and so the input's channels, open.
	OpenClasses bool
	// Work is how many nodes there are before the mean that take time and
	// change nothing.
	Work int
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
	if err := os.WriteFile(path, n.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Bytes is the network's ONNX file. The field numbers are those of onnx.proto (IR
// version 8, opset 13).
func (n Network) Bytes() []byte {
	if n.Type == 0 {
		n.Type = Float32
	}
	n.Channels, n.Batch = cmp.Or(n.Channels, 3), cmp.Or(n.Batch, 1)
	input, axes := []dim{n.batch(), {n: n.Channels, open: n.OpenClasses}, {n: n.Height, open: n.OpenSize}, {n: n.Width, open: n.OpenSize}}, []uint64{2, 3}
	classes := dim{n: n.Channels, open: n.OpenClasses}
	output := []dim{n.batch(), classes, {n: 1}, {n: 1}}
	if n.NHWC {
		input, axes = []dim{input[0], input[2], input[3], input[1]}, []uint64{1, 2}
		output = []dim{n.batch(), {n: 1}, {n: 1}, classes}
	}
	keep := uint64(1)
	if n.Flat {
		keep = 0
		output = []dim{n.batch(), classes}
	}

	// Every step names what it reads and what it makes.
	last := "input"
	var graph message
	step := func(kind string, attributes ...message) {
		made := last + "."
		graph.message(1, node(kind, []string{last}, made, attributes...))
		last = made
	}
	if n.Type == Uint8 { // of which ONNX Runtime takes no mean
		step("Cast", attribute("to", Float32))
	}
	for range n.Work {
		step("Neg")
		step("Neg")
	}
	step("ReduceMean", attribute("axes", axes...), attribute("keepdims", keep))
	if n.Softmax {
		step("Softmax")
	}
	if n.Type == Uint8 {
		step("Cast", attribute("to", Uint8))
	}
	if n.SecondInput {
		graph.message(1, node("Add", []string{last, "bias"}, "output"))
	} else {
		graph.message(1, node("Identity", []string{last}, "output"))
	}
	graph.text(2, "channel-means")
	graph.message(11, value("input", n.Type, input))
	if n.SecondInput {
		graph.message(11, value("bias", n.Type, output))
	}
	graph.message(12, value("output", n.Type, output))

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

// dim is one dimension of a shape.
type dim struct {
	n    uint64
	open bool
}

func (n Network) batch() dim { return dim{n: n.Batch, open: n.Open} }

func value(name string, kind uint64, dims []dim) message {
	var shape message
	for i, d := range dims {
		var one message
		if d.open {
			one.text(2, "open"+strconv.Itoa(i))
		} else {
			one.number(1, d.n)
		}
		shape.message(1, one)
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
