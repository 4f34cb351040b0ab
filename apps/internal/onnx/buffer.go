package onnx

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/x448/float16"
	ort "github.com/yalue/onnxruntime_go"
)

// Buffer is a tensor over Go memory, which is pinned for as long as C knows it.
// It is not for concurrent use.
type Buffer struct {
	tensor Tensor
	rows   int
	n      int
	// One of these is the memory, by the tensor's type.
	singles []float32
	halves  []uint16
	bytes   []uint8

	value  ort.Value
	views  []*Buffer // of the first 1, 2, … rows
	pinner *runtime.Pinner
}

// NewBuffer makes a Buffer of t, which has no open dimension and whose type is
// one that this package moves.
func NewBuffer(t Tensor) (*Buffer, error) { return newBuffer(t, 1) }

// NewRows makes a Buffer of t with n, at least 1, as its first dimension. Rows
// then gives the tensors of fewer rows.
func NewRows(t Tensor, n int) (*Buffer, error) {
	b, err := newBuffer(t.Rows(n), n)
	if err != nil {
		return nil, err
	}
	for rows := 1; rows < n; rows++ {
		view := b.prefix(rows)
		if err := view.wrap(); err != nil {
			b.Close()
			return nil, err
		}
		b.views = append(b.views, view)
	}
	return b, nil
}

func newBuffer(t Tensor, rows int) (*Buffer, error) {
	n := ort.NewShape(t.Shape...).FlattenedSize()
	if n < 1 || len(t.Shape) == 0 {
		return nil, fmt.Errorf("tensor %q has no elements: %v", t.Name, t)
	}
	b := &Buffer{tensor: t, rows: rows, n: int(n), pinner: &runtime.Pinner{}}
	switch t.Type {
	case Float32:
		b.singles = make([]float32, n)
		b.pinner.Pin(&b.singles[0])
	case Float16:
		b.halves = make([]uint16, n)
		b.pinner.Pin(&b.halves[0])
	case Uint8:
		b.bytes = make([]uint8, n)
		b.pinner.Pin(&b.bytes[0])
	default:
		return nil, fmt.Errorf("tensor %q is %v; only %s, %s and %s are supported", t.Name, t, Float32, Float16, Uint8)
	}
	if err := b.wrap(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Buffer) prefix(rows int) *Buffer {
	view := &Buffer{tensor: b.tensor.Rows(rows), rows: rows, n: b.n / b.rows * rows}
	switch b.tensor.Type {
	case Float32:
		view.singles = b.singles[:view.n]
	case Float16:
		view.halves = b.halves[:view.n]
	default:
		view.bytes = b.bytes[:view.n]
	}
	return view
}

// wrap makes ONNX Runtime's tensor over the memory.
func (b *Buffer) wrap() (err error) {
	shape := ort.NewShape(b.tensor.Shape...)
	switch b.tensor.Type {
	case Float32:
		b.value, err = ort.NewTensor(shape, b.singles)
	case Float16:
		b.value, err = ort.NewCustomDataTensor(shape, b.Raw(), ort.TensorElementDataTypeFloat16)
	default:
		b.value, err = ort.NewTensor(shape, b.bytes)
	}
	if err != nil {
		return fmt.Errorf("tensor %q: %w", b.tensor.Name, oneLine(err))
	}
	return nil
}

// Close frees the tensors.
func (b *Buffer) Close() {
	for _, view := range b.views {
		if view.value != nil {
			_ = view.value.Destroy()
		}
	}
	if b.value != nil {
		_ = b.value.Destroy()
	}
	b.pinner.Unpin()
}

// Rows is the tensor of the first n rows, over the same memory. n is at least 1
// and at most what NewRows was given.
func (b *Buffer) Rows(n int) *Buffer {
	if n == b.rows {
		return b
	}
	return b.views[n-1]
}

// Len is the number of elements.
func (b *Buffer) Len() int { return b.n }

// Singles is the memory of a Float32 tensor, else nil.
func (b *Buffer) Singles() []float32 { return b.singles }

// Halves is the memory of a Float16 tensor, as the bits of IEEE 754 halves,
// else nil.
func (b *Buffer) Halves() []uint16 { return b.halves }

// Bytes is the memory of a Uint8 tensor, else nil.
func (b *Buffer) Bytes() []uint8 { return b.bytes }

// Raw is the memory as bytes in the machine's order, which is little-endian
// wherever ONNX Runtime is packaged for.
func (b *Buffer) Raw() []byte {
	switch {
	case b.singles != nil:
		return unsafe.Slice((*byte)(unsafe.Pointer(&b.singles[0])), 4*b.n)
	case b.halves != nil:
		return unsafe.Slice((*byte)(unsafe.Pointer(&b.halves[0])), 2*b.n)
	}
	return b.bytes[:b.n]
}

// CopyRow copies row from of source into row to of b. Both have rows of the
// same type and length.
func (b *Buffer) CopyRow(to int, source *Buffer, from int) error {
	own, other := b.rowBytes(), source.rowBytes()
	if own != other {
		return errors.New("the rows have different sizes")
	}
	copy(b.Raw()[to*own:][:own], source.Raw()[from*own:])
	return nil
}

func (b *Buffer) rowBytes() int { return len(b.Raw()) / b.rows }

// Floats writes the elements into dst, which has room for them, as float32.
func (b *Buffer) Floats(dst []float32) {
	copy(dst, b.singles)
	for i, half := range b.halves {
		dst[i] = float16.Frombits(half).Float32()
	}
	for i, v := range b.bytes {
		dst[i] = float32(v)
	}
}

// Half is v as the bits of the nearest IEEE 754 half.
func Half(v float32) uint16 { return float16.Fromfloat32(v).Bits() }
