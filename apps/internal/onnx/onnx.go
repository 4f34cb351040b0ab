// Package onnx runs a network of one input and one output with ONNX Runtime.
// It is the only package that touches C.
package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/x448/float16"
	ort "github.com/yalue/onnxruntime_go"
)

// libraryNames are the names under which ONNX Runtime is installed.
var libraryNames = []string{"libonnxruntime.so.1", "libonnxruntime.so"}

// FindLibrary returns the path of ONNX Runtime: the first that is there of its
// usual names in folders. The error lists where it looked.
func FindLibrary(folders ...string) (string, error) {
	for _, folder := range folders {
		for _, name := range libraryNames {
			path := filepath.Join(folder, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("ONNX Runtime not found: no %s in %s", strings.Join(libraryNames, " or "), strings.Join(folders, ", "))
}

var environment struct {
	sync.Mutex
	library string
}

// Start loads ONNX Runtime from the shared library at path, once in the life
// of a process: further calls must name the same path.
func Start(path string) error {
	environment.Lock()
	defer environment.Unlock()
	if environment.library != "" {
		if environment.library != path {
			return fmt.Errorf("ONNX Runtime is already loaded from %s", environment.library)
		}
		return nil
	}
	// Without this the loader's own error does not say that the file is missing.
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("ONNX Runtime can't be loaded: %w", err)
	}
	ort.SetSharedLibraryPath(path)
	// Every failure comes back as an error; ONNX Runtime's own lines on stderr
	// would be a second voice.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("ONNX Runtime can't be loaded from %s: %w", path, err)
	}
	environment.library = path
	return nil
}

// DataType is the type of a tensor's elements.
type DataType string

// The types that this package moves in and out of networks.
const (
	Float32 DataType = "float32"
	Float16 DataType = "float16"
)

// Tensor describes an input or an output of a network.
type Tensor struct {
	Name string
	// Type is Float32 or Float16, or ONNX Runtime's name of another type.
	Type DataType
	// Shape has -1 for a dimension that is open.
	Shape []int64
}

// Holds says whether a tensor of the given shape can be passed as t.
func (t Tensor) Holds(shape []int64) bool {
	return slices.EqualFunc(t.Shape, shape, func(own, other int64) bool { return own == other || own < 0 })
}

// Single is t for one picture: with 1 as its first dimension, where that was
// open.
func (t Tensor) Single() Tensor {
	t.Shape = slices.Clone(t.Shape)
	if len(t.Shape) > 0 && t.Shape[0] < 0 {
		t.Shape[0] = 1
	}
	return t
}

// String is the tensor as messages show it, such as float32 [?,3,224,224].
func (t Tensor) String() string {
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = "?"
		if d >= 0 {
			dims[i] = fmt.Sprint(d)
		}
	}
	return fmt.Sprintf("%s [%s]", t.Type, strings.Join(dims, ","))
}

// Describe lists the inputs and outputs of the network in the file at path.
// Start must have been called.
func Describe(path string) (inputs, outputs []Tensor, err error) {
	options, err := sessionOptions()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = options.Destroy() }()
	// The session of this call is thrown away: optimizing it would be wasted.
	if err := options.SetGraphOptimizationLevel(ort.GraphOptimizationLevelDisableAll); err != nil {
		return nil, nil, fmt.Errorf("setting ONNX Runtime's options: %w", err)
	}
	in, out, err := ort.GetInputOutputInfoWithOptions(path, options)
	if err != nil {
		return nil, nil, fmt.Errorf("%s can't be loaded: %w", path, oneLine(err))
	}
	return tensors(in), tensors(out), nil
}

func tensors(infos []ort.InputOutputInfo) []Tensor {
	result := make([]Tensor, len(infos))
	for i, info := range infos {
		kind := DataType(strings.ToLower(strings.TrimPrefix(info.OrtValueType.String(), "ONNX_TYPE_")))
		if info.OrtValueType == ort.ONNXTypeTensor {
			switch info.DataType {
			case ort.TensorElementDataTypeFloat:
				kind = Float32
			case ort.TensorElementDataTypeFloat16:
				kind = Float16
			default:
				kind = DataType(strings.ToLower(strings.TrimPrefix(info.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_")))
			}
		}
		result[i] = Tensor{Name: info.Name, Type: kind, Shape: slices.Clone([]int64(info.Dimensions))}
	}
	return result
}

// Session is a loaded network. Its Runs may work at the same time.
type Session struct {
	session       *ort.DynamicAdvancedSession
	input, output Tensor
}

// Open loads the network in the file at path for runs from input to output,
// whose types are Float32 or Float16 and whose shapes have no open dimension.
// Every run works on one thread, the caller's: small networks get more done on
// a machine's cores side by side than one after the other on all of them.
func Open(path string, input, output Tensor) (*Session, error) {
	options, err := sessionOptions()
	if err != nil {
		return nil, err
	}
	defer func() { _ = options.Destroy() }()
	session, err := ort.NewDynamicAdvancedSession(path, []string{input.Name}, []string{output.Name}, options)
	if err != nil {
		return nil, fmt.Errorf("%s can't be loaded: %w", path, oneLine(err))
	}
	return &Session{session: session, input: input, output: output}, nil
}

func sessionOptions() (*ort.SessionOptions, error) {
	if !ort.IsInitialized() {
		return nil, errors.New("ONNX Runtime has not been loaded")
	}
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("creating ONNX Runtime's options: %w", err)
	}
	err = errors.Join(
		options.SetIntraOpNumThreads(1),
		options.SetInterOpNumThreads(1),
		options.SetExecutionMode(ort.ExecutionModeSequential),
		// An idle replica must use no CPU: its CPU time is what is promised to be small.
		options.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		options.AddSessionConfigEntry("session.inter_op.allow_spinning", "0"),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting ONNX Runtime's options: %w", err), options.Destroy())
	}
	return options, nil
}

// Close frees the network. Its Runs must have been closed.
func (s *Session) Close() error { return s.session.Destroy() }

// Run is a place to run a session in: an input tensor and an output tensor,
// used again and again. It is not for concurrent use.
type Run struct {
	session *ort.DynamicAdvancedSession
	in, out *buffer
	inputs  []ort.Value
	outputs []ort.Value
	result  []float32
}

// NewRun makes a Run.
func (s *Session) NewRun() (*Run, error) {
	in, err := newBuffer(s.input)
	if err != nil {
		return nil, err
	}
	out, err := newBuffer(s.output)
	if err != nil {
		in.close()
		return nil, err
	}
	return &Run{
		session: s.session, in: in, out: out,
		inputs: []ort.Value{in.value}, outputs: []ort.Value{out.value},
		result: make([]float32, max(len(out.singles), len(out.halves))),
	}, nil
}

// Singles is the input tensor to write to, nil unless it is Float32.
func (r *Run) Singles() []float32 { return r.in.singles }

// Halves is the input tensor to write to, as the bits of IEEE 754 halves, nil
// unless it is Float16.
func (r *Run) Halves() []uint16 { return r.in.halves }

// Do runs the network on the input tensor and returns the output tensor's
// elements, valid until the next call.
func (r *Run) Do() ([]float32, error) {
	if err := r.session.Run(r.inputs, r.outputs); err != nil {
		return nil, oneLine(err)
	}
	copy(r.result, r.out.singles)
	for i, half := range r.out.halves {
		r.result[i] = float16.Frombits(half).Float32()
	}
	return r.result, nil
}

// Close frees the tensors.
func (r *Run) Close() {
	r.in.close()
	r.out.close()
}

// buffer is a tensor over Go memory, which is pinned for as long as C knows it.
type buffer struct {
	value   ort.Value
	singles []float32
	halves  []uint16
	pinner  runtime.Pinner
}

func newBuffer(t Tensor) (*buffer, error) {
	shape := ort.NewShape(t.Shape...)
	n := shape.FlattenedSize()
	if n < 1 {
		return nil, fmt.Errorf("tensor %q has no elements: %v", t.Name, t)
	}
	b := &buffer{}
	var err error
	switch t.Type {
	case Float32:
		b.singles = make([]float32, n)
		b.pinner.Pin(&b.singles[0])
		b.value, err = ort.NewTensor(shape, b.singles)
	case Float16:
		b.halves = make([]uint16, n)
		b.pinner.Pin(&b.halves[0])
		bytes := unsafe.Slice((*byte)(unsafe.Pointer(&b.halves[0])), 2*n)
		b.value, err = ort.NewCustomDataTensor(shape, bytes, ort.TensorElementDataTypeFloat16)
	default:
		return nil, fmt.Errorf("tensor %q is %v; only %s and %s are supported", t.Name, t, Float32, Float16)
	}
	if err != nil {
		b.pinner.Unpin()
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return b, nil
}

func (b *buffer) close() {
	_ = b.value.Destroy()
	b.pinner.Unpin()
}

// Half is v as the bits of the nearest IEEE 754 half.
func Half(v float32) uint16 { return float16.Fromfloat32(v).Bits() }

// oneLine keeps an error of ONNX Runtime, which may span lines, on one.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
