// Package reply holds the bodies that both servers answer with, as the
// contract's reply.schema.json and error.schema.json define them, and writes
// them.
package reply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// Prediction is one class of a reply.
type Prediction struct {
	// Class is the index of the class, from 0.
	Class int `json:"class"`
	// Label is the class in words; empty where the model has no labels.
	Label string `json:"label,omitempty"`
	// Probability lies in 0..1.
	Probability float64 `json:"probability"`
}

// Reply is the body of a 200.
type Reply struct {
	// ID is the request's id; empty where none had been given.
	ID string `json:"id,omitempty"`
	// Model is the model's name.
	Model string `json:"model"`
	// Predictions are the most probable classes, most probable first.
	Predictions []Prediction `json:"predictions"`
}

// Code tells programs what went wrong.
type Code string

// The codes of the contract.
const (
	BadRequest           Code = "bad_request"
	BadImage             Code = "bad_image"
	TooLarge             Code = "too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	Unauthorized         Code = "unauthorized"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	Conflict             Code = "conflict"
	RateLimited          Code = "rate_limited"
	DeadlineExceeded     Code = "deadline_exceeded"
	Overloaded           Code = "overloaded"
	NotReady             Code = "not_ready"
	RequestTimeout       Code = "request_timeout"
	QueueUnavailable     Code = "queue_unavailable"
	BackendFailed        Code = "backend_failed"
	Internal             Code = "internal"
)

// Failure is the body of every answer that is not 2xx.
type Failure struct {
	// ID is the request's id; empty where none had been given.
	ID    string `json:"id,omitempty"`
	Error Detail `json:"error"`
}

// Detail says what was wrong.
type Detail struct {
	Code Code `json:"code"`
	// Message is one sentence for people: what was wrong, what is allowed.
	Message string `json:"message"`
}

// RetryAfter is what a 503 asks of the caller. Overload here lasts for about
// as long as a replica needs to start, and one second is the header's unit.
const RetryAfter = time.Second

// AskToRetry sets the header that does.
func AskToRetry(c *gin.Context) {
	c.Header("Retry-After", strconv.Itoa(int(RetryAfter/time.Second)))
}

// Fail answers with status and a Failure, and ends the handler chain. A 503
// gets a Retry-After. id may be empty.
func Fail(c *gin.Context, status int, id string, code Code, message string) {
	if status == http.StatusServiceUnavailable {
		AskToRetry(c)
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	body, err := json.Marshal(Failure{ID: id, Error: Detail{Code: code, Message: message}})
	if err != nil {
		panic(fmt.Sprintf("a failure has no JSON: %v", err)) // it holds only strings
	}
	Early(c, status, body)
}

// Early answers with status and JSON, and ends the handler chain; some of the
// request's body may not have been read. Without more ado net/http reads that
// first, and so lets a slow sender wait for his answer as long as he is slow.
func Early(c *gin.Context, status int, body []byte) {
	control := http.NewResponseController(c.Writer)
	slow := !discardBody(c, control, quickRest)
	if c.Request.Context().Err() != nil {
		// Either nobody is there, or no later request on the connection could be answered.
		c.Header("Connection", "close")
	}
	if slow {
		// Where the connection can't do that, the server's own time limit holds.
		_ = control.EnableFullDuplex()
		// net/http can't go on with a connection on which it answered like that.
		c.Header("Connection", "close")
	}
	c.Header("Content-Length", strconv.Itoa(len(body)))
	c.Data(status, ContentType, body)
	c.Abort()
	if slow {
		_ = control.Flush()
		// Closing a connection on which something arrives takes the answer back.
		discardBody(c, control, slowRest)
	}
}

const (
	// quickRest is how long the rest of a body may take that is as good as there.
	quickRest = 10 * time.Millisecond
	// slowRest is how long it is listened to after the answer.
	slowRest = 250 * time.Millisecond
	// restBytes is the most that is thrown away.
	restBytes = 16 << 20
)

// StopReading throws the body away of a request that needs none.
func StopReading(c *gin.Context) {
	discardBody(c, http.NewResponseController(c.Writer), slowRest)
}

// expected is the key of a body that the caller sends only when told to (100
// Continue), as it is before anybody has begun to read it.
const expected = "expected body"

// discardBody throws the rest of a request's body away and says whether that was
// all of it.
func discardBody(c *gin.Context, control *http.ResponseController, within time.Duration) (all bool) {
	if c.Request.Body == nil || c.Request.Body == http.NoBody {
		return true
	}
	if body, ok := c.Get(expected); ok && body == c.Request.Body {
		// Who asks before he sends a body is not told to: reading would. net/http ends
		// the connection after such an answer.
		return true
	}
	by := time.Now().Add(within)
	_ = control.SetReadDeadline(by)
	if _, err := io.CopyN(io.Discard, c.Request.Body, restBytes); !errors.Is(err, io.EOF) {
		return false
	}
	_ = control.SetReadDeadline(time.Time{})
	if !time.Now().Before(by) {
		// Where the body had ended before, net/http was watching for the caller's going
		// and has taken the deadline for it. That ended the contexts of all requests
		// that will ever come by this connection.
		c.Header("Connection", "close")
	}
	return true
}

// maxMessage is the most bytes of a message. Who says something about what a request
// says quotes it; this is for what nobody thought of.
const maxMessage = 2 << 10

// MaxQuoted is how many bytes of a caller's own text a message repeats.
const MaxQuoted = 64

// Quote quotes what a request says, cut to what a message can bear.
func Quote(s string) string {
	if len(s) > MaxQuoted {
		return strconv.Quote(s[:MaxQuoted]) + "..."
	}
	return strconv.Quote(s)
}

// ContentType is that of every body here.
const ContentType = "application/json; charset=utf-8"

// Append appends r's JSON to dst. Probabilities have the digits of a float32.
func (r Reply) Append(dst []byte) []byte {
	dst = append(dst, '{')
	if r.ID != "" {
		dst = append(AppendString(append(dst, `"id":`...), r.ID), ',')
	}
	dst = AppendString(append(dst, `"model":`...), r.Model)
	dst = append(dst, `,"predictions":[`...)
	for i, p := range r.Predictions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"class":`...), int64(p.Class), 10)
		if p.Label != "" {
			dst = AppendString(append(dst, `,"label":`...), p.Label)
		}
		dst = strconv.AppendFloat(append(dst, `,"probability":`...), p.Probability, 'g', -1, 32)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// AppendString appends s as a JSON string, as encoding/json writes it. What needs
// no escape takes no memory.
func AppendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(fmt.Sprintf("a string has no JSON: %v", err)) // every string has
			}
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// IDHeader carries a request's id.
const IDHeader = "X-Request-Id"

// MaxIDLength is the longest id, in bytes.
const MaxIDLength = 128

// CheckID says what is wrong with a request id, or nil: 1 to MaxIDLength
// printable ASCII characters are allowed.
func CheckID(id string) error {
	if id == "" || len(id) > MaxIDLength {
		return fmt.Errorf("%s has %d characters; 1 to %d printable ASCII characters are allowed", IDHeader, len(id), MaxIDLength)
	}
	for i := range len(id) {
		if id[i] < 0x20 || id[i] > 0x7e {
			return fmt.Errorf("%s has the byte 0x%02x at position %d; only printable ASCII characters are allowed", IDHeader, id[i], i)
		}
	}
	return nil
}

// NewEngine is a gin engine that answers unknown paths, wrong methods and
// panics with a Failure; a panic is logged with its stack. Once draining is set
// each answer is its connection's last: the caller's next request goes to another
// server, not into a connection that is about to be closed.
func NewEngine(log *slog.Logger, draining *atomic.Bool) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.Use(recovery(log), func(c *gin.Context) {
		if draining.Load() {
			c.Header("Connection", "close")
		}
		if c.GetHeader("Expect") != "" {
			c.Set(expected, c.Request.Body)
		}
		if c.Request.Method == http.MethodGet { // which needs no body
			StopReading(c)
		}
	})
	engine.NoRoute(func(c *gin.Context) {
		Fail(c, http.StatusNotFound, "", NotFound, "there is nothing at "+Quote(c.Request.URL.Path))
	})
	engine.NoMethod(func(c *gin.Context) {
		Fail(c, http.StatusMethodNotAllowed, "", MethodNotAllowed,
			fmt.Sprintf("%s is not allowed at %s; allowed: %s", c.Request.Method, Quote(c.Request.URL.Path), c.Writer.Header().Get("Allow")))
	})
	return engine
}

// recovery turns a panic of a handler into a 500. http.ErrAbortHandler goes
// on to net/http, which knows it.
func recovery(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == any(http.ErrAbortHandler) {
				panic(p)
			}
			log.Error("handler panicked", "method", c.Request.Method, "path", c.Request.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if c.Writer.Written() {
				c.Abort()
				return
			}
			Fail(c, http.StatusInternalServerError, "", Internal, "the server failed on this request; its log says why")
		}()
		c.Next()
	}
}
