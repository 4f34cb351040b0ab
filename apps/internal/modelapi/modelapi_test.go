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

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/modelapi"
	"headroom.dev/apps/internal/reply"
)

// slotFunc is a Slot that a test controls.
type slotFunc func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error)

func (f slotFunc) Classify(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
	return f(ctx, picture, k)
}

func bus(context.Context, []byte, int) ([]reply.Prediction, error) {
	return []reply.Prediction{{Class: 3, Label: "bus", Probability: 0.9}}, nil
}

func newAPI() *modelapi.API {
	return modelapi.New(modelapi.Config{
		MaxBody: 1024, Timeout: 10 * time.Second, MaxWaiting: 1,
		CPULimit: func() float64 { return 1.5 }, Log: slog.New(slog.DiscardHandler),
	})
}

// apiWith is ready, with one slot.
func apiWith(slot slotFunc) *modelapi.API {
	a := newAPI()
	a.Ready("vehicles", []modelapi.Slot{slot}, 1500*time.Millisecond)
	return a
}

func request(path string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("the bytes of a picture"))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func do(a *modelapi.API, r *http.Request) *httptest.ResponseRecorder {
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
func families(t *testing.T, a *modelapi.API) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	a.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(commonmodel.UTF8Validation)
	result, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func value(t *testing.T, a *modelapi.API, name string, label ...string) float64 {
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

func outcomes(t *testing.T, a *modelapi.API) string {
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
			if got := value(t, a, "inference_in_flight"); got != 0 {
				t.Errorf("%v in flight afterwards", got)
			}
		})
	}
}

func TestAPanicIsCountedAndLeavesTheSlotUsable(t *testing.T) {
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

// One slot, one place to wait: the third request is refused at once, and the
// second one is when its deadline comes, not later.
func TestOverloadAndDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		a := apiWith(func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
			<-release
			return bus(ctx, picture, k)
		})
		begin := time.Now()
		first, second := make(chan *httptest.ResponseRecorder, 1), make(chan *httptest.ResponseRecorder, 1)
		go func() { first <- do(a, request("/")) }()
		synctest.Wait()
		go func() {
			deadline := time.Now().Add(300 * time.Millisecond).UnixMilli()
			second <- do(a, request("/", "Headroom-Deadline", strconv.FormatInt(deadline, 10)))
		}()
		synctest.Wait()
		if got := value(t, a, "inference_in_flight"); got != 2 {
			t.Errorf("%v in flight", got)
		}

		third := do(a, request("/", "X-Request-Id", "r-3"))
		const want = `{"id":"r-3","error":{"code":"overloaded","message":"2 requests are being served or waiting, the most that is accepted"}}`
		if third.Code != 503 || third.Body.String() != want || third.Header().Get("Retry-After") == "" {
			t.Errorf("got %d %s, Retry-After %q", third.Code, third.Body, third.Header().Get("Retry-After"))
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("the refusal took %v", waited)
		}

		late := <-second
		if waited := time.Since(begin); late.Code != 504 || waited != 300*time.Millisecond {
			t.Errorf("got %d %s after %v", late.Code, late.Body, waited)
		}
		close(release)
		if w := <-first; w.Code != 200 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		if got := outcomes(t, a); got != "1 answered, 2 refused, 0 failed" {
			t.Error(got)
		}
	})
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

func TestWhoIsGoneDoesNotWaitForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		a := apiWith(func(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
			<-release
			return bus(ctx, picture, k)
		})
		go do(a, request("/"))
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			do(a, request("/").WithContext(ctx))
			close(ended)
		}()
		synctest.Wait()
		leave()
		<-ended
		if got := value(t, a, "inference_in_flight"); got != 1 {
			t.Errorf("%v in flight", got)
		}
		close(release)
		synctest.Wait()
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
	a.Ready("vehicles", []modelapi.Slot{slotFunc(bus)}, 1500*time.Millisecond)
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
	for name, want := range map[string]float64{"inference_slots": 1, "modelserver_cpu_limit_cores": 1.5, "modelserver_model_load_seconds": 1.5} {
		if got := value(t, a, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	w := httptest.NewRecorder()
	a.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
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
	if contract.Paths.ModelServer != "/" || contract.Headers["deadline"].Name != modelapi.DeadlineHeader || contract.Headers["request_id"].Name != reply.IDHeader {
		t.Errorf("the contract says %+v", contract)
	}
}
