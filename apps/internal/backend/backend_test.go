package backend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
	"headroom.dev/apps/internal/tracing"
)

func request() dispatch.Request {
	return dispatch.Request{ID: "id-1", Deadline: time.Now().Add(10 * time.Second), Picture: []byte("picture")}
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestAttemptJudgesAnswers(t *testing.T) {
	prediction := `{"model":"m","predictions":[{"class":1,"probability":1}]}`
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		status  int
		code    reply.Code
		outcome dispatch.Outcome
	}{
		"a prediction":                     {dispatchtest.Predict, 200, "", dispatch.Answered},
		"a prediction without an id":       {text(200, prediction), 200, "", dispatch.Answered},
		"a bad picture is the caller's":    {dispatchtest.Refuse(400, reply.BadImage, "no"), 400, reply.BadImage, dispatch.Rejected},
		"too large is the caller's":        {dispatchtest.Refuse(413, reply.TooLarge, "no"), 413, reply.TooLarge, dispatch.Rejected},
		"busy: another may be able":        {dispatchtest.Refuse(503, reply.Overloaded, "no"), 503, reply.Overloaded, dispatch.Busy},
		"too late":                         {dispatchtest.Refuse(504, reply.DeadlineExceeded, "no"), 504, reply.DeadlineExceeded, dispatch.Busy},
		"starting: another may be able":    {dispatchtest.Refuse(503, reply.NotReady, "no"), 503, reply.NotReady, dispatch.Unreachable},
		"its own failure":                  {dispatchtest.Refuse(500, reply.Internal, "no"), 502, reply.BackendFailed, dispatch.Erred},
		"a broken connection":              {dispatchtest.Die, 502, reply.BackendFailed, dispatch.Broken},
		"no JSON":                          {text(200, "<html>"), 502, reply.BackendFailed, dispatch.Erred},
		"a prediction of another contract": {text(200, `{"model":"m","scores":[1]}`), 502, reply.BackendFailed, dispatch.Erred},
		"an empty prediction":              {text(200, `{"model":"m","predictions":[]}`), 502, reply.BackendFailed, dispatch.Erred},
		"a prediction and more":            {text(200, prediction+prediction), 502, reply.BackendFailed, dispatch.Erred},
		"an endless answer":                {text(200, prediction+strings.Repeat(" ", 2<<20)), 502, reply.BackendFailed, dispatch.Erred},
		"a refusal of another contract":    {text(404, "404 page not found"), 502, reply.BackendFailed, dispatch.Erred},
		"a refusal without a message":      {text(400, `{"error":{"code":"bad_image"}}`), 502, reply.BackendFailed, dispatch.Erred},
		"a redirection is not followed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 502, reply.BackendFailed, dispatch.Erred},
		"an answer that breaks off in its body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, 502, reply.BackendFailed, dispatch.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			replica := dispatchtest.StartReplica(t, test.answer)
			client := backend.New(1)
			defer client.Close()
			answer := client.Attempt(t.Context(), replica.URL, request(), 5*time.Second)
			if answer.Status != test.status || answer.Outcome != test.outcome {
				t.Errorf("status %d, %v; want %d, %v (%s)", answer.Status, answer.Outcome, test.status, test.outcome, answer.Body)
			}
			var body struct {
				ID    string
				Error struct{ Code reply.Code }
			}
			if err := json.Unmarshal(answer.Body, &body); err != nil {
				t.Fatal(err)
			}
			if body.Error.Code != test.code || body.ID != "id-1" {
				t.Errorf("body %s; want the id and code %q", answer.Body, test.code)
			}
		})
	}
}

func TestAttemptSendsThePictureItsIDAndItsDeadline(t *testing.T) {
	replica := dispatchtest.StartReplica(t, nil)
	client := backend.New(1)
	defer client.Close()
	r := request()
	client.Attempt(t.Context(), replica.URL, r, 5*time.Second)
	got := replica.Served()
	want := dispatchtest.Served{ID: "id-1", Deadline: strconv.FormatInt(r.Deadline.UnixMilli(), 10), ContentType: "application/octet-stream", Picture: r.Picture}
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("sent %+v, want %+v", got, want)
	}
}

func TestAttemptSendsTheTypeAndThePriorityOn(t *testing.T) {
	got := make(chan http.Header, 1)
	replica := dispatchtest.StartReplica(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		dispatchtest.Predict(w, r)
	})
	client := backend.New(1)
	defer client.Close()
	r := request()
	r.ContentType, r.Priority = "image/webp", dispatch.High
	client.Attempt(t.Context(), replica.URL, r, 5*time.Second)
	if header := <-got; header.Get("Content-Type") != "image/webp" || header.Get(backend.PriorityHeader) != "high" {
		t.Errorf("sent %v", header)
	}
}

func TestAttemptSendsTheTraceOnWhereThereIsOne(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, ctx := range map[string]context.Context{
		traceparent: tracing.WithTraceParent(t.Context(), traceparent),
		"":          t.Context(),
	} {
		got := make(chan http.Header, 1)
		replica := dispatchtest.StartReplica(t, func(w http.ResponseWriter, r *http.Request) {
			got <- r.Header
			dispatchtest.Predict(w, r)
		})
		client := backend.New(1)
		defer client.Close()
		client.Attempt(ctx, replica.URL, request(), 5*time.Second)
		if header := <-got; header.Get(tracing.Header) != name || (name == "") != (len(header.Values(tracing.Header)) == 0) {
			t.Errorf("sent %q, want %q", header.Values(tracing.Header), name)
		}
	}
}

func TestAttemptEndsInTime(t *testing.T) {
	hang := dispatchtest.Hold(make(chan struct{}), nil)
	for name, test := range map[string]struct {
		timeout  time.Duration
		deadline time.Duration
		cancel   time.Duration
		status   int
		outcome  dispatch.Outcome
	}{
		"at the deadline":       {5 * time.Second, 50 * time.Millisecond, 5 * time.Second, 504, dispatch.Slow},
		"at its own limit":      {50 * time.Millisecond, 5 * time.Second, 5 * time.Second, 502, dispatch.Slow},
		"when it is called off": {5 * time.Second, 5 * time.Second, 50 * time.Millisecond, 503, dispatch.Abandoned},
	} {
		t.Run(name, func(t *testing.T) {
			replica := dispatchtest.StartReplica(t, hang)
			client := backend.New(1)
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), test.cancel)
			defer cancel()
			r := request()
			begin := time.Now()
			r.Deadline = begin.Add(test.deadline)
			answer := client.Attempt(ctx, replica.URL, r, test.timeout)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			if answer.Status != test.status || answer.Outcome != test.outcome {
				t.Errorf("status %d, %v; want %d, %v", answer.Status, answer.Outcome, test.status, test.outcome)
			}
			dispatchtest.Eventually(t, 5*time.Second, "the replica is told", func() bool { return replica.InFlight() == 0 })
		})
	}
}

func TestNobodyThereIsUnreachable(t *testing.T) {
	client := backend.New(1)
	defer client.Close()
	answer := client.Attempt(t.Context(), "http://"+dispatchtest.FreeAddress(t), request(), 5*time.Second)
	if answer.Status != http.StatusBadGateway || answer.Outcome != dispatch.Unreachable {
		t.Errorf("status %d, %v", answer.Status, answer.Outcome)
	}
}

// What answers before it has read everything leaves the client writing.
func TestAPictureIsNotReadAfterItsAttempt(t *testing.T) {
	replica := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dispatchtest.Refuse(413, reply.TooLarge, "no")(w, r)
	}))
	defer replica.Close()
	client := backend.New(4)
	defer client.Close()
	r := request()
	r.Picture = make([]byte, 8<<20)
	for range 20 {
		client.Attempt(t.Context(), replica.URL, r, 5*time.Second)
		// A data race, where somebody still reads.
		for i := range r.Picture {
			r.Picture[i]++
		}
	}
}
