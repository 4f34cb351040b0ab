package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// attempt is how long one look at a component's health may take.
const attempt = 2 * time.Second

// dialLimit is how long a connection to a component may take to be made.
const dialLimit = 300 * time.Millisecond

// maxReply is the most that is read of an answer, in bytes.
const maxReply = 1 << 20

// clients are the two sides that this tool shows itself as.
type clients struct {
	api, etcd *client
}

func (c *Cluster) clients() clients {
	return clients{api: c.client("ca", "admin"), etcd: c.client("etcd-ca", "etcd-client")}
}

// client calls one kind of server with its certificate. The files are read with
// the first call: they need not be there before.
type client struct {
	http func() (*http.Client, error)
}

func (c *Cluster) client(authority, user string) *client {
	return &client{http: sync.OnceValues(func() (*http.Client, error) {
		roots := x509.NewCertPool()
		text, err := os.ReadFile(c.cert(authority))
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(text)
		own, err := tls.LoadX509KeyPair(c.cert(user), c.key(user))
		if err != nil {
			return nil, err
		}
		return &http.Client{Transport: &http.Transport{
			// These addresses are this machine's own: no proxy, and a connection
			// is made at once or, without a rule for a service yet, not at all.
			DialContext:     (&net.Dialer{Timeout: dialLimit}).DialContext,
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12},
		}}, nil
	})}
}

func (k *client) call(ctx context.Context, method, url string, body any, into any) error {
	session, err := k.http()
	if err != nil {
		return err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	reply, err := session.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s: %.200s", url, reply.Status, bytes.TrimSpace(text))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// ok is a check that url answers with success.
func (k *client) ok(url string) func(context.Context) error {
	return func(ctx context.Context) error { return k.call(ctx, http.MethodGet, url, nil, nil) }
}

func dialContainerd(ctx context.Context) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", containerdSocket)
	if err != nil {
		return err
	}
	return connection.Close()
}

// nodeReady checks that the node says it is ready, and has said so since the
// time given: the API server keeps what a node that died said last.
func (c *Cluster) nodeReady(k *client, since time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		var node struct {
			Status struct {
				Conditions []struct {
					Type, Status, Message string
					LastHeartbeatTime     time.Time
				} `json:"conditions"`
			} `json:"status"`
		}
		if err := k.call(ctx, http.MethodGet, endpoint("https", loopback, apiServerPort)+"/api/v1/nodes/"+nodeName, nil, &node); err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			switch {
			case condition.Type != "Ready":
			case condition.Status != "True":
				return fmt.Errorf("node %s is not ready: %s", nodeName, condition.Message)
			case condition.LastHeartbeatTime.Before(since):
				return fmt.Errorf("node %s has not reported since %s", nodeName, condition.LastHeartbeatTime.Format(time.TimeOnly))
			default:
				return nil
			}
		}
		return fmt.Errorf("node %s has not said whether it is ready", nodeName)
	}
}

// resolves checks that cluster DNS knows the kubernetes service.
func resolves(ctx context.Context) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(gateway, strconv.Itoa(dnsPort)))
	}}
	addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+domain+".")
	if err != nil {
		return err
	}
	if len(addresses) != 1 || addresses[0] != apiVIP {
		return fmt.Errorf("cluster DNS resolves the kubernetes service to %v, want %s", addresses, apiVIP)
	}
	return nil
}

// check is a named thing that a healthy cluster does.
type check struct {
	name string
	run  func(context.Context) error
}

// checks are what is to hold once every component is healthy. Since is the
// oldest report of the node that counts.
func (c *Cluster) checks(since time.Time) []check {
	api := c.clients().api
	return []check{
		{"node ready", c.nodeReady(api, since)},
		{"cluster DNS answers", resolves},
		{"service addresses reach their pods", api.ok(endpoint("https", apiVIP, 443) + "/readyz")},
	}
}

// health is everything that can be asked of the cluster, asked at once. A nil
// error is a yes.
func (c *Cluster) health(ctx context.Context) (names []string, results map[string]error, err error) {
	members, err := c.members()
	if err != nil {
		return nil, nil, err
	}
	components := c.components()
	processes := running(components, members)
	var all []check
	for _, p := range components {
		all = append(all, check{p.name, func(ctx context.Context) error {
			if len(processes[p.name]) == 0 {
				return errNotRunning
			}
			return p.healthy(ctx)
		}})
	}
	all = append(all, c.checks(time.Time{})...)
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	var (
		asked sync.WaitGroup
		mutex sync.Mutex
	)
	results = map[string]error{}
	for _, each := range all {
		names = append(names, each.name)
		asked.Go(func() {
			err := each.run(ctx)
			mutex.Lock()
			defer mutex.Unlock()
			results[each.name] = err
		})
	}
	asked.Wait()
	return names, results, nil
}

var errNotRunning = errors.New("not running")

// await runs the check until it holds, until the program that it depends on
// ends, or until the limit is over.
func await(ctx context.Context, limit time.Duration, died <-chan error, holds func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("no answer")
	for {
		once, done := context.WithTimeout(ctx, attempt)
		err := holds(once)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case err := <-died:
			return fmt.Errorf("ended: %w", err)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return context.Cause(ctx)
			}
			return fmt.Errorf("not healthy after %s: %w", limit, last)
		}
	}
}

// relevant picks from a log the last lines that tell of an error, or just the
// last ones where none does.
func relevant(log string, count int) []string {
	var errs, all []string
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		all = append(all, line)
		if isError(line) {
			errs = append(errs, line)
		}
	}
	if len(errs) > 0 {
		all = errs
	}
	return all[max(0, len(all)-count):]
}

// isError knows the forms of klog ("E0102 …", "F0102 …"), logrus, zap and a
// plain message of a program that ends.
func isError(line string) bool {
	if len(line) > 5 && (line[0] == 'E' || line[0] == 'F') && strings.Trim(line[1:5], "0123456789") == "" {
		return true
	}
	for _, sign := range []string{"level=error", "level=fatal", `"level":"error"`, `"level":"fatal"`, "Error:", "error:", "panic:", "Listen:"} {
		if strings.Contains(line, sign) {
			return true
		}
	}
	return false
}
