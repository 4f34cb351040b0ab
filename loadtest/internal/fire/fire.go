// Package fire sends requests at their intended times, whatever becomes of the
// ones before them: an open loop. A server that stalls gets the requests that
// its users would have sent in the meantime, and every one of them is counted
// as slow (no coordinated omission).
package fire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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
	// RunID is the first part of every request's X-Request-Id.
	RunID string
	// Sent counts the requests as they go out; nil where nobody looks.
	Sent *atomic.Uint64
	// Transport sends the requests; nil means one made for the purpose.
	Transport http.RoundTripper
}

// ParseTarget reads a dispatcher's base URL.
func ParseTarget(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil || (target.Scheme != "http" && target.Scheme != "https") || target.Host == "" || target.RawQuery != "" || target.Fragment != "" {
		return nil, fmt.Errorf("target %q: allowed are base URLs such as http://127.0.0.1:5001", text)
	}
	return target, nil
}

// Check makes sure that something that answers HTTP listens at target.
func Check(ctx context.Context, target *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	address := target.JoinPath(healthPath).String()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("target %s: %w", target, err)
	}
	transport := newTransport(1)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("target %s does not answer: %w", target, err)
	}
	defer func() { _ = response.Body.Close() }()
	// A server without the path is one that can be asked; only one that says it is unwell is not.
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("target %s is not healthy: GET %s answers %s", target, healthPath, response.Status)
	}
	return nil
}

// newTransport keeps a connection for every request that may be in flight, so
// that a burst after a lull does not pay for new ones, and uses no proxy: its
// latency would be counted as the service's.
func newTransport(maxInFlight int) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConns:        maxInFlight,
		MaxIdleConnsPerHost: maxInFlight,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
}

// Run sends one request for every time in schedule, counted from start, and
// hands a record of each to keep, which may be called from many goroutines. It
// returns when the last one has ended. When ctx ends, nothing more is sent and
// the requests under way are waited for; interrupted is then true and the
// requests that were not due have no record.
func Run(ctx context.Context, c Config, start time.Time, schedule []time.Duration, keep func(record.Record)) (interrupted bool) {
	transport := c.Transport
	if transport == nil {
		own := newTransport(c.MaxInFlight)
		defer own.CloseIdleConnections()
		transport = own
	}
	sender := &sender{config: c, transport: transport, url: c.Target.JoinPath(queryPath).String(), start: start}

	var wg sync.WaitGroup
	defer wg.Wait()
	var inFlight atomic.Int64
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, intended := range schedule {
		timer.Reset(time.Until(start.Add(intended)))
		select {
		case <-ctx.Done():
			return true
		case <-timer.C:
		}
		if ctx.Err() != nil {
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
		wg.Go(func() {
			defer inFlight.Add(-1)
			keep(sender.send(context.WithoutCancel(ctx), i, intended))
		})
	}
	return false
}

type sender struct {
	config    Config
	transport http.RoundTripper
	url       string
	start     time.Time
}

// send posts the i-th request and says what became of it.
func (s *sender) send(ctx context.Context, i int, intended time.Duration) record.Record {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r := record.Record{Intended: intended, Lag: max(time.Since(s.start)-intended, 0)}
	body, status, err := s.post(ctx, i)
	r.Latency = time.Since(s.start) - intended
	r.Status, r.Bytes = status, int64(len(body))
	if err != nil {
		r.Outcome, r.Code = record.Failed, transportCode(err)
		return r
	}
	r.Outcome, r.Code = Classify(status, body)
	return r
}

// post returns the answer's body and status; the status is set with an error
// where the answer began and broke off.
func (s *sender) post(ctx context.Context, i int) ([]byte, int, error) {
	image := s.config.Images[i%len(s.config.Images)]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(image.Bytes))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", image.ContentType)
	request.Header.Set("X-Request-Id", s.config.RunID+"-"+strconv.Itoa(i))
	request.Header.Set("User-Agent", "headroom-loadtest")
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	return body, response.StatusCode, err
}

func transportCode(err error) string {
	var timeout net.Error
	switch {
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
