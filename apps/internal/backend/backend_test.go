package backend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
		answer http.HandlerFunc
		status int
		code   reply.Code
		unable bool
	}{
		"a prediction":                     {dispatchtest.Predict, 200, "", false},
		"a prediction without an id":       {text(200, prediction), 200, "", false},
		"a bad picture is the caller's":    {dispatchtest.Refuse(400, reply.BadImage, "no"), 400, reply.BadImage, false},
		"too large is the caller's":        {dispatchtest.Refuse(413, reply.TooLarge, "no"), 413, reply.TooLarge, false},
		"busy: another may be able":        {dispatchtest.Refuse(503, reply.Overloaded, "no"), 503, reply.Overloaded, true},
		"too late":                         {dispatchtest.Refuse(504, reply.DeadlineExceeded, "no"), 504, reply.DeadlineExceeded, false},
		"its own failure":                  {dispatchtest.Refuse(500, reply.Internal, "no"), 502, reply.BackendFailed, false},
		"a broken connection":              {dispatchtest.Die, 502, reply.BackendFailed, true},
		"no JSON":                          {text(200, "<html>"), 502, reply.BackendFailed, false},
		"a prediction of another contract": {text(200, `{"model":"m","scores":[1]}`), 502, reply.BackendFailed, false},
		"an empty prediction":              {text(200, `{"model":"m","predictions":[]}`), 502, reply.BackendFailed, false},
		"a prediction and more":            {text(200, prediction+prediction), 502, reply.BackendFailed, false},
		"an endless answer":                {text(200, prediction+strings.Repeat(" ", 2<<20)), 502, reply.BackendFailed, false},
		"a refusal of another contract":    {text(404, "404 page not found"), 502, reply.BackendFailed, false},
		"a refusal without a message":      {text(400, `{"error":{"code":"bad_image"}}`), 502, reply.BackendFailed, false},
		"a redirection is not followed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 502, reply.BackendFailed, false},
		"an answer that breaks off in its body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, 502, reply.BackendFailed, true},
	} {
		t.Run(name, func(t *testing.T) {
			replica := dispatchtest.StartReplica(t, test.answer)
			client := backend.New(1, 5*time.Second)
			defer client.Close()
			answer := client.Attempt(t.Context(), replica.URL, request())
			if answer.Status != test.status || answer.Unable != test.unable {
				t.Errorf("status %d, unable %v; want %d, %v (%s)", answer.Status, answer.Unable, test.status, test.unable, answer.Body)
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
	client := backend.New(1, 5*time.Second)
	defer client.Close()
	r := request()
	client.Attempt(t.Context(), replica.URL, r)
	got := replica.Served()
	want := dispatchtest.Served{ID: "id-1", Deadline: strconv.FormatInt(r.Deadline.UnixMilli(), 10), ContentType: "application/octet-stream", Picture: r.Picture}
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("sent %+v, want %+v", got, want)
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
		client := backend.New(1, 5*time.Second)
		defer client.Close()
		client.Attempt(ctx, replica.URL, request())
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
	}{
		"at the deadline":       {5 * time.Second, 50 * time.Millisecond, 5 * time.Second, 504},
		"at its own limit":      {50 * time.Millisecond, 5 * time.Second, 5 * time.Second, 502},
		"when it is called off": {5 * time.Second, 5 * time.Second, 50 * time.Millisecond, 503},
	} {
		t.Run(name, func(t *testing.T) {
			replica := dispatchtest.StartReplica(t, hang)
			client := backend.New(1, test.timeout)
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), test.cancel)
			defer cancel()
			r := request()
			begin := time.Now()
			r.Deadline = begin.Add(test.deadline)
			answer := client.Attempt(ctx, replica.URL, r)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			if answer.Status != test.status || answer.Unable {
				t.Errorf("status %d, unable %v; want %d and no blame on the replica", answer.Status, answer.Unable, test.status)
			}
			dispatchtest.Eventually(t, 5*time.Second, "the replica is told", func() bool { return replica.InFlight() == 0 })
		})
	}
}

func TestNobodyThereIsUnable(t *testing.T) {
	client := backend.New(1, 5*time.Second)
	defer client.Close()
	answer := client.Attempt(t.Context(), "http://"+dispatchtest.FreeAddress(t), request())
	if answer.Status != http.StatusBadGateway || !answer.Unable {
		t.Errorf("status %d, unable %v", answer.Status, answer.Unable)
	}
}
