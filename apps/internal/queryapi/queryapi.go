// Package queryapi is what the dispatcher's callers see: POST /query and
// GET /result/{id}, their description at /openapi.json, and the probes.
package queryapi

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"headroom.dev/apps/internal/apikeys"
	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchmetrics"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/relay"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

const (
	// bodyTime bounds the reading of a body where the request's deadline does
	// not: the slow sender of an asynchronous request.
	bodyTime = 15 * time.Second
	// writeTime is for writing an answer whose request was held for a replica.
	writeTime = time.Minute
	// maxPolls is how many may wait for results at a time; more are answered at
	// once.
	maxPolls = 4096
)

// openAPI describes the API, in the form of OpenAPI 3.
//
//go:embed openapi.json
var openAPI []byte

// Config is what callers are promised, and where their requests are followed.
type Config struct {
	// SLO is how long a synchronous caller waits who says nothing; from
	// MinTimeout to MaxTimeout.
	SLO time.Duration
	// ColdStart is how long a synchronous caller who says nothing waits at least
	// where no replica is ready, 0 for no longer than otherwise.
	ColdStart time.Duration
	// AsyncTimeout is how long an asynchronous request may take.
	AsyncTimeout time.Duration
	// MaxBody is the most bytes of a request's body.
	MaxBody int64
	// MaxMemory is the most bytes of all bodies that are read and all pictures
	// that callers wait with.
	MaxMemory int64
	// Keys are the API keys of which callers need one; nil lets everybody in.
	Keys *apikeys.Keys
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
	polls    atomic.Int64
}

// New is an API that says that it is not ready until Ready is called.
func New(config Config, relay *relay.Relay, log *slog.Logger) *API {
	return &API{
		config: config, relay: relay, metrics: relay.Metrics(), log: log,
		reader: picture.NewReader(picture.Limits{Body: config.MaxBody, Memory: config.MaxMemory, Time: bodyTime}),
	}
}

// Ready says that the queue has been connected.
func (a *API) Ready() { a.ready.Store(true) }

// Drain makes the API say that it is not ready any more; requests that come
// all the same are still answered, each as the last of its connection.
func (a *API) Drain() { a.draining.Store(true) }

// Handler serves the API.
func (a *API) Handler() http.Handler {
	engine := reply.NewEngine(a.log, &a.draining)
	// An id may hold any printable character, a slash too.
	engine.UseRawPath = true
	engine.UnescapePathValues = false // gin would read a plus as a space
	engine.POST("/query", a.query)
	engine.GET("/result/:id", a.result)
	engine.GET("/openapi.json", func(c *gin.Context) { c.Data(http.StatusOK, reply.ContentType, openAPI) })
	engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	engine.GET("/readyz", a.readyz)
	return engine
}

// readyz does not ask whether Redis is there now: without it every dispatcher
// would leave the Service at once, and they still answer who waits.
func (a *API) readyz(c *gin.Context) {
	switch {
	case a.draining.Load():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the dispatcher is shutting down")
	case !a.ready.Load():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the dispatcher is waiting for Redis")
	default:
		c.String(http.StatusOK, "ready\n")
	}
}

func (a *API) query(c *gin.Context) {
	accepted := time.Now()
	a.metrics.Arrived()
	ctx := tracing.Extract(c.Request.Context(), c.Request.Header)
	ctx, span := a.config.Tracing.SpanOf(ctx, trace.SpanKindServer, accepted, "query")
	defer span.End()
	asked, err := a.config.read(c.Request.Header)
	var outcome dispatchmetrics.Outcome
	if err != nil {
		outcome = fail(c, http.StatusBadRequest, asked.id, reply.BadRequest, err.Error())
	} else {
		c.Header(reply.IDHeader, asked.id)
		outcome = a.answer(ctx, c, accepted, asked)
	}
	if span.IsRecording() {
		show(span, c, asked.async, outcome)
	}
	if !asked.async {
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
func (a *API) answer(ctx context.Context, c *gin.Context, accepted time.Time, asked asked) dispatchmetrics.Outcome {
	caller, ok := a.identify(c, asked.id)
	if !ok {
		return dispatchmetrics.ClientError
	}
	if !a.withinRate(c, asked.id, caller) {
		return dispatchmetrics.ClientError
	}
	deadline := a.deadline(c, accepted, asked)
	mode := dispatch.Sync
	if asked.resultID != "" {
		// What is kept has to be in the queue.
		mode = dispatch.Async
	}

	// Refused before the picture is read: that is what makes it cheap.
	if admission := a.relay.Check(mode, asked.priority, deadline); admission != dispatch.Admitted {
		return write(c, a.relay.Refusal(asked.id, admission))
	}
	body, err := a.reader.PictureBy(c.Writer, c.Request, deadline)
	if err != nil {
		var bad *picture.Error
		switch {
		case !time.Now().Before(deadline):
			a.metrics.Dropped(dispatchmetrics.Deadline)
			return fail(c, http.StatusGatewayTimeout, asked.id, reply.DeadlineExceeded, "the request's body was not there before its deadline")
		case ctx.Err() != nil:
			return gone(c)
		case errors.As(err, &bad):
			return fail(c, bad.Status, asked.id, reply.Code(bad.Code), bad.Message)
		}
		return fail(c, http.StatusInternalServerError, asked.id, reply.Internal, "the body could not be read")
	}
	// Only now: somebody who sends slowly is in nobody's way.
	visit, admission := a.relay.Enter(mode, asked.priority, deadline)
	if admission != dispatch.Admitted {
		body.Release()
		return write(c, a.relay.Refusal(asked.id, admission))
	}
	defer visit.Leave()
	request := dispatch.Request{
		ID: asked.id, Deadline: deadline, Priority: asked.priority, Mode: mode,
		ResultID: kept(caller.Name, asked.resultID), ContentType: pictureType(c.Request.Header), Picture: body.Picture,
	}
	if mode == dispatch.Async {
		defer body.Release()
		return a.keep(ctx, c, visit, request, asked)
	}
	result, ok := visit.Query(ctx, request, body.Release)
	if !ok {
		return gone(c)
	}
	return write(c, result)
}

// deadline is when a query's answer is no longer wanted. It travels in whole
// milliseconds.
func (a *API) deadline(c *gin.Context, accepted time.Time, asked asked) time.Time {
	usual := accepted.Add(asked.timeout)
	if asked.async {
		return usual.Truncate(time.Millisecond)
	}
	held := dispatch.Held(usual, asked.chosen, a.config.ColdStart, a.relay.Ready(), accepted)
	if held.After(usual) {
		// The server's own limit may be shorter. It is one that every connection here
		// can set.
		_ = http.NewResponseController(c.Writer).SetWriteDeadline(held.Add(writeTime))
	}
	return held.Truncate(time.Millisecond)
}

// kept is where a caller's result is kept: nobody else can ask for it.
func kept(caller, id string) string {
	if id == "" {
		return ""
	}
	return caller + ":" + id
}

// keep queues a request whose result is kept, and answers with the result where
// the caller waits for it.
func (a *API) keep(ctx context.Context, c *gin.Context, visit *relay.Visit, request dispatch.Request, asked asked) dispatchmetrics.Outcome {
	acceptance, refusal := visit.Accept(ctx, request)
	switch {
	case acceptance == relay.Unavailable:
		return write(c, refusal)
	case acceptance == relay.Conflicting && asked.resultID == asked.id:
		return fail(c, http.StatusConflict, asked.id, reply.Conflict,
			fmt.Sprintf("%s %s names an asynchronous request with another picture", reply.IDHeader, reply.Quote(asked.id)))
	case acceptance == relay.Conflicting:
		return fail(c, http.StatusUnprocessableEntity, asked.id, reply.Conflict, IdempotencyHeader+" was sent before with another picture")
	case asked.async:
		c.Header("Location", "/result/"+url.PathEscape(asked.resultID))
		c.Header("Preference-Applied", "respond-async")
		c.JSON(http.StatusAccepted, gin.H{"id": asked.resultID})
		return dispatchmetrics.Answered
	}
	stored, err := a.relay.Result(ctx, request.ResultID, request.ID, request.Deadline)
	switch {
	case ctx.Err() != nil:
		return gone(c)
	case err == nil && !stored.Pending:
		return write(c, stored.Result)
	case !dispatch.Expired(request, time.Now()):
		a.log.Debug("result not read", "id", request.ID, "pending", stored.Pending, "error", err)
		return fail(c, http.StatusServiceUnavailable, request.ID, reply.QueueUnavailable,
			"the request is queued and its result can't be read at the moment; send it again with the same "+IdempotencyHeader)
	}
	return write(c, backend.TooLate(request.ID))
}

// identify answers who has no API key where one is needed; ok is false then. The
// caller is nobody in particular where nobody needs one.
func (a *API) identify(c *gin.Context, id string) (caller apikeys.Caller, ok bool) {
	if a.config.Keys == nil {
		return apikeys.Caller{}, true
	}
	caller, err := a.config.Keys.Identify(c.Request.Header.Values("Authorization"))
	if err != nil {
		c.Header("WWW-Authenticate", `Bearer realm="headroom"`)
		reply.Fail(c, http.StatusUnauthorized, id, reply.Unauthorized, err.Error())
		return caller, false
	}
	return caller, true
}

// withinRate answers who sends more than his key allows; it is false then.
func (a *API) withinRate(c *gin.Context, id string, caller apikeys.Caller) bool {
	var limited *apikeys.LimitedError
	if err := caller.Take(time.Now()); !errors.As(err, &limited) {
		return true
	}
	a.metrics.Dropped(dispatchmetrics.RateLimit)
	c.Header("Retry-After", strconv.FormatFloat(math.Ceil(limited.RetryAfter.Seconds()), 'f', 0, 64))
	reply.Fail(c, http.StatusTooManyRequests, id, reply.RateLimited, limited.Error())
	return false
}

// result answers with the state of an asynchronous request, after waiting for
// its result as long as the caller asks.
func (a *API) result(c *gin.Context) {
	caller, ok := a.identify(c, "")
	if !ok {
		return
	}
	id := c.Param("id")
	if c.Request.URL.RawPath != "" {
		// The path's own form, which gin has taken the id from.
		var err error
		if id, err = url.PathUnescape(id); err != nil {
			reply.Fail(c, http.StatusBadRequest, "", reply.BadRequest, "the id is not well escaped")
			return
		}
	}
	wait, err := longPoll(c.Request.URL.Query())
	if err != nil {
		reply.Fail(c, http.StatusBadRequest, "", reply.BadRequest, err.Error())
		return
	}
	if a.polls.Add(1) > maxPolls {
		wait = 0
	}
	defer a.polls.Add(-1)
	stored, err := a.relay.Result(c.Request.Context(), kept(caller.Name, id), id, time.Now().Add(wait))
	switch {
	case c.Request.Context().Err() != nil:
		gone(c)
	case errors.Is(err, redisqueue.ErrNoResult):
		reply.Fail(c, http.StatusNotFound, "", reply.NotFound,
			fmt.Sprintf("there is no result %s: no asynchronous request had this id, or its result is not kept any more", reply.Quote(id)))
	case err != nil:
		a.log.Debug("result not read", "id", id, "error", err.Error())
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.QueueUnavailable, "the results can't be read at the moment")
	case stored.Pending:
		c.JSON(http.StatusAccepted, gin.H{"id": id})
	default:
		write(c, stored.Result)
	}
}

// longPoll is how long a caller waits for a result: the parameter wait, a Go
// duration, 0 where there is none.
func longPoll(query url.Values) (time.Duration, error) {
	text := query.Get("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > MaxTimeout {
		return 0, fmt.Errorf("wait is %s; allowed: a duration from 0s to %v such as 10s", reply.Quote(text), MaxTimeout)
	}
	return wait, nil
}

func fail(c *gin.Context, status int, id string, code reply.Code, message string) dispatchmetrics.Outcome {
	reply.Fail(c, status, id, code, message)
	return outcomeOf(status)
}

// write sends a result whose body is JSON already.
func write(c *gin.Context, result dispatch.Result) dispatchmetrics.Outcome {
	if result.Status == http.StatusServiceUnavailable {
		reply.AskToRetry(c)
	}
	reply.Early(c, result.Status, result.Body)
	return outcomeOf(result.Status)
}

// gone ends a request whose caller has left. Were he there all the same, no answer
// must look like one.
func gone(c *gin.Context) dispatchmetrics.Outcome {
	c.Header("Connection", "close")
	c.Status(http.StatusServiceUnavailable)
	c.Abort()
	return dispatchmetrics.Dropped
}

func outcomeOf(status int) dispatchmetrics.Outcome {
	switch {
	case status == http.StatusOK:
		return dispatchmetrics.Answered
	case status == http.StatusGatewayTimeout:
		return dispatchmetrics.Dropped
	case status < 500:
		return dispatchmetrics.ClientError
	case status == http.StatusServiceUnavailable:
		return dispatchmetrics.Refused
	}
	return dispatchmetrics.Failed
}
