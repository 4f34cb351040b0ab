package modelapi_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
	"headroom.dev/apps/internal/picture"
)

// sums answers each row of two numbers with three bytes.
func sums(_ context.Context, rows int, input []byte) ([]byte, error) {
	if len(input) != 8*rows {
		return nil, errors.New("the input has another size")
	}
	return slices.Repeat([]byte{1, 2, 3}, rows), nil
}

const tensorRequest = `{"inputs":[{"name":"input","datatype":"FP32","shape":[2,1,1,2],"data":[1,2,3,4]}]}`

func post(a server, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return do(a, r)
}

func TestTheProtocolOverREST(t *testing.T) {
	model := &fake{infer: sums, version: "7"}
	a := newAPI()
	get := func(path string) *httptest.ResponseRecorder {
		return do(a, httptest.NewRequest(http.MethodGet, path, nil))
	}
	if live, ready, found := get("/v2/health/live").Code, get("/v2/health/ready").Code, get("/v2/models/vehicles").Code; live != 200 || ready != 503 || found != 503 {
		t.Errorf("before the model is loaded: live %d, ready %d, model %d", live, ready, found)
	}
	a.Ready(model, 1, report)
	tests := []struct{ path, want string }{
		{"/v2", `{"extensions":["binary_tensor_data"],"name":"headroom-modelserver","version":"1.2.3"}`},
		{"/v2/models/vehicles", `{"name":"vehicles","versions":["7"],"platform":"onnx_onnxv1","inputs":[{"name":"input","datatype":"FP32","shape":[-1,1,1,2]}],"outputs":[{"name":"output","datatype":"UINT8","shape":[-1,3]}]}`},
		{"/v2/models/vehicles/versions/7/ready", `{"name":"vehicles","ready":true}`},
	}
	for _, test := range tests {
		if got := get(test.path); got.Code != 200 || strings.TrimSpace(got.Body.String()) != test.want {
			t.Errorf("%s: got %d %s\nwant %s", test.path, got.Code, got.Body, test.want)
		}
	}

	got := post(a, "/v2/models/vehicles/infer", tensorRequest, "Headroom-Priority", "high")
	const want = `{"model_name":"vehicles","model_version":"7","outputs":[{"name":"output","datatype":"UINT8","shape":[2,3],"data":[1,2,3,1,2,3]}]}`
	if got.Code != 200 || got.Body.String() != want || model.priority != inference.High {
		t.Errorf("got %d %s, priority %d\nwant %s", got.Code, got.Body, model.priority, want)
	}
	if got := outcomes(t, a); got != "1 answered, 0 refused, 0 failed" {
		t.Error(got)
	}
	a.Drain()
	if ready, answer := get("/v2/health/ready").Code, post(a, "/v2/models/vehicles/infer", tensorRequest).Code; ready != 503 || answer != 200 {
		t.Errorf("while draining: ready %d, infer %d", ready, answer)
	}
}

// Refusals have the protocol's form and are counted by their reason.
func TestRefusalsOfTheProtocol(t *testing.T) {
	tests := []struct {
		name, path, body string
		err              error
		status           int
		message, reason  string
	}{
		{"no tensor", "/v2/models/vehicles/infer", `{`, nil, 400, "", "bad_request"},
		{"no such model", "/v2/models/ships/infer", tensorRequest, nil, 404, "", "not_found"},
		{"a body that is too large", "/v2/models/vehicles/infer", strings.Repeat(" ", 1025), nil, 413, "the body is larger than 1024 bytes, the most that is accepted", "too_large"},
		{"a full queue", "/v2/models/vehicles/infer", tensorRequest, &inference.Refusal{Reason: inference.Full, Message: "full"}, 503, "full", "full"},
		{"a deadline that has passed", "/v2/models/vehicles/infer", tensorRequest, context.DeadlineExceeded, 504, "", "deadline_exceeded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := apiOf(&fake{infer: func(context.Context, int, []byte) ([]byte, error) { return nil, test.err }})
			got := post(a, test.path, test.body)
			if got.Code != test.status || !strings.HasPrefix(got.Body.String(), `{"error":"`+test.message) {
				t.Errorf("got %d %s", got.Code, got.Body)
			}
			if got := value(t, a, "inference_refused_total", "reason", test.reason); got != 1 {
				t.Errorf("%v refused for %s", got, test.reason)
			}
		})
	}
	a := apiOf(&fake{infer: func(context.Context, int, []byte) ([]byte, error) { return nil, errors.New("out of memory") }})
	if got := post(a, "/v2/models/vehicles/infer", tensorRequest); got.Code != 500 || strings.Contains(got.Body.String(), "memory") {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	if got := outcomes(t, a); got != "0 answered, 0 refused, 1 failed" {
		t.Error(got)
	}
}

// overGRPC serves a over gRPC until the test ends.
func overGRPC(t *testing.T, a server) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := a.GRPC()
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func TestTheProtocolOverGRPC(t *testing.T) {
	model := &fake{infer: sums}
	a := apiOf(model)
	client := inferencepb.NewGRPCInferenceServiceClient(overGRPC(t, a))

	infer := func(name string) (*inferencepb.ModelInferResponse, error) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "headroom-priority", "low")
		return client.ModelInfer(ctx, &inferencepb.ModelInferRequest{
			ModelName: name,
			Inputs: []*inferencepb.ModelInferRequest_InferInputTensor{{
				Name: "input", Datatype: "FP32", Shape: []int64{1, 1, 1, 2},
				Contents: &inferencepb.InferTensorContents{Fp32Contents: []float32{1, 2}},
			}},
		})
	}
	got, err := infer("vehicles")
	if err != nil || !slices.Equal(got.GetOutputs()[0].GetContents().GetUintContents(), []uint32{1, 2, 3}) || model.priority != inference.Low {
		t.Errorf("got %v, %v, priority %d", got, err, model.priority)
	}
	if _, err := infer("ships"); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
	model.infer = func(context.Context, int, []byte) ([]byte, error) {
		return nil, &inference.Refusal{Reason: inference.TooLate, Message: "too late"}
	}
	if _, err := infer("vehicles"); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	many := &inferencepb.ModelInferRequest{ModelName: "vehicles", Inputs: make([]*inferencepb.ModelInferRequest_InferInputTensor, 65)}
	if _, err := client.ModelInfer(t.Context(), many); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
	if got := outcomes(t, a); got != "1 answered, 3 refused, 0 failed" {
		t.Error(got)
	}
	for _, reason := range []string{"not_found", "too_late", "bad_request"} {
		if got := value(t, a, "inference_refused_total", "reason", reason); got != 1 {
			t.Errorf("%v refused for %s", got, reason)
		}
	}
}

// Bodies over REST and messages over gRPC have one memory.
func TestTheMemoryOfBodiesIsShared(t *testing.T) {
	metrics := modelapi.NewMetrics("1.2.3", func() float64 { return 1.5 })
	a := server{modelapi.New(modelapi.Config{
		Limits:  picture.Limits{Body: 8 << 10, Memory: 8 << 10, Time: 10 * time.Second},
		Timeout: 10 * time.Second, Version: "1.2.3", Metrics: metrics, Log: slog.New(slog.DiscardHandler),
	}), metrics}
	a.Ready(&fake{infer: sums}, 2, report)
	connection := overGRPC(t, a)
	client := inferencepb.NewGRPCInferenceServiceClient(connection)
	const full = "the bodies of the requests being read take 8192 bytes, the most that is accepted"
	infer := func() error {
		_, err := client.ModelInfer(t.Context(), &inferencepb.ModelInferRequest{
			ModelName:        "vehicles",
			Inputs:           []*inferencepb.ModelInferRequest_InferInputTensor{{Name: "input", Datatype: "FP32", Shape: []int64{1, 1, 1, 2}}},
			RawInputContents: [][]byte{make([]byte, 8)},
		})
		return err
	}

	// What counts a call down is told of its end at the same time as its client is.
	alone := func(when string) {
		var got *httptest.ResponseRecorder
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if got = post(a, "/v2/models/vehicles/infer", tensorRequest); got.Code != 503 {
				break
			}
		}
		if got.Code != 200 {
			t.Errorf("%s: %d %s", when, got.Code, got.Body)
		}
	}

	// A body of which a part has arrived: what is written to a pipe has been read.
	body, sender := io.Pipe()
	answered := make(chan *httptest.ResponseRecorder)
	go func() {
		answered <- do(a, httptest.NewRequest(http.MethodPost, "/v2/models/vehicles/infer", body))
	}()
	if _, err := sender.Write([]byte(tensorRequest[:10])); err != nil {
		t.Fatal(err)
	}
	if err := infer(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != full {
		t.Errorf("beside a body: %v", err)
	}
	if _, err := sender.Write([]byte(tensorRequest[10:])); err != nil {
		t.Fatal(err)
	}
	sender.Close()
	if got := <-answered; got.Code != 200 {
		t.Errorf("the body: %d %s", got.Code, got.Body)
	}
	if err := infer(); err != nil {
		t.Errorf("after the body: %v", err)
	}
	alone("after a call")

	// A call whose message is still to come. The server takes the calls of a
	// connection in their order: once the second is answered, the first is in.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, inferencepb.GRPCInferenceService_ModelInfer_FullMethodName); err != nil {
		t.Fatal(err)
	}
	if _, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v2/models/vehicles/infer", "/"} {
		if got := post(a, path, tensorRequest); got.Code != 503 || !strings.Contains(got.Body.String(), full) {
			t.Errorf("%s beside a call: %d %s", path, got.Code, got.Body)
		}
	}
	cancel()
	alone("after the call")
}
