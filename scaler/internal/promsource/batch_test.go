package promsource

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headroom.dev/scaler/internal/policy"
)

func TestAReadingIsOneQuery(t *testing.T) {
	fake := newFake(t)
	source := open(t, options(fake.URL))
	m, err := source.Read(context.Background())
	if queries := fake.take(); err != nil || len(queries) != 1 {
		t.Fatalf("%v, %d queries, want one", err, len(queries))
	}
	for name, s := range m.Signals.Named() {
		if *s != policy.Value(1) {
			t.Errorf("%s is %+v, want 1", name, *s)
		}
	}
}

func TestTheQueryThatFailsIsAskedAloneForAMinute(t *testing.T) {
	fake := newFake(t)
	source := open(t, options(fake.URL))
	now := time.Now()
	source.now = func() time.Time { return now }
	read := func(queries int, state policy.SignalState) {
		t.Helper()
		m, err := source.Read(context.Background())
		if got := fake.take(); len(got) != queries {
			t.Errorf("%d queries, want %d: %s", len(got), queries, strings.Join(got, "\n\n"))
		}
		if m.Signals.Backlog.State != state || m.Signals.InFlight != policy.Value(1) || m.Signals.ArrivalShort != policy.Value(1) {
			t.Errorf("%+v, want the backlog %s and the others good", m.Signals, state)
		}
		says := "1 of 19 queries failed (backlog), the first with: execution: many-to-many matching not allowed"
		if state == policy.Missing && (err == nil || !strings.Contains(err.Error(), says)) || state == policy.OK && err != nil {
			t.Errorf("error %v, want %q where one failed", err, says)
		}
	}
	fake.refuse("dispatcher_queue_size")
	read(1+19, policy.Missing) // the common query, and each by itself
	read(2, policy.Missing)    // the others, and the one that failed
	fake.refuse("")
	read(2, policy.OK) // good again at once
	now = now.Add(time.Minute - time.Nanosecond)
	read(2, policy.OK)
	now = now.Add(time.Nanosecond)
	read(1, policy.OK) // with the others again
	fake.refuse("dispatcher_queue_size")
	read(1+19, policy.Missing)
}

func TestAllAreAskedAloneWhereOnlyTheirQueryTogetherFails(t *testing.T) {
	fake := newFake(t)
	fake.refuse("\nor\n") // such as by a limit on the length of queries
	source := open(t, options(fake.URL))
	for _, want := range []int{1 + 19, 19} {
		m, err := source.Read(context.Background())
		if queries := fake.take(); err != nil || len(queries) != want || m.Signals.Slots != policy.Value(1) {
			t.Errorf("%v, %d queries, want %d: %+v", err, len(queries), want, m.Signals)
		}
	}
}

// Where the query isn't to blame nothing else is asked.
func TestFailuresOfAllQueries(t *testing.T) {
	write := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		says    string
	}{
		{"a proxy without a Prometheus behind it", write(http.StatusBadGateway, "no"), "server error: 502"},
		{"a Prometheus that starts", write(http.StatusServiceUnavailable, "Service Unavailable"), "server error: 503"},
		{"a Prometheus that gave the query up", write(http.StatusServiceUnavailable, `{"status":"error","errorType":"timeout","error":"query timed out"}`), "server error: 503"},
		{"a login page", write(http.StatusOK, "<html>"), "bad_response"},
		{"a page that isn't there", write(http.StatusNotFound, "404 page not found"), "client error: 404"},
		{"an answer that is no vector", write(http.StatusOK, `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`), "the answer is a scalar, not a vector"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake := newFake(t)
			fake.handler = tc.handler
			m, err := open(t, options(fake.URL)).Read(context.Background())
			if err == nil || !strings.Contains(err.Error(), "none of 19 queries was answered") || !strings.Contains(err.Error(), tc.says) || m.Signals != (policy.Signals{}) {
				t.Errorf("%v, %+v; want an error with %q and nothing read", err, m.Signals, tc.says)
			}
			if queries := fake.take(); len(queries) != 1 {
				t.Errorf("%d queries, want one", len(queries))
			}
		})
	}
}

func TestAPrometheusThatIsNotThere(t *testing.T) {
	m, err := open(t, options("http://127.0.0.1:1")).Read(context.Background())
	if err == nil || !strings.Contains(err.Error(), "connection refused") || m.Signals != (policy.Signals{}) {
		t.Errorf("%v, %+v; want an error and nothing read", err, m.Signals)
	}
}

// One query's endless answer keeps no other from its own.
func TestAnswersAreBounded(t *testing.T) {
	fake := newFake(t)
	normal := newFake(t)
	fake.handler = func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		if strings.Contains(query, "dispatcher_replica_in_flight") {
			_, _ = w.Write([]byte(`{"status":"` + strings.Repeat("x", maxAnswer) + `"}`))
			return
		}
		http.Redirect(w, r, normal.URL+r.URL.Path+"?"+r.Form.Encode(), http.StatusTemporaryRedirect)
	}
	o := options(fake.URL)
	o.Prometheus.Timeout = 20 * time.Second // it is about size
	m, err := open(t, o).Read(context.Background())
	if err == nil || !strings.Contains(err.Error(), "1 of 19 queries failed (work), the first with: http: request body too large") {
		t.Errorf("error %v, want that of the work", err)
	}
	if len(m.Work) > 0 || m.Signals.Backlog != policy.Value(1) {
		t.Errorf("%+v, want everything but the work", m)
	}
}

func TestAReadingEndsWithItsContext(t *testing.T) {
	fake := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	fake.handler = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	if _, err := open(t, options(fake.URL)).Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was canceled", err)
	}
}

// The time that Prometheus has is the time that we wait: it works on no query
// that nobody waits for.
func TestPrometheusKnowsTheTimeout(t *testing.T) {
	fake := newFake(t)
	timeouts := make(chan string, 1)
	fake.handler = func(w http.ResponseWriter, r *http.Request) {
		timeouts <- r.FormValue("timeout")
		w.WriteHeader(http.StatusBadGateway)
	}
	_, _ = open(t, options(fake.URL)).Read(context.Background())
	if got := <-timeouts; got != "1s" {
		t.Errorf("a timeout of %q, want 1s", got)
	}
}

func TestACommonQueryNamesEachQuestion(t *testing.T) {
	got := common([]question{{name: "a", expression: "x # y"}, {name: "b", expression: "z"}})
	want := "label_replace((\nx # y\n), \"signal\", \"a\", \"\", \"\")\nor\nlabel_replace((\nz\n), \"signal\", \"b\", \"\", \"\")"
	if got != want || !slices.Equal(labelled.FindStringSubmatch(got)[1:], []string{"a"}) {
		t.Errorf("%s, want %s", got, want)
	}
}
