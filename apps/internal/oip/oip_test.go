package oip_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"headroom.dev/apps/internal/oip"
)

const limit = 4096

// backend is a model that a test makes up.
type backend struct {
	dead, notReady, notLoaded bool
	model                     oip.Metadata
	infer                     func(context.Context, oip.Call) ([]byte, error)
	calls                     atomic.Int64
	last                      oip.Call
}

func (b *backend) Live() bool                  { return !b.dead }
func (b *backend) Ready() bool                 { return !b.notReady }
func (b *backend) Model() (oip.Metadata, bool) { return b.model, !b.notLoaded }

func (b *backend) Infer(ctx context.Context, call oip.Call) ([]byte, error) {
	b.calls.Add(1)
	b.last = call
	b.last.Input = bytes.Clone(call.Input) // which is gone once the request is answered
	return b.infer(ctx, call)
}

// tiny is a model whose row has 2 by 2 elements in and 3 out. Its output is
// output, once for each row.
func tiny(in, out oip.Datatype, output string) *backend {
	return &backend{
		model: oip.Metadata{
			Name: "tiny", Versions: []string{"7", "stable"}, Platform: "onnx_onnxv1",
			Inputs:  []oip.TensorMetadata{{Name: "pixels", Datatype: in, Shape: []int64{-1, 2, 2}}},
			Outputs: []oip.TensorMetadata{{Name: "scores", Datatype: out, Shape: []int64{-1, 3}}},
		},
		infer: func(_ context.Context, call oip.Call) ([]byte, error) {
			return []byte(strings.Repeat(output, call.Rows)), nil
		},
	}
}

// Worked by hand: 1, -2.5 and 0.1 in little-endian bytes.
const (
	floats = "\x00\x00\x80\x3f" + "\x00\x00\x20\xc0" + "\xcd\xcc\xcc\x3d"
	halves = "\x00\x3c" + "\x00\xc1" + "\x66\x2e"
)

// tooLong is an error of a body, as the caller's own hook has them.
type tooLong struct{ status int }

func (tooLong) Error() string     { return "the body is larger than 4096 bytes, the most that is accepted" }
func (e tooLong) HTTPStatus() int { return e.status }

func config(b oip.Backend, log io.Writer) oip.Config {
	return oip.Config{
		Backend: b, MaxBody: limit, MaxRows: 4, Timeout: time.Minute,
		Name: "headroom-modelserver", Version: "1.2.3",
		Deadline: func(h http.Header) (time.Time, error) {
			text := h.Get("Headroom-Deadline")
			if text == "" {
				return time.Time{}, nil
			}
			ms, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("%s is %q; allowed: Unix time in milliseconds", "Headroom-Deadline", text)
			}
			return time.UnixMilli(ms), nil
		},
		Priority: func(h http.Header) (string, error) {
			if p := h.Get("Headroom-Priority"); p != "wrong" {
				return p, nil
			}
			return "", fmt.Errorf("%s is %q; allowed: high, low", "Headroom-Priority", "wrong")
		},
		Body: func(_ http.ResponseWriter, r *http.Request) ([]byte, func(), error) {
			body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
			if err == nil && int64(len(body)) > limit {
				return nil, nil, tooLong{http.StatusRequestEntityTooLarge}
			}
			return body, func() { clear(body) }, err
		},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func serve(c oip.Config) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	oip.Routes(engine, c)
	return engine
}

// ask sends a request; headers are names and values in turn.
func ask(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func wantAnswer(t *testing.T, got *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if got.Code != status || got.Body.String() != body {
		t.Errorf("got %d %s\nwant %d %s", got.Code, got.Body, status, body)
	}
	if got.Code != http.StatusOK {
		var failure map[string]string
		if err := json.Unmarshal(got.Body.Bytes(), &failure); err != nil || len(failure) != 1 || failure["error"] == "" {
			t.Errorf("got %s, want the protocol's error", got.Body)
		}
	}
}

// failure is the body of an error.
func failure(message string) string {
	text, err := json.Marshal(map[string]string{"error": message})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestHealthAndMetadata(t *testing.T) {
	loading := &backend{notReady: true, notLoaded: true}
	draining := tiny(oip.FP32, oip.FP32, "")
	draining.notReady = true
	dead := tiny(oip.FP32, oip.FP32, "")
	dead.dead = true
	unversioned := tiny(oip.FP32, oip.FP32, "")
	unversioned.model.Versions = nil
	const (
		described = `{"name":"tiny","versions":["7","stable"],"platform":"onnx_onnxv1","inputs":[{"name":"pixels","datatype":"FP32","shape":[-1,2,2]}],"outputs":[{"name":"scores","datatype":"FP32","shape":[-1,3]}]}`
		about     = `{"extensions":["binary_tensor_data"],"name":"headroom-modelserver","version":"1.2.3"}`
	)
	notReady := failure("the server is loading its model or shutting down")
	notLoaded := failure("the model is still being loaded")
	noModel := failure(`there is no model "other"; there is "tiny"`)
	noVersion := failure(`model "tiny" has no version "8"; it has ["7" "stable"]`)
	for _, test := range []struct {
		name    string
		backend *backend
		path    string
		status  int
		body    string
	}{
		{"the server is described", loading, "/v2", 200, about},
		{"a server is live while it loads", loading, "/v2/health/live", 200, `{"live":true}`},
		{"a server that is not live", dead, "/v2/health/live", 503, failure("the server is not live")},
		{"a server that is ready", tiny(oip.FP32, oip.FP32, ""), "/v2/health/ready", 200, `{"ready":true}`},
		{"a server that loads", loading, "/v2/health/ready", 503, notReady},
		{"a server that drains", draining, "/v2/health/ready", 503, notReady},
		{"a model is described", tiny(oip.FP32, oip.FP32, ""), "/v2/models/tiny", 200, described},
		{"a version is described", tiny(oip.FP32, oip.FP32, ""), "/v2/models/tiny/versions/stable", 200, described},
		{"a model that loads is not described", loading, "/v2/models/tiny", 503, notLoaded},
		{"another model is not described", tiny(oip.FP32, oip.FP32, ""), "/v2/models/other", 404, noModel},
		{"another version is not described", tiny(oip.FP32, oip.FP32, ""), "/v2/models/tiny/versions/8", 404, noVersion},
		{"a model without versions has none", unversioned, "/v2/models/tiny/versions/1", 404, failure(`model "tiny" has no version "1"; it has []`)},
		{"a model without versions names none", unversioned, "/v2/models/tiny", 200, strings.Replace(described, `"versions":["7","stable"],`, "", 1)},
		{"a model that is ready", tiny(oip.FP32, oip.FP32, ""), "/v2/models/tiny/ready", 200, `{"name":"tiny","ready":true}`},
		{"a version that is ready", tiny(oip.FP32, oip.FP32, ""), "/v2/models/tiny/versions/7/ready", 200, `{"name":"tiny","ready":true}`},
		{"a model that loads", loading, "/v2/models/tiny/ready", 503, notLoaded},
		{"a model that drains", draining, "/v2/models/tiny/ready", 503, notReady},
		{"another model is not ready", tiny(oip.FP32, oip.FP32, ""), "/v2/models/other/ready", 404, noModel},
		{"another version is not ready", tiny(oip.FP32, oip.FP32, ""), "/v2/models/tiny/versions/8/ready", 404, noVersion},
		{"a name of any length is answered in one line", tiny(oip.FP32, oip.FP32, ""), "/v2/models/" + strings.Repeat("x", 1000), 404,
			failure(`there is no model "` + strings.Repeat("x", 64) + `"...; there is "tiny"`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantAnswer(t, ask(serve(config(test.backend, io.Discard)), http.MethodGet, test.path, ""), test.status, test.body)
		})
	}
}

// A row of the model tiny, and its answer for the output 1, -2.5, 0.1.
const (
	one       = `{"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"FP32","data":[1,-2.5,0.1,0]}]}`
	oneBytes  = floats + "\x00\x00\x00\x00"
	oneAnswer = `{"model_name":"tiny","model_version":"7","outputs":[{"name":"scores","datatype":"FP32","shape":[1,3],"data":[1,-2.5,0.1]}]}`
)

func TestInferAsJSON(t *testing.T) {
	withID := `{"model_name":"tiny","model_version":"7","id":"42","outputs":[{"name":"scores","datatype":"FP32","shape":[1,3],"data":[1,-2.5,0.1]}]}`
	for _, test := range []struct {
		name, path, body string
		input            string
		answer           string
	}{
		{"the elements in one array", "/v2/models/tiny/infer", one, oneBytes, oneAnswer},
		{"the elements in arrays as the shape has them", "/v2/models/tiny/infer",
			`{"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"FP32","data":[ [ [1 , -25e-1],[ 1E-1,0.0 ] ] ]}]}`, oneBytes, oneAnswer},
		{"the keys in the order of the alphabet", "/v2/models/tiny/infer",
			`{"inputs":[{"data":[1,-2.5,0.1,0],"datatype":"FP32","name":"pixels","shape":[1,2,2]}]}`, oneBytes, oneAnswer},
		{"an id and the output by name", "/v2/models/tiny/infer",
			`{"id":"42","outputs":[{"name":"scores"}],` + one[1:], oneBytes, withID},
		{"an empty id is none", "/v2/models/tiny/infer", `{"id":"","outputs":[],` + one[1:], oneBytes, oneAnswer},
		{"the model repeated in the body", "/v2/models/tiny/infer",
			`{"model_name":"tiny","model_version":"stable",` + one[1:], oneBytes, strings.Replace(oneAnswer, `"7"`, `"stable"`, 1)},
		{"a version in the path", "/v2/models/tiny/versions/stable/infer", one, oneBytes, strings.Replace(oneAnswer, `"7"`, `"stable"`, 1)},
		{"parameters that nobody knows", "/v2/models/tiny/infer",
			`{"parameters":{"priority":3,"x":[{"y":null,"z":"]"}]},"outputs":[{"name":"scores","parameters":{"classification":2,"binary_data":false}}],` +
				`"inputs":[{"name":"pixels","parameters":{"a":true,"b":-1.5e3,"c":"\"é\u00e9"},"shape":[1,2,2],"datatype":"FP32","data":[1,-2.5,0.1,0]}]}`, oneBytes, oneAnswer},
		{"keys and names with escapes", "/v2/models/tiny/infer", strings.NewReplacer(`"name"`, `"n\u0061me"`, "pixels", `p\u0069xels`).Replace(one), oneBytes, oneAnswer},
		{"two rows", "/v2/models/tiny/infer",
			`{"inputs":[{"name":"pixels","shape":[2,2,2],"datatype":"FP32","data":[1,-2.5,0.1,0,1,-2.5,0.1,0]}]}` + "\n", oneBytes + oneBytes,
			`{"model_name":"tiny","model_version":"7","outputs":[{"name":"scores","datatype":"FP32","shape":[2,3],"data":[1,-2.5,0.1,1,-2.5,0.1]}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, floats)
			got := ask(serve(config(b, io.Discard)), http.MethodPost, test.path, test.body, "Content-Type", "application/json; charset=utf-8")
			wantAnswer(t, got, 200, test.answer)
			if string(b.last.Input) != test.input || b.last.Rows*16 != len(test.input) {
				t.Errorf("the model got %d rows, %x, want %x", b.last.Rows, b.last.Input, test.input)
			}
			if got.Header().Get("Content-Type") != "application/json" || got.Header().Get(oip.LengthHeader) != "" {
				t.Errorf("headers are %v", got.Header())
			}
			if n := got.Header().Get("Content-Length"); n != strconv.Itoa(got.Body.Len()) {
				t.Errorf("Content-Length is %q for %d bytes", n, got.Body.Len())
			}
		})
	}
}

func TestDatatypes(t *testing.T) {
	request := func(datatype, data string) string {
		return `{"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"` + datatype + `","data":[` + data + `]}]}`
	}
	refused := func(element int, value, allowed string) string {
		return fmt.Sprintf("inputs[0].data, element %d: %q is not allowed; allowed: %s", element, value, allowed)
	}
	const finite16, finite32, byteRange = "a number that is finite as FP16", "a number that is finite as FP32", "a whole number from 0 to 255"
	for _, test := range []struct {
		name           string
		datatype, data string
		input          string
		problem        string
	}{
		{"FP32, the largest and the smallest", "FP32", "3.4028234663852886e38,-3.4028235e+38,1.401298464324817e-45,-0",
			"\xff\xff\x7f\x7f" + "\xff\xff\x7f\xff" + "\x01\x00\x00\x00" + "\x00\x00\x00\x80", ""},
		// 1 + 2^-24 lies between two float32 and goes to the even one; anything
		// more goes up, though it is the same float64.
		{"FP32, next to the middle of two", "FP32", "1.000000059604644775390625,1.0000000596046447753906251,16777217,16777219",
			"\x00\x00\x80\x3f" + "\x01\x00\x80\x3f" + "\x00\x00\x80\x4b" + "\x02\x00\x80\x4b", ""},
		{"FP32, more digits than a number has", "FP32", "0.10000000000000000000000000000000001,1e-400,123456789012345678901234567890e-29,0.000000000000000000000000000001",
			"\xcd\xcc\xcc\x3d" + "\x00\x00\x00\x00" + "\x52\x06\x9e\x3f" + "\x60\x42\xa2\x0d", ""},
		{"FP32, too large", "FP32", "0,3.5e38,0,0", "", refused(1, "3.5e38", finite32)},
		{"FP32, far too large", "FP32", "0,0,-1e99999999999999999999,0", "", refused(2, "-1e99999999999999999999", finite32)},
		{"FP16, as it is", "FP16", "1,-2.5,0.1,65504", halves + "\xff\x7b", ""},
		{"FP16, the smallest, half of it, and a little more", "FP16", "5.960464477539063e-8,2.9802322387695312e-8,3e-8,-1e-50",
			"\x01\x00" + "\x00\x00" + "\x01\x00" + "\x00\x80", ""},
		// 1 + 2^-11 lies between 1 and the next half, and goes to the even one;
		// the same and 1e-12 is nearer to the next, but not as a float32.
		{"FP16, next to the middle of two", "FP16", "1.00048828125,1.000488281251,1.00146484375,1.001464843749",
			"\x00\x3c" + "\x01\x3c" + "\x02\x3c" + "\x01\x3c", ""},
		{"FP16, the last that is rounded to the largest", "FP16", "65519.99999,-65519,0,0", "\xff\x7b" + "\xff\xfb" + "\x00\x00\x00\x00", ""},
		{"FP16, too large", "FP16", "0,0,0,65520", "", refused(3, "65520", finite16)},
		{"FP16, larger than a float32", "FP16", "-1e39,0,0,0", "", refused(0, "-1e39", finite16)},
		{"UINT8, in all forms", "UINT8", "0,255,7.0,1e2", "\x00\xff\x07\x64", ""},
		{"UINT8, too large", "UINT8", "0,256,0,0", "", refused(1, "256", byteRange)},
		{"UINT8, negative", "UINT8", "-1,0,0,0", "", refused(0, "-1", byteRange)},
		{"UINT8, a fraction", "UINT8", "0,0,0,1.5", "", refused(3, "1.5", byteRange)},
		{"a boolean", "FP32", "0,true,0,0", "", refused(1, "true", "a number")},
		{"a string", "FP32", `0,0,"1",0`, "", refused(2, `"1"`, "a number")},
		{"null", "FP32", "null,0,0,0", "", refused(0, "null", "a number")},
		{"an object", "FP32", `{"a":1},0,0,0`, "", refused(0, `{"a"`, "a number")},
		{"not a number", "FP32", "NaN,0,0,0", "", refused(0, "NaN", "a number")},
		{"a number without its end", "FP32", "1.,0,0,0", "", refused(0, "1.", "a number")},
		{"a number without its front", "FP32", "0,.5,0,0", "", refused(1, ".5", "a number")},
		{"a number without an exponent", "FP32", "1e+,0,0,0", "", refused(0, "1e+", "a number")},
		{"a number with a plus", "FP32", "+1,0,0,0", "", refused(0, "+1", "a number")},
		{"a number with a zero in front", "FP32", "01,0,0,0", "", `the JSON has "1" at byte 71; expected a comma or ]`},
		{"a comma too many", "FP32", "0,0,0,", "", refused(3, "]", "a number")},
		{"no comma", "FP32", "0 0,0,0", "", `the JSON has "0" at byte 72; expected a comma or ]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.Datatype(test.datatype), oip.FP32, floats)
			got := ask(serve(config(b, io.Discard)), http.MethodPost, "/v2/models/tiny/infer", request(test.datatype, test.data))
			if test.problem != "" {
				if b.calls.Load() != 0 {
					t.Error("the model was asked")
				}
				var refusal struct{ Error string }
				if err := json.Unmarshal(got.Body.Bytes(), &refusal); err != nil || got.Code != 400 || refusal.Error != test.problem {
					t.Errorf("got %d %s\nwant 400 %s", got.Code, refusal.Error, test.problem)
				}
				return
			}
			wantAnswer(t, got, 200, oneAnswer)
			if string(b.last.Input) != test.input {
				t.Errorf("the model got %x, want %x", b.last.Input, test.input)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const path = "/v2/models/tiny/infer"
	input := func(shape, data string) string {
		return `{"inputs":[{"name":"pixels","shape":` + shape + `,"datatype":"FP32","data":` + data + `}]}`
	}
	binaryInput := func(size int) string {
		return fmt.Sprintf(`{"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"FP32","parameters":{"binary_data_size":%d}}]}`, size)
	}
	header := func(text string) []string { return []string{oip.LengthHeader, strconv.Itoa(len(text))} }
	for _, test := range []struct {
		name, path, body string
		headers          []string
		status           int
		message          string
	}{
		{"another model", "/v2/models/other/infer", one, nil, 404, `there is no model "other"; there is "tiny"`},
		{"another version", "/v2/models/tiny/versions/8/infer", one, nil, 404, `model "tiny" has no version "8"; it has ["7" "stable"]`},
		{"another version in the body", path, `{"model_version":"8",` + one[1:], nil, 404, `model "tiny" has no version "8"; it has ["7" "stable"]`},
		{"a model in the body that is not the path's", path, `{"model_name":"other",` + one[1:], nil, 400, `model_name: "other" is not the model of the URL, "tiny"`},
		{"a version in the body that is not the path's", "/v2/models/tiny/versions/7/infer", `{"model_version":"stable",` + one[1:], nil, 400, `model_version: "stable" is not the version of the URL, "7"`},

		{"a compressed body", path, one, []string{"Content-Encoding", "gzip"}, 415, `Content-Encoding "gzip" is not supported; send the body as it is`},
		{"a form", path, one, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, `Content-Type "application/x-www-form-urlencoded" is not supported; allowed: application/json, application/octet-stream with Inference-Header-Content-Length, or none`},
		{"bytes without the header", path, one, []string{"Content-Type", "application/octet-stream"}, 415, `Content-Type "application/octet-stream" is not supported; allowed: application/json, application/octet-stream with Inference-Header-Content-Length, or none`},
		{"a type that is none", path, one, []string{"Content-Type", ";;"}, 415, `Content-Type ";;" can't be read: mime: no media type`},
		{"a body that is too large", path, one + strings.Repeat(" ", limit), nil, 413, "the body is larger than 4096 bytes, the most that is accepted"},
		{"a deadline that is none", path, one, []string{"Headroom-Deadline", "soon"}, 400, `Headroom-Deadline is "soon"; allowed: Unix time in milliseconds`},
		{"a deadline that has passed", path, one, []string{"Headroom-Deadline", "1"}, 504, "the deadline passed before the request was answered"},
		{"a priority that is none", path, one, []string{"Headroom-Priority", "wrong"}, 400, `Headroom-Priority is "wrong"; allowed: high, low`},

		{"an empty body", path, "", nil, 400, "the request: must be an object"},
		{"an array", path, "[]", nil, 400, "the request: must be an object"},
		{"an object that does not end", path, `{"id":"1"`, nil, 400, "the JSON has its end at byte 9; expected a comma or }"},
		{"a string that does not end", path, `{"id":"1`, nil, 400, "the JSON has a string at byte 6 that does not end"},
		{"a string that ends in a backslash", path, `{"id":"1\`, nil, 400, "the JSON has a string at byte 6 that does not end"},
		{"a string with a wrong escape", path, `{"id":"\x"}`, nil, 400, `the JSON has a string at byte 6 that can't be read: invalid character 'x' in string escape code`},
		{"a key that is no string", path, `{id:1}`, nil, 400, `the JSON has "id" at byte 1; expected a key in double quotes`},
		{"a key without a value", path, `{"id"}`, nil, 400, `the JSON has "}" at byte 5; expected a colon`},
		{"a comma at the end", path, `{"id":"1",}`, nil, 400, `the JSON has "}" at byte 10; expected a key in double quotes`},
		{"text after the object", path, one + "{}", nil, 400, "the JSON goes on after its object at byte " + strconv.Itoa(len(one)) + "; only white space may follow"},
		{"an unknown key", path, `{"input":[],` + one[1:], nil, 400, `the request: unknown key "input"; allowed: id, model_name, model_version, parameters, inputs, outputs`},
		{"an unknown key of an input", path, strings.Replace(one, "datatype", "dtype", 1), nil, 400, `inputs[0]: unknown key "dtype"; allowed: name, shape, datatype, parameters, data`},
		{"an unknown key of an output", path, `{"outputs":[{"name":"scores","data":[]}],` + one[1:], nil, 400, `outputs[0]: unknown key "data"; allowed: name, parameters`},
		{"a key given twice", path, `{"id":"1","id":"1",` + one[1:], nil, 400, "id: is given twice"},
		{"arrays too deep in each other", path, `{"parameters":{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `},` + one[1:], nil, 400,
			"the JSON has more than 16 arrays and objects in each other at byte 33, the most that is accepted"},
		{"data too deep", path, input("[1,2,2]", strings.Repeat("[", 100)+strings.Repeat("]", 100)), nil, 400, `inputs[0].data, element 0: "` + strings.Repeat("[", 64) + `" is not allowed; allowed: a number`},
		{"parameters that are no object", path, `{"parameters":[],` + one[1:], nil, 400, "parameters: must be an object"},
		{"an unknown parameter that is no JSON", path, `{"parameters":{"x":tru},` + one[1:], nil, 400, `the JSON has "tru" at byte 19; expected a value`},

		{"an id that is a number", path, `{"id":42,` + one[1:], nil, 400, `id: "42" is not allowed; allowed: a string`},
		{"an id that is too long", path, `{"id":"` + strings.Repeat("x", 129) + `",` + one[1:], nil, 400, "id has 129 characters; at most 128 printable ASCII characters are allowed"},
		{"an id that does not print", path, `{"id":"a\n",` + one[1:], nil, 400, "id has the byte 0x0a at position 1; only printable ASCII characters are allowed"},
		{"an id beyond ASCII", path, `{"id":"\u00e9",` + one[1:], nil, 400, "id has the byte 0xc3 at position 0; only printable ASCII characters are allowed"},

		{"no inputs", path, `{"id":"1"}`, nil, 400, "inputs: is missing or empty"},
		{"an empty list of inputs", path, `{"inputs":[]}`, nil, 400, "inputs: is missing or empty"},
		{"inputs that are no array", path, `{"inputs":{}}`, nil, 400, "inputs: must be an array"},
		{"an input that is no object", path, `{"inputs":[1]}`, nil, 400, "inputs[0]: must be an object"},
		{"more inputs than anyone has", path, `{"inputs":[` + strings.Repeat(one[11:len(one)-2]+",", 16) + `{}]}`, nil, 400, "inputs: has more than 16 items, the most that is accepted"},
		{"two inputs", path, `{"inputs":[` + one[11:len(one)-2] + "," + one[11:len(one)-2] + `]}`, nil, 400, `inputs has 2 tensors; the model takes exactly one, "pixels"`},
		{"an input without a name", path, `{"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]}`, nil, 400, "inputs[0].name: is missing or empty"},
		{"an input without a shape", path, `{"inputs":[{"name":"pixels","datatype":"FP32","data":[1]}]}`, nil, 400, "inputs[0].shape: is missing or empty"},
		{"an input without a datatype", path, `{"inputs":[{"name":"pixels","shape":[1],"data":[1]}]}`, nil, 400, "inputs[0].datatype: is missing or empty"},
		{"an input without data", path, `{"inputs":[{"name":"pixels","shape":[1],"datatype":"FP32"}]}`, nil, 400, "inputs[0]: has neither data nor parameters.binary_data_size"},
		{"another input", path, strings.Replace(one, "pixels", "image", 1), nil, 400, `there is no input "image"; the model takes "pixels"`},
		{"another datatype of the protocol", path, strings.Replace(one, "FP32", "INT64", 1), nil, 400, `input "pixels" has datatype INT64; the model takes FP32`},
		{"strings, where the model takes numbers", path, `{"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"BYTES","data":["]","["]}]}`, nil, 400, `input "pixels" has datatype BYTES; the model takes FP32`},
		{"a datatype that is none", path, strings.Replace(one, "FP32", "fp32", 1), nil, 400, `input "pixels" has datatype "fp32"; the protocol has BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES`},
		{"another rank", path, input("[1,4]", "[1,2,3,4]"), nil, 400, `input "pixels" has 2 dimensions; the model takes 3, [-1,2,2]`},
		{"another dimension", path, input("[1,2,3]", "[1,2,3,4,5,6]"), nil, 400, `input "pixels" has shape[2] = 3; the model takes 2 there, [-1,2,2] in all`},
		{"no rows", path, input("[0,2,2]", "[]"), nil, 400, `input "pixels" has shape[0] = 0; allowed: 1 or more`},
		{"too many rows", path, input("[5,2,2]", "[]"), nil, 400, `input "pixels" has shape[0] = 5; at most 4 rows are accepted`},
		{"a negative dimension", path, input("[-1,2,2]", "[]"), nil, 400, `inputs[0].shape[0]: "-1" is not allowed; allowed: a whole number from 0`},
		{"half a dimension", path, input("[1.5,2,2]", "[]"), nil, 400, `inputs[0].shape[0]: "1.5" is not allowed; allowed: a whole number from 0`},
		{"a dimension beyond all", path, input("[9223372036854775808,2,2]", "[]"), nil, 400, `inputs[0].shape[0]: "9223372036854775808" is not allowed; allowed: a whole number from 0`},
		{"a shape longer than any", path, input("["+strings.Repeat("1,", 16)+"1]", "[]"), nil, 400, "inputs[0].shape: has more than 16 items, the most that is accepted"},
		{"too few elements", path, input("[1,2,2]", "[1,2,3]"), nil, 400, "inputs[0].data: has an array of 3 items; shape [1,2,2] has 4 there"},
		{"too many elements", path, input("[1,2,2]", "[1,2,3,4,true]"), nil, 400, "inputs[0].data: has an array of more than 4 items; shape [1,2,2] has no more there"},
		{"no elements", path, input("[1,2,2]", "[]"), nil, 400, "inputs[0].data: has an array of 0 items; shape [1,2,2] has 4 there"},
		{"rows of other lengths", path, input("[1,2,2]", "[[[1,2,3],[4]]]"), nil, 400, "inputs[0].data: has an array of more than 2 items; shape [1,2,2] has no more there"},
		{"a row that is short", path, input("[1,2,2]", "[[[1,2],[3]]]"), nil, 400, "inputs[0].data: has an array of 1 items; shape [1,2,2] has 2 there"},
		{"too many rows of elements", path, input("[1,2,2]", "[[[1,2],[3,4],[5,6]]]"), nil, 400, "inputs[0].data: has an array of more than 2 items; shape [1,2,2] has no more there"},
		{"arrays at half of the depth", path, input("[2,2,2]", "[[1,2,3,4],[5,6,7,8]]"), nil, 400, `inputs[0].data, element 0: "1" is not allowed; allowed: an array, as data is nested`},
		{"arrays in a flat array", path, input("[1,2,2]", "[1,2,[3,4]]"), nil, 400, `inputs[0].data, element 2: "[3" is not allowed; allowed: a number`},
		{"data that is no array", path, input("[1,2,2]", "5"), nil, 400, `inputs[0].data: "5" is not allowed; allowed: an array of numbers`},
		{"data that does not end", path, `{"inputs":[{"name":"pixels","data":[1,2`, nil, 400, "the JSON has its end at byte 39; expected a comma or ]"},

		{"outputs that are no array", path, `{"outputs":"scores",` + one[1:], nil, 400, "outputs: must be an array"},
		{"an output without a name", path, `{"outputs":[{}],` + one[1:], nil, 400, "outputs[0].name: is missing or empty"},
		{"another output", path, `{"outputs":[{"name":"labels"}],` + one[1:], nil, 400, `there is no output "labels"; the model gives "scores"`},
		{"an output asked for twice", path, `{"outputs":[{"name":"scores"},{"name":"scores"}],` + one[1:], nil, 400, `output "scores" is asked for twice`},
		{"an output as bytes or not", path, `{"outputs":[{"name":"scores","parameters":{"binary_data":1}}],` + one[1:], nil, 400, `outputs[0].parameters.binary_data: "1" is not allowed; allowed: true or false`},
		{"all outputs as bytes or not", path, `{"parameters":{"binary_data_output":"true"},` + one[1:], nil, 400, `parameters.binary_data_output: "\"true\"" is not allowed; allowed: true or false`},

		{"a length that is none", path, one, []string{oip.LengthHeader, "x"}, 400, `Inference-Header-Content-Length is "x"; allowed: 1 to 86, the length of the body`},
		{"a length of nothing", path, one, []string{oip.LengthHeader, "0"}, 400, `Inference-Header-Content-Length is "0"; allowed: 1 to 86, the length of the body`},
		{"a length beyond the body", path, one, []string{oip.LengthHeader, "87"}, 400, `Inference-Header-Content-Length is "87"; allowed: 1 to 86, the length of the body`},
		{"a length below the JSON's", path, one, []string{oip.LengthHeader, "85"}, 400, "the JSON has its end at byte 85; expected a comma or }"},
		{"bytes without a length", path, binaryInput(16), nil, 400, "inputs[0].parameters.binary_data_size: needs the header Inference-Header-Content-Length"},
		{"fewer bytes than said", path, binaryInput(16) + oneBytes[:15], header(binaryInput(16)), 400, "inputs[0].parameters.binary_data_size: is 16; the body has 15 bytes left for it"},
		{"more bytes than said", path, binaryInput(16) + oneBytes + "x", header(binaryInput(16)), 400, "the body has 1 bytes after the JSON that no input's binary_data_size claims"},
		{"another size than the shape's", path, binaryInput(12) + floats, header(binaryInput(12)), 400, `input "pixels" has 12 bytes of data; shape [1,2,2] of FP32 has 16`},
		{"a negative size", path, binaryInput(-1), nil, 400, `inputs[0].parameters.binary_data_size: "-1" is not allowed; allowed: a whole number from 0`},
		{"data twice", path, strings.Replace(one, `"shape"`, `"parameters":{"binary_data_size":16},"shape"`, 1), nil, 400, "inputs[0]: has both data and parameters.binary_data_size; one is allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, floats)
			got := ask(serve(config(b, io.Discard)), http.MethodPost, test.path, test.body, test.headers...)
			var refusal struct{ Error string }
			if err := json.Unmarshal(got.Body.Bytes(), &refusal); err != nil || got.Code != test.status || refusal.Error != test.message {
				t.Errorf("got %d %s\nwant %d %s", got.Code, refusal.Error, test.status, test.message)
			}
			if b.calls.Load() != 0 {
				t.Error("the model was asked")
			}
		})
	}
}

func TestShapesOfOtherModels(t *testing.T) {
	model := func(shape ...int64) *backend {
		b := tiny(oip.UINT8, oip.UINT8, "\x01\x02\x03")
		b.model.Inputs[0].Shape = shape
		return b
	}
	for _, test := range []struct {
		name        string
		backend     *backend
		shape, data string
		status      int
		body        string
	}{
		{"one row where there is no batch", model(1, 2), "[1,2]", "[1,2]", 200,
			`{"model_name":"tiny","model_version":"7","outputs":[{"name":"scores","datatype":"UINT8","shape":[1,3],"data":[1,2,3]}]}`},
		{"two rows where there is no batch", model(1, 2), "[2,2]", "[1,2,3,4]", 400, failure(`input "pixels" has shape[0] = 2; the model takes 1 there, [1,2] in all`)},
		{"an open dimension of the row", model(-1, -1), "[2,3]", "[[1,2,3],[4,5,6]]", 200,
			`{"model_name":"tiny","model_version":"7","outputs":[{"name":"scores","datatype":"UINT8","shape":[2,3],"data":[1,2,3,1,2,3]}]}`},
		{"an open dimension of nothing", model(-1, -1), "[2,0]", "[]", 400, failure(`input "pixels" has shape[1] = 0; allowed: 1 or more`)},
		{"a shape that costs memory only if it is believed", model(-1, -1), "[1,1099511627776]", "[1]", 400, failure("inputs[0].data: has an array of 1 items; shape [1,1099511627776] has 1099511627776 there")},
		{"more elements than can be counted", model(-1, -1, -1), "[4,4611686018427387904,1]", "[1]", 400, failure(`input "pixels" has shape [4,4611686018427387904,1], which is more bytes than can be counted`)},
		{"one dimension", model(-1), "[2]", "[1,2]", 200,
			`{"model_name":"tiny","model_version":"7","outputs":[{"name":"scores","datatype":"UINT8","shape":[2,3],"data":[1,2,3,1,2,3]}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := `{"inputs":[{"name":"pixels","shape":` + test.shape + `,"datatype":"UINT8","data":` + test.data + `}]}`
			wantAnswer(t, ask(serve(config(test.backend, io.Discard)), http.MethodPost, "/v2/models/tiny/infer", body), test.status, test.body)
		})
	}
}

func TestBinaryTensors(t *testing.T) {
	const (
		head       = `{"model_name":"tiny","model_version":"7","outputs":[{"name":"scores","datatype":`
		asJSON     = head + `"FP16","shape":[1,3],"data":[1,-2.5,0.099975586]}]}`
		asBytes    = head + `"FP16","shape":[1,3],"parameters":{"binary_data_size":6}}]}`
		inputBytes = halves + "\xff\x7b"
	)
	for _, test := range []struct {
		name    string
		more    string
		inBytes bool
		bytes   bool
	}{
		{"bytes in, JSON out", "", true, false},
		{"bytes in, bytes out for all outputs", `"parameters":{"binary_data_output":true},`, true, true},
		{"bytes in, bytes out for the output", `"outputs":[{"name":"scores","parameters":{"binary_data":true}}],`, true, true},
		{"the output's own wish for JSON wins", `"parameters":{"binary_data_output":true},"outputs":[{"name":"scores","parameters":{"binary_data":false}}],`, true, false},
		{"the output's own wish for bytes wins", `"parameters":{"binary_data_output":false},"outputs":[{"name":"scores","parameters":{"binary_data":true}}],`, true, true},
		{"an output without a wish follows the request", `"outputs":[{"name":"scores"}],"parameters":{"binary_data_output":true},`, true, true},
		{"JSON in, bytes out", `"parameters":{"binary_data_output":true},`, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP16, oip.FP16, halves)
			body := `{` + test.more + `"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"FP16","data":[1,-2.5,0.1,65504]}]}`
			var headers []string
			if test.inBytes {
				body = `{` + test.more + `"inputs":[{"name":"pixels","shape":[1,2,2],"datatype":"FP16","parameters":{"binary_data_size":8}}]}`
				headers = []string{oip.LengthHeader, strconv.Itoa(len(body)), "Content-Type", "application/octet-stream"}
				body += inputBytes
			}
			got := ask(serve(config(b, io.Discard)), http.MethodPost, "/v2/models/tiny/infer", body, headers...)
			if string(b.last.Input) != inputBytes {
				t.Errorf("the model got %x, want %x", b.last.Input, inputBytes)
			}
			if !test.bytes {
				wantAnswer(t, got, 200, asJSON)
				return
			}
			wantAnswer(t, got, 200, asBytes+halves)
			if h := got.Header(); h.Get("Content-Type") != "application/octet-stream" || h.Get(oip.LengthHeader) != strconv.Itoa(len(asBytes)) ||
				h.Get("Content-Length") != strconv.Itoa(len(asBytes)+len(halves)) {
				t.Errorf("headers are %v", h)
			}
		})
	}
}

func TestOutputsThatJSONCannotHold(t *testing.T) {
	for _, test := range []struct {
		name     string
		datatype oip.Datatype
		output   string
		value    string
	}{
		{"infinity", oip.FP32, "\x00\x00\x80\x3f" + "\x00\x00\x80\x7f" + "\x00\x00\x00\x00", "+Inf at element 1"},
		{"no number", oip.FP32, "\x00\x00\xc0\x7f" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00", "NaN at element 0"},
		{"infinity as a half", oip.FP16, "\x00\x00\x00\x00\x00\xfc", "-Inf at element 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := serve(config(tiny(oip.FP32, test.datatype, test.output), io.Discard))
			wantAnswer(t, ask(h, http.MethodPost, "/v2/models/tiny/infer", one), 500,
				failure(`output "scores" holds a value that JSON can't, `+test.value+`; ask for it as binary data`))
			got := ask(h, http.MethodPost, "/v2/models/tiny/infer", `{"parameters":{"binary_data_output":true},`+one[1:])
			if got.Code != 200 || !strings.HasSuffix(got.Body.String(), test.output) {
				t.Errorf("as bytes: got %d %q", got.Code, got.Body)
			}
		})
	}
}

func TestFailuresOfTheModel(t *testing.T) {
	for _, test := range []struct {
		name       string
		infer      func(context.Context, oip.Call) ([]byte, error)
		status     int
		body       string
		retryAfter string
		log        string
	}{
		{"overloaded", func(context.Context, oip.Call) ([]byte, error) {
			return nil, fmt.Errorf("lane: %w", &oip.Error{Status: 503, RetryAfter: true, Message: "8 requests wait, the most that is accepted"})
		}, 503, failure("8 requests wait, the most that is accepted"), "1", ""},
		{"refused for good", func(context.Context, oip.Call) ([]byte, error) {
			return nil, &oip.Error{Status: 503, Message: "the server is shutting down"}
		}, 503, failure("the server is shutting down"), "", ""},
		{"an error of its own", func(context.Context, oip.Call) ([]byte, error) { return nil, errors.New("the session broke") },
			500, failure("the model failed on this request; the server's log says why"), "", `msg="inference failed" id=42 error="the session broke"`},
		{"its context ended", func(ctx context.Context, _ oip.Call) ([]byte, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("waiting: %w", ctx.Err())
		}, 504, failure("the deadline passed before the request was answered"), "", ""},
		{"an output of another size", func(context.Context, oip.Call) ([]byte, error) { return []byte(floats + "x"), nil },
			500, failure("the model failed on this request; the server's log says why"), "", `output \"scores\" has 13 bytes for shape [1,3] of FP32`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, "")
			b.infer = test.infer
			var log strings.Builder
			c := config(b, &log)
			c.Timeout = 50 * time.Millisecond
			got := ask(serve(c), http.MethodPost, "/v2/models/tiny/infer", `{"id":"42",`+one[1:])
			wantAnswer(t, got, test.status, test.body)
			if got.Header().Get("Retry-After") != test.retryAfter {
				t.Errorf("Retry-After is %q, want %q", got.Header().Get("Retry-After"), test.retryAfter)
			}
			if test.log == "" && log.Len() > 0 || !strings.Contains(log.String(), test.log) {
				t.Errorf("the log has %q, want %q", log.String(), test.log)
			}
		})
	}
}

func TestModelsThatCannotBeServed(t *testing.T) {
	two := tiny(oip.FP32, oip.FP32, floats)
	two.model.Inputs = append(two.model.Inputs, two.model.Inputs[0])
	none := tiny(oip.FP32, oip.FP32, floats)
	none.model.Outputs = nil
	scalar := tiny(oip.FP32, oip.FP32, floats)
	scalar.model.Outputs[0].Shape = nil
	open := tiny(oip.FP32, oip.FP32, floats)
	open.model.Outputs[0].Shape = []int64{-1, -1}
	for name, b := range map[string]*backend{
		"two inputs": two, "no output": none, "an output without rows": scalar, "an output of any length": open,
		"an input of another type": tiny("INT64", oip.FP32, floats), "an output of another type": tiny(oip.FP32, "INT64", floats),
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			wantAnswer(t, ask(serve(config(b, &log)), http.MethodPost, "/v2/models/tiny/infer", one), 500,
				failure("the model failed on this request; the server's log says why"))
			if log.Len() == 0 {
				t.Error("the log says nothing")
			}
		})
	}
}

func TestNoBodyIsReadInVain(t *testing.T) {
	for _, test := range []struct {
		name       string
		backend    *backend
		header     [2]string
		status     int
		body       string
		retryAfter string
	}{
		{"for a model that is not loaded", &backend{notLoaded: true}, [2]string{}, 503, failure("the model is still being loaded"), "1"},
		{"for a deadline that has passed", tiny(oip.FP32, oip.FP32, floats), [2]string{"Headroom-Deadline", "1"}, 504, failure("the deadline passed before the request was answered"), ""},
		{"for a form that is not the protocol's", tiny(oip.FP32, oip.FP32, floats), [2]string{"Content-Encoding", "br"}, 415, failure(`Content-Encoding "br" is not supported; send the body as it is`), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(test.backend, io.Discard)
			c.Body = func(http.ResponseWriter, *http.Request) ([]byte, func(), error) {
				t.Error("the body was read")
				return nil, nil, nil
			}
			got := ask(serve(c), http.MethodPost, "/v2/models/tiny/infer", one, test.header[0], test.header[1])
			wantAnswer(t, got, test.status, test.body)
			if got.Header().Get("Retry-After") != test.retryAfter {
				t.Errorf("Retry-After is %q, want %q", got.Header().Get("Retry-After"), test.retryAfter)
			}
		})
	}
}

func TestRequestsAreServedWhileTheServerDrains(t *testing.T) {
	b := tiny(oip.FP32, oip.FP32, floats)
	b.notReady = true
	wantAnswer(t, ask(serve(config(b, io.Discard)), http.MethodPost, "/v2/models/tiny/infer", one), 200, oneAnswer)
}

func TestErrorsOfTheBody(t *testing.T) {
	for _, test := range []struct {
		name       string
		err        error
		status     int
		retryAfter string
	}{
		{"with a status", fmt.Errorf("reading: %w", tooLong{408}), 408, ""},
		{"overloaded", tooLong{503}, 503, "1"},
		{"of this package", &oip.Error{Status: 429, RetryAfter: true, Message: "slower"}, 429, "1"},
		{"without a status", errors.New("the sender is gone"), 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(tiny(oip.FP32, oip.FP32, floats), io.Discard)
			c.Body = func(http.ResponseWriter, *http.Request) ([]byte, func(), error) { return nil, nil, test.err }
			got := ask(serve(c), http.MethodPost, "/v2/models/tiny/infer", one)
			wantAnswer(t, got, test.status, failure(test.err.Error()))
			if got.Header().Get("Retry-After") != test.retryAfter {
				t.Errorf("Retry-After is %q, want %q", got.Header().Get("Retry-After"), test.retryAfter)
			}
		})
	}
}

func TestTheEarliestDeadlineHolds(t *testing.T) {
	near := time.Now().Add(20 * time.Second).Truncate(time.Millisecond)
	for _, test := range []struct {
		name   string
		header time.Time
		ctx    time.Time
		want   time.Time
	}{
		{"the header's", near, time.Now().Add(time.Hour), near},
		{"the connection's", time.Now().Add(time.Hour), near, near},
		{"the timeout's", time.Now().Add(time.Hour), time.Now().Add(time.Hour), time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := tiny(oip.FP32, oip.FP32, floats)
			infer := b.infer
			b.infer = func(ctx context.Context, call oip.Call) ([]byte, error) {
				if end, ok := ctx.Deadline(); !ok || !end.Equal(call.Deadline) {
					t.Errorf("the context ends at %v, the call at %v", end, call.Deadline)
				}
				return infer(ctx, call)
			}
			ctx, cancel := context.WithDeadline(t.Context(), test.ctx)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v2/models/tiny/infer", strings.NewReader(`{"id":"a b",`+one[1:]))
			r.Header.Set("Headroom-Deadline", strconv.FormatInt(test.header.UnixMilli(), 10))
			r.Header.Set("Headroom-Priority", "high")
			before := time.Now()
			w := httptest.NewRecorder()
			serve(config(b, io.Discard)).ServeHTTP(w, r)
			if w.Code != 200 || b.last.ID != "a b" || b.last.Priority != "high" {
				t.Fatalf("got %d, call %+v", w.Code, b.last)
			}
			if test.want.IsZero() {
				if after := b.last.Deadline.Sub(before); after < time.Minute || after > time.Minute+5*time.Second {
					t.Errorf("the deadline is %v away, want the timeout", after)
				}
			} else if !b.last.Deadline.Equal(test.want) {
				t.Errorf("the deadline is %v, want %v", b.last.Deadline, test.want)
			}
		})
	}
}

func TestHooksMayBeMissing(t *testing.T) {
	b := tiny(oip.FP32, oip.FP32, floats)
	c := config(b, io.Discard)
	c.Deadline, c.Priority = nil, nil
	wantAnswer(t, ask(serve(c), http.MethodPost, "/v2/models/tiny/infer", one, "Headroom-Deadline", "1"), 200, oneAnswer)
}

func TestADeadlineThatPassesWhileTheBodyIsRead(t *testing.T) {
	b := tiny(oip.FP32, oip.FP32, floats)
	c := config(b, io.Discard)
	c.Timeout = 10 * time.Millisecond
	read := c.Body
	c.Body = func(w http.ResponseWriter, r *http.Request) ([]byte, func(), error) {
		time.Sleep(20 * time.Millisecond)
		return read(w, r)
	}
	wantAnswer(t, ask(serve(c), http.MethodPost, "/v2/models/tiny/infer", one), 504, failure("the deadline passed before the request was answered"))
	if b.calls.Load() != 0 {
		t.Error("the model was asked")
	}
}
