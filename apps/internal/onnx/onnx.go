// Package onnx runs a network of one input and one output with ONNX Runtime.
// It is the only package that touches it.
package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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
	Uint8   DataType = "uint8"
)

// Size is the bytes of one element, 0 for a type that this package does not
// move.
func (d DataType) Size() int {
	switch d {
	case Float32:
		return 4
	case Float16:
		return 2
	case Uint8:
		return 1
	}
	return 0
}

// Tensor describes an input or an output of a network.
type Tensor struct {
	Name string
	// Type is Float32, Float16 or Uint8, or ONNX Runtime's name of another type.
	Type DataType
	// Shape has -1 for a dimension that is open.
	Shape []int64
}

// Holds says whether a tensor of the given shape can be passed as t.
func (t Tensor) Holds(shape []int64) bool {
	return slices.EqualFunc(t.Shape, shape, func(own, other int64) bool { return own == other || own < 0 })
}

// Rows is t with n as its first dimension.
func (t Tensor) Rows(n int) Tensor {
	t.Shape = slices.Clone(t.Shape)
	if len(t.Shape) > 0 {
		t.Shape[0] = int64(n)
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
			case ort.TensorElementDataTypeUint8:
				kind = Uint8
			default:
				kind = DataType(strings.ToLower(strings.TrimPrefix(info.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_")))
			}
		}
		result[i] = Tensor{Name: info.Name, Type: kind, Shape: slices.Clone([]int64(info.Dimensions))}
	}
	return result
}

// Session is a loaded network. Its Runners may work at the same time.
type Session struct {
	session *ort.DynamicAdvancedSession
}

// Open loads the network in the file at path for runs from the input to the
// output of these names. Every run works on one thread, the caller's: small
// networks get more done on a machine's cores side by side than one after the
// other on all of them.
func Open(path, input, output string) (*Session, error) {
	options, err := sessionOptions()
	if err != nil {
		return nil, err
	}
	defer func() { _ = options.Destroy() }()
	session, err := ort.NewDynamicAdvancedSession(path, []string{input}, []string{output}, options)
	if err != nil {
		return nil, fmt.Errorf("%s can't be loaded: %w", path, oneLine(err))
	}
	return &Session{session: session}, nil
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

// Close frees the network. Its Runners must have been closed.
func (s *Session) Close() error { return s.session.Destroy() }

// oneLine keeps an error of ONNX Runtime, which may span lines, on one.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
