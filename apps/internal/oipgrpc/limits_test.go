package oipgrpc_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

// field is a field of a message on the wire.
func field(number protowire.Number, value ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), bytes.Join(value, nil))
}

func wire(t *testing.T, message proto.Message) []byte {
	t.Helper()
	text, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What would take much more in memory than on the wire is refused before it does;
// what is little is refused, if it is, as anywhere else.
func TestMessagesThatGrow(t *testing.T) {
	type contents = inferencepb.InferTensorContents
	name := field(1, []byte("tiny"))
	floats := wire(t, input("FP32", nil, 1, 2))
	// parameters has n entries, all of the same key.
	parameters := func(number protowire.Number, n int) []byte { return bytes.Repeat(field(number), n) }
	// ofInput is a message whose one input has more than FP32 pixels [1,2].
	ofInput := func(more ...[]byte) []byte {
		return append(bytes.Clone(name), field(5, append([][]byte{floats}, more...)...)...)
	}
	ofContents := func(more ...[]byte) []byte { return ofInput(field(5, more...)) }
	const fewFloats, otherField = `input "pixels" has 0 bytes of data; shape [1,2] of FP32 has 8`, "inputs[0].contents: FP32 is allowed in fp32_contents alone"
	ones := func(n int) []byte { return bytes.Repeat([]byte{1}, n) }
	unpacked := func(number protowire.Number, n int) []byte {
		return bytes.Repeat(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 1), n)
	}
	for _, test := range []struct {
		name, message string
		request       []byte
	}{
		{"as many inputs", `inputs has 64 tensors; the model takes exactly one, "pixels"`, append(bytes.Clone(name), bytes.Repeat(field(5), 64)...)},
		{"one input more", "inputs: has 65 items; allowed: up to 64", append(bytes.Clone(name), bytes.Repeat(field(5), 65)...)},
		{"inputs alone", "inputs: has 32768 items; allowed: up to 64", bytes.Repeat(field(5), limit/2)},
		{"many inputs before what can't be read", "inputs: has 65 items; allowed: up to 64", append(bytes.Repeat(field(5), 65), 0xff)},
		{"outputs", "outputs: has 65 items; allowed: up to 64", append(ofInput(), bytes.Repeat(field(6), 65)...)},
		{"raw contents", "raw_input_contents: has 65 items; allowed: up to 64", append(ofInput(), bytes.Repeat(field(7), 65)...)},
		{"names", "model_name: has 65 items; allowed: up to 64", bytes.Repeat(name, 65)},

		{"as many parameters", fewFloats, append(ofInput(), parameters(4, 64)...)},
		{"one parameter more", "parameters: has 65 items; allowed: up to 64", append(ofInput(), parameters(4, 65)...)},
		{"parameters of an input", "inputs.parameters: has 65 items; allowed: up to 64", ofInput(parameters(4, 65))},
		{"parameters of an output", "outputs.parameters: has 65 items; allowed: up to 64", append(ofInput(), field(6, parameters(2, 65))...)},
		{"parameters of several outputs", "outputs.parameters: has 66 items; allowed: up to 64", append(ofInput(), bytes.Repeat(field(6, parameters(2, 33)), 2)...)},
		{"values of a parameter", "parameters.value: has 65 items; allowed: up to 64", append(ofInput(), field(4, bytes.Repeat(field(2), 65))...)},
		{"choices of a value", "inputs.parameters.value.string_param: has 65 items; allowed: up to 64", ofInput(field(4, field(2, bytes.Repeat(field(3), 65))))},

		{"dimensions", "inputs.shape: has 641 bytes; allowed: up to 640", ofInput(field(3, ones(639)))},
		{"dimensions by themselves", "inputs.shape: has 65 items; allowed: up to 64", ofInput(unpacked(3, 64))},
		{"fields of contents", "inputs.contents: has 65 items; allowed: up to 64", ofInput(bytes.Repeat(field(5), 65))},

		{"as many integers", otherField, ofContents(field(3, ones(640)))},
		{"int64_contents", "inputs.contents.int64_contents: has 641 bytes; allowed: up to 640", ofContents(field(3, ones(641)))},
		{"int64_contents of several inputs", "inputs.contents.int64_contents: has 642 bytes; allowed: up to 640", bytes.Repeat(field(5, field(5, field(3, ones(321)))), 2)},
		{"int64_contents by themselves", "inputs.contents.int64_contents: has 65 items; allowed: up to 64", ofContents(unpacked(3, 65))},
		{"int_contents", "inputs.contents.int_contents: has 641 bytes; allowed: up to 640", ofContents(field(2, ones(641)))},
		{"uint64_contents", "inputs.contents.uint64_contents: has 641 bytes; allowed: up to 640", ofContents(field(5, ones(641)))},
		{"as many bytes_contents", otherField, ofContents(bytes.Repeat(field(8), 64))},
		{"bytes_contents", "inputs.contents.bytes_contents: has 65 items; allowed: up to 64", ofContents(bytes.Repeat(field(8), 65))},

		{"as many uint_contents", otherField, ofContents(field(4, ones(limit/4)))},
		{"uint_contents", "inputs.contents.uint_contents: has 16385 bytes; allowed: up to 16384; send more in raw_input_contents", ofContents(field(4, ones(limit/4+1)))},
		{"uint_contents by themselves", "inputs.contents.uint_contents: has 16385 bytes; allowed: up to 16384; send more in raw_input_contents", ofContents(unpacked(4, limit/4+1))},
		{"uint_contents in two parts", "inputs.contents.uint_contents: has 16386 bytes; allowed: up to 16384; send more in raw_input_contents", ofInput(bytes.Repeat(field(5, field(4, ones(limit/8+1))), 2))},

		{"fp64_contents, which do not grow", otherField, wire(t, request(nil, input("FP32", &contents{Fp64Contents: make([]float64, limit/9)}, 1, 2)))},
		{"fp32_contents, which do not grow", `input "pixels" has 60000 bytes of data; shape [1,2] of FP32 has 8`, wire(t, request(nil, input("FP32", &contents{Fp32Contents: make([]float32, 15000)}, 1, 2)))},
		{"fp32_contents by themselves", `input "pixels" has 400 bytes of data; shape [1,2] of FP32 has 8`,
			ofContents(bytes.Repeat(protowire.AppendFixed32(protowire.AppendTag(nil, 6, protowire.Fixed32Type), 0), 100))},
		{"raw contents that look like inputs", `input "pixels" has 60000 bytes of data; shape [1,2] of FP32 has 8`, append(ofInput(), field(7, bytes.Repeat(field(5), 30000))...)},
		{"fields of a later protocol", fewFloats, append(ofInput(), bytes.Repeat(field(9), 1000)...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, "")
			connection := start(t, b, io.Discard, grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
			var answer []byte
			err := connection.Invoke(t.Context(), inferencepb.GRPCInferenceService_ModelInfer_FullMethodName, &test.request, &answer)
			wantStatus(t, err, codes.InvalidArgument, test.message)
			if len(b.calls) > 0 {
				t.Error("the model was asked")
			}
		})
	}
}

// A message that can't be read is answered by gRPC itself.
func TestNoMessage(t *testing.T) {
	connection := start(t, tiny(oip.FP32, oip.FP32, ""), io.Discard, grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	for _, broken := range []string{"\xff", "\x2a\x05", "\x2a\x01\x0a"} {
		message, answer := []byte(broken), []byte(nil)
		err := connection.Invoke(t.Context(), inferencepb.GRPCInferenceService_ModelInfer_FullMethodName, &message, &answer)
		if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "failed to unmarshal the received message") {
			t.Errorf("%x: got %v", broken, err)
		}
	}
}

// Who counts calls sees also those whose message is refused.
func TestInterceptorsSeeWhatIsRefused(t *testing.T) {
	type seen struct {
		method string
		inputs int
		code   codes.Code
	}
	var calls []seen
	count := func(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		answer, err := handle(ctx, in)
		calls = append(calls, seen{info.FullMethod, len(in.(*inferencepb.ModelInferRequest).GetInputs()), status.Code(err)})
		return answer, err
	}
	client := inferencepb.NewGRPCInferenceServiceClient(connectTo(t, oipgrpc.New(oip.Config{
		Backend: tiny(oip.FP32, oip.FP32, floats), MaxBody: limit, MaxRows: 4, Timeout: time.Minute,
	}, slog.New(slog.DiscardHandler), grpc.ChainUnaryInterceptor(count))))

	valid := request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2))
	if _, err := client.ModelInfer(t.Context(), valid); err != nil {
		t.Error(err)
	}
	_, err := client.ModelInfer(t.Context(), &inferencepb.ModelInferRequest{Inputs: make([]*inferencepb.ModelInferRequest_InferInputTensor, 65)})
	wantStatus(t, err, codes.InvalidArgument, "inputs: has 65 items; allowed: up to 64")
	const method = "/inference.GRPCInferenceService/ModelInfer"
	if want := []seen{{method, 1, codes.OK}, {method, 0, codes.InvalidArgument}}; len(calls) != 2 || calls[0] != want[0] || calls[1] != want[1] {
		t.Errorf("got %v, want %v", calls, want)
	}
}
