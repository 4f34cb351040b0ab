package modelapi_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/tracing"
	"headroom.dev/apps/internal/tracing/tracingtest"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	traceparent  = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// Every way in makes a span of its caller's trace, and the latency of an
// answered picture has that trace as its exemplar.
func TestRequestsArePartsOfTheirCallersTrace(t *testing.T) {
	collector := tracingtest.StartCollector(t)
	traces, err := tracing.Start(t.Context(), tracing.Config{Service: "model-server", Endpoint: collector.URL, SampleRatio: 1})
	if err != nil {
		t.Fatal(err)
	}
	metrics := modelapi.NewMetrics("", func() float64 { return 1 })
	a := server{modelapi.New(modelapi.Config{
		Limits: picture.Limits{Body: 1024, Memory: 1 << 20, Time: time.Second}, Timeout: time.Second,
		Metrics: metrics, Tracing: traces, Log: slog.New(slog.DiscardHandler),
	}), metrics}
	model := &fake{classify: bus, infer: sums}
	a.Ready(model, 1, report)

	if w := do(a, request("/", "traceparent", traceparent)); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if w := post(a, "/v2/models/vehicles/infer", tensorRequest, "traceparent", traceparent); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls := a.GRPC()
	go func() { _ = calls.Serve(listener) }()
	defer calls.Stop()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	model.infer = func(context.Context, int, []byte) ([]byte, error) {
		return nil, &inference.Refusal{Reason: inference.Full, Message: "full"}
	}
	_, err = inferencepb.NewGRPCInferenceServiceClient(connection).ModelInfer(
		metadata.AppendToOutgoingContext(t.Context(), "traceparent", traceparent), &inferencepb.ModelInferRequest{
			ModelName: "vehicles",
			Inputs: []*inferencepb.ModelInferRequest_InferInputTensor{{
				Name: "input", Datatype: "FP32", Shape: []int64{1, 1, 1, 2}, Contents: &inferencepb.InferTensorContents{Fp32Contents: []float32{1, 2}},
			}},
		})
	if err == nil {
		t.Error("a full queue answered")
	}

	if err := traces.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	classify, infer := collector.Named("classify"), collector.Named("infer")
	if len(classify) != 1 || len(infer) != 2 {
		t.Fatalf("%d spans to classify and %d to infer", len(classify), len(infer))
	}
	for _, span := range append(classify, infer...) {
		if span.Trace != callersTrace || span.Parent != callersSpan {
			t.Errorf("%s hangs from %s of %s, want %s of %s", span.Name, span.Parent, span.Trace, callersSpan, callersTrace)
		}
	}
	if infer[0].Failed || !infer[1].Failed {
		t.Errorf("failed: %v and %v, want the second", infer[0].Failed, infer[1].Failed)
	}

	w := httptest.NewRecorder()
	scrape := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	scrape.Header.Set("Accept", "application/openmetrics-text")
	metrics.Handler().ServeHTTP(w, scrape)
	if want := `# {trace_id="` + callersTrace + `"}`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("no bucket of /metrics has %s", want)
	}
}
