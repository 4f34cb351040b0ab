package oipgrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

const limit = 64 << 10

// backend is a model that a test makes up.
type backend struct {
	dead, notReady, notLoaded bool
	model                     oip.Metadata
	infer                     func(context.Context, oip.Call) ([]byte, error)

	mutex sync.Mutex
	calls []oip.Call
}

func (b *backend) Live() bool                  { return !b.dead }
func (b *backend) Ready() bool                 { return !b.notReady }
func (b *backend) Model() (oip.Metadata, bool) { return b.model, !b.notLoaded }

func (b *backend) Infer(ctx context.Context, call oip.Call) ([]byte, error) {
	b.mutex.Lock()
	b.calls = append(b.calls, call)
	b.mutex.Unlock()
	return b.infer(ctx, call)
}

// tiny is a model whose row has 2 elements in and 3 out. Its output is output,
// once for each row.
func tiny(in, out oip.Datatype, output string) *backend {
	return &backend{
		model: oip.Metadata{
			Name: "tiny", Versions: []string{"7"}, Platform: "onnx_onnxv1",
			Inputs:  []oip.TensorMetadata{{Name: "pixels", Datatype: in, Shape: []int64{-1, 2}}},
			Outputs: []oip.TensorMetadata{{Name: "scores", Datatype: out, Shape: []int64{-1, 3}}},
		},
		infer: func(_ context.Context, call oip.Call) ([]byte, error) {
			return []byte(strings.Repeat(output, call.Rows)), nil
		},
	}
}

// Worked by hand: 1, -2.5 and 0.1 in little-endian bytes.
const (
	floats = "\x00\x00\x80\x3f" + "\x00\x00\x20\xc0" + "\xcd\xcc\xcc\x3d"
	halves = "\x00\x3c" + "\x00\xc1" + "\x66\x2e"
)

// buffer is a log that several goroutines write.
type buffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

// start runs a server for b until the test ends and connects a client to it.
func start(t *testing.T, b oip.Backend, log io.Writer, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	return connectTo(t, oipgrpc.New(oip.Config{
		Backend: b, MaxBody: limit, MaxRows: 4, Timeout: time.Minute,
		Name: "headroom-modelserver", Version: "1.2.3",
		Deadline: func(h http.Header) (time.Time, error) {
			text := h.Get("Headroom-Deadline")
			if text == "" {
				return time.Time{}, nil
			}
			ms, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("%s is %q; allowed: Unix time in milliseconds", "Headroom-Deadline", text)
			}
			return time.UnixMilli(ms), nil
		},
		Priority: func(h http.Header) (string, error) { return h.Get("Headroom-Priority"), nil },
	}, slog.New(slog.NewTextHandler(log, nil))), options...)
}

// connectTo runs a server until the test ends and connects a client to it.
func connectTo(t testing.TB, server *grpc.Server, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	connection, err := grpc.NewClient(listener.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

func connect(t *testing.T, b oip.Backend) inferencepb.GRPCInferenceServiceClient {
	t.Helper()
	return inferencepb.NewGRPCInferenceServiceClient(start(t, b, io.Discard))
}

func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if got := status.Convert(err); got.Code() != code || got.Message() != message {
		t.Errorf("got %v %q,\nwant %v %q", got.Code(), got.Message(), code, message)
	}
}

func wantMessage(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestLiveAndReady(t *testing.T) {
	loading := &backend{notReady: true, notLoaded: true}
	draining := tiny(oip.FP32, oip.FP32, "")
	draining.notReady = true
	dead := &backend{dead: true, notReady: true, notLoaded: true}
	for _, test := range []struct {
		name               string
		backend            *backend
		live, ready, model bool
		serving            healthpb.HealthCheckResponse_ServingStatus
	}{
		{"at work", tiny(oip.FP32, oip.FP32, ""), true, true, true, healthpb.HealthCheckResponse_SERVING},
		{"loading", loading, true, false, false, healthpb.HealthCheckResponse_NOT_SERVING},
		{"draining", draining, true, false, false, healthpb.HealthCheckResponse_NOT_SERVING},
		{"dead", dead, false, false, false, healthpb.HealthCheckResponse_NOT_SERVING},
	} {
		t.Run(test.name, func(t *testing.T) {
			connection := start(t, test.backend, io.Discard)
			client := inferencepb.NewGRPCInferenceServiceClient(connection)
			if got, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}); err != nil || got.Live != test.live {
				t.Errorf("live: got %v, %v", got, err)
			}
			if got, err := client.ServerReady(t.Context(), &inferencepb.ServerReadyRequest{}); err != nil || got.Ready != test.ready {
				t.Errorf("ready: got %v, %v", got, err)
			}
			for _, version := range []string{"", "7"} {
				if got, err := client.ModelReady(t.Context(), &inferencepb.ModelReadyRequest{Name: "tiny", Version: version}); err != nil || got.Ready != test.model {
					t.Errorf("model ready: got %v, %v", got, err)
				}
			}
			for _, service := range []string{"", "inference.GRPCInferenceService"} {
				got, err := healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
				if err != nil || got.Status != test.serving {
					t.Errorf("health of %q: got %v, %v", service, got, err)
				}
			}
		})
	}
}

func TestHealthOfOthersIsUnknown(t *testing.T) {
	client := healthpb.NewHealthClient(start(t, tiny(oip.FP32, oip.FP32, ""), io.Discard))
	_, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"})
	wantStatus(t, err, codes.NotFound, `there is no service "other"; there is "inference.GRPCInferenceService"`)
	stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("Watch: got %v, want Unimplemented", err)
	}
}

func TestMetadata(t *testing.T) {
	client := connect(t, tiny(oip.FP32, oip.UINT8, ""))
	server, err := client.ServerMetadata(t.Context(), &inferencepb.ServerMetadataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, server, &inferencepb.ServerMetadataResponse{Name: "headroom-modelserver", Version: "1.2.3", Extensions: []string{"binary_tensor_data"}})
	model, err := client.ModelMetadata(t.Context(), &inferencepb.ModelMetadataRequest{Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, model, &inferencepb.ModelMetadataResponse{
		Name: "tiny", Versions: []string{"7"}, Platform: "onnx_onnxv1",
		Inputs:  []*inferencepb.ModelMetadataResponse_TensorMetadata{{Name: "pixels", Datatype: "FP32", Shape: []int64{-1, 2}}},
		Outputs: []*inferencepb.ModelMetadataResponse_TensorMetadata{{Name: "scores", Datatype: "UINT8", Shape: []int64{-1, 3}}},
	})
}

func TestModelsThatAreNotThere(t *testing.T) {
	client := connect(t, tiny(oip.FP32, oip.FP32, ""))
	const noModel, noVersion = `there is no model "other"; there is "tiny"`, `model "tiny" has no version "8"; it has ["7"]`
	_, err := client.ModelReady(t.Context(), &inferencepb.ModelReadyRequest{Name: "other"})
	wantStatus(t, err, codes.NotFound, noModel)
	_, err = client.ModelReady(t.Context(), &inferencepb.ModelReadyRequest{Name: "tiny", Version: "8"})
	wantStatus(t, err, codes.NotFound, noVersion)
	_, err = client.ModelMetadata(t.Context(), &inferencepb.ModelMetadataRequest{Name: "other"})
	wantStatus(t, err, codes.NotFound, noModel)
	_, err = client.ModelInfer(t.Context(), &inferencepb.ModelInferRequest{ModelName: "tiny", ModelVersion: "8"})
	wantStatus(t, err, codes.NotFound, noVersion)

	loading := connect(t, &backend{notReady: true, notLoaded: true})
	_, err = loading.ModelMetadata(t.Context(), &inferencepb.ModelMetadataRequest{Name: "tiny"})
	wantStatus(t, err, codes.Unavailable, "the model is still being loaded")
	_, err = loading.ModelInfer(t.Context(), &inferencepb.ModelInferRequest{ModelName: "tiny"})
	wantStatus(t, err, codes.Unavailable, "the model is still being loaded")
}

// input is a tensor for the model tiny.
func input(datatype string, contents *inferencepb.InferTensorContents, shape ...int64) *inferencepb.ModelInferRequest_InferInputTensor {
	return &inferencepb.ModelInferRequest_InferInputTensor{Name: "pixels", Datatype: datatype, Shape: shape, Contents: contents}
}

func request(raw [][]byte, inputs ...*inferencepb.ModelInferRequest_InferInputTensor) *inferencepb.ModelInferRequest {
	return &inferencepb.ModelInferRequest{ModelName: "tiny", Inputs: inputs, RawInputContents: raw}
}

func TestInfer(t *testing.T) {
	type contents = inferencepb.InferTensorContents
	row := []float32{1, -2.5, 0.1}
	for _, test := range []struct {
		name     string
		backend  *backend
		request  *inferencepb.ModelInferRequest
		rows     int
		input    string
		contents *contents
		raw      [][]byte
	}{
		{"FP32, typed", tiny(oip.FP32, oip.FP32, floats), request(nil, input("FP32", &contents{Fp32Contents: []float32{1, -2.5}}, 1, 2)),
			1, floats[:8], &contents{Fp32Contents: row}, nil},
		{"FP32, raw", tiny(oip.FP32, oip.FP32, floats), request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2)),
			1, floats[:8], nil, [][]byte{[]byte(floats)}},
		{"two rows", tiny(oip.FP32, oip.FP32, floats), request(nil, input("FP32", &contents{Fp32Contents: []float32{1, -2.5, 1, -2.5}}, 2, 2)),
			2, floats[:8] + floats[:8], &contents{Fp32Contents: append(row, row...)}, nil},
		{"UINT8, typed", tiny(oip.UINT8, oip.UINT8, "\x00\x80\xff"), request(nil, input("UINT8", &contents{UintContents: []uint32{7, 255}}, 1, 2)),
			1, "\x07\xff", &contents{UintContents: []uint32{0, 128, 255}}, nil},
		{"UINT8, raw", tiny(oip.UINT8, oip.UINT8, "\x00\x80\xff"), request([][]byte{{7, 255}}, input("UINT8", nil, 1, 2)),
			1, "\x07\xff", nil, [][]byte{{0, 128, 255}}},
		{"FP16 is raw", tiny(oip.FP16, oip.FP16, halves), request([][]byte{[]byte(halves[:4])}, input("FP16", nil, 1, 2)),
			1, halves[:4], nil, [][]byte{[]byte(halves)}},
		{"FP16 is raw also for a typed request", tiny(oip.UINT8, oip.FP16, halves), request(nil, input("UINT8", &contents{UintContents: []uint32{1, 2}}, 1, 2)),
			1, "\x01\x02", nil, [][]byte{[]byte(halves)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.request.Id = "a 42"
			test.request.Parameters = map[string]*inferencepb.InferParameter{"unknown": {ParameterChoice: &inferencepb.InferParameter_BoolParam{BoolParam: true}}}
			test.request.Outputs = []*inferencepb.ModelInferRequest_InferRequestedOutputTensor{{Name: "scores"}}
			got, err := connect(t, test.backend).ModelInfer(t.Context(), test.request)
			if err != nil {
				t.Fatal(err)
			}
			wantMessage(t, got, &inferencepb.ModelInferResponse{
				ModelName: "tiny", ModelVersion: "7", Id: "a 42",
				Outputs: []*inferencepb.ModelInferResponse_InferOutputTensor{{
					Name: "scores", Datatype: string(test.backend.model.Outputs[0].Datatype), Shape: []int64{int64(test.rows), 3}, Contents: test.contents,
				}},
				RawOutputContents: test.raw,
			})
			if call := test.backend.calls[0]; call.ID != "a 42" || call.Rows != test.rows || string(call.Input) != test.input {
				t.Errorf("the model got %+v, want %d rows, %x", call, test.rows, test.input)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	type contents = inferencepb.InferTensorContents
	two := &contents{Fp32Contents: []float32{1, 2}}
	raw := [][]byte{[]byte(floats[:8])}
	withID := request(raw, input("FP32", nil, 1, 2))
	withID.Id = "\t"
	withOutput := request(raw, input("FP32", nil, 1, 2))
	withOutput.Outputs = []*inferencepb.ModelInferRequest_InferRequestedOutputTensor{{Name: "labels"}}
	for _, test := range []struct {
		name     string
		datatype oip.Datatype
		request  *inferencepb.ModelInferRequest
		message  string
	}{
		{"no input", "FP32", request(nil), `inputs has 0 tensors; the model takes exactly one, "pixels"`},
		{"two inputs", "FP32", request(nil, input("FP32", two, 1, 2), input("FP32", two, 1, 2)), `inputs has 2 tensors; the model takes exactly one, "pixels"`},
		{"two inputs, typed and raw", "FP32", request(append(raw, raw...), input("FP32", two, 1, 2), input("FP32", two, 1, 2)), `inputs has 2 tensors; the model takes exactly one, "pixels"`},
		{"no contents", "FP32", request(nil, input("FP32", nil, 1, 2)), `input "pixels" has 0 bytes of data; shape [1,2] of FP32 has 8`},
		{"too few typed elements", "FP32", request(nil, input("FP32", two, 2, 2)), `input "pixels" has 8 bytes of data; shape [2,2] of FP32 has 16`},
		{"too many raw bytes", "FP32", request([][]byte{make([]byte, 9)}, input("FP32", nil, 1, 2)), `input "pixels" has 9 bytes of data; shape [1,2] of FP32 has 8`},
		{"typed and raw", "FP32", request(raw, input("FP32", two, 1, 2)), "inputs[0].contents: is given beside raw_input_contents; one of the two is allowed"},
		{"raw contents without an input", "FP32", request([][]byte{{}, {}}, input("FP32", nil, 1, 2)), "raw_input_contents has 2 items for 1 inputs; allowed: one for each, or none"},
		{"FP32 in another field", "FP32", request(nil, input("FP32", &contents{Fp64Contents: []float64{1, 2}}, 1, 2)), "inputs[0].contents: FP32 is allowed in fp32_contents alone"},
		{"FP32 in two fields", "FP32", request(nil, input("FP32", &contents{Fp32Contents: []float32{1, 2}, UintContents: []uint32{1}}, 1, 2)), "inputs[0].contents: FP32 is allowed in fp32_contents alone"},
		{"UINT8 in two fields", "UINT8", request(nil, input("UINT8", &contents{Fp32Contents: []float32{1}, UintContents: []uint32{1, 2}}, 1, 2)), "inputs[0].contents: UINT8 is allowed in uint_contents alone"},
		{"UINT8 out of range", "UINT8", request(nil, input("UINT8", &contents{UintContents: []uint32{1, 256}}, 1, 2)), "inputs[0].contents.uint_contents[1]: 256 is not allowed; allowed: 0 to 255"},
		{"FP16, typed", "FP16", request(nil, input("FP16", two, 1, 2)), "inputs[0].contents: has no field for FP16; send it in raw_input_contents"},
		{"another datatype", "FP32", request(raw, input("INT32", nil, 1, 2)), `input "pixels" has datatype INT32; the model takes FP32`},
		{"a negative dimension", "FP32", request(raw, input("FP32", nil, -1, 2)), `input "pixels" has shape[0] = -1; allowed: 1 or more`},
		{"too many rows", "FP32", request(raw, input("FP32", nil, 5, 2)), `input "pixels" has shape[0] = 5; at most 4 rows are accepted`},
		{"an id that does not print", "FP32", withID, "id has the byte 0x09 at position 0; only printable ASCII characters are allowed"},
		{"another output", "FP32", withOutput, `there is no output "labels"; the model gives "scores"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(test.datatype, oip.FP32, floats)
			_, err := connect(t, b).ModelInfer(t.Context(), test.request)
			wantStatus(t, err, codes.InvalidArgument, test.message)
			if len(b.calls) > 0 {
				t.Error("the model was asked")
			}
		})
	}
}

func TestErrorsOfTheModel(t *testing.T) {
	for _, test := range []struct {
		name    string
		err     error
		code    codes.Code
		message string
	}{
		{"400", &oip.Error{Status: 400, Message: "m"}, codes.InvalidArgument, "m"},
		{"404", &oip.Error{Status: 404, Message: "m"}, codes.NotFound, "m"},
		{"413", fmt.Errorf("lane: %w", &oip.Error{Status: 413, Message: "m"}), codes.InvalidArgument, "m"},
		{"500", &oip.Error{Status: 500, Message: "m"}, codes.Internal, "m"},
		{"503", &oip.Error{Status: 503, RetryAfter: true, Message: "m"}, codes.Unavailable, "m"},
		{"504", &oip.Error{Status: 504, Message: "m"}, codes.DeadlineExceeded, "m"},
		{"an error of its own", errors.New("the session broke"), codes.Internal, "the model failed on this request; the server's log says why"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, "")
			b.infer = func(context.Context, oip.Call) ([]byte, error) { return nil, test.err }
			var log buffer
			client := inferencepb.NewGRPCInferenceServiceClient(start(t, b, &log))
			_, err := client.ModelInfer(t.Context(), request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2)))
			wantStatus(t, err, test.code, test.message)
			if logged := strings.Contains(log.String(), "the session broke"); logged != (test.name == "an error of its own") {
				t.Errorf("the log has %q", log.String())
			}
		})
	}
}

func TestAPanicIsAnswered(t *testing.T) {
	b := tiny(oip.FP32, oip.FP32, floats)
	answer := b.infer
	b.infer = func(context.Context, oip.Call) ([]byte, error) { panic("a hole in the model") }
	var log buffer
	client := inferencepb.NewGRPCInferenceServiceClient(start(t, b, &log))
	valid := request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2))
	_, err := client.ModelInfer(t.Context(), valid)
	wantStatus(t, err, codes.Internal, "the server failed on this request; its log says why")
	for _, want := range []string{"a hole in the model", "/inference.GRPCInferenceService/ModelInfer", "oipgrpc_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has %q, want %q in it", log.String(), want)
		}
	}
	b.infer = answer
	if _, err := client.ModelInfer(t.Context(), valid); err != nil {
		t.Errorf("the server is gone after it: %v", err)
	}
}

func TestTheEarliestDeadlineHolds(t *testing.T) {
	valid := request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2))
	for _, test := range []struct {
		name     string
		call     time.Duration
		metadata time.Duration
		want     time.Duration
	}{
		{"the call's", 20 * time.Second, time.Hour, 20 * time.Second},
		{"the metadata's", time.Hour, 20 * time.Second, 20 * time.Second},
		{"the server's", time.Hour, time.Hour, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, floats)
			now := time.Now()
			ctx, cancel := context.WithDeadline(t.Context(), now.Add(test.call))
			defer cancel()
			ctx = metadata.AppendToOutgoingContext(ctx,
				"headroom-deadline", strconv.FormatInt(now.Add(test.metadata).UnixMilli(), 10), "headroom-priority", "high")
			if _, err := connect(t, b).ModelInfer(ctx, valid); err != nil {
				t.Fatal(err)
			}
			call := b.calls[0]
			if away := call.Deadline.Sub(now); away < test.want-time.Second || away > test.want+5*time.Second {
				t.Errorf("the deadline is %v away, want %v", away, test.want)
			}
			if call.Priority != "high" {
				t.Errorf("the priority is %q", call.Priority)
			}
		})
	}

	t.Run("one that has passed", func(t *testing.T) {
		b := tiny(oip.FP32, oip.FP32, floats)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "headroom-deadline", "1")
		_, err := connect(t, b).ModelInfer(ctx, valid)
		wantStatus(t, err, codes.DeadlineExceeded, "the deadline passed before the request was answered")
		if len(b.calls) > 0 {
			t.Error("the model was asked")
		}
	})
	t.Run("one that passes while the model works", func(t *testing.T) {
		b := tiny(oip.FP32, oip.FP32, floats)
		b.infer = func(ctx context.Context, _ oip.Call) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "headroom-deadline", strconv.FormatInt(time.Now().Add(50*time.Millisecond).UnixMilli(), 10))
		_, err := connect(t, b).ModelInfer(ctx, valid)
		wantStatus(t, err, codes.DeadlineExceeded, "the deadline passed before the request was answered")
	})
	t.Run("one that is none", func(t *testing.T) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "headroom-deadline", "soon")
		_, err := connect(t, tiny(oip.FP32, oip.FP32, floats)).ModelInfer(ctx, valid)
		wantStatus(t, err, codes.InvalidArgument, `Headroom-Deadline is "soon"; allowed: Unix time in milliseconds`)
	})
}

func TestACallerThatLeavesEndsTheCall(t *testing.T) {
	b := tiny(oip.FP32, oip.FP32, floats)
	begun, ended := make(chan struct{}), make(chan struct{})
	b.infer = func(ctx context.Context, _ oip.Call) ([]byte, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	client := connect(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, err := client.ModelInfer(ctx, request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2)))
	if status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the model still works for nobody")
	}
}

func TestLimits(t *testing.T) {
	b := tiny(oip.UINT8, oip.UINT8, "\x00\x00\x00")
	client := connect(t, b)
	message := request([][]byte{nil}, input("UINT8", nil, 1, 2))
	message.RawInputContents[0] = make([]byte, limit-proto.Size(message)-2)
	for proto.Size(message) < limit {
		message.RawInputContents[0] = append(message.RawInputContents[0], 0)
	}
	_, err := client.ModelInfer(t.Context(), message)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "bytes of data; shape [1,2] of UINT8 has 2") {
		t.Errorf("a message of %d bytes: got %v", proto.Size(message), err)
	}
	message.RawInputContents[0] = append(message.RawInputContents[0], 0)
	_, err = client.ModelInfer(t.Context(), message)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), strconv.Itoa(limit)) {
		t.Errorf("a message of %d bytes: got %v, want ResourceExhausted and the limit", proto.Size(message), err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", oipgrpc.MaxHeaderBytes))
	if _, err := client.ServerLive(ctx, &inferencepb.ServerLiveRequest{}); err == nil {
		t.Errorf("metadata of more than %d bytes was accepted", oipgrpc.MaxHeaderBytes)
	}
	if _, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}); err != nil {
		t.Errorf("the server is gone after it: %v", err)
	}
}

// More calls than a connection may have open wait for it: none is refused, and
// no more than allowed are at work.
func TestStreamsOfAConnection(t *testing.T) {
	b := tiny(oip.FP32, oip.FP32, floats)
	var mutex sync.Mutex
	open, most := 0, 0
	b.infer = func(context.Context, oip.Call) ([]byte, error) {
		mutex.Lock()
		open++
		most = max(most, open)
		mutex.Unlock()
		time.Sleep(100 * time.Millisecond)
		mutex.Lock()
		open--
		mutex.Unlock()
		return []byte(floats), nil
	}
	client := connect(t, b)
	// The first call waits for the connection's settings, which have the limit.
	if _, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range oipgrpc.MaxStreams + 50 {
		calls.Go(func() {
			if _, err := client.ModelInfer(t.Context(), request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2))); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if most > oipgrpc.MaxStreams {
		t.Errorf("%d calls were open, want %d at most", most, oipgrpc.MaxStreams)
	}
}

// The numbers of the fields, byte by byte, are those of the protocol.
func TestWireFormat(t *testing.T) {
	tensor := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "pixels")
	tensor = protowire.AppendString(protowire.AppendTag(tensor, 2, protowire.BytesType), "FP32")
	tensor = protowire.AppendBytes(protowire.AppendTag(tensor, 3, protowire.BytesType), []byte{1, 2})
	asked := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "scores")
	var message []byte
	for number, field := range map[protowire.Number][]byte{
		1: []byte("tiny"), 2: []byte("7"), 3: []byte("42"), 5: tensor, 6: asked, 7: []byte(floats[:8]),
	} {
		message = protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), field)
	}
	connection := start(t, tiny(oip.FP32, oip.FP32, floats), io.Discard, grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	var answer []byte
	if err := connection.Invoke(t.Context(), "/inference.GRPCInferenceService/ModelInfer", &message, &answer); err != nil {
		t.Fatal(err)
	}
	output := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "scores")
	output = protowire.AppendString(protowire.AppendTag(output, 2, protowire.BytesType), "FP32")
	output = protowire.AppendBytes(protowire.AppendTag(output, 3, protowire.BytesType), []byte{1, 3})
	want := map[protowire.Number]string{1: "tiny", 2: "7", 3: "42", 5: string(output), 6: floats}
	for rest := answer; len(rest) > 0; {
		number, _, tag := protowire.ConsumeTag(rest)
		if tag < 0 {
			t.Fatalf("the answer is %x", answer)
		}
		field, n := protowire.ConsumeBytes(rest[tag:])
		if n < 0 {
			t.Fatalf("the answer is %x", answer)
		}
		if want[number] != string(field) {
			t.Errorf("field %d is %q, want %q", number, field, want[number])
		}
		delete(want, number)
		rest = rest[tag+n:]
	}
	if len(want) > 0 {
		t.Errorf("the answer has no fields %v", want)
	}
}

// plain sends messages that are encoded already.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}
func (plain) Name() string { return "proto" }

// Whatever comes over the wire is answered, and never with Internal.
func FuzzModelInfer(f *testing.F) {
	type contents = inferencepb.InferTensorContents
	for _, seed := range []*inferencepb.ModelInferRequest{
		request([][]byte{{1, 2}}, input("UINT8", nil, 1, 2)),
		request(nil, input("UINT8", &contents{UintContents: []uint32{1, 2}}, 1, 2)),
		request(nil, input("UINT8", &contents{BytesContents: [][]byte{{1}}}, 1<<62, 1<<62)),
	} {
		text, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	b := tiny(oip.UINT8, oip.UINT8, "abc")
	connection := connectTo(f, oipgrpc.New(oip.Config{Backend: b, MaxBody: limit, MaxRows: 4, Timeout: time.Minute}, slog.New(slog.DiscardHandler)),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	f.Fuzz(func(t *testing.T, message []byte) {
		if proto.Unmarshal(message, &inferencepb.ModelInferRequest{}) != nil {
			t.Skip("no message")
		}
		var answer []byte
		switch err := connection.Invoke(t.Context(), "/inference.GRPCInferenceService/ModelInfer", &message, &answer); status.Code(err) {
		case codes.OK, codes.InvalidArgument, codes.NotFound:
		default:
			t.Errorf("got %v", err)
		}
	})
}
