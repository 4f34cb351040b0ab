package modelapi

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// ServerName is the server's name in the protocol's metadata.
const ServerName = "headroom-modelserver"

// platform is the protocol's name for what runs an ONNX file.
const platform = "onnx_onnxv1"

// Protocol is what the servers of the Open Inference Protocol need to know.
func (a *API) Protocol() oip.Config {
	return oip.Config{
		Backend: backend{a},
		MaxBody: a.config.Limits.Body, Hold: a.reader.Hold, MaxRows: model.MaxBatch, Timeout: a.config.Timeout,
		Name: ServerName, Version: a.config.Version,
		Deadline: parseDeadline,
		Priority: func(header http.Header) (string, error) {
			_, err := parsePriority(header)
			return header.Get(PriorityHeader), err
		},
		Body: func(w http.ResponseWriter, r *http.Request) ([]byte, func(), error) {
			a.metrics.reading.Inc()
			body, err := a.reader.Raw(w, r)
			a.metrics.reading.Dec()
			if err != nil {
				return nil, nil, err
			}
			return body.Picture, body.Release, nil
		},
		Log: a.config.Log,
	}
}

// GRPC is the protocol's gRPC server.
func (a *API) GRPC() *grpc.Server {
	return oipgrpc.New(a.Protocol(), a.config.Log, grpc.ChainUnaryInterceptor(a.countCall))
}

// backend is the model behind the protocol.
type backend struct{ api *API }

func (b backend) Live() bool { return true }

func (b backend) Ready() bool { return b.api.serving.Load() != nil && !b.api.draining.Load() }

func (b backend) Model() (oip.Metadata, bool) {
	m := b.api.serving.Load()
	if m == nil {
		return oip.Metadata{}, false
	}
	return m.metadata, true
}

// describeModel is what the protocol tells of a model, and asks before every
// request.
func describeModel(m Model) oip.Metadata {
	return oip.Metadata{
		Name: m.Name(), Versions: []string{cmp.Or(m.Version(), "1")}, Platform: platform,
		Inputs: []oip.TensorMetadata{describe(m.Input())}, Outputs: []oip.TensorMetadata{describe(m.Output())},
	}
}

// describe describes a tensor as a request sees it: with any number of rows,
// whatever the network takes at a time, as each row is run for itself.
func describe(t onnx.Tensor) oip.TensorMetadata {
	shape := t.Shape
	if len(shape) > 1 {
		shape = shape[1:]
	}
	datatypes := map[onnx.DataType]oip.Datatype{onnx.Float32: oip.FP32, onnx.Float16: oip.FP16, onnx.Uint8: oip.UINT8}
	return oip.TensorMetadata{Name: t.Name, Datatype: datatypes[t.Type], Shape: append([]int64{-1}, shape...)}
}

func (b backend) Infer(ctx context.Context, call oip.Call) ([]byte, error) {
	m := b.api.serving.Load()
	if m == nil {
		return nil, protocolError(ctx, notLoaded())
	}
	priority, err := inference.ParsePriority(call.Priority)
	if err != nil {
		return nil, protocolError(ctx, badRequest(err))
	}
	b.api.metrics.inFlight.Inc()
	defer b.api.metrics.inFlight.Dec()
	output, err := m.Infer(ctx, priority, call.Rows, call.Input)
	if err == nil {
		return output, nil
	}
	r, ours := refusalOf(err)
	if ours {
		return nil, err
	}
	return nil, protocolError(ctx, r)
}

// protocolError is a refusal in the protocol's form. What it counts as is left
// for whoever counts.
func protocolError(ctx context.Context, r refusal) *oip.Error {
	if t, ok := ctx.Value(tallyKey{}).(*tally); ok {
		t.reason = r.reason
	}
	return &oip.Error{Status: r.status, RetryAfter: r.status == http.StatusServiceUnavailable, Message: r.message}
}

// tally takes the reason of a refusal from where it is known to where it is
// counted.
type tally struct{ reason string }

type tallyKey struct{}

// countInfer counts the protocol's requests to infer over REST.
func (a *API) countInfer(c *gin.Context) {
	if !strings.HasSuffix(c.FullPath(), "/infer") {
		return
	}
	ctx, ended := a.begin(tracing.Extract(c.Request.Context(), c.Request.Header))
	code := http.StatusInternalServerError // where it panics
	defer func() { ended(code) }()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	code = c.Writer.Status()
}

// begin begins to count and to trace a request of the protocol to infer. ended
// is told the HTTP status that the request was answered with.
func (a *API) begin(ctx context.Context) (_ context.Context, ended func(status int)) {
	ctx, span := a.config.Tracing.SpanOf(ctx, trace.SpanKindServer, time.Time{}, "infer")
	var t tally
	return context.WithValue(ctx, tallyKey{}, &t), func(status int) {
		a.metrics.count(status, t.of(status))
		if span.IsRecording() {
			span.SetAttributes(attribute.Int("http.response.status_code", status))
			if status >= 300 {
				span.SetStatus(otelcodes.Error, t.of(status))
			}
		}
		span.End()
	}
}

// statusOf is the HTTP status that a gRPC code stands for here.
var statusOf = map[codes.Code]int{
	codes.OK: http.StatusOK, codes.InvalidArgument: http.StatusBadRequest, codes.NotFound: http.StatusNotFound,
	codes.ResourceExhausted: http.StatusRequestEntityTooLarge,
	codes.Unavailable:       http.StatusServiceUnavailable, codes.DeadlineExceeded: http.StatusGatewayTimeout,
}

// countCall counts the protocol's requests to infer over gRPC.
func (a *API) countCall(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if !strings.HasSuffix(info.FullMethod, "/ModelInfer") {
		return handler(ctx, request)
	}
	if values := metadata.ValueFromIncomingContext(ctx, tracing.Header); len(values) == 1 {
		ctx = tracing.WithTraceParent(ctx, values[0])
	}
	ctx, ended := a.begin(ctx)
	code := http.StatusInternalServerError // where it panics
	defer func() { ended(code) }()
	answer, err := handler(ctx, request)
	if known, ok := statusOf[status.Code(err)]; ok {
		code = known
	}
	return answer, err
}

// of is the reason that was left, or what a status says.
func (t *tally) of(code int) string {
	if t.reason != "" {
		return t.reason
	}
	switch code {
	case http.StatusNotFound:
		return string(reply.NotFound)
	case http.StatusRequestTimeout:
		return string(reply.RequestTimeout)
	case http.StatusRequestEntityTooLarge:
		return string(reply.TooLarge)
	case http.StatusUnsupportedMediaType:
		return string(reply.UnsupportedMediaType)
	case http.StatusServiceUnavailable:
		return string(reply.NotReady)
	case http.StatusGatewayTimeout:
		return string(reply.DeadlineExceeded)
	}
	return string(reply.BadRequest)
}
