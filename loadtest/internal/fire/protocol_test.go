package fire_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/loadtest/internal/fire"
	"headroom.dev/loadtest/internal/record"
)

// overH2 serves HTTP/2 only, by prior knowledge.
func overH2(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// overTLS serves what is agreed on by TLS. Clients trust it from then on, as they do
// who have its authority among their system's.
func overTLS(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	// The system's authorities are read once in a process, and this is the only
	// server here that needs one.
	file := filepath.Join(t.TempDir(), "authority.pem")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	return server.URL
}

func TestHTTP2(t *testing.T) {
	for name, start := range map[string]func(*testing.T, http.HandlerFunc) string{"by prior knowledge": overH2, "by TLS": overTLS} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			versions, connections := map[string]int{}, map[string]bool{}
			address := start(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				versions[r.Proto+" "+r.Method+" "+r.URL.Path+" "+string(body)]++
				connections[r.RemoteAddr] = true
				mu.Unlock()
				<-time.After(50 * ms)
				_, _ = io.WriteString(w, prediction)
			})
			c := config(t, address)
			c.Protocol = fire.HTTP2
			if err := fire.Check(t.Context(), c.Target, fire.HTTP2); err != nil {
				t.Fatal(err)
			}
			versions, connections = map[string]int{}, map[string]bool{}
			records, _ := replay(t.Context(), c, every(5*ms, 100))
			all := tally(records)
			if all.Outcomes[record.Answered] != 100 || versions["HTTP/2.0 POST /query picture"] != 100 || len(versions) != 1 {
				t.Errorf("outcomes %v, codes %v, the server got %v", all.Outcomes, all.Codes, versions)
			}
			// Ten or so are under way at a time.
			if len(connections) != 1 {
				t.Errorf("%d connections, want that all share one", len(connections))
			}
		})
	}
}

// A target that does not speak the version asked for is told apart from one
// that does not answer.
func TestCheckTellsTheVersion(t *testing.T) {
	handler := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	for _, tt := range []struct {
		name, address string
		protocol      fire.Protocol
		want          string
	}{
		{"HTTP/1.1 asked for h2", serve(t, handler), fire.HTTP2, "does not speak HTTP/2 but HTTP/1.1; leave out --protocol h2"},
		{"h2 only asked for HTTP/1.1", overH2(t, handler), fire.HTTP1, "does not answer"},
		{"nobody", "http://127.0.0.1:1", fire.HTTP2, "refused"},
	} {
		target, err := url.Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		err = fire.Check(t.Context(), target, tt.protocol)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.address) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", tt.name, err, tt.want)
		}
	}
}

func async(t *testing.T) fire.Config {
	t.Helper()
	c := virtual(t)
	c.Mode = fire.Async
	return c
}

func accepted(location string) *http.Response {
	response := answer(http.StatusAccepted, `{"id":"x"}`)
	response.Header.Set("Location", location)
	return response
}

// The latency of an asynchronous request is until its result is here: 20 ms
// until it is accepted, and 1.5 s from then on.
func TestAsyncLatencyIsUntilTheResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := async(t)
		var polls atomic.Int64
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				if r.Header.Get("Prefer") != "respond-async" || r.URL.Path != "/query" {
					t.Errorf("%s with Prefer %q", r.URL, r.Header.Get("Prefer"))
				}
				time.Sleep(20 * ms)
				return accepted("/result/a%2Fb"), nil
			}
			polls.Add(1)
			wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
			if err != nil || wait != 5*time.Second-20*ms || r.URL.EscapedPath() != "/result/a%2Fb" || r.URL.Host != "dispatcher" {
				t.Errorf("asked %s, want a wait for what is left of the 5 s", r.URL)
			}
			time.Sleep(1500 * ms)
			return answer(http.StatusOK, prediction), nil
		})
		records, _ := replay(t.Context(), c, every(100*ms, 10))
		for _, r := range records {
			if r.Outcome != record.Answered || r.Latency != 1520*ms || r.Status != 200 || r.Bytes != int64(len(prediction)) {
				t.Errorf("%+v; want answered after 1.52s", r)
			}
		}
		if len(records) != 10 || polls.Load() != 10 {
			t.Errorf("%d records, %d polls; want 10 of each", len(records), polls.Load())
		}
	})
}

func TestAsyncOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		respond func(r *http.Request, polls int) *http.Response
		want    record.Record
	}{
		{
			"refused at the door",
			func(*http.Request, int) *http.Response {
				return answer(http.StatusServiceUnavailable, `{"error":{"code":"overloaded"}}`)
			},
			record.Record{Status: 503, Outcome: record.Refused, Code: "overloaded", Bytes: 31},
		},
		{
			"failed later",
			func(r *http.Request, _ int) *http.Response {
				if r.Method == http.MethodPost {
					return accepted("/result/1")
				}
				return answer(http.StatusBadGateway, `{"error":{"code":"backend_failed"}}`)
			},
			record.Record{Status: 502, Outcome: record.Failed, Code: "backend_failed", Bytes: 35},
		},
		{
			// 202 at once, three times: each question is 50 ms after the one before.
			"a server that does not wait",
			func(_ *http.Request, polls int) *http.Response {
				if polls <= 3 {
					return accepted("/result/1")
				}
				return answer(http.StatusOK, prediction)
			},
			record.Record{Latency: 150 * ms, Status: 200, Outcome: record.Answered, Bytes: int64(len(prediction))},
		},
		{
			"never there",
			func(*http.Request, int) *http.Response { return accepted("/result/1") },
			record.Record{Latency: 5 * time.Second, Status: 202, Outcome: record.Failed, Code: fire.CodeTimeout, Bytes: 10},
		},
		{
			"accepted without a place for the result",
			func(*http.Request, int) *http.Response { return answer(http.StatusAccepted, "") },
			record.Record{Status: 202, Outcome: record.Failed, Code: fire.CodeBadReply},
		},
		{
			"the result on another host",
			func(*http.Request, int) *http.Response { return accepted("http://elsewhere/result/1") },
			record.Record{Status: 202, Outcome: record.Failed, Code: fire.CodeBadReply},
		},
		{
			"answered at once all the same",
			func(*http.Request, int) *http.Response { return answer(http.StatusOK, prediction) },
			record.Record{Status: 200, Outcome: record.Answered, Bytes: int64(len(prediction))},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := async(t)
				polls := 0
				c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					response := tt.respond(r, polls)
					polls++
					return response, nil
				})
				records, _ := replay(t.Context(), c, every(0, 1))
				if len(records) != 1 || records[0] != tt.want {
					t.Errorf("got  %+v\nwant %+v", records, tt.want)
				}
			})
		})
	}
}
