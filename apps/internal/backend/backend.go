// Package backend sends one request to one model server and judges the answer.
package backend

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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

// PriorityHeader tells the model server what goes first where requests wait:
// low, normal or high.
const PriorityHeader = "Headroom-Priority"

// maxAnswer is the most that is read of an answer: a reply for a thousand
// classes has about 100 KB.
const maxAnswer = 1 << 20

// Client sends requests to model servers.
type Client struct {
	http *http.Client
}

// New is a client that keeps up to idle connections open to each replica.
func New(idle int) *Client {
	return &Client{
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
	// Outcome says whether another attempt may do better.
	Outcome dispatch.Outcome
	// Cause is what went wrong, for the log; nil when nothing did or the
	// caller is at fault.
	Cause error
}

// Attempt sends r to the model server at url, as a part of the trace in ctx
// where there is one. It ends at the request's deadline, after patience, or with
// ctx, whichever is first.
func (c *Client) Attempt(ctx context.Context, url string, r dispatch.Request, patience time.Duration) Answer {
	attempt, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	attempt, cancelAttempt := context.WithDeadline(attempt, r.Deadline)
	defer cancelAttempt()

	status, body, sent, err := c.post(attempt, url, r)
	switch {
	case err == nil:
		return judge(url, r.ID, status, body)
	case ctx.Err() != nil:
		return Answer{
			Result:  Failure(http.StatusServiceUnavailable, r.ID, reply.NotReady, "the dispatcher gave the request up"),
			Outcome: dispatch.Abandoned, Cause: ctx.Err(),
		}
	case dispatch.Expired(r, time.Now()):
		return Answer{Result: TooLate(r.ID), Outcome: dispatch.Slow, Cause: err}
	case attempt.Err() != nil:
		return Answer{
			Result: Failure(http.StatusBadGateway, r.ID, reply.BackendFailed,
				fmt.Sprintf("the model server did not answer within %v", patience.Round(time.Millisecond))),
			Outcome: dispatch.Slow, Cause: err,
		}
	}
	answer := Answer{
		Result:  Failure(http.StatusBadGateway, r.ID, reply.BackendFailed, "the model server could not be reached or broke the connection"),
		Outcome: dispatch.Unreachable, Cause: err,
	}
	if sent {
		answer.Outcome = dispatch.Broken
	}
	return answer
}

// post sends r. sent says that there was a connection to send it over.
func (c *Client) post(ctx context.Context, url string, r dispatch.Request) (status int, body []byte, sent bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/", nil)
	if err != nil {
		return 0, nil, false, err
	}
	lent := &loan{picture: r.Picture}
	defer lent.end()
	request.Body, request.ContentLength = lent.body(), int64(len(r.Picture))
	// For a connection that turns out to be closed before anything was sent.
	request.GetBody = func() (io.ReadCloser, error) { return lent.body(), nil }
	request.Header.Set("Content-Type", cmp.Or(r.ContentType, "application/octet-stream"))
	request.Header.Set(PriorityHeader, r.Priority.String())
	request.Header.Set(reply.IDHeader, r.ID)
	request.Header.Set(DeadlineHeader, strconv.FormatInt(r.Deadline.UnixMilli(), 10))
	tracing.Inject(ctx, request.Header)
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, sent, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, true, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return response.StatusCode, body, true, nil
}

// judge turns a model server's answer into one that keeps the contract, with
// the request's id in it.
func judge(url, id string, status int, body []byte) Answer {
	broken := func(err error) Answer {
		return Answer{
			Result:  Failure(http.StatusBadGateway, id, reply.BackendFailed, "the model server's answer can't be understood"),
			Outcome: dispatch.Erred,
			Cause:   fmt.Errorf("%s answered %d with a body that breaks the contract: %w", url, status, err),
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
		return Answer{Result: encode(status, f), Outcome: dispatch.Rejected}
	case status == http.StatusServiceUnavailable && f.Error.Code == reply.Overloaded:
		return Answer{Result: encode(status, f), Outcome: dispatch.Busy, Cause: fmt.Errorf("%s answered 503: %s", url, f.Error.Message)}
	case status == http.StatusServiceUnavailable:
		// It did not look at the request: it is starting, or on its way out.
		return Answer{Result: encode(status, f), Outcome: dispatch.Unreachable, Cause: fmt.Errorf("%s answered 503: %s", url, f.Error.Message)}
	case status == http.StatusGatewayTimeout:
		// It was there in time to say that there was too little of it.
		return Answer{Result: encode(status, f), Outcome: dispatch.Busy, Cause: fmt.Errorf("%s answered 504: %s", url, f.Error.Message)}
	}
	return Answer{
		Result:  Failure(http.StatusBadGateway, id, reply.BackendFailed, "the model server failed on this request"),
		Outcome: dispatch.Erred,
		Cause:   fmt.Errorf("%s answered %d: %s", url, status, f.Error.Message),
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
