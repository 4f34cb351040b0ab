package wake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// scaler answers calls at one address.
type scaler struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	calls  []string
}

// startScalers starts one at each address, all on the same port.
func startScalers(t *testing.T, addresses ...string) (list []*scaler, port string) {
	t.Helper()
	port = "0"
	for _, address := range addresses {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err != nil {
			t.Fatal(err)
		}
		if _, port, err = net.SplitHostPort(listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
		s := &scaler{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }}
		s.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(s.serve)}}
		s.Start()
		t.Cleanup(s.Close)
		list = append(list, s)
	}
	return list, port
}

func (s *scaler) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s for %s with %d bytes, %v", r.Method, r.URL, r.Host, len(body), err))
	answer := s.answer
	s.mu.Unlock()
	answer(w, r)
}

func (s *scaler) set(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *scaler) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// client is one whose host has the addresses that names tells at each call.
func client(t *testing.T, text string, log io.Writer, names func() ([]string, error)) *Client {
	t.Helper()
	u, err := ParseURL(text)
	if err != nil {
		t.Fatal(err)
	}
	c := New(u, slog.New(slog.NewTextHandler(log, nil)))
	c.lookup = func(_ context.Context, _, host string) (list []netip.Addr, err error) {
		if host != "scaler" {
			t.Errorf("looked for %q", host)
		}
		addresses, err := names()
		for _, a := range addresses {
			list = append(list, netip.MustParseAddr(a))
		}
		return list, err
	}
	return c
}

func expect(t *testing.T, c *Client, wantOK, wantFailed int) {
	t.Helper()
	if ok, failed := c.Call(t.Context()); ok != wantOK || failed != wantFailed {
		t.Errorf("%d ok and %d failed, want %d and %d", ok, failed, wantOK, wantFailed)
	}
}

var both = []string{"127.0.0.1", "127.0.0.2"}

func TestEveryAddressIsAsked(t *testing.T) {
	scalers, port := startScalers(t, both...)
	c := client(t, "http://scaler:"+port+"/wake", io.Discard, func() ([]string, error) { return both, nil })
	expect(t, c, 2, 0)
	for _, s := range scalers {
		if got := fmt.Sprint(s.got()); got != "[POST /wake for scaler:"+port+" with 0 bytes, <nil>]" {
			t.Errorf("got %s", got)
		}
	}
}

// Both get their call though neither answers before the other has it; and one that
// never answers costs no more than its time.
func TestAddressesAreAskedAtTheSameTime(t *testing.T) {
	scalers, port := startScalers(t, both...)
	var together sync.WaitGroup
	together.Add(2)
	for _, s := range scalers {
		s.set(func(http.ResponseWriter, *http.Request) { together.Done(); together.Wait() })
	}
	c := client(t, "http://scaler:"+port, io.Discard, func() ([]string, error) { return both, nil })
	expect(t, c, 2, 0)
	for _, s := range scalers {
		s.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	begin := time.Now()
	expect(t, c, 0, 2)
	if took := time.Since(begin); took < timeout || took > 3*timeout/2+time.Second {
		t.Errorf("it took %v, want about %v", took, timeout)
	}
}

func TestFailuresAreLoggedOncePerChange(t *testing.T) {
	scalers, port := startScalers(t, both...)
	var log bytes.Buffer
	addresses, missing := both, error(nil)
	c := client(t, "http://scaler:"+port+"/wake", &log, func() ([]string, error) { return addresses, missing })
	logged := func(want ...string) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != len(want) {
			t.Errorf("logged %d lines, want %d:\n%s", n, len(want), log.String())
		}
		for _, part := range want {
			if !strings.Contains(log.String(), part) {
				t.Errorf("nothing is logged of %s:\n%s", part, log.String())
			}
		}
		log.Reset()
	}
	expect(t, c, 2, 0)
	logged()
	scalers[1].set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	expect(t, c, 1, 1)
	logged(`address=127.0.0.2 error="it answered 503"`)
	expect(t, c, 1, 1)
	logged()
	scalers[0].set(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	expect(t, c, 0, 2)
	logged(`address=127.0.0.1 error="it answered 302"`)
	for _, s := range scalers {
		s.set(func(http.ResponseWriter, *http.Request) {})
	}
	expect(t, c, 2, 0)
	logged("again", "again")
	addresses, missing = nil, errors.New("no such host")
	expect(t, c, 0, 1)
	expect(t, c, 0, 1)
	logged("no such host")
	addresses, missing = both, nil
	scalers[1].Close()
	expect(t, c, 1, 1)
	logged("refused")
}

func TestACallThatIsEndedIsNoFailure(t *testing.T) {
	var log bytes.Buffer
	c := client(t, "http://scaler", &log, func() ([]string, error) { return nil, context.Canceled })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, failed := c.Call(ctx); ok != 0 || failed != 0 || log.Len() > 0 {
		t.Errorf("%d ok, %d failed, logged %q", ok, failed, log.String())
	}
}

// The certificate is the name's, whatever the address.
func TestOverTLSTheNameCounts(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport, _ := server.Client().Transport.(*http.Transport)
	for host, want := range map[string]int{"example.com": 1, "scaler": 0} { // the test server's certificate is for example.com
		u, err := ParseURL("https://" + net.JoinHostPort(host, at.Port()))
		if err != nil {
			t.Fatal(err)
		}
		c := New(u, slog.New(slog.DiscardHandler))
		c.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		own, _ := c.client.Transport.(*http.Transport)
		own.TLSClientConfig.RootCAs = transport.TLSClientConfig.RootCAs
		expect(t, c, want, 1-want)
	}
}

func TestParseURL(t *testing.T) {
	for _, text := range []string{"http://scaler:8002/wake", "https://scaler/wake?of=model-server", "http://[::1]:8002"} {
		if u, err := ParseURL(text); err != nil || u.String() != text {
			t.Errorf("%q is read as %v, %v", text, u, err)
		}
	}
	for text, want := range map[string]string{
		"scaler:8002/wake":  `is "scaler:8002/wake"; allowed: an http or https URL such as http://scaler:8002/wake`,
		"ftp://scaler":      `is "ftp://scaler"; allowed: an http or https URL such as http://scaler:8002/wake`,
		"http:///wake":      `is "http:///wake"; allowed: an http or https URL such as http://scaler:8002/wake`,
		"http://:8002":      `is "http://:8002"; allowed: an http or https URL such as http://scaler:8002/wake`,
		"http://scaler#a":   `is "http://scaler#a"; allowed: an http or https URL such as http://scaler:8002/wake`,
		"http://me:pw@host": `has a user; allowed: a URL such as http://scaler:8002/wake`,
	} {
		if u, err := ParseURL(text); err == nil || err.Error() != want {
			t.Errorf("%q is read as %v, %v; want %s", text, u, err, want)
		}
	}
}
