package promsource

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// fake answers as Prometheus does. Every question's answer is 1, but for those
// about restarts, which have none.
type fake struct {
	URL string

	answers map[string]float64 // of questions that are answered otherwise
	without string             // the question that has no answer
	handler http.HandlerFunc   // answers instead, where there is one

	mu      sync.Mutex
	bad     string // what a query must not have in it
	queries []string
}

// refuse makes each query fail that has a text in it, none for "".
func (f *fake) refuse(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad = text
}

// take returns the queries since the last call.
func (f *fake) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	queries := f.queries
	f.queries = nil
	return queries
}

var labelled = regexp.MustCompile(`"signal", "([^"]*)", "", ""`)

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		f.mu.Lock()
		f.queries = append(f.queries, query)
		bad := f.bad
		f.mu.Unlock()
		switch {
		case f.handler != nil:
			f.handler(w, r)
			return
		case bad != "" && strings.Contains(query, bad):
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"status":"error","errorType":"execution","error":"many-to-many matching not allowed"}`))
			return
		}
		var results []string
		for _, match := range labelled.FindAllStringSubmatch(query, -1) {
			name := match[1]
			value, given := f.answers[name]
			switch {
			case name == f.without || !given && strings.HasPrefix(name, "restarts"):
				continue
			case !given:
				value = 1
			}
			results = append(results, fmt.Sprintf(`{"metric":{"signal":%q},"value":[1,"%v"]}`, name, value))
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, strings.Join(results, ","))
	}))
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}
