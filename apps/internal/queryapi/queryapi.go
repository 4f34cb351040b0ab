// Package queryapi is what the dispatcher's callers see: POST /query and
// GET /result/{id}, and the probes.
package queryapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchmetrics"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/relay"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// TimeoutHeader is how long a caller waits, as a Go duration.
const TimeoutHeader = "Headroom-Timeout"

const (
	// MinTimeout is the shortest time that a caller may wait.
	MinTimeout = time.Millisecond
	// MaxTimeout is the longest time that a synchronous caller may wait.
	MaxTimeout = time.Minute
)

const (
	// bodiesAtATime is how many bodies of the largest size may be in memory
	// while they are read.
	bodiesAtATime = 32
	// bodyTime bounds the reading of a body where the request's deadline does
	// not: the slow sender of an asynchronous request.
	bodyTime = 15 * time.Second
)

// Config is what callers are promised, and where their requests are followed.
type Config struct {
	// SLO is how long a synchronous caller waits who says nothing; from
	// MinTimeout to MaxTimeout.
	SLO time.Duration
	// AsyncTimeout is how long an asynchronous request may take.
	AsyncTimeout time.Duration
	// MaxBody is the most bytes of a request's body.
	MaxBody int64
	// Tracing shows each query as a part of its caller's trace; nil is off.
	Tracing *tracing.Tracing
}

// API answers the dispatcher's callers.
type API struct {
	config   Config
	relay    *relay.Relay
	metrics  *dispatchmetrics.Metrics
	reader   *picture.Reader
	log      *slog.Logger
	ready    atomic.Bool
	draining atomic.Bool
}

// New is an API that says that it is not ready until Ready is called.
func New(config Config, relay *relay.Relay, log *slog.Logger) *API {
	return &API{
		config: config, relay: relay, metrics: relay.Metrics(), log: log,
		reader: picture.NewReader(picture.Limits{Body: config.MaxBody, Memory: bodiesAtATime * config.MaxBody, Time: bodyTime}),
	}
}

// Ready says that the queue has been connected.
func (a *API) Ready() { a.ready.Store(true) }

// Drain makes the API say that it is not ready any more; requests that come
// all the same are still answered.
func (a *API) Drain() { a.draining.Store(true) }

// Handler serves the API.
func (a *API) Handler() http.Handler {
	engine := reply.NewEngine(a.log)
	// An id may hold any printable character, a slash too.
	engine.UseRawPath = true
	engine.UnescapePathValues = true
	engine.POST("/query", a.query)
	engine.GET("/result/:id", a.result)
	engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	engine.GET("/readyz", a.readyz)
	return engine
}

func (a *API) readyz(c *gin.Context) {
	switch {
	case a.draining.Load():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the dispatcher is shutting down")
	case !a.ready.Load():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the dispatcher is waiting for Redis")
	case !a.relay.Reachable():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.QueueUnavailable, "Redis can't be reached")
	default:
		c.String(http.StatusOK, "ready\n")
	}
}

func (a *API) query(c *gin.Context) {
	accepted := time.Now()
	a.metrics.Arrived()
	async := prefersAsync(c.Request.Header)
	ctx := tracing.Extract(c.Request.Context(), c.Request.Header)
	ctx, span := a.config.Tracing.SpanOf(ctx, trace.SpanKindServer, accepted, "query")
	defer span.End()
	outcome := a.answer(ctx, c, accepted, async)
	if span.IsRecording() {
		show(span, c, async, outcome)
	}
	if !async {
		a.metrics.Replied(outcome, time.Since(accepted), tracing.ExemplarTraceID(ctx))
	}
}

// show says in a query's span what was asked and answered.
func show(span trace.Span, c *gin.Context, async bool, outcome dispatchmetrics.Outcome) {
	span.SetAttributes(
		semconv.HTTPRequestMethodKey.String(c.Request.Method),
		semconv.HTTPRoute(c.FullPath()),
		attribute.String("headroom.request_id", c.Writer.Header().Get(reply.IDHeader)),
		attribute.Bool("headroom.async", async),
		attribute.String("headroom.outcome", string(outcome)),
	)
	if !c.Writer.Written() {
		// The caller was gone.
		return
	}
	status := c.Writer.Status()
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= 500 {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}

// answer writes the reply to a query, whose trace is in ctx, and says what it
// ended in.
func (a *API) answer(ctx context.Context, c *gin.Context, accepted time.Time, async bool) dispatchmetrics.Outcome {
	id, err := requestID(c.Request.Header)
	if err != nil {
		return fail(c, http.StatusBadRequest, "", reply.BadRequest, err.Error())
	}
	c.Header(reply.IDHeader, id)
	timeout, err := a.timeout(c.Request.Header, async)
	if err != nil {
		return fail(c, http.StatusBadRequest, id, reply.BadRequest, err.Error())
	}
	// The deadline travels in whole milliseconds.
	deadline := accepted.Add(timeout).Truncate(time.Millisecond)

	// Refused before the picture is read: that is what makes it cheap.
	visit, admission := a.relay.Enter()
	if admission != dispatch.Admitted {
		return write(c, a.relay.Refusal(id, admission))
	}
	defer visit.Leave()

	body, err := a.picture(c, deadline)
	if err != nil {
		var bad *picture.Error
		switch {
		case !time.Now().Before(deadline):
			a.metrics.Dropped(dispatchmetrics.Deadline)
			return fail(c, http.StatusGatewayTimeout, id, reply.DeadlineExceeded, "the request's body was not there before its deadline")
		case ctx.Err() != nil:
			return gone(c)
		case errors.As(err, &bad):
			return fail(c, bad.Status, id, reply.Code(bad.Code), bad.Message)
		}
		return fail(c, http.StatusInternalServerError, id, reply.Internal, "the body could not be read")
	}

	if async {
		result, ok := visit.Accept(ctx, id, deadline, body)
		if !ok {
			return write(c, result)
		}
		c.Header("Location", "/result/"+url.PathEscape(id))
		c.Header("Preference-Applied", "respond-async")
		c.JSON(http.StatusAccepted, gin.H{"id": id})
		return dispatchmetrics.Answered
	}

	result, ok := visit.Query(ctx, id, deadline, body)
	if !ok {
		return gone(c)
	}
	return write(c, result)
}

// picture reads the picture, and stops reading at the deadline.
func (a *API) picture(c *gin.Context, deadline time.Time) ([]byte, error) {
	control := http.NewResponseController(c.Writer)
	cut := time.AfterFunc(time.Until(deadline), func() {
		// Where the connection can't do that, the body's own time limit holds.
		_ = control.SetReadDeadline(time.Unix(1, 0))
	})
	body, err := a.reader.Picture(c.Writer, c.Request)
	late := !cut.Stop()
	if err != nil {
		return nil, err
	}
	defer body.Release()
	if late {
		return nil, context.DeadlineExceeded
	}
	// The queue may still hold the picture when this request has ended.
	return bytes.Clone(body.Picture), nil
}

func (a *API) result(c *gin.Context) {
	id := c.Param("id")
	stored, err := a.relay.Result(c.Request.Context(), id)
	switch {
	case errors.Is(err, redisqueue.ErrNoResult):
		reply.Fail(c, http.StatusNotFound, "", reply.NotFound,
			fmt.Sprintf("there is no result %q: no asynchronous request had this id, or its result is not kept any more", id))
	case err != nil:
		a.log.Debug("result not read", "id", id, "error", err.Error())
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.QueueUnavailable, "the results can't be read at the moment")
	case stored.Pending:
		c.JSON(http.StatusAccepted, gin.H{"id": id})
	default:
		write(c, stored.Result)
	}
}

// requestID is the caller's id, or a new one.
func requestID(h http.Header) (string, error) {
	if len(h.Values(reply.IDHeader)) == 0 {
		return uuid.NewString(), nil
	}
	id := h.Get(reply.IDHeader)
	if err := reply.CheckID(id); err != nil {
		return "", err
	}
	if id == "." || id == ".." {
		return "", fmt.Errorf("%s %q can't be part of a path", reply.IDHeader, id)
	}
	return id, nil
}

func (a *API) timeout(h http.Header, async bool) (time.Duration, error) {
	if async {
		return a.config.AsyncTimeout, nil
	}
	text := h.Get(TimeoutHeader)
	if text == "" {
		return a.config.SLO, nil
	}
	timeout, err := time.ParseDuration(text)
	if err != nil || timeout < MinTimeout || timeout > MaxTimeout {
		return 0, fmt.Errorf("%s %q is not a duration from %v to %v such as 300ms", TimeoutHeader, text, MinTimeout, MaxTimeout)
	}
	return timeout, nil
}

// prefersAsync reads the Prefer header (RFC 7240).
func prefersAsync(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Prefer"), func(line string) bool {
		return slices.ContainsFunc(strings.Split(line, ","), func(preference string) bool {
			name, _, _ := strings.Cut(preference, ";")
			return strings.EqualFold(strings.TrimSpace(name), "respond-async")
		})
	})
}

func fail(c *gin.Context, status int, id string, code reply.Code, message string) dispatchmetrics.Outcome {
	reply.Fail(c, status, id, code, message)
	return outcomeOf(status)
}

// write sends a result whose body is JSON already.
func write(c *gin.Context, result dispatch.Result) dispatchmetrics.Outcome {
	if result.Status == http.StatusServiceUnavailable {
		c.Header("Retry-After", strconv.Itoa(int(reply.RetryAfter/time.Second)))
	}
	c.Data(result.Status, "application/json; charset=utf-8", result.Body)
	return outcomeOf(result.Status)
}

// gone ends a request whose caller has left.
func gone(c *gin.Context) dispatchmetrics.Outcome {
	c.Abort()
	return dispatchmetrics.Dropped
}

func outcomeOf(status int) dispatchmetrics.Outcome {
	switch {
	case status == http.StatusOK:
		return dispatchmetrics.Answered
	case status == http.StatusGatewayTimeout:
		return dispatchmetrics.Dropped
	case status < 500, status == http.StatusServiceUnavailable:
		return dispatchmetrics.Refused
	}
	return dispatchmetrics.Failed
}
