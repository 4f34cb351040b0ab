package modelapi_test

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
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	commonmodel "github.com/prometheus/common/model"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/reply"
)

// fake is a Model that a test controls.
type fake struct {
	classify func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error)
	infer    func(ctx context.Context, rows int, input []byte) ([]byte, error)
	check    *inference.Refusal
	version  string
	priority inference.Priority // the last request's
}

func (f *fake) Name() string    { return "vehicles" }
func (f *fake) Version() string { return f.version }

func (f *fake) Input() onnx.Tensor {
	return onnx.Tensor{Name: "input", Type: onnx.Float32, Shape: []int64{1, 1, 1, 2}}
}

func (f *fake) Output() onnx.Tensor {
	return onnx.Tensor{Name: "output", Type: onnx.Uint8, Shape: []int64{1, 3}}
}

func (f *fake) Check(inference.Priority, time.Time) *inference.Refusal { return f.check }

func (f *fake) Classify(ctx context.Context, priority inference.Priority, picture []byte, k int, dst []reply.Prediction) (classifier.Answer, error) {
	f.priority = priority
	predictions, err := f.classify(ctx, picture, k)
	return classifier.Answer{Predictions: append(dst, predictions...), Ran: time.Now(), Waited: time.Millisecond}, err
}

func (f *fake) Infer(ctx context.Context, priority inference.Priority, rows int, input []byte) ([]byte, error) {
	f.priority = priority
	return f.infer(ctx, rows, input)
}

type classifyFunc = func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error)

func bus(context.Context, []byte, int) ([]reply.Prediction, error) {
	return []reply.Prediction{{Class: 3, Label: "bus", Probability: 0.9}}, nil
}

// server is an API and its metrics.
type server struct {
	*modelapi.API
	metrics *modelapi.Metrics
}

func newAPI() server {
	metrics := modelapi.NewMetrics("1.2.3", func() float64 { return 1.5 })
	return server{modelapi.New(modelapi.Config{
		Limits:  picture.Limits{Body: 1024, Memory: 1 << 20, Time: time.Second},
		Timeout: 10 * time.Second, Version: "1.2.3", Metrics: metrics, Log: slog.New(slog.DiscardHandler),
	}), metrics}
}

var report = classifier.Report{Load: time.Second, WarmUp: 500 * time.Millisecond, Batch: 4}

// apiOf is ready with a model.
func apiOf(model *fake) server {
	a := newAPI()
	a.Ready(model, 2, report)
	return a
}

// apiWith is ready to classify.
func apiWith(classify classifyFunc) server { return apiOf(&fake{classify: classify}) }

func request(path string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("the bytes of a picture"))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func do(a server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	return w
}

func validate(t *testing.T, schema, body string) {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile("../../../contract/" + schema)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%s: %v", body, err)
	}
}

// families reads what /metrics says.
func families(t *testing.T, a server) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	a.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(commonmodel.UTF8Validation)
	result, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func value(t *testing.T, a server, name string, label ...string) float64 {
	t.Helper()
	family := families(t, a)[name]
	for _, m := range family.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName(), l.GetValue())
		}
		if slices.Equal(labels, label) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s with labels %v", name, label)
	return 0
}

func outcomes(t *testing.T, a server) string {
	t.Helper()
	const name = "inference_requests_total"
	return fmt.Sprintf("%v answered, %v refused, %v failed",
		value(t, a, name, "outcome", "answered"), value(t, a, name, "outcome", "refused"), value(t, a, name, "outcome", "failed"))
}

func TestAReplyFollowsTheContract(t *testing.T) {
	var gotPicture string
	var gotK int
	a := apiWith(func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
		gotPicture, gotK = string(picture), k
		return bus(ctx, picture, k)
	})
	w := do(a, request("/?k=7", "X-Request-Id", "r-1", "Content-Type", "image/jpeg"))
	const want = `{"id":"r-1","model":"vehicles","predictions":[{"class":3,"label":"bus","probability":0.9}]}`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d %s, want %s", w.Code, w.Body, want)
	}
	validate(t, "reply.schema.json", w.Body.String())
	if gotPicture != "the bytes of a picture" || gotK != 7 {
		t.Errorf("the model was given %q, k = %d", gotPicture, gotK)
	}
	do(a, request("/"))
	if gotK != modelapi.DefaultK {
		t.Errorf("k is %d when not given", gotK)
	}
	if got := outcomes(t, a); got != "2 answered, 0 refused, 0 failed" {
		t.Error(got)
	}
	if got := value(t, a, "inference_latency_seconds"); got != 2 {
		t.Errorf("%v latencies were observed", got)
	}
}

func TestRefusalsFollowTheContract(t *testing.T) {
	past := strconv.FormatInt(time.Now().Add(-time.Second).UnixMilli(), 10)
	tests := []struct {
		name    string
		request *http.Request
		err     error
		status  int
		code    reply.Code
		outcome string
	}{
		{"k is zero", request("/?k=0"), nil, 400, reply.BadRequest, "refused"},
		{"k is a word", request("/?k=five"), nil, 400, reply.BadRequest, "refused"},
		{"an id with a line break", request("/", "X-Request-Id", "a\nb"), nil, 400, reply.BadRequest, "refused"},
		{"a deadline that is no number", request("/", "Headroom-Deadline", "soon"), nil, 400, reply.BadRequest, "refused"},
		{"a priority that is none", request("/", "Headroom-Priority", "urgent"), nil, 400, reply.BadRequest, "refused"},
		{"no place in the queue", request("/"), &inference.Refusal{Reason: inference.Displaced, Message: "displaced"}, 503, reply.Overloaded, "refused"},
		{"a deadline that has passed", request("/", "Headroom-Deadline", past), nil, 504, reply.DeadlineExceeded, "refused"},
		{"a type that is not accepted", request("/", "Content-Type", "text/html"), nil, 415, reply.UnsupportedMediaType, "refused"},
		{"a body that is too large", httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 1025))), nil, 413, reply.TooLarge, "refused"},
		{"no picture", request("/"), &imaging.Error{Message: "no picture"}, 400, reply.BadImage, "refused"},
		{"too many pixels", request("/"), &imaging.Error{TooLarge: true, Message: "too many"}, 413, reply.TooLarge, "refused"},
		{"a deadline that passes while decoding", request("/"), context.DeadlineExceeded, 504, reply.DeadlineExceeded, "refused"},
		{"a model that fails", request("/"), errors.New("out of memory"), 500, reply.Internal, "failed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := apiWith(func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
				if test.err != nil {
					return nil, test.err
				}
				return bus(ctx, picture, k)
			})
			w := do(a, test.request)
			var got reply.Failure
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if w.Code != test.status || got.Error.Code != test.code {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, test.status, test.code)
			}
			validate(t, "error.schema.json", w.Body.String())
			if got := value(t, a, "inference_requests_total", "outcome", test.outcome); got != 1 {
				t.Errorf("counted as %s", outcomes(t, a))
			}
			reason := string(test.code)
			if test.err != nil && test.code == reply.Overloaded {
				reason = "displaced"
			}
			if test.outcome == "refused" {
				if got := value(t, a, "inference_refused_total", "reason", reason); got != 1 {
					t.Errorf("%v refused for %s", got, reason)
				}
			}
			if got := value(t, a, "inference_in_flight"); got != 0 {
				t.Errorf("%v in flight afterwards", got)
			}
		})
	}
}

func TestAPanicIsCountedAndTheNextIsServed(t *testing.T) {
	first := true
	a := apiWith(func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
		if first {
			first = false
			panic("a bug")
		}
		return bus(ctx, picture, k)
	})
	if w := do(a, request("/")); w.Code != 500 {
		t.Errorf("got %d", w.Code)
	}
	if w := do(a, request("/")); w.Code != 200 {
		t.Errorf("then %d %s", w.Code, w.Body)
	}
	if got := outcomes(t, a); got != "1 answered, 0 refused, 1 failed" {
		t.Error(got)
	}
}

// What the model would refuse is refused before the body is read.
func TestOverloadIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	a := apiOf(&fake{check: &inference.Refusal{Reason: inference.Full, Message: "8 requests wait already, the most that may"}})
	// A body that is no picture in any of the forms would be refused for that, if
	// it were read.
	r := request("/", "X-Request-Id", "r-3", "Content-Type", "text/html")
	w := do(a, r)
	const want = `{"id":"r-3","error":{"code":"overloaded","message":"8 requests wait already, the most that may"}}`
	if w.Code != 503 || w.Body.String() != want || w.Header().Get("Retry-After") != "1" {
		t.Errorf("got %d %s, Retry-After %q", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	if got := value(t, a, "inference_refused_total", "reason", "full"); got != 1 {
		t.Errorf("%v refused as full", got)
	}
}

func TestPriorityReachesTheModel(t *testing.T) {
	model := &fake{classify: bus}
	a := apiOf(model)
	for header, want := range map[string]inference.Priority{"": inference.Normal, "high": inference.High, "Low": inference.Low} {
		if w := do(a, request("/", "Headroom-Priority", header)); w.Code != 200 || model.priority != want {
			t.Errorf("%q: got %d, priority %d", header, w.Code, model.priority)
		}
	}
}

func TestTheTimeoutBoundsALaterDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := apiWith(func(ctx context.Context, _ []byte, _ int) ([]reply.Prediction, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		begin := time.Now()
		deadline := strconv.FormatInt(begin.Add(time.Hour).UnixMilli(), 10)
		w := do(a, request("/", "Headroom-Deadline", deadline))
		if waited := time.Since(begin); w.Code != 504 || waited != 10*time.Second {
			t.Errorf("got %d after %v", w.Code, waited)
		}
	})
}

func TestReadiness(t *testing.T) {
	a := newAPI()
	get := func(path string) int { return do(a, httptest.NewRequest(http.MethodGet, path, nil)).Code }
	check := func(when string, healthz, readyz, post int, ready float64) {
		t.Helper()
		gotHealthz, gotReadyz, gotPost := get("/healthz"), get("/readyz"), do(a, request("/")).Code
		if gotHealthz != healthz || gotReadyz != readyz || gotPost != post {
			t.Errorf("%s: /healthz %d, /readyz %d, POST %d, want %d, %d, %d", when, gotHealthz, gotReadyz, gotPost, healthz, readyz, post)
		}
		if got := value(t, a, "modelserver_ready"); got != ready {
			t.Errorf("%s: modelserver_ready is %v", when, got)
		}
	}
	check("before the model is loaded", 200, 503, 503, 0)
	a.Ready(&fake{classify: bus}, 2, report)
	check("with the model", 200, 200, 200, 1)
	a.Drain()
	check("while draining, what still comes is served", 200, 503, 200, 0)
}

func TestNotReadyFollowsTheContract(t *testing.T) {
	a := newAPI()
	for _, r := range []*http.Request{request("/"), httptest.NewRequest(http.MethodGet, "/readyz", nil)} {
		w := do(a, r)
		if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"not_ready"`) {
			t.Errorf("%s %s: got %d %s", r.Method, r.URL, w.Code, w.Body)
		}
		validate(t, "error.schema.json", w.Body.String())
	}
}

func TestMetricsFollowTheContract(t *testing.T) {
	data, err := os.ReadFile("../../../contract/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		ModelServer struct {
			Metrics []struct {
				Name, Type string
				Labels     []string
			}
		} `json:"modelserver"`
	}
	if err := json.Unmarshal(data, &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.ModelServer.Metrics) == 0 {
		t.Fatal("the contract names no metrics")
	}
	a := apiWith(bus)
	do(a, request("/"))
	found := families(t, a)
	for _, want := range contract.ModelServer.Metrics {
		family := found[want.Name]
		if family == nil {
			t.Errorf("%s is not exported", want.Name)
			continue
		}
		if got := strings.ToLower(family.GetType().String()); got != want.Type {
			t.Errorf("%s is a %s, want a %s", want.Name, got, want.Type)
		}
		labels := []string{}
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if !slices.Equal(labels, want.Labels) {
			t.Errorf("%s has the labels %v, want %v", want.Name, labels, want.Labels)
		}
	}
	for name, want := range map[string]float64{"inference_slots": 2, "modelserver_cpu_limit_cores": 1.5, "modelserver_model_load_seconds": 1.5, "modelserver_model_warmup_seconds": 0.5} {
		if got := value(t, a, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	w := httptest.NewRecorder()
	a.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	problems, err := promlint.New(io.Reader(w.Body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}

func TestRequestContract(t *testing.T) {
	data, err := os.ReadFile("../../../contract/request.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Paths   struct{ ModelServer string }
		Headers map[string]struct{ Name string }
	}
	if err := json.Unmarshal(data, &contract); err != nil {
		t.Fatal(err)
	}
	if contract.Paths.ModelServer != "/" || contract.Headers["deadline"].Name != modelapi.DeadlineHeader || contract.Headers["priority"].Name != modelapi.PriorityHeader || contract.Headers["request_id"].Name != reply.IDHeader {
		t.Errorf("the contract says %+v", contract)
	}
}
