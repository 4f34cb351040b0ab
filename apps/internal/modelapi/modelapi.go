// Package modelapi is the model server's HTTP interface: POST / classifies a
// picture, GET /healthz and /readyz tell how the server is.
package modelapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/slots"
)

// DeadlineHeader carries, as Unix time in milliseconds, the instant after
// which nobody waits for the answer.
const DeadlineHeader = "Headroom-Deadline"

// DefaultK is how many predictions a reply has when k is not given.
const DefaultK = 5

// Slot classifies one picture at a time; see model.Slot.
type Slot interface {
	Classify(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error)
}

// Config is what an API needs to know.
type Config struct {
	// MaxBody is the largest request body, in bytes.
	MaxBody int64
	// Timeout is the longest that a request may take, whatever its deadline.
	Timeout time.Duration
	// MaxWaiting is how many requests may wait for a slot.
	MaxWaiting int
	// CPULimit returns the CPU cores that the process may use.
	CPULimit func() float64
	Log      *slog.Logger
}

// API is the HTTP interface. It starts not ready.
type API struct {
	config   Config
	metrics  *metrics
	engine   *gin.Engine
	serving  atomic.Pointer[serving]
	draining atomic.Bool
}

// serving is what there is once a model is loaded.
type serving struct {
	model string
	pool  *slots.Pool[Slot]
}

// New makes an API.
func New(config Config) *API {
	a := &API{config: config, metrics: newMetrics(config.CPULimit), engine: reply.NewEngine(config.Log)}
	a.engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	a.engine.GET("/readyz", a.readyz)
	a.engine.POST("/", a.count, a.classify)
	return a
}

// Handler answers requests to classify and probes.
func (a *API) Handler() http.Handler { return a.engine }

// Ready makes the API answer with the model of that name in the given slots.
// load is the time that it took to load and warm up.
func (a *API) Ready(model string, served []Slot, load time.Duration) {
	a.serving.Store(&serving{model: model, pool: slots.NewPool(served, a.config.MaxWaiting)})
	a.metrics.slots.Set(float64(len(served)))
	a.metrics.load.Set(load.Seconds())
	if !a.draining.Load() {
		a.metrics.ready.Set(1)
	}
}

// Drain makes /readyz answer 503 from now on. Requests are still served: some
// arrive until everyone knows.
func (a *API) Drain() {
	a.draining.Store(true)
	a.metrics.ready.Set(0)
}

func (a *API) readyz(c *gin.Context) {
	switch {
	case a.draining.Load():
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the server is shutting down")
	case a.serving.Load() == nil:
		reply.Fail(c, http.StatusServiceUnavailable, "", reply.NotReady, "the model is still being loaded")
	default:
		c.String(http.StatusOK, "ok\n")
	}
}

// count counts the request by its outcome, also when its handler panics.
func (a *API) count(c *gin.Context) {
	outcome := failed
	defer func() { a.metrics.requests.WithLabelValues(outcome).Inc() }()
	c.Next()
	switch status := c.Writer.Status(); {
	case status < 300:
		outcome = answered
	case status != http.StatusInternalServerError:
		outcome = refused
	}
}

func (a *API) classify(c *gin.Context) {
	id := c.GetHeader(reply.IDHeader)
	if id != "" {
		if err := reply.CheckID(id); err != nil {
			reply.Fail(c, http.StatusBadRequest, "", reply.BadRequest, err.Error())
			return
		}
	}
	k, err := parseK(c.Query("k"))
	if err != nil {
		reply.Fail(c, http.StatusBadRequest, id, reply.BadRequest, err.Error())
		return
	}
	ctx, cancel, err := a.withDeadline(c.Request)
	if err != nil {
		reply.Fail(c, http.StatusBadRequest, id, reply.BadRequest, err.Error())
		return
	}
	defer cancel()
	s := a.serving.Load()
	if s == nil {
		reply.Fail(c, http.StatusServiceUnavailable, id, reply.NotReady, "the model is still being loaded")
		return
	}

	// The place comes before the body: what is refused costs no memory.
	if !s.pool.Enter() {
		reply.Fail(c, http.StatusServiceUnavailable, id, reply.Overloaded,
			fmt.Sprintf("%d requests are being served or waiting, the most that is accepted", s.pool.Capacity()))
		return
	}
	defer s.pool.Leave()
	a.metrics.inFlight.Inc()
	defer a.metrics.inFlight.Dec()
	if ctx.Err() != nil {
		a.tooLate(c, id)
		return
	}
	body, err := picture.FromRequest(c.Writer, c.Request, a.config.MaxBody)
	if err != nil {
		a.fail(c, id, err)
		return
	}
	slot, err := s.pool.Get(ctx)
	if err != nil {
		a.tooLate(c, id)
		return
	}
	defer s.pool.Put(slot)
	begin := time.Now()
	predictions, err := slot.Classify(ctx, body, k)
	if err != nil {
		a.fail(c, id, err)
		return
	}
	a.metrics.latency.Observe(time.Since(begin).Seconds())
	reply.Succeed(c, reply.Reply{ID: id, Model: s.model, Predictions: predictions})
}

func (a *API) fail(c *gin.Context, id string, err error) {
	var noPicture *picture.Error
	var bad *imaging.Error
	switch {
	case errors.As(err, &noPicture):
		reply.Fail(c, noPicture.Status, id, reply.Code(noPicture.Code), noPicture.Message)
	case errors.As(err, &bad) && bad.TooLarge:
		reply.Fail(c, http.StatusRequestEntityTooLarge, id, reply.TooLarge, bad.Message)
	case errors.As(err, &bad):
		reply.Fail(c, http.StatusBadRequest, id, reply.BadImage, bad.Message)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		a.tooLate(c, id)
	default:
		a.config.Log.Error("classification failed", "id", id, "error", err)
		reply.Fail(c, http.StatusInternalServerError, id, reply.Internal, "the model failed on this picture; the server's log says why")
	}
}

// tooLate answers where the deadline has passed, or where the caller is gone
// and nobody reads this.
func (a *API) tooLate(c *gin.Context, id string) {
	reply.Fail(c, http.StatusGatewayTimeout, id, reply.DeadlineExceeded, "the deadline passed before the picture was classified")
}

// withDeadline gives the request's context the end that its header and the
// timeout set, whichever is first.
func (a *API) withDeadline(r *http.Request) (context.Context, context.CancelFunc, error) {
	end := time.Now().Add(a.config.Timeout)
	if header := r.Header.Get(DeadlineHeader); header != "" {
		ms, err := strconv.ParseInt(header, 10, 64)
		if err != nil || ms < 0 {
			return nil, nil, fmt.Errorf("%s is %q; allowed: Unix time in milliseconds", DeadlineHeader, header)
		}
		if deadline := time.UnixMilli(ms); deadline.Before(end) {
			end = deadline
		}
	}
	ctx, cancel := context.WithDeadline(r.Context(), end)
	return ctx, cancel, nil
}

func parseK(query string) (int, error) {
	if query == "" {
		return DefaultK, nil
	}
	k, err := strconv.Atoi(query)
	if err != nil || k < 1 {
		return 0, fmt.Errorf("k is %q; allowed: a whole number from 1", query)
	}
	return k, nil
}
