// Package oip serves one model by the Open Inference Protocol, version 2, with
// the binary tensor data extension: https://github.com/kserve/open-inference-protocol.
// What is the same over REST and gRPC, the check of a request and the call of
// the model, is Config.Infer; Routes is the REST part.
package oip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"headroom.dev/apps/internal/reply"
)

// Datatype is the protocol's name for the type of a tensor's elements.
type Datatype string

// The types that this package moves; a model may have no others.
const (
	FP32  Datatype = "FP32"
	FP16  Datatype = "FP16"
	UINT8 Datatype = "UINT8"
)

// datatypes are all types of the protocol.
var datatypes = []Datatype{
	"BOOL", UINT8, "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", FP16, "BF16", FP32, "FP64", "BYTES",
}

// Size is the bytes of one element, or 0 for a type that this package does
// not move.
func (d Datatype) Size() int64 {
	switch d {
	case FP32:
		return 4
	case FP16:
		return 2
	case UINT8:
		return 1
	}
	return 0
}

// TensorMetadata describes a tensor without its elements.
type TensorMetadata struct {
	Name     string   `json:"name"`
	Datatype Datatype `json:"datatype"`
	// Shape are the dimensions, the rows first; -1 is an open one.
	Shape []int64 `json:"shape"`
}

// Metadata describes a model.
type Metadata struct {
	Name string `json:"name"`
	// Versions are the names that requests may ask for, all of the same
	// network; the first is what a request without one is told.
	Versions []string `json:"versions,omitempty"`
	// Platform is the protocol's name of what runs the model, such as
	// onnx_onnxv1.
	Platform string `json:"platform"`
	// Inputs has exactly one tensor.
	Inputs []TensorMetadata `json:"inputs"`
	// Outputs has exactly one tensor, in which only the first dimension may be
	// open.
	Outputs []TensorMetadata `json:"outputs"`
}

// Tensor is a tensor with its elements.
type Tensor struct {
	Name     string
	Datatype Datatype
	// Shape are the dimensions, none of them open.
	Shape []int64
	// Data are the elements: little-endian, row-major, without gaps.
	Data []byte
}

// Backend is the model behind the protocol. Its methods are called from
// several goroutines at a time.
type Backend interface {
	// Live tells whether the process works.
	Live() bool
	// Ready tells whether the model is loaded, warm and not draining. Requests
	// that come while it is not ready reach Infer all the same.
	Ready() bool
	// Model describes the model; false until it is loaded.
	Model() (Metadata, bool)
	// Infer returns call.Rows rows of the output. An *Error is answered as it
	// is, the error of an ended context with 504, any other with 500.
	Infer(ctx context.Context, call Call) (output []byte, err error)
}

// Call is a request that has been checked against the model.
type Call struct {
	// ID is the request's id; empty where it has none.
	ID string
	// Rows is the first dimension of the input.
	Rows int
	// Input holds Rows rows: little-endian, row-major, without gaps.
	Input []byte
	// Deadline is the instant after which nobody waits; the context of the call
	// ends then.
	Deadline time.Time
	// Priority is what Config.Priority made of the headers.
	Priority string
}

// Config is what the servers of the protocol need to know.
type Config struct {
	Backend Backend
	// MaxBody is the largest request, in bytes.
	MaxBody int64
	// Hold counts bytes against the memory of all bodies until release is called,
	// or refuses with an error whose text is answered. Each call to infer over gRPC
	// holds MaxBody from before its message comes until it ends; over REST, Body
	// sees to that. It may be nil, for no limit.
	Hold func(bytes int64) (release func(), err error)
	// MaxRows is the largest first dimension of an input.
	MaxRows int
	// Timeout is the longest that a request may take, whatever its deadline.
	Timeout time.Duration
	// Name and Version are the server's own, for its metadata.
	Name, Version string
	// Deadline returns the instant that the headers of a request set, or the
	// zero time where they set none; its error is answered with 400. It may be
	// nil.
	Deadline func(http.Header) (time.Time, error)
	// Priority returns what the headers say of a request's priority; its error
	// is answered with 400. It may be nil.
	Priority func(http.Header) (string, error)
	// Body reads the body of a REST request, of at most MaxBody bytes. The bytes
	// are not used after release was called. An error with a method HTTPStatus()
	// int is answered with that status and its text, any other with 400.
	Body func(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error)
	Log  *slog.Logger
}

// Error is a request that can't be answered with a result.
type Error struct {
	// Status is the HTTP status to answer with.
	Status int
	// RetryAfter asks the caller to come back in a second.
	RetryAfter bool
	// Message is one line for people.
	Message string
}

func (e *Error) Error() string { return e.Message }

// Request is a decoded request, whatever carried it.
type Request struct {
	Model string
	// Version may be empty.
	Version string
	// ID may be empty.
	ID     string
	Inputs []Input
	// Outputs are the names of the tensors asked for; none means all.
	Outputs []string
}

// Input is a tensor of a request.
type Input struct {
	TensorMetadata
	// Data returns the elements as Tensor.Data holds them. It is called after
	// the metadata was found to be what the model takes, so nothing is
	// allocated for a shape that is not. An error is answered with 400.
	Data func() ([]byte, error)
}

// Response is the answer to a Request.
type Response struct {
	Model string
	// Version is the one asked for, or the model's first; empty where the model
	// has none.
	Version string
	ID      string
	Output  Tensor
}

// Terms are what the headers say of a request.
type Terms struct {
	// Deadline is the earliest of all that set one.
	Deadline time.Time
	Priority string
}

// Begin reads a request's headers; its time runs from now on. A deadline that
// has passed is an error already, so that no body is read for it. Every error
// is an *Error.
func (c Config) Begin(ctx context.Context, header http.Header) (Terms, error) {
	terms := Terms{Deadline: time.Now().Add(c.Timeout)}
	if end, ok := ctx.Deadline(); ok && end.Before(terms.Deadline) {
		terms.Deadline = end
	}
	if c.Deadline != nil {
		end, err := c.Deadline(header)
		if err != nil {
			return Terms{}, bad("%v", err)
		}
		if !end.IsZero() && end.Before(terms.Deadline) {
			terms.Deadline = end
		}
	}
	if c.Priority != nil {
		priority, err := c.Priority(header)
		if err != nil {
			return Terms{}, bad("%v", err)
		}
		terms.Priority = priority
	}
	if !time.Now().Before(terms.Deadline) {
		return Terms{}, tooLate()
	}
	return terms, nil
}

// Find returns the model and the version that answers a request for name and
// version, which may be empty. Every error is an *Error: 503 until the model
// is loaded, 404 for a name or a version that it does not have.
func (c Config) Find(name, version string) (Metadata, string, error) {
	model, ok := c.Backend.Model()
	switch {
	case !ok:
		return Metadata{}, "", &Error{Status: http.StatusServiceUnavailable, RetryAfter: true, Message: "the model is still being loaded"}
	case name != model.Name:
		return Metadata{}, "", &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no model %s; there is %q", reply.Quote(name), model.Name)}
	case version == "" && len(model.Versions) > 0:
		return model, model.Versions[0], nil
	case version != "" && !slices.Contains(model.Versions, version):
		return Metadata{}, "", &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("model %q has no version %s; it has %q", name, reply.Quote(version), model.Versions)}
	}
	return model, version, nil
}

// Infer checks request against the model, has the backend answer it and checks
// the answer. Every error is an *Error.
func (c Config) Infer(ctx context.Context, terms Terms, request Request) (Response, error) {
	model, version, err := c.Find(request.Model, request.Version)
	if err != nil {
		return Response{}, err
	}
	if err := checkID(request.ID); err != nil {
		return Response{}, err
	}
	takes, err := only(model.Inputs)
	if err != nil {
		return Response{}, c.failed(request.ID, fmt.Errorf("the model's inputs: %w", err))
	}
	gives, err := only(model.Outputs)
	if err != nil {
		return Response{}, c.failed(request.ID, fmt.Errorf("the model's outputs: %w", err))
	}
	if len(request.Inputs) != 1 {
		return Response{}, bad("inputs has %d tensors; the model takes exactly one, %q", len(request.Inputs), takes.Name)
	}
	input := request.Inputs[0]
	size, err := c.checkInput(input.TensorMetadata, takes)
	if err != nil {
		return Response{}, err
	}
	if err := checkOutputs(request.Outputs, gives.Name); err != nil {
		return Response{}, err
	}
	data, err := input.Data()
	if err != nil {
		return Response{}, bad("%v", err)
	}
	if int64(len(data)) != size {
		return Response{}, bad("input %q has %d bytes of data; shape %s of %s has %d", takes.Name, len(data), shapeText(input.Shape), takes.Datatype, size)
	}

	ctx, cancel := context.WithDeadline(ctx, terms.Deadline)
	defer cancel()
	if ctx.Err() != nil {
		return Response{}, tooLate()
	}
	rows := input.Shape[0]
	output, err := c.Backend.Infer(ctx, Call{
		ID: request.ID, Rows: int(rows), Input: data, Deadline: terms.Deadline, Priority: terms.Priority,
	})
	if err != nil {
		return Response{}, c.failed(request.ID, err)
	}
	shape := append([]int64{rows}, gives.Shape[1:]...)
	if want, ok := bytesOf(shape, gives.Datatype); !ok || int64(len(output)) != want {
		return Response{}, c.failed(request.ID, fmt.Errorf("output %q has %d bytes for shape %s of %s", gives.Name, len(output), shapeText(shape), gives.Datatype))
	}
	return Response{
		Model: model.Name, Version: version, ID: request.ID,
		Output: Tensor{Name: gives.Name, Datatype: gives.Datatype, Shape: shape, Data: output},
	}, nil
}

// only returns a model's one tensor of a kind, if it is one that can be moved.
func only(tensors []TensorMetadata) (TensorMetadata, error) {
	if len(tensors) != 1 || tensors[0].Datatype.Size() == 0 || len(tensors[0].Shape) == 0 {
		return TensorMetadata{}, fmt.Errorf("%+v; expected one tensor of FP32, FP16 or UINT8 with one dimension or more", tensors)
	}
	return tensors[0], nil
}

// failed is the answer to what went wrong in the model.
func (c Config) failed(id string, err error) *Error {
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return tooLate()
	}
	c.Log.Error("inference failed", "id", id, "error", err)
	return &Error{Status: http.StatusInternalServerError, Message: "the model failed on this request; the server's log says why"}
}

func checkID(id string) error {
	if len(id) > reply.MaxIDLength {
		return bad("id has %d characters; at most %d printable ASCII characters are allowed", len(id), reply.MaxIDLength)
	}
	for i := range len(id) {
		if id[i] < 0x20 || id[i] > 0x7e {
			return bad("id has the byte 0x%02x at position %d; only printable ASCII characters are allowed", id[i], i)
		}
	}
	return nil
}

// checkInput returns how many bytes the elements of an input have.
func (c Config) checkInput(input, takes TensorMetadata) (int64, error) {
	switch {
	case input.Name != takes.Name:
		return 0, bad("there is no input %s; the model takes %q", reply.Quote(input.Name), takes.Name)
	case !slices.Contains(datatypes, input.Datatype):
		return 0, bad("input %q has datatype %s; the protocol has %s", takes.Name, reply.Quote(string(input.Datatype)), joined(datatypes))
	case input.Datatype != takes.Datatype:
		return 0, bad("input %q has datatype %s; the model takes %s", takes.Name, input.Datatype, takes.Datatype)
	case len(input.Shape) != len(takes.Shape):
		return 0, bad("input %q has %d dimensions; the model takes %d, %s", takes.Name, len(input.Shape), len(takes.Shape), shapeText(takes.Shape))
	}
	for i, dimension := range input.Shape {
		switch fixed := takes.Shape[i]; {
		case fixed >= 0 && dimension != fixed:
			return 0, bad("input %q has shape[%d] = %d; the model takes %d there, %s in all", takes.Name, i, dimension, fixed, shapeText(takes.Shape))
		case dimension < 1:
			return 0, bad("input %q has shape[%d] = %d; allowed: 1 or more", takes.Name, i, dimension)
		case i == 0 && dimension > int64(c.MaxRows):
			return 0, bad("input %q has shape[0] = %d; at most %d rows are accepted", takes.Name, dimension, c.MaxRows)
		}
	}
	size, ok := bytesOf(input.Shape, input.Datatype)
	if !ok {
		return 0, bad("input %q has shape %s, which is more bytes than can be counted", takes.Name, shapeText(input.Shape))
	}
	return size, nil
}

func checkOutputs(names []string, gives string) error {
	for i, name := range names {
		if name != gives {
			return bad("there is no output %s; the model gives %q", reply.Quote(name), gives)
		}
		if i > 0 {
			return bad("output %q is asked for twice", gives)
		}
	}
	return nil
}

// bytesOf is the size of a tensor; false where it has an open dimension, a
// type without a size, or more bytes than an int64 counts.
func bytesOf(shape []int64, datatype Datatype) (int64, bool) {
	size := datatype.Size()
	if size == 0 {
		return 0, false
	}
	for _, dimension := range shape {
		if dimension < 0 || dimension > 0 && size > math.MaxInt64/dimension {
			return 0, false
		}
		size *= dimension
	}
	return size, true
}

func bad(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func tooLate() *Error {
	return &Error{Status: http.StatusGatewayTimeout, Message: "the deadline passed before the request was answered"}
}

// shapeText writes a shape as JSON does.
func shapeText(shape []int64) string {
	words := make([]string, len(shape))
	for i, dimension := range shape {
		words[i] = strconv.FormatInt(dimension, 10)
	}
	return "[" + strings.Join(words, ",") + "]"
}

func joined(names []Datatype) string {
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = string(name)
	}
	return strings.Join(words, ", ")
}
