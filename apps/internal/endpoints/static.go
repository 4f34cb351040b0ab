package endpoints

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/fleet"
)

// probeTimeout is how long a replica has to say that it is ready.
const probeTimeout = time.Second

// ParseURLs checks base URLs of replicas: http or https, a host, no query, no
// two the same.
func ParseURLs(texts []string) ([]string, error) {
	var urls []string
	for _, text := range texts {
		u, err := url.Parse(text)
		if err == nil && u.User != nil {
			// Not quoted: it may be a password.
			return nil, errors.New("there is one with a user; allowed: a base URL such as http://127.0.0.1:6001")
		}
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("%q is not a base URL such as http://127.0.0.1:6001", text)
		}
		base := strings.TrimSuffix(u.String(), "/")
		if slices.Contains(urls, base) {
			return nil, fmt.Errorf("%q is there twice", text)
		}
		urls = append(urls, base)
	}
	if len(urls) == 0 {
		return nil, errors.New("there is none")
	}
	return urls, nil
}

// Probe asks each of urls for /readyz, at once and then every interval, and
// reports all of them at every change until ctx ends: those that answer 200
// are ready, the others starting.
func Probe(ctx context.Context, urls []string, interval time.Duration, report func([]fleet.Endpoint)) {
	client := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{}} // no proxy, as for requests
	defer client.CloseIdleConnections()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last []fleet.Endpoint
	for {
		now := make([]fleet.Endpoint, len(urls))
		var probes sync.WaitGroup
		for i, u := range urls {
			probes.Go(func() { now[i] = fleet.Endpoint{URL: u, State: probe(ctx, client, u)} })
		}
		probes.Wait()
		if ctx.Err() != nil {
			return
		}
		if !slices.Equal(now, last) {
			last = now
			report(slices.Clone(now))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func probe(ctx context.Context, client *http.Client, base string) dispatch.State {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return dispatch.Starting
	}
	response, err := client.Do(request)
	if err != nil {
		return dispatch.Starting
	}
	defer func() { _ = response.Body.Close() }()
	// Read to the end, a little of it, so that the connection is used again.
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	if response.StatusCode != http.StatusOK {
		return dispatch.Starting
	}
	return dispatch.Ready
}
