// Package modelapi is the model server's interface: POST / classifies a
// picture, /v2 and a gRPC service speak the Open Inference Protocol, GET
// /healthz and /readyz tell how the server is.
package modelapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// DeadlineHeader carries, as Unix time in milliseconds, the instant after
// which nobody waits for the answer.
const DeadlineHeader = "Headroom-Deadline"

// PriorityHeader carries what goes first where requests wait: low, normal or
// high.
const PriorityHeader = "Headroom-Priority"

// DefaultK is how many predictions a reply has when k is not given.
const DefaultK = 5

// Model answers requests; see classifier.Classifier.
type Model interface {
	Name() string
	Version() string
	Input() onnx.Tensor
	Output() onnx.Tensor
	Check(inference.Priority, time.Time) *inference.Refusal
	Classify(ctx context.Context, priority inference.Priority, picture []byte, k int, dst []reply.Prediction) (classifier.Answer, error)
	Infer(ctx context.Context, priority inference.Priority, rows int, input []byte) ([]byte, error)
}

// Config is what an API needs to know.
type Config struct {
	// Limits are those of bodies.
	Limits picture.Limits
	// Timeout is the longest that a request may take, whatever its deadline.
	Timeout time.Duration
	// Version is the program's.
	Version string
	Metrics *Metrics
	Tracing *tracing.Tracing // nil for none
	Log     *slog.Logger
}

// API is the interface. It starts not ready.
type API struct {
	config   Config
	metrics  *Metrics
	engine   *gin.Engine
	reader   *picture.Reader
	scratch  sync.Pool
	serving  atomic.Pointer[serving]
	draining atomic.Bool
}

// serving is what there is once a model is loaded.
type serving struct {
	Model
	metadata oip.Metadata
}

// scratch is what an answer is put together in.
type scratch struct {
	predictions []reply.Prediction
	text        []byte
}

// New makes an API.
func New(config Config) *API {
	a := &API{
		config: config, metrics: config.Metrics,
		reader: picture.NewReader(config.Limits), scratch: sync.Pool{New: func() any { return new(scratch) }},
	}
	a.engine = reply.NewEngine(config.Log, &a.draining)
	a.engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	a.engine.GET("/readyz", a.readyz)
	a.engine.POST("/", a.post)
	oip.Routes(a.engine.Group("/", a.countInfer), a.Protocol())
	return a
}

// Handler answers requests to classify and probes.
func (a *API) Handler() http.Handler { return a.engine }

// Ready makes the API answer with model, of which slots runs are made at a time.
func (a *API) Ready(model Model, slots int, report classifier.Report) {
	a.serving.Store(&serving{model, describeModel(model)})
	a.metrics.SetSlots(slots)
	a.metrics.load.Set((report.Load + report.WarmUp).Seconds())
	a.metrics.warmUp.Set(report.WarmUp.Seconds())
	a.metrics.model.WithLabelValues(strconv.Itoa(report.Batch), model.Name(), model.Version()).Set(1)
	if !a.draining.Load() {
		a.metrics.ready.Set(1)
	}
}

// Drain makes the API say that it is not ready from now on. Requests are still
// served, each as the last of its connection: some arrive until everyone knows.
func (a *API) Drain() {
	a.draining.Store(true)
	a.metrics.ready.Set(0)
}

func (a *API) readyz(c *gin.Context) {
	switch {
	case a.draining.Load():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the server is shutting down")
	case a.serving.Load() == nil:
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, notLoaded().message)
	default:
		c.String(http.StatusOK, "ok\n")
	}
}

// post answers POST / and counts it, also when it panics.
func (a *API) post(c *gin.Context) {
	ctx, span := a.config.Tracing.SpanOf(tracing.Extract(c.Request.Context(), c.Request.Header), trace.SpanKindServer, time.Time{}, "classify")
	defer span.End()
	status, reason := http.StatusInternalServerError, ""
	defer func() { a.metrics.count(status, reason) }()

	s := a.scratch.Get().(*scratch)
	defer a.scratch.Put(s)
	id := c.GetHeader(reply.IDHeader)
	if r, ok := a.classify(ctx, c, id, s); !ok {
		if reply.CheckID(id) != nil {
			id = ""
		}
		status, reason = r.status, r.reason
		if span.IsRecording() {
			span.SetAttributes(attribute.Int("http.response.status_code", r.status))
			span.SetStatus(codes.Error, r.message)
		}
		reply.Fail(c, r.status, id, r.code, r.message)
		return
	}
	status = http.StatusOK
	c.Data(http.StatusOK, reply.ContentType, s.text)
}

// classify puts the answer together in s.text, or refuses.
func (a *API) classify(ctx context.Context, c *gin.Context, id string, s *scratch) (r refusal, ok bool) {
	if id != "" {
		if err := reply.CheckID(id); err != nil {
			return badRequest(err), false
		}
	}
	k, err := parseK(c.Query("k"))
	if err != nil {
		return badRequest(err), false
	}
	deadline, err := parseDeadline(c.Request.Header)
	if err != nil {
		return badRequest(err), false
	}
	priority, err := parsePriority(c.Request.Header)
	if err != nil {
		return badRequest(err), false
	}
	m := a.serving.Load()
	if m == nil {
		return notLoaded(), false
	}
	end := time.Now().Add(a.config.Timeout)
	if !deadline.IsZero() && deadline.Before(end) {
		end = deadline
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	refused := func(err error) (refusal, bool) {
		r, ours := refusalOf(err)
		if ours {
			a.config.Log.Error("classification failed", "id", id, "error", err)
		}
		return r, false
	}
	if err := ctx.Err(); err != nil {
		return refused(err)
	}
	// Before the body is read: what is refused costs no memory.
	if notNow := m.Check(priority, end); notNow != nil {
		return refused(notNow)
	}
	a.metrics.reading.Inc()
	body, err := a.reader.Picture(c.Writer, c.Request)
	a.metrics.reading.Dec()
	if err != nil {
		return refused(err)
	}
	defer body.Release()
	a.metrics.inFlight.Inc()
	defer a.metrics.inFlight.Dec()
	begin := time.Now()
	answer, err := m.Classify(ctx, priority, body.Picture, k, s.predictions[:0])
	s.predictions = answer.Predictions
	if err != nil {
		return refused(err)
	}
	s.text = reply.Reply{ID: id, Model: m.Name(), Predictions: answer.Predictions}.Append(s.text[:0])
	ended := time.Now()
	a.metrics.Observe(classifier.Encode, ended.Sub(answer.Ran))
	a.metrics.served(ended.Sub(begin)-answer.Waited, tracing.ExemplarTraceID(ctx))
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.Int("http.response.status_code", http.StatusOK),
			attribute.Float64("headroom.queue_seconds", answer.Waited.Seconds()), attribute.String("headroom.model", m.Name()))
	}
	return refusal{}, true
}

func parseDeadline(header http.Header) (time.Time, error) {
	text := header.Get(DeadlineHeader)
	if text == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 {
		return time.Time{}, fmt.Errorf("%s is %s; allowed: Unix time in milliseconds", DeadlineHeader, reply.Quote(text))
	}
	return time.UnixMilli(ms), nil
}

func parsePriority(header http.Header) (inference.Priority, error) {
	priority, err := inference.ParsePriority(header.Get(PriorityHeader))
	if err != nil {
		return priority, fmt.Errorf("%s: %w", PriorityHeader, err)
	}
	return priority, nil
}

func parseK(query string) (int, error) {
	if query == "" {
		return DefaultK, nil
	}
	k, err := strconv.Atoi(query)
	if err != nil || k < 1 {
		return 0, fmt.Errorf("k is %s; allowed: a whole number from 1", reply.Quote(query))
	}
	return k, nil
}
