package oipgrpc

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/http"

	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

// decode makes a request of a message. Every error is an *oip.Error.
func decode(in *inferencepb.ModelInferRequest) (oip.Request, error) {
	raw := in.GetRawInputContents()
	if len(raw) > 0 && len(raw) != len(in.GetInputs()) {
		return oip.Request{}, bad("raw_input_contents has %d items for %d inputs; allowed: one for each, or none", len(raw), len(in.GetInputs()))
	}
	request := oip.Request{
		Model: in.GetModelName(), Version: in.GetModelVersion(), ID: in.GetId(),
		Inputs: make([]oip.Input, len(in.GetInputs())),
	}
	if len(request.Inputs) != 1 {
		return request, nil // which is refused for their number
	}
	tensor := in.GetInputs()[0]
	input := &request.Inputs[0]
	input.TensorMetadata = oip.TensorMetadata{Name: tensor.GetName(), Datatype: oip.Datatype(tensor.GetDatatype()), Shape: tensor.GetShape()}
	switch {
	case len(raw) == 0:
		input.Data = func() ([]byte, error) { return elements(tensor) }
	case tensor.GetContents() != nil:
		return oip.Request{}, bad("inputs[0].contents: is given beside raw_input_contents; one of the two is allowed")
	default:
		input.Data = func() ([]byte, error) { return raw[0], nil }
	}
	for _, output := range in.GetOutputs() {
		request.Outputs = append(request.Outputs, output.GetName())
	}
	return request, nil
}

// elements returns the contents of a request's one input as bytes.
func elements(tensor *inferencepb.ModelInferRequest_InferInputTensor) ([]byte, error) {
	contents := tensor.GetContents()
	floats, ints := contents.GetFp32Contents(), contents.GetUintContents()
	others := len(contents.GetBoolContents()) + len(contents.GetIntContents()) + len(contents.GetInt64Contents()) +
		len(contents.GetUint64Contents()) + len(contents.GetFp64Contents()) + len(contents.GetBytesContents())
	var data []byte
	switch oip.Datatype(tensor.GetDatatype()) {
	case oip.FP32:
		if others+len(ints) > 0 {
			return nil, bad("inputs[0].contents: FP32 is allowed in fp32_contents alone")
		}
		data = make([]byte, 0, 4*len(floats))
		for _, v := range floats {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	case oip.UINT8:
		if others+len(floats) > 0 {
			return nil, bad("inputs[0].contents: UINT8 is allowed in uint_contents alone")
		}
		data = make([]byte, 0, len(ints))
		for j, v := range ints {
			if v > math.MaxUint8 {
				return nil, bad("inputs[0].contents.uint_contents[%d]: %d is not allowed; allowed: 0 to 255", j, v)
			}
			data = append(data, uint8(v))
		}
	default:
		return nil, bad("inputs[0].contents: has no field for %s; send it in raw_input_contents", tensor.GetDatatype())
	}
	return data, nil
}

// encode makes a message of a response, with raw contents if raw is set or the
// output's datatype has no others.
func encode(r oip.Response, raw bool) *inferencepb.ModelInferResponse {
	output := &inferencepb.ModelInferResponse_InferOutputTensor{
		Name: r.Output.Name, Datatype: string(r.Output.Datatype), Shape: r.Output.Shape,
	}
	out := &inferencepb.ModelInferResponse{
		ModelName: r.Model, ModelVersion: r.Version, Id: r.ID,
		Outputs: []*inferencepb.ModelInferResponse_InferOutputTensor{output},
	}
	data := r.Output.Data
	switch {
	case !raw && r.Output.Datatype == oip.FP32:
		floats := make([]float32, len(data)/4)
		for i := range floats {
			floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		output.Contents = &inferencepb.InferTensorContents{Fp32Contents: floats}
	case !raw && r.Output.Datatype == oip.UINT8:
		ints := make([]uint32, len(data))
		for i, v := range data {
			ints[i] = uint32(v)
		}
		output.Contents = &inferencepb.InferTensorContents{UintContents: ints}
	default:
		out.RawOutputContents = [][]byte{data}
	}
	return out
}

func bad(format string, args ...any) *oip.Error {
	return &oip.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}
