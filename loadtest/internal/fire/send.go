package fire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"headroom.dev/loadtest/internal/record"
)

const (
	// longestPoll is how long one question for a result may wait: what the dispatcher allows.
	longestPoll = time.Minute
	// shortestPoll is the least time between two questions for a result, where
	// the server did not wait as it was asked to.
	shortestPoll = 50 * time.Millisecond
)

// sender sends single requests.
type sender struct {
	config    Config
	transport http.RoundTripper
	url       *url.URL
	start     time.Time
}

func newSender(c Config, transport http.RoundTripper, start time.Time) *sender {
	at := c.Target.JoinPath(queryPath)
	if !strings.HasPrefix(at.Path, "/") {
		at.Path = "/" + at.Path // of a target without a path
	}
	return &sender{config: c, transport: transport, url: at, start: start}
}

// send posts the i-th request and says what became of it.
func (s *sender) send(i int, intended time.Duration) record.Record {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Timeout)
	defer cancel()
	r := record.Record{Intended: intended, Lag: max(time.Since(s.start)-intended, 0)}
	reply, err := s.roundTrip(s.request(ctx, i))
	if err == nil && s.config.Mode == Async && reply.status == http.StatusAccepted {
		reply, err = s.result(ctx, reply.location)
	}
	r.Latency = time.Since(s.start) - intended
	r.Status, r.Bytes = reply.status, int64(len(reply.body))
	if err != nil {
		r.Outcome, r.Code = record.Failed, transportCode(err)
		return r
	}
	r.Outcome, r.Code = Classify(reply.status, reply.body)
	return r
}

// request is the i-th one. It is put together by hand: parsing the URL each
// time costs more than all the rest here.
func (s *sender) request(ctx context.Context, i int) *http.Request {
	image := s.config.Images[i%len(s.config.Images)]
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(image.Bytes)), nil }
	request := (&http.Request{
		Method: http.MethodPost, URL: s.url, Host: s.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(image.Bytes)), GetBody: body,
		Header: http.Header{
			"Content-Type": {image.ContentType},
			"X-Request-Id": {s.config.RunID + "-" + strconv.Itoa(i)},
			"User-Agent":   {userAgent},
		},
	}).WithContext(ctx)
	request.Body, _ = body() // never fails
	if s.config.Mode == Async {
		request.Header.Set("Prefer", "respond-async")
	}
	return request
}

// reply is what the server said; status is set with an error where the answer
// began and broke off.
type reply struct {
	status   int
	location string
	body     []byte
}

func (s *sender) roundTrip(request *http.Request) (r reply, err error) {
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	r.status, r.location = response.StatusCode, response.Header.Get("Location")
	r.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	return r, err
}

var errNoLocation = errors.New("a request was accepted and its result is nowhere on the target")

// result asks for the result of a request that was accepted until it is there
// or ctx ends.
func (s *sender) result(ctx context.Context, location string) (reply, error) {
	at, err := s.url.Parse(location)
	if err != nil || location == "" || at.Host != s.url.Host || at.Scheme != s.url.Scheme {
		return reply{status: http.StatusAccepted}, errNoLocation
	}
	for {
		deadline, _ := ctx.Deadline()
		asked := time.Now()
		wait := min(deadline.Sub(asked), longestPoll).Truncate(time.Millisecond)
		query := at.Query()
		query.Set("wait", max(wait, 0).String())
		at.RawQuery = query.Encode()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
		if err != nil {
			return reply{}, fmt.Errorf("asking for a result: %w", err)
		}
		request.Header.Set("User-Agent", userAgent)
		r, err := s.roundTrip(request)
		if err != nil || r.status != http.StatusAccepted {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(shortestPoll - time.Since(asked)):
		}
	}
}
