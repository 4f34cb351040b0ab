package fire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/loadtest/internal/fire"
	"headroom.dev/loadtest/internal/promtest"
	"headroom.dev/loadtest/internal/record"
)

const (
	prediction = `{"id":"1","model":"m","predictions":[{"class":1,"label":"truck","probability":0.9}]}`
	ms         = time.Millisecond
	// slack is what a busy machine may add to a latency or a lag.
	slack = 150 * ms
)

// every returns count times, gap apart.
func every(gap time.Duration, count int) []time.Duration {
	times := make([]time.Duration, count)
	for i := range times {
		times[i] = time.Duration(i) * gap
	}
	return times
}

func config(t *testing.T, address string) fire.Config {
	t.Helper()
	target, err := fire.ParseTarget(address)
	if err != nil {
		t.Fatal(err)
	}
	return fire.Config{
		Target: target, Timeout: 5 * time.Second, MaxInFlight: 1000, RunID: "test",
		Images: []fire.Image{{Name: "a.jpg", ContentType: "image/jpeg", Bytes: []byte("picture")}},
	}
}

// virtual is for a clock that only moves while all sleep.
func virtual(t *testing.T) fire.Config {
	t.Helper()
	c := config(t, "http://dispatcher")
	c.Sleep = time.Sleep
	return c
}

// replay runs the schedule and returns the records by intended time.
func replay(ctx context.Context, c fire.Config, schedule []time.Duration) (records []record.Record, interrupted bool) {
	var mu sync.Mutex
	interrupted = fire.Run(ctx, c, time.Now(), schedule, func(r record.Record) {
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
	})
	slices.SortFunc(records, func(a, b record.Record) int { return int(a.Intended - b.Intended) })
	return records, interrupted
}

func tally(records []record.Record) *record.Tally {
	all := record.NewTally(500 * ms)
	for _, r := range records {
		all.Add(r)
	}
	return all
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// roundTrip stands for a network and a server in virtual time.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
}

// In virtual time every figure is exact.
func TestAStallCountsAgainstEveryRequestThatItDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := virtual(t)
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			// The server answers in 10 ms, but not at all between 500 ms and 2500 ms.
			at := time.Since(start)
			wait := 10 * ms
			if at >= 500*ms && at < 2500*ms {
				wait = 2500*ms - at + 10*ms
			}
			time.Sleep(wait)
			return answer(http.StatusOK, prediction), nil
		})
		records, interrupted := replay(t.Context(), c, every(50*ms, 80))
		if interrupted || len(records) != 80 {
			t.Fatalf("%d records, interrupted %v; want 80", len(records), interrupted)
		}
		for i, r := range records {
			want := 10 * ms
			if i >= 10 && i < 50 {
				want = 2510*ms - time.Duration(i)*50*ms
			}
			if r.Latency != want || r.Lag != 0 || r.Intended != time.Duration(i)*50*ms {
				t.Errorf("request %d: sent %v after its time, latency %v; want 0s and %v", i, r.Lag, r.Latency, want)
			}
		}
		// 40 of 80 are answered in 10 ms; the other 40 in 60 ms, 110 ms … 2010 ms.
		// So the median is 10 ms, p90 (rank 72) is the 32nd of those, 1610 ms, and p99 (rank 80) the last.
		all := tally(records)
		for _, q := range []struct{ q, want float64 }{{0.5, 0.010}, {0.9, 1.610}, {0.99, 2.010}} {
			if got := all.Latency.Quantile(q.q); math.Abs(got-q.want) > q.want*0.001 {
				t.Errorf("p%v: got %v, want %v", q.q*100, got, q.want)
			}
		}
		// Slower than 500 ms are 510 ms … 2010 ms: 31 requests.
		if all.Violations() != 31 {
			t.Errorf("%d violations, want 31", all.Violations())
		}
	})
}

func TestARequestWithNoRoomIsCountedAndNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := virtual(t)
		c.MaxInFlight = 3
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second + ms)
			return answer(http.StatusOK, prediction), nil
		})
		// One every 200 ms, each taking just over a second: in each round the first three
		// take the room, the next three find none, and the room is free for the one after.
		records, _ := replay(t.Context(), c, every(200*ms, 12))
		for i, r := range records {
			want := record.Answered
			if i%6 >= 3 {
				want = record.Unsent
			}
			if r.Outcome != want {
				t.Errorf("request %d: %s, want %s", i, r.Outcome, want)
			}
			if r.Outcome == record.Unsent && (r.Code != fire.CodeInFlightCap || r.Latency != 0) {
				t.Errorf("request %d: %+v", i, r)
			}
		}
	})
}

func TestAnInterruptionWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := virtual(t)
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(700 * ms):
				return answer(http.StatusOK, prediction), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1050*ms, cancel)
		records, interrupted := replay(ctx, c, every(100*ms, 1000))
		// Sent are those of 0 ms to 1000 ms; the last of them is answered at 1700 ms.
		if !interrupted || len(records) != 11 {
			t.Errorf("%d records, interrupted %v; want 11, true", len(records), interrupted)
		}
		for _, r := range records {
			if r.Outcome != record.Answered {
				t.Errorf("%+v; want answered", r)
			}
		}
		if took := time.Since(start); took != 1700*ms {
			t.Errorf("took %v, want 1.7s", took)
		}
	})
}

func TestRealServerWithFixedDelay(t *testing.T) {
	var mu sync.Mutex
	bodies, ids := map[string]int{}, map[string]bool{}
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-time.After(80 * ms)
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		bodies[r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(body)]++
		ids[r.Header.Get("X-Request-Id")] = true
		mu.Unlock()
		_, _ = io.WriteString(w, prediction)
	})
	c := config(t, address)
	c.Images = append(c.Images, fire.Image{Name: "b.png", ContentType: "image/png", Bytes: []byte("other")})
	records, interrupted := replay(t.Context(), c, every(10*ms, 100))
	all := tally(records)
	if interrupted || all.Outcomes[record.Answered] != 100 {
		t.Fatalf("interrupted %v, outcomes %v, codes %v", interrupted, all.Outcomes, all.Codes)
	}
	if p50, fastest := all.Latency.Quantile(0.5), all.Latency.Quantile(0); fastest < 0.0799 || p50 > (80*ms+slack).Seconds() {
		t.Errorf("fastest %v s, p50 %v s; want about 0.080", fastest, p50)
	}
	if p50, highest := all.Lag.Quantile(0.5), all.Lag.Max(); p50 > 0.010 || highest > slack.Seconds() {
		t.Errorf("send lag p50 %v s, max %v s; want below 0.010 and %v", p50, highest, slack.Seconds())
	}
	if bodies["POST /query image/jpeg picture"] != 50 || bodies["POST /query image/png other"] != 50 {
		t.Errorf("the server got %v; want 50 of each picture", bodies)
	}
	if len(ids) != 100 {
		t.Errorf("%d different X-Request-Id, want 100", len(ids))
	}
}

func TestRealServerThatStallsForTwoSeconds(t *testing.T) {
	var start time.Time
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if at := time.Since(start); at >= 500*ms && at < 2500*ms {
			<-time.After(2500*ms - at)
		}
		_, _ = io.WriteString(w, prediction)
	})
	start = time.Now()
	records, _ := replay(t.Context(), config(t, address), every(100*ms, 35))
	if len(records) != 35 {
		t.Fatalf("%d records, want 35", len(records))
	}
	// Those of 500 ms to 2400 ms are answered at 2500 ms.
	for i, r := range records {
		want := time.Duration(0)
		if r.Intended >= 500*ms && r.Intended < 2500*ms {
			want = 2500*ms - r.Intended
		}
		if r.Outcome != record.Answered || r.Latency < want-ms || r.Latency > want+slack {
			t.Errorf("request %d, intended at %v: %s after %v, want answered after about %v", i, r.Intended, r.Outcome, r.Latency, want)
		}
		if r.Lag > slack {
			t.Errorf("request %d: sent %v late; a stalled server must not delay the schedule", i, r.Lag)
		}
	}
}

func TestRealServerWithErrors(t *testing.T) {
	var count atomic.Int64
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		// Of every ten: one 500 with a code, one 503, one 200 without a prediction, seven good.
		switch count.Add(1) % 10 {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"error":{"code":"internal","message":"m"}}`)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"error":{"code":"overloaded","message":"m"}}`)
		case 3:
			_, _ = io.WriteString(w, `Queued`)
		default:
			_, _ = io.WriteString(w, prediction)
		}
	})
	records, _ := replay(t.Context(), config(t, address), every(5*ms, 100))
	all := tally(records)
	got := fmt.Sprint(all.Outcomes, all.Statuses, all.Codes)
	want := fmt.Sprint(
		map[record.Outcome]int{record.Answered: 70, record.Refused: 10, record.Failed: 20},
		map[int]int{200: 80, 500: 10, 503: 10},
		map[string]int{"internal": 10, "overloaded": 10, "bad_reply": 10},
	)
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if all.Violations() < 30 {
		t.Errorf("%d violations, want at least 30", all.Violations())
	}
}

func TestRealServerThatHangs(t *testing.T) {
	released := make(chan struct{})
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	// Registered after the server's own, so it runs before it.
	t.Cleanup(func() { close(released) })
	c := config(t, address)
	c.Timeout = 300 * ms
	records, _ := replay(t.Context(), c, every(20*ms, 10))
	for _, r := range records {
		if r.Outcome != record.Failed || r.Code != fire.CodeTimeout || r.Status != 0 || r.Latency < 300*ms || r.Latency > 300*ms+slack {
			t.Errorf("%+v; want failed by timeout after 300ms", r)
		}
	}
	if len(records) != 10 {
		t.Errorf("%d records, want 10", len(records))
	}
}

func TestRealServerThatBreaksOffItsAnswer(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, prediction)
	})
	records, _ := replay(t.Context(), config(t, address), every(0, 1))
	if r := records[0]; r.Outcome != record.Failed || r.Code != fire.CodeConnectionBroken || r.Status != 200 {
		t.Errorf("%+v; want failed, status 200, connection_broken", r)
	}
}

func TestRefusedConnection(t *testing.T) {
	address := "http://" + promtest.FreeAddress(t)
	records, _ := replay(t.Context(), config(t, address), every(10*ms, 5))
	for _, r := range records {
		if r.Outcome != record.Failed || r.Code != fire.CodeConnectionRefused || r.Status != 0 {
			t.Errorf("%+v; want failed, connection_refused", r)
		}
	}
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := fire.Check(t.Context(), target, fire.HTTP1); err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("check: got %v, want an error with the address and the cause", err)
	}
}

func TestCheck(t *testing.T) {
	for status, good := range map[int]bool{200: true, 404: true, 500: false, 503: false} {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		target, err := fire.ParseTarget(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := fire.Check(t.Context(), target, fire.HTTP1); (err == nil) != good {
			t.Errorf("status %d: got %v", status, err)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for _, text := range []string{"", "127.0.0.1:5001", "ftp://host", "http://", "http://host/?a=b", "http://host/#x", "http://[::1"} {
		if _, err := fire.ParseTarget(text); err == nil || !strings.Contains(err.Error(), "allowed are base URLs") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "..", "contract", name))
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// The bodies that are told apart are those of the contract.
func TestClassify(t *testing.T) {
	reply, failure := schema(t, "reply.schema.json"), schema(t, "error.schema.json")
	const unlabelled = `{"model":"m","predictions":[{"class":0,"probability":0}]}`
	const refusal = `{"id":"1","error":{"code":"overloaded","message":"m"}}`
	tests := []struct {
		name    string
		status  int
		body    string
		valid   *jsonschema.Schema
		outcome record.Outcome
		code    string
	}{
		{"a prediction", 200, prediction, reply, record.Answered, ""},
		{"a prediction without id and label", 200, unlabelled, reply, record.Answered, ""},
		{"an empty 200", 200, ``, nil, record.Failed, "bad_reply"},
		{"a 200 without predictions", 200, `{"model":"m","predictions":[]}`, nil, record.Failed, "bad_reply"},
		{"a 200 with predictions of another form", 200, `{"predictions":[{}]}`, nil, record.Failed, "bad_reply"},
		{"a prediction with another status", 202, prediction, nil, record.Failed, "http_202"},
		{"too many requests", 429, refusal, failure, record.Refused, "overloaded"},
		{"overloaded", 503, refusal, failure, record.Refused, "overloaded"},
		{"deadline exceeded", 504, `{"error":{"code":"deadline_exceeded","message":"m"}}`, failure, record.Refused, "deadline_exceeded"},
		{"a bad image", 422, `{"error":{"code":"bad_image","message":"m"}}`, failure, record.Failed, "bad_image"},
		{"the backend's fault", 502, `{"error":{"code":"backend_failed","message":"m"}}`, failure, record.Failed, "backend_failed"},
		{"a proxy's own page", 502, `<html>`, nil, record.Failed, "http_502"},
		{"a redirect", 307, ``, nil, record.Failed, "http_307"},
		{"a code that is no code", 500, `{"error":{"code":"It broke, at 12:04"}}`, nil, record.Failed, "http_500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.valid != nil {
				var body any
				if err := json.Unmarshal([]byte(tt.body), &body); err != nil {
					t.Fatal(err)
				}
				if err := tt.valid.Validate(body); err != nil {
					t.Fatalf("the test's body is not the contract's: %v", err)
				}
			}
			outcome, code := fire.Classify(tt.status, []byte(tt.body))
			if outcome != tt.outcome || code != tt.code {
				t.Errorf("got %s %q, want %s %q", outcome, code, tt.outcome, tt.code)
			}
		})
	}
}

// What is sent is one of the contract's forms, to the contract's path.
func TestRequestsAreTheContracts(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "..", "..", "contract", "request.json"))
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Paths   struct{ Dispatcher string }      `json:"paths"`
		Limit   int                              `json:"body_limit_bytes"`
		Headers map[string]struct{ Name string } `json:"headers"`
	}
	if err := json.Unmarshal(file, &contract); err != nil {
		t.Fatal(err)
	}
	if contract.Limit != fire.MaxImageBytes {
		t.Errorf("pictures of up to %d bytes are sent, the contract takes %d", fire.MaxImageBytes, contract.Limit)
	}
	c := config(t, "http://dispatcher/base/")
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if want := "/base" + contract.Paths.Dispatcher; r.URL.Path != want {
			t.Errorf("path %q, want %q", r.URL.Path, want)
		}
		if id := r.Header.Get(contract.Headers["request_id"].Name); id != "test-0" {
			t.Errorf("request id %q, want test-0", id)
		}
		return answer(http.StatusOK, prediction), nil
	})
	if records, _ := replay(t.Context(), c, every(0, 1)); len(records) != 1 {
		t.Errorf("%d records, want 1", len(records))
	}
}

func TestLoadImages(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("some/b.PNG", "b")
	one := write("some/a.jpeg", "a")
	write("some/notes.txt", "no")
	write("some/inside/c.jpg", "no")
	images, err := fire.LoadImages(filepath.Join(folder, "some"))
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 2 || images[0].Name != "a.jpeg" || images[0].ContentType != "image/jpeg" || images[1].Name != "b.PNG" || images[1].ContentType != "image/png" {
		t.Errorf("got %+v", images)
	}
	if images, err := fire.LoadImages(one); err != nil || len(images) != 1 || string(images[0].Bytes) != "a" {
		t.Errorf("a single file: got %+v, %v", images, err)
	}

	text := write("none/readme.txt", "no")
	empty := write("empty/a.jpg", "")
	big := write("big/a.jpg", "")
	if err := os.Truncate(big, fire.MaxImageBytes+1); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ path, want string }{
		"a folder without pictures":  {filepath.Dir(text), "no picture in this folder; allowed are .jpg"},
		"a file that is no picture":  {text, "not a picture by its name; allowed are .jpg"},
		"nothing there":              {filepath.Join(folder, "absent"), "absent: no such file"},
		"an empty picture":           {filepath.Dir(empty), "0 bytes; allowed are 1 to 10485760"},
		"a picture over the limit":   {filepath.Dir(big), "10485761 bytes; allowed are 1 to 10485760"},
		"the same, named on its own": {big, "10485761 bytes"},
	} {
		if _, err := fire.LoadImages(tt.path); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("%s: got %v, want an error with the path and %q", name, err, tt.want)
		}
	}
}
