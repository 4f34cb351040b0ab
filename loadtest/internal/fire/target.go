package fire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Protocol is the version of HTTP that requests are sent with.
type Protocol string

const (
	// HTTP1 is HTTP/1.1, one connection for each request under way.
	HTTP1 Protocol = "http/1.1"
	// HTTP2 is HTTP/2: agreed on by TLS (ALPN) with an https target, by prior
	// knowledge (h2c) with an http one. Requests share connections, as many at a
	// time as the server allows on one.
	HTTP2 Protocol = "h2"
)

// ParseTarget reads a dispatcher's base URL.
func ParseTarget(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil || (target.Scheme != "http" && target.Scheme != "https") || target.Host == "" || target.RawQuery != "" || target.Fragment != "" {
		return nil, fmt.Errorf("target %q: allowed are base URLs such as http://127.0.0.1:5001", text)
	}
	return target, nil
}

// Check makes sure that something that answers HTTP of this version listens at target.
func Check(ctx context.Context, target *url.URL, protocol Protocol) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	status, err := health(ctx, target, protocol)
	if err != nil && protocol == HTTP2 && !errors.Is(err, syscall.ECONNREFUSED) {
		if _, other := health(ctx, target, HTTP1); other == nil {
			return fmt.Errorf("target %s does not speak HTTP/2 but HTTP/1.1; leave out --protocol %s", target, HTTP2)
		}
	}
	if err != nil {
		return fmt.Errorf("target %s does not answer: %w", target, err)
	}
	// A server without the path is one that can be asked; only one that says it is unwell is not.
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("target %s is not healthy: GET %s answers %d %s", target, healthPath, status, http.StatusText(status))
	}
	return nil
}

func health(ctx context.Context, target *url.URL, protocol Protocol) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.JoinPath(healthPath).String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	transport := newTransport(protocol, 1)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// writeBuffer lets most pictures go out in one write. Each connection has one.
const writeBuffer = 32 << 10

// newTransport keeps a connection for every request that may be in flight, so
// that a burst after a lull does not pay for new ones, and uses no proxy: its
// latency would be counted as the service's.
func newTransport(protocol Protocol, maxInFlight int) *http.Transport {
	t := &http.Transport{
		DialContext:         (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConns:        maxInFlight,
		MaxIdleConnsPerHost: maxInFlight,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     writeBuffer,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(protocol != HTTP2)
	t.Protocols.SetHTTP2(protocol == HTTP2)
	t.Protocols.SetUnencryptedHTTP2(protocol == HTTP2)
	return t
}
