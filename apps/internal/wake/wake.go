// Package wake asks whoever starts model servers to start one.
package wake

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// timeout is how long the name may take to be resolved, and then each address to
// answer.
const timeout = time.Second

// ParseURL reads the URL to call: http or https and a host, which may be a name.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil && u.User != nil {
		// Not quoted: it may be a password.
		return nil, errors.New("has a user; allowed: a URL such as http://scaler:8002/wake")
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Fragment != "" {
		return nil, fmt.Errorf("is %q; allowed: an http or https URL such as http://scaler:8002/wake", text)
	}
	return u, nil
}

// Client calls one URL at every address that its host's name has: of several
// scalers one leads, and which is not known here. Its Call may not be called by
// several at the same time.
type Client struct {
	url     *url.URL
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	client  *http.Client
	log     *slog.Logger
	failing map[string]bool // by address, or the host's name where it isn't resolved
}

// New is a client of a URL that ParseURL has read.
func New(u *url.URL, log *slog.Logger) *Client {
	return &Client{
		url: u, lookup: net.DefaultResolver.LookupNetIP, log: log, failing: map[string]bool{},
		client: &http.Client{
			Timeout: timeout,
			// Calls are rare, and the addresses change.
			Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{ServerName: u.Hostname()}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Call sends a POST without a body to every address at the same time, and returns
// how many answered 2xx and how many did not; a name that can't be resolved is one
// that did not. What an address answers is logged where that has changed.
func (c *Client) Call(ctx context.Context) (ok, failed int) {
	errs := c.callAll(ctx)
	if ctx.Err() != nil {
		return 0, 0 // that is why it failed
	}
	failing := map[string]bool{}
	for address, err := range errs {
		switch {
		case err != nil && !c.failing[address]:
			c.log.Warn("a scaler can't be asked for a replica", "url", c.url.String(), "address", address, "error", err.Error())
		case err == nil && c.failing[address]:
			c.log.Info("a scaler can be asked for a replica again", "url", c.url.String(), "address", address)
		}
		if failing[address] = err != nil; err != nil {
			failed++
		} else {
			ok++
		}
	}
	c.failing = failing
	return ok, failed
}

// callAll is what became of the call at each address.
func (c *Client) callAll(ctx context.Context) map[string]error {
	resolving, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host := c.url.Hostname()
	addresses, err := c.lookup(resolving, "ip", host)
	if err != nil {
		return map[string]error{host: err}
	}
	errs := make(map[string]error, len(addresses))
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, address := range addresses {
		calls.Go(func() {
			err := c.call(ctx, address.Unmap().String())
			mu.Lock()
			defer mu.Unlock()
			errs[address.Unmap().String()] = err
		})
	}
	calls.Wait()
	return errs
}

// call sends one POST to an address.
func (c *Client) call(ctx context.Context, address string) error {
	port := cmp.Or(c.url.Port(), map[string]string{"http": "80", "https": "443"}[c.url.Scheme])
	at := *c.url
	at.Host = net.JoinHostPort(address, port)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), nil)
	if err != nil {
		return err
	}
	request.Host = c.url.Host
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("it answered %d", response.StatusCode)
	}
	return nil
}
