package oip

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/x448/float16"
)

// document is the JSON of an inference request.
type document struct {
	id, model, version string
	inputs             []documentInput
	outputs            []documentOutput
	// binaryOutput asks for every output as bytes that does not say otherwise.
	binaryOutput bool
}

type documentInput struct {
	TensorMetadata
	// path is where the JSON has it.
	path string
	// data is the position of the value in the text, or 0 where it has none: its
	// shape may come after it.
	data int
	// binarySize is how many bytes after the JSON are its own, or -1 where it
	// has none there.
	binarySize int64
}

type documentOutput struct {
	name string
	// binary is nil where the output does not say.
	binary *bool
}

// parse reads the JSON of an inference request; where its data lie, but not
// whether they are right. Every error is an *Error.
func parse(text []byte) (document, error) {
	var d document
	s := &scanner{text: text}
	err := s.object("", []field{
		{"id", s.into(&d.id)},
		// The URL has these two; Triton's examples and KServe's client repeat them.
		{"model_name", s.into(&d.model)},
		{"model_version", s.into(&d.version)},
		{"parameters", func(path string) error {
			return s.object(path, []field{{"binary_data_output", func(path string) (err error) {
				d.binaryOutput, err = s.boolean(path)
				return err
			}}}, true)
		}},
		{"inputs", func(path string) error {
			return s.list(path, func(path string) error {
				input, err := s.input(path)
				d.inputs = append(d.inputs, input)
				return err
			})
		}},
		{"outputs", func(path string) error {
			return s.list(path, func(path string) error {
				output, err := s.output(path)
				d.outputs = append(d.outputs, output)
				return err
			})
		}},
	}, false)
	if err != nil {
		return document{}, err
	}
	if s.peek(); s.at < len(text) {
		return document{}, bad("the JSON goes on after its object at byte %d; only white space may follow", s.at)
	}
	if d.inputs == nil {
		return document{}, bad("inputs: is missing or empty")
	}
	return d, nil
}

func (s *scanner) into(value *string) func(string) error {
	return func(path string) (err error) {
		*value, err = s.str(path)
		return err
	}
}

func (s *scanner) input(path string) (documentInput, error) {
	input := documentInput{path: path, binarySize: -1}
	err := s.object(path, []field{
		{"name", s.into(&input.Name)},
		{"shape", func(path string) error {
			return s.list(path, func(path string) error {
				dimension, err := s.whole(path, 0)
				input.Shape = append(input.Shape, dimension)
				return err
			})
		}},
		{"datatype", s.into((*string)(&input.Datatype))},
		{"parameters", func(path string) error {
			return s.object(path, []field{{"binary_data_size", func(path string) (err error) {
				input.binarySize, err = s.whole(path, 0)
				return err
			}}}, true)
		}},
		{"data", func(string) error {
			s.peek()
			input.data = s.at
			return s.skipNumbers()
		}},
	}, false)
	switch {
	case err != nil:
		return input, err
	case input.Name == "":
		return input, bad("%s.name: is missing or empty", path)
	case input.Datatype == "":
		return input, bad("%s.datatype: is missing or empty", path)
	case input.Shape == nil:
		return input, bad("%s.shape: is missing or empty", path)
	case input.data == 0 && input.binarySize < 0:
		return input, bad("%s: has neither data nor parameters.binary_data_size", path)
	case input.data != 0 && input.binarySize >= 0:
		return input, bad("%s: has both data and parameters.binary_data_size; one is allowed", path)
	}
	return input, nil
}

func (s *scanner) output(path string) (documentOutput, error) {
	var output documentOutput
	err := s.object(path, []field{
		{"name", s.into(&output.name)},
		{"parameters", func(path string) error {
			return s.object(path, []field{{"binary_data", func(path string) error {
				asked, err := s.boolean(path)
				output.binary = &asked
				return err
			}}}, true)
		}},
	}, false)
	if err == nil && output.name == "" {
		err = bad("%s.name: is missing or empty", path)
	}
	return output, err
}

// elements reads the input's data, flat or nested as its shape is, into bytes.
// It allocates no more than the text can fill, whatever the shape says.
func (i documentInput) elements(text []byte) ([]byte, error) {
	size := i.Datatype.Size()
	total, ok := bytesOf(i.Shape, i.Datatype)
	if !ok {
		return nil, bad("%s.shape: %s of %s can't be read", i.path, shapeText(i.Shape), i.Datatype)
	}
	s := &scanner{text: text, at: i.data}
	if s.peek() != '[' {
		return nil, s.notAllowed(i.path+".data", "an array of numbers")
	}
	shape := []int64{total / size}
	if s.nested() {
		shape = i.Shape
	}
	// An element and what parts it from the next are two bytes at least.
	capacity := min(total, int64(len(text)-i.data)/2*size)
	t := tensorScanner{scanner: s, input: i, data: make([]byte, 0, capacity)}
	if err := t.fill(shape); err != nil {
		return nil, err
	}
	return t.data, nil
}

// nested tells whether the array on which s is begins with an array.
func (s *scanner) nested() bool {
	inner := scanner{text: s.text, at: s.at + 1}
	return inner.peek() == '['
}

// tensorScanner reads the numbers of one tensor.
type tensorScanner struct {
	*scanner
	input documentInput
	data  []byte
	// last is the number read last.
	last number
}

// fill reads an array of the shape.
func (t *tensorScanner) fill(shape []int64) error {
	if t.peek() != '[' {
		return t.refuse("an array, as data is nested")
	}
	var items int64
	err := t.each(']', func() error {
		if items++; items > shape[0] {
			return bad("%s.data: has an array of more than %d items; shape %s has no more there", t.input.path, shape[0], shapeText(t.input.Shape))
		}
		if len(shape) > 1 {
			return t.fill(shape[1:])
		}
		return t.element()
	})
	if err == nil && items < shape[0] {
		err = bad("%s.data: has an array of %d items; shape %s has %d there", t.input.path, items, shapeText(t.input.Shape), shape[0])
	}
	return err
}

func (t *tensorScanner) element() error {
	t.peek()
	begin := t.at
	n := &t.last
	if !t.number(n) {
		return t.refuse("a number")
	}
	switch t.input.Datatype {
	case FP32:
		if v := n.float32(); !math.IsInf(float64(v), 0) {
			t.data = binary.LittleEndian.AppendUint32(t.data, math.Float32bits(v))
			return nil
		}
	case FP16:
		if v := half(n.float64()); !v.IsInf(0) {
			t.data = binary.LittleEndian.AppendUint16(t.data, v.Bits())
			return nil
		}
	case UINT8:
		if v := n.float64(); v >= 0 && v <= math.MaxUint8 && v == math.Trunc(v) {
			t.data = append(t.data, uint8(v))
			return nil
		}
		t.at = begin
		return t.refuse("a whole number from 0 to 255")
	}
	t.at = begin
	return t.refuse("a number that is finite as " + string(t.input.Datatype))
}

// refuse names the element that stands at t.
func (t *tensorScanner) refuse(allowed string) error {
	index := int64(len(t.data)) / t.input.Datatype.Size()
	return t.notAllowed(t.input.path+".data, element "+strconv.FormatInt(index, 10), allowed)
}

// half is the half nearest to v, infinite beyond the largest.
func half(v float64) float16.Float16 {
	narrow := float32(v)
	bits := math.Float32bits(narrow)
	// Rounding twice goes wrong where the first rounding ends half-way between
	// two halves. A float32 that is inexact and odd is never half-way.
	if back := float64(narrow); back != v && bits&1 == 0 {
		if math.Abs(back) < math.Abs(v) {
			bits++
		} else {
			bits--
		}
	}
	return float16.Fromfloat32(math.Float32frombits(bits))
}
