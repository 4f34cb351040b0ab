package dispatchbench

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/reply"
)

func startTestStub(t *testing.T, config StubConfig) string {
	handler, err := newStub(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func ask(t *testing.T, url string) (*http.Response, string) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("picture"))
	if err != nil {
		t.Error(err)
		return nil, ""
	}
	request.Header.Set(reply.IDHeader, "an-id")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return nil, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response, string(text)
}

func TestStubAnswersAsAModelServer(t *testing.T) {
	url := startTestStub(t, StubConfig{})
	response, text := ask(t, url)
	var answer reply.Reply
	if err := json.Unmarshal([]byte(text), &answer); err != nil || response.StatusCode != 200 || answer.ID != "an-id" || answer.Model == "" || len(answer.Predictions) != 1 {
		t.Errorf("%v: %s", response.Status, text)
	}
	ready, err := http.Get(url + "/readyz")
	if err != nil || ready.StatusCode != 200 {
		t.Errorf("%v, %v", ready, err)
	}
	ready.Body.Close()
}

// With one slot and room for two, five at a time are three that are served one
// after another and two that are refused at once.
func TestStubHasSlots(t *testing.T) {
	const service = 200 * time.Millisecond
	url := startTestStub(t, StubConfig{Service: service, Slots: 1, Waiting: 2})
	begin := time.Now()
	var mu sync.Mutex
	var served, refused int
	var last, slowestRefusal time.Duration
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			response, text := ask(t, url)
			took := time.Since(begin)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case response == nil:
			case response.StatusCode == 200:
				served, last = served+1, max(last, took)
			case response.StatusCode == 503 && response.Header.Get("Retry-After") == "1" && strings.Contains(text, `"code":"overloaded"`):
				refused, slowestRefusal = refused+1, max(slowestRefusal, took)
			default:
				t.Errorf("%s: %s", response.Status, text)
			}
		})
	}
	group.Wait()
	if served != 3 || refused != 2 || last < 3*service || slowestRefusal > service {
		t.Errorf("%d served, the last after %v; %d refused, the last after %v", served, last, refused, slowestRefusal)
	}
	if response, text := ask(t, url); response == nil || response.StatusCode != 200 {
		t.Errorf("when it has room again: %s", text)
	}
}
