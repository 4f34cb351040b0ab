package reply_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/apps/internal/reply"
)

func validate(t *testing.T, schema, body string) {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile("../../../contract/" + schema)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%s: %v", body, err)
	}
}

func TestAnswersFollowTheContract(t *testing.T) {
	engine := reply.NewEngine(slog.New(slog.DiscardHandler), new(atomic.Bool))
	engine.GET("/reply", func(c *gin.Context) {
		answer := reply.Reply{ID: "r1", Model: "m", Predictions: []reply.Prediction{{Class: 0, Label: "bus", Probability: 0.75}, {Class: 1, Probability: 0.25}}}
		c.Data(http.StatusOK, reply.ContentType, answer.Append(nil))
	})
	engine.GET("/busy", func(c *gin.Context) {
		reply.Fail(c, http.StatusServiceUnavailable, "r1", reply.Overloaded, "too much")
	})
	engine.GET("/panic", func(*gin.Context) { panic("a bug") })

	tests := []struct {
		name, method, path string
		status             int
		schema, body       string
	}{
		{"a prediction", "GET", "/reply", 200, "reply.schema.json", `{"id":"r1","model":"m","predictions":[{"class":0,"label":"bus","probability":0.75},{"class":1,"probability":0.25}]}`},
		{"overload", "GET", "/busy", 503, "error.schema.json", `{"id":"r1","error":{"code":"overloaded","message":"too much"}}`},
		{"an unknown path", "GET", "/nowhere", 404, "error.schema.json", `{"error":{"code":"not_found","message":"there is nothing at \"/nowhere\""}}`},
		{"a wrong method", "POST", "/busy", 405, "error.schema.json", `{"error":{"code":"method_not_allowed","message":"POST is not allowed at \"/busy\"; allowed: GET"}}`},
		{"a panic", "GET", "/panic", 500, "error.schema.json", `{"error":{"code":"internal","message":"the server failed on this request; its log says why"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			engine.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("got %d %s,\nwant %d %s", w.Code, w.Body, test.status, test.body)
			}
			if got := w.Header().Get("Retry-After"); (got == "1") != (test.status == 503) {
				t.Errorf("Retry-After is %q", got)
			}
			validate(t, test.schema, w.Body.String())
		})
	}
}

func TestAnswersEndTheirConnectionOnceDraining(t *testing.T) {
	var draining atomic.Bool
	engine := reply.NewEngine(slog.New(slog.DiscardHandler), &draining)
	engine.POST("/", func(c *gin.Context) { c.String(http.StatusOK, "ok") })
	server := httptest.NewServer(engine)
	defer server.Close()
	ends := func() bool {
		response, err := http.Post(server.URL, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return response.Close
	}
	if ends() {
		t.Error("a connection ends while the server goes on")
	}
	draining.Store(true)
	if !ends() {
		t.Error("a connection goes on into a server that is about to end")
	}
}

// Who asks before he sends a body gets a refusal alone, and not his body's turn first.
func TestARefusalDoesNotAskForTheBody(t *testing.T) {
	engine := reply.NewEngine(slog.New(slog.DiscardHandler), new(atomic.Bool))
	engine.POST("/refuse", func(c *gin.Context) { reply.Fail(c, http.StatusServiceUnavailable, "", reply.Overloaded, "too much") })
	engine.POST("/read", func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 2)
		_, _ = io.ReadAll(c.Request.Body)
		reply.Fail(c, http.StatusRequestEntityTooLarge, "", reply.TooLarge, "too large")
	})
	server := httptest.NewServer(engine)
	defer server.Close()
	for path, want := range map[string]string{"/refuse": "HTTP/1.1 503 ", "/read": "HTTP/1.1 100 "} {
		connection, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(connection, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		first, err := bufio.NewReader(connection).ReadString('\n')
		if err != nil || !strings.HasPrefix(first, want) {
			t.Errorf("%s: got %q, %v, want %q", path, first, err, want)
		}
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestALongMessageIsCut(t *testing.T) {
	w := httptest.NewRecorder()
	c, _ := gin.CreateTestContext(w)
	c.Request = httptest.NewRequest(http.MethodGet, "/", nil)
	reply.Fail(c, http.StatusBadRequest, "", reply.BadRequest, strings.Repeat("é", 1<<20))
	if n := w.Body.Len(); n > 3000 || !strings.Contains(w.Body.String(), `éé..."`) {
		t.Errorf("%d bytes: %.100s", n, w.Body)
	}
	validate(t, "error.schema.json", w.Body.String())
}

func TestCodesAreThoseOfTheContract(t *testing.T) {
	data, err := os.ReadFile("../../../contract/error.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Error struct {
				Properties struct {
					Code struct{ Enum []reply.Code }
				}
			}
		}
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	want := schema.Properties.Error.Properties.Code.Enum
	got := []reply.Code{
		reply.BadRequest, reply.BadImage, reply.TooLarge, reply.UnsupportedMediaType, reply.Unauthorized, reply.NotFound, reply.MethodNotAllowed,
		reply.Conflict, reply.RateLimited,
		reply.DeadlineExceeded, reply.Overloaded, reply.NotReady, reply.QueueUnavailable, reply.BackendFailed, reply.RequestTimeout, reply.Internal,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, the contract has %v", got, want)
	}
}

func TestCheckID(t *testing.T) {
	tests := []struct{ name, id, want string }{
		{"a UUID", "0b9c3c5e-8f9a-4c8e-9c53-1c0f4f1f7a11", ""},
		{"the longest", strings.Repeat("x", 128), ""},
		{"empty", "", "X-Request-Id has 0 characters; 1 to 128 printable ASCII characters are allowed"},
		{"too long", strings.Repeat("x", 129), "X-Request-Id has 129 characters; 1 to 128 printable ASCII characters are allowed"},
		{"a line break", "a\nb", "X-Request-Id has the byte 0x0a at position 1; only printable ASCII characters are allowed"},
		{"not ASCII", "é", "X-Request-Id has the byte 0xc3 at position 0; only printable ASCII characters are allowed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := reply.CheckID(test.id); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What is appended is the JSON that the standard library would write, but that
// a probability has the digits of a float32.
func TestAppendIsJSON(t *testing.T) {
	replies := []reply.Reply{
		{Model: "m"},
		{ID: "r1", Model: "vehicles", Predictions: []reply.Prediction{{Class: 3, Label: "fire engine, fire truck", Probability: 0.5}}},
		{ID: `q"\`, Model: "Ünïcode", Predictions: []reply.Prediction{
			{Class: 0, Label: "a\nb\x00\x7f", Probability: 1}, {Class: 1, Label: "\u2028<&>\xff", Probability: 0}, {Class: 2, Probability: float64(float32(1e-30))},
		}},
	}
	for _, want := range replies {
		text := want.Append([]byte("before"))
		text = text[len("before"):]
		var got reply.Reply
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		standard, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var expected reply.Reply
		if err := json.Unmarshal(standard, &expected); err != nil {
			t.Fatal(err)
		}
		for i := range got.Predictions {
			if g, w := got.Predictions[i].Probability, expected.Predictions[i].Probability; float32(g) != float32(w) {
				t.Errorf("probability %v, want %v", g, w)
			}
			got.Predictions[i].Probability = expected.Predictions[i].Probability
		}
		if len(got.Predictions) == 0 {
			got.Predictions, expected.Predictions = nil, nil
		}
		if !reflect.DeepEqual(got, expected) {
			t.Errorf("got %+v, want %+v", got, expected)
		}
	}
	if text := string(replies[1].Append(nil)); text != `{"id":"r1","model":"vehicles","predictions":[{"class":3,"label":"fire engine, fire truck","probability":0.5}]}` {
		t.Errorf("got %s", text)
	}
}

func TestAppendStringWritesAsEncodingJSON(t *testing.T) {
	for _, text := range []string{"", "bus", `a "b" \c`, "<&>", "é\n\x00\x7f\u2028", "\xff"} {
		want, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(reply.AppendString(nil, text)); got != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAppendTakesNoMemory(t *testing.T) {
	r := reply.Reply{ID: "r1", Model: "m", Predictions: []reply.Prediction{{Class: 3, Label: "bus", Probability: 0.123}}}
	buffer := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buffer = r.Append(buffer[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
