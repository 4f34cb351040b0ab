// Package backend sends one request to one model server and judges the answer.
package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

// DeadlineHeader tells the model server until when somebody waits, in Unix
// milliseconds.
const DeadlineHeader = "Headroom-Deadline"

// maxAnswer is the most that is read of an answer: a reply for a thousand
// classes has about 100 KB.
const maxAnswer = 1 << 20

// Client sends requests to model servers.
type Client struct {
	http *http.Client
	// timeout is the most that one attempt may take.
	timeout time.Duration
}

// New is a client that keeps up to idle connections open to each replica, and
// gives up an attempt after timeout.
func New(idle int, timeout time.Duration) *Client {
	return &Client{
		timeout: timeout,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: time.Second, KeepAlive: 15 * time.Second}).DialContext,
				MaxIdleConns:        0,
				MaxIdleConnsPerHost: idle,
				// Less than a server's own limit, which would close a
				// connection under a request.
				IdleConnTimeout:        30 * time.Second,
				DisableCompression:     true,
				MaxResponseHeaderBytes: 64 << 10,
				WriteBufferSize:        64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is what became of an attempt.
type Answer struct {
	// Result is what the caller is told if this attempt was the last one.
	dispatch.Result
	// Unable says that the replica could not be reached, broke the connection
	// or answered 503: another one may be able.
	Unable bool
	// Cause is what went wrong, for the log; nil when nothing did or the
	// caller is at fault.
	Cause error
}

// Attempt sends r to the model server at url, as a part of the trace in ctx
// where there is one. It ends at the request's
// deadline, after the client's timeout, or with ctx, whichever is first.
func (c *Client) Attempt(ctx context.Context, url string, r dispatch.Request) Answer {
	parent := ctx
	ctx, cancel := context.WithDeadline(ctx, r.Deadline)
	defer cancel()
	attempt, cancelAttempt := context.WithTimeout(ctx, c.timeout)
	defer cancelAttempt()

	status, body, err := c.post(attempt, url, r)
	switch {
	case err == nil:
		return judge(url, r.ID, status, body)
	case parent.Err() != nil:
		return Answer{Result: Failure(http.StatusServiceUnavailable, r.ID, reply.NotReady, "the dispatcher gave the request up"), Cause: parent.Err()}
	case ctx.Err() != nil:
		return Answer{Result: TooLate(r.ID), Cause: err}
	case attempt.Err() != nil:
		return Answer{
			Result: Failure(http.StatusBadGateway, r.ID, reply.BackendFailed, fmt.Sprintf("the model server did not answer within %v", c.timeout)),
			Cause:  err,
		}
	}
	return Answer{
		Result: Failure(http.StatusBadGateway, r.ID, reply.BackendFailed, "the model server could not be reached or broke the connection"),
		Unable: true,
		Cause:  err,
	}
}

func (c *Client) post(ctx context.Context, url string, r dispatch.Request) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/", bytes.NewReader(r.Picture))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set(reply.IDHeader, r.ID)
	request.Header.Set(DeadlineHeader, strconv.FormatInt(r.Deadline.UnixMilli(), 10))
	tracing.Inject(ctx, request.Header)
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return response.StatusCode, body, nil
}

// judge turns a model server's answer into one that keeps the contract, with
// the request's id in it.
func judge(url, id string, status int, body []byte) Answer {
	broken := func(err error) Answer {
		return Answer{
			Result: Failure(http.StatusBadGateway, id, reply.BackendFailed, "the model server's answer can't be understood"),
			Cause:  fmt.Errorf("%s answered %d with a body that breaks the contract: %w", url, status, err),
		}
	}
	if len(body) > maxAnswer {
		return broken(fmt.Errorf("more than %d bytes", maxAnswer))
	}
	if status == http.StatusOK {
		var r reply.Reply
		if err := strict(body, &r); err != nil {
			return broken(err)
		}
		if r.Model == "" || len(r.Predictions) == 0 {
			return broken(errors.New("it has no model or no predictions"))
		}
		r.ID = id
		return Answer{Result: encode(status, r)}
	}

	var f reply.Failure
	if err := strict(body, &f); err != nil {
		return broken(err)
	}
	if f.Error.Code == "" || f.Error.Message == "" {
		return broken(errors.New("it has no error code or no message"))
	}
	f.ID = id
	switch {
	case status >= 400 && status < 500:
		return Answer{Result: encode(status, f)}
	case status == http.StatusServiceUnavailable:
		return Answer{Result: encode(status, f), Unable: true, Cause: fmt.Errorf("%s answered 503: %s", url, f.Error.Message)}
	case status == http.StatusGatewayTimeout:
		return Answer{Result: encode(status, f), Cause: fmt.Errorf("%s answered 504: %s", url, f.Error.Message)}
	}
	return Answer{
		Result: Failure(http.StatusBadGateway, id, reply.BackendFailed, "the model server failed on this request"),
		Cause:  fmt.Errorf("%s answered %d: %s", url, status, f.Error.Message),
	}
}

func strict(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("it goes on after its object")
	}
	return nil
}

// Failure is a result that is none of the model's.
func Failure(status int, id string, code reply.Code, message string) dispatch.Result {
	return encode(status, reply.Failure{ID: id, Error: reply.Detail{Code: code, Message: message}})
}

// TooLate is the result of a request that was not answered in time.
func TooLate(id string) dispatch.Result {
	return Failure(http.StatusGatewayTimeout, id, reply.DeadlineExceeded, "no answer was there before the request's deadline")
}

func encode(status int, body any) dispatch.Result {
	text, err := json.Marshal(body)
	if err != nil {
		// The types hold only strings and numbers; of these JSON lacks NaN
		// and Inf, and no JSON decoder makes them.
		panic(fmt.Sprintf("encode %T: %v", body, err))
	}
	return dispatch.Result{Status: status, Body: text}
}
