// Package fire sends requests at their intended times, whatever becomes of the
// ones before them: an open loop. A server that stalls gets the requests that
// its users would have sent in the meantime, and every one of them is counted
// as slow (no coordinated omission).
package fire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"headroom.dev/loadtest/internal/record"
)

const (
	queryPath  = "/query"
	healthPath = "/healthz"

	// maxAnswerBytes is the most of an answer's body that is read; a prediction has a few hundred bytes.
	maxAnswerBytes = 1 << 20
	maxCodeLen     = 40
	checkTimeout   = 5 * time.Second
	userAgent      = "headroom-loadtest"
)

// The reasons that the load tester itself gives for a request without an answer.
const (
	CodeInFlightCap       = "in_flight_cap"
	CodeTimeout           = "timeout"
	CodeConnectionRefused = "connection_refused"
	CodeConnectionBroken  = "connection_broken"
	CodeConnectionFailed  = "connection_failed"
	CodeBadReply          = "bad_reply"
)

// Mode says what a request is.
type Mode string

const (
	// Sync waits for the prediction as the answer.
	Sync Mode = "sync"
	// Async has the request accepted (202) and asks for its result by long poll
	// until it is there; the latency is until then.
	Async Mode = "async"
)

// Config says what is sent and where.
type Config struct {
	// Target is the dispatcher's base URL.
	Target *url.URL
	// Images are sent in turn; at least one.
	Images []Image
	// Timeout is how long a request may take from being sent before it is given up, above 0.
	Timeout time.Duration
	// MaxInFlight is the most requests that are under way at once; one whose
	// time comes while so many are is counted as unsent. At least 1.
	MaxInFlight int
	// RunID is the first part of every request's X-Request-Id, up to 100
	// printable ASCII characters. Async results are kept under it, so that a run
	// with an earlier one's would be given that one's results.
	RunID string
	// Mode is Sync unless given.
	Mode Mode
	// Protocol is HTTP1 unless given.
	Protocol Protocol
	// Sent counts the requests as they go out; nil where nobody looks.
	Sent *atomic.Uint64
	// Transport sends the requests; nil means one made for the purpose.
	Transport http.RoundTripper
	// Sleep waits out the last milliseconds before a request is due; nil means
	// as exactly as the system can. It is time.Sleep where the clock is virtual.
	Sleep func(time.Duration)
}

// Run sends one request for every time in schedule, counted from start, and
// hands a record of each to keep, which may be called from many goroutines. It
// returns when the last one has ended. When ctx ends, nothing more is sent and
// the requests under way are waited for; interrupted is then true and the
// requests that were not due have no record.
func Run(ctx context.Context, c Config, start time.Time, schedule []time.Duration, keep func(record.Record)) (interrupted bool) {
	transport := c.Transport
	if transport == nil {
		own := newTransport(c.Protocol, c.MaxInFlight)
		defer own.CloseIdleConnections()
		transport = own
	}
	if c.Sleep == nil {
		sleep, done := newPause()
		defer done()
		c.Sleep = sleep
	}
	defer collectRarely()()
	sender := newSender(c, transport, start)

	// Senders are kept: a new goroutine would have to grow its stack, and what a
	// transport does takes a deep one.
	due := make(chan dueRequest)
	var senders sync.WaitGroup
	defer senders.Wait()
	defer close(due)
	var inFlight atomic.Int64
	send := func(d dueRequest) {
		keep(sender.send(d.index, d.intended))
		inFlight.Add(-1)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, intended := range schedule {
		if !c.await(ctx, timer, start.Add(intended)) {
			return true
		}
		if inFlight.Load() >= int64(c.MaxInFlight) {
			keep(record.Record{Intended: intended, Outcome: record.Unsent, Code: CodeInFlightCap})
			continue
		}
		inFlight.Add(1)
		if c.Sent != nil {
			c.Sent.Add(1)
		}
		next := dueRequest{i, intended}
		select {
		case due <- next:
		default:
			senders.Go(func() {
				send(next)
				for next := range due {
					send(next)
				}
			})
		}
	}
	return false
}

// collectRarely lets garbage grow to twice what is in use, unless GOGC says
// otherwise: a collection takes the time of requests that are due. It returns
// what puts things back.
func collectRarely() (restore func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	const percent = 200
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}

// dueRequest is a request whose time has come.
type dueRequest struct {
	index    int
	intended time.Duration
}

// exactly is the part of a wait that is left to Config.Sleep, which can't be interrupted.
const exactly = 3 * time.Millisecond

// await returns at the instant; false when ctx ended before.
func (c *Config) await(ctx context.Context, timer *time.Timer, instant time.Time) bool {
	if wait := time.Until(instant) - exactly; wait > 0 {
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
	}
	if wait := time.Until(instant); wait > 0 {
		c.Sleep(wait)
	}
	return ctx.Err() == nil
}

func transportCode(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, errNoLocation):
		return CodeBadReply
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return CodeTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return CodeConnectionRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return CodeConnectionBroken
	default:
		return CodeConnectionFailed
	}
}

// Classify says what an answer is: answered is a 200 whose body holds a
// prediction; 429, 503 and 504 are refusals; all else has failed. code is the
// one in the error's body, or "http_STATUS" where there is none.
func Classify(status int, body []byte) (outcome record.Outcome, code string) {
	switch status {
	case http.StatusOK:
		if holdsPrediction(body) {
			return record.Answered, ""
		}
		return record.Failed, CodeBadReply
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return record.Refused, errorCode(status, body)
	default:
		return record.Failed, errorCode(status, body)
	}
}

func holdsPrediction(body []byte) bool {
	var reply struct {
		Predictions []struct {
			Class       *int     `json:"class"`
			Probability *float64 `json:"probability"`
		} `json:"predictions"`
	}
	if json.Unmarshal(body, &reply) != nil || len(reply.Predictions) == 0 {
		return false
	}
	best := reply.Predictions[0]
	return best.Class != nil && best.Probability != nil
}

func errorCode(status int, body []byte) string {
	var failure struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	// Only what looks like a code is taken: codes are counted by name, and a
	// server must not be able to make up a new name for every answer.
	if json.Unmarshal(body, &failure) == nil {
		if code := failure.Error.Code; code != "" && len(code) <= maxCodeLen && strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") == "" {
			return code
		}
	}
	return "http_" + strconv.Itoa(status)
}
