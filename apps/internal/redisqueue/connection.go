package redisqueue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Mode says what the Redis URL leads to.
type Mode string

const (
	// Standalone is one Redis.
	Standalone Mode = "standalone"
	// Sentinel is sentinels, which tell where the master is.
	Sentinel Mode = "sentinel"
	// Cluster is nodes of a Redis Cluster.
	Cluster Mode = "cluster"
)

// stateInterval is how old a cluster's slots may be. A failed command has them
// read again at once; this is for subscriptions, whose failures nobody sees.
const stateInterval = 5 * time.Second

// allowedURLs is what a URL has to look like.
var allowedURLs = map[Mode]string{
	Standalone: "redis://[user:password@]host:port[/db], the same with rediss:// for TLS, or unix:///path",
	Sentinel:   "redis://[user:password@]sentinel:port[/db]?master_name=NAME[&addr=sentinel2:port], or the same with rediss:// for TLS; user and password are the sentinels', and those of Redis are username=USER&password=PASSWORD",
	Cluster:    "redis://[user:password@]host:port[?addr=host2:port], or the same with rediss:// for TLS",
}

// replicaOptions are the URL's options that lead to replicas, which lag behind
// and can't be written to.
var replicaOptions = []string{"read_only", "replica_only", "route_by_latency", "route_by_latency_tolerance", "route_randomly", "use_disconnected_replicas"}

// Connection says where Redis is. All files are PEM, read once.
type Connection struct {
	// URL is a URL of go-redis: of ParseURL for Standalone, ParseFailoverURL
	// for Sentinel, ParseClusterURL for Cluster. Its options for retries,
	// timeouts of the exchanges, protocol and pool size are not used.
	URL string
	// Mode says what URL leads to; empty is Standalone.
	Mode Mode
	// Password is Redis' own where the URL has none; may be empty.
	Password string
	// SentinelPassword is the sentinels' where the URL has none; only for
	// Sentinel, and may be empty.
	SentinelPassword string
	// CAFile holds the authorities that may have signed Redis' certificate, in
	// place of the system's. Only with rediss://; may be empty.
	CAFile string
	// CertFile and KeyFile are what Redis is shown. Only with rediss://, and
	// both or neither.
	CertFile, KeyFile string
}

// InvalidError says which setting of a Connection is wrong. Neither field ever
// holds a password.
type InvalidError struct {
	// Setting is the name of the Connection's field.
	Setting string
	// Problem is what is wrong and what is allowed; it reads on from the
	// setting's name.
	Problem string
}

// Error is the setting's name and the problem.
func (e *InvalidError) Error() string { return e.Setting + " " + e.Problem }

// Check says whether the connection can be tried, without connecting. The error
// is an *InvalidError.
func (c Connection) Check() error {
	_, _, err := c.prepare()
	return err
}

// clients prepares one client for submissions and one for work, each with
// connections of its own, at most so many (for a cluster: to each node). It does
// not connect. address is what may be logged. The error is an *InvalidError.
func (c Connection) clients(connections int) (submissions, work redis.UniversalClient, address string, err error) {
	client, address, err := c.prepare()
	if err != nil {
		return nil, nil, "", err
	}
	return client(connections), client(connections), address, nil
}

// prepare checks everything and returns what makes a client of at most so many
// connections.
func (c Connection) prepare() (client func(connections int) redis.UniversalClient, address string, err error) {
	if c.Mode == "" {
		c.Mode = Standalone
	}
	if allowedURLs[c.Mode] == "" {
		return nil, "", &InvalidError{"Mode", fmt.Sprintf("is %q; allowed: %s, %s or %s", c.Mode, Standalone, Sentinel, Cluster)}
	}
	u, err := c.parse()
	if err != nil {
		return nil, "", err
	}
	if c.SentinelPassword != "" && c.Mode != Sentinel {
		return nil, "", &InvalidError{"SentinelPassword", fmt.Sprintf("is given without sentinels; allowed: only with mode %s", Sentinel)}
	}
	switch c.Mode {
	case Sentinel:
		return c.sentinel(u)
	case Cluster:
		return c.cluster(u)
	}
	return c.standalone(u)
}

// parse checks what go-redis does not check, or can't say without quoting the
// URL, and the URL may hold a password.
func (c Connection) parse() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	// A password with an unescaped / ? or # makes a URL of another meaning.
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return nil, c.notAURL("")
	}
	switch u.Scheme {
	case "redis", "rediss":
	case "unix":
		if c.Mode != Standalone || u.Host != "" {
			return nil, c.notAURL("")
		}
	default:
		return nil, c.notAURL("")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, c.notAURL("")
	}
	for _, option := range replicaOptions {
		if query.Has(option) {
			return nil, c.invalidURL(fmt.Sprintf("has the option %s; a queue can't be read from replicas", option))
		}
	}
	switch {
	case c.Mode == Standalone && query.Has("master_name"):
		return nil, c.invalidURL(fmt.Sprintf("has the option master_name; allowed: only with mode %s", Sentinel))
	case c.Mode == Standalone && query.Has("addr"):
		return nil, c.invalidURL(fmt.Sprintf("has the option addr; allowed: only with mode %s or %s", Sentinel, Cluster))
	case c.Mode == Sentinel && query.Get("master_name") == "":
		return nil, c.notAURL("has no master_name")
	case c.Mode == Sentinel && u.Port() == "":
		// go-redis would take 6379, where no sentinel is.
		return nil, c.notAURL("has no port")
	case c.Mode == Cluster && strings.Trim(u.Path, "/") != "" && u.Path != "/0":
		// go-redis would use database 0 nevertheless.
		return nil, c.invalidURL("has a path; a cluster has only database 0")
	}
	return u, nil
}

func (c Connection) invalidURL(problem string) error { return &InvalidError{"URL", problem} }

func (c Connection) notAURL(problem string) error {
	if problem == "" {
		problem = map[Mode]string{Standalone: "is not a Redis URL", Sentinel: "is not a URL of sentinels", Cluster: "is not a URL of a Redis Cluster"}[c.Mode]
	}
	return c.invalidURL(problem + "; allowed: " + allowedURLs[c.Mode])
}

// checkAddresses checks the ports, which go-redis takes as they are.
func (c Connection) checkAddresses(addresses ...string) error {
	for _, address := range addresses {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return c.notAURL("")
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return c.invalidURL("has a port out of range; allowed: 1 to 65535")
		}
	}
	return nil
}

func (c Connection) standalone(u *url.URL) (func(int) redis.UniversalClient, string, error) {
	options, err := redis.ParseURL(c.URL)
	if err != nil || options.DB < 0 {
		return nil, "", c.notAURL("")
	}
	if options.Network == "tcp" {
		if err := c.checkAddresses(options.Addr); err != nil {
			return nil, "", err
		}
	}
	if options.TLSConfig, options.Dialer, err = c.encryption(options.TLSConfig, u.Hostname()); err != nil {
		return nil, "", err
	}
	if options.Password == "" {
		options.Password = c.Password
	}
	options.Protocol = 2
	options.ContextTimeoutEnabled = true
	options.DialTimeout = ioTimeout
	options.ReadTimeout = ioTimeout
	options.WriteTimeout = ioTimeout
	// A command that got no answer may have been executed: whoever sent it
	// knows what to do about that.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return func(connections int) redis.UniversalClient {
		o := *options
		o.PoolSize = connections
		return redis.NewClient(&o)
	}, options.Addr, nil
}

func (c Connection) sentinel(u *url.URL) (func(int) redis.UniversalClient, string, error) {
	options, err := redis.ParseFailoverURL(c.URL)
	if err != nil || options.DB < 0 {
		return nil, "", c.notAURL("")
	}
	if err := c.checkAddresses(options.SentinelAddrs...); err != nil {
		return nil, "", err
	}
	if options.TLSConfig, options.Dialer, err = c.encryption(options.TLSConfig, u.Hostname()); err != nil {
		return nil, "", err
	}
	if options.Password == "" {
		options.Password = c.Password
	}
	if options.SentinelPassword == "" {
		options.SentinelPassword = c.SentinelPassword
	}
	options.Protocol = 2
	options.ContextTimeoutEnabled = true
	options.DialTimeout = ioTimeout
	options.ReadTimeout = ioTimeout
	options.WriteTimeout = ioTimeout
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.DisableIdentity = true
	address := fmt.Sprintf("%s (master %s)", strings.Join(options.SentinelAddrs, ","), options.MasterName)
	return func(connections int) redis.UniversalClient {
		o := *options
		o.PoolSize = connections
		client := redis.NewFailoverClient(&o)
		client.AddHook(knownMaster{o.MasterName})
		return client
	}, address, nil
}

func (c Connection) cluster(u *url.URL) (func(int) redis.UniversalClient, string, error) {
	options, err := redis.ParseClusterURL(c.URL)
	if err != nil {
		return nil, "", c.notAURL("")
	}
	if err := c.checkAddresses(options.Addrs...); err != nil {
		return nil, "", err
	}
	if options.TLSConfig, options.Dialer, err = c.encryption(options.TLSConfig, u.Hostname()); err != nil {
		return nil, "", err
	}
	if options.Password == "" {
		options.Password = c.Password
	}
	options.Protocol = 2
	options.ContextTimeoutEnabled = true
	options.DialTimeout = ioTimeout
	options.ReadTimeout = ioTimeout
	options.WriteTimeout = ioTimeout
	options.MaxRetries = -1
	// The library's own number of attempts: it follows MOVED and ASK with them.
	// That it would also repeat a command without an answer is what answered
	// prevents.
	options.MaxRedirects = 0
	options.DialerRetries = 1
	options.DisableIdentity = true
	options.ClusterStateReloadInterval = stateInterval
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return func(connections int) redis.UniversalClient {
		o := *options
		o.PoolSize = connections
		client := redis.NewClusterClient(&o)
		client.OnNewNode(func(node *redis.Client) { node.AddHook(answered{client.ReloadState}) })
		return client
	}, strings.Join(options.Addrs, ","), nil
}

// dialer is what makes a connection for go-redis.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// encryption completes what the URL says about TLS; both are nil without TLS.
func (c Connection) encryption(parsed *tls.Config, urlHost string) (*tls.Config, dialer, error) {
	config, err := c.certificates(parsed)
	if err != nil || config == nil {
		return nil, nil, err
	}
	// The library's own dialer expects every sentinel, master and node to have
	// the certificate of the URL's host, and does not end with its context.
	return config, func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, ioTimeout)
		defer cancel()
		plain, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn, err := handshake(ctx, plain, config, certificateName(address, urlHost))
		if err != nil {
			_ = plain.Close()
			return nil, fmt.Errorf("TLS with %s: %w", address, err)
		}
		return conn, nil
	}, nil
}

// handshake ends when Redis has taken the client's certificate, if it asked for
// one.
func handshake(ctx context.Context, plain net.Conn, config *tls.Config, name string) (net.Conn, error) {
	config = config.Clone()
	config.ServerName = name
	asked := false
	// Shown whoever Redis says may have signed it, so that Redis says what it
	// has against it.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if len(config.Certificates) == 0 {
			return &tls.Certificate{}, nil
		}
		return &config.Certificates[0], nil
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil || !asked {
		return conn, err
	}
	// With TLS 1.3 Redis looks at the certificate after the handshake's end. A
	// refusal would break off some command, without a word on certificates.
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// Where Redis is gone already, reading tells why, and writing does not.
	_, _ = conn.Write([]byte("PING\r\n"))
	// Its answer, whatever it is, is one line.
	for one := make([]byte, 1); one[0] != '\n'; {
		if _, err := conn.Read(one); err != nil {
			return nil, err
		}
	}
	return conn, conn.SetDeadline(time.Time{})
}

func (c Connection) certificates(parsed *tls.Config) (*tls.Config, error) {
	if parsed == nil {
		for _, given := range []struct{ setting, file string }{{"CAFile", c.CAFile}, {"CertFile", c.CertFile}, {"KeyFile", c.KeyFile}} {
			if given.file != "" {
				return nil, &InvalidError{given.setting, "is given without TLS; allowed: only with a rediss:// URL"}
			}
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: parsed.InsecureSkipVerify}
	if c.CAFile != "" {
		if config.InsecureSkipVerify {
			return nil, &InvalidError{"CAFile", "is given and the URL has skip_verify; allowed: at most one of them"}
		}
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, &InvalidError{"CAFile", fmt.Sprintf("can't be read: %v", err)}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, &InvalidError{"CAFile", fmt.Sprintf("%q holds no certificate; allowed: PEM with one or more", c.CAFile)}
		}
	}
	switch {
	case c.CertFile == "" && c.KeyFile == "":
		return config, nil
	case c.KeyFile == "":
		return nil, &InvalidError{"CertFile", "is given without its key; allowed: both or neither"}
	case c.CertFile == "":
		return nil, &InvalidError{"KeyFile", "is given without its certificate; allowed: both or neither"}
	}
	certificate, err := os.ReadFile(c.CertFile)
	if err != nil {
		return nil, &InvalidError{"CertFile", fmt.Sprintf("can't be read: %v", err)}
	}
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, &InvalidError{"KeyFile", fmt.Sprintf("can't be read: %v", err)}
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, &InvalidError{"CertFile", fmt.Sprintf("%q does not go with the key %q; allowed: a certificate and its key, both PEM: %v", c.CertFile, c.KeyFile, err)}
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// certificateName is whom the certificate at an address has to be for: the host
// there. Sentinels and nodes often tell only IP addresses, which certificates
// seldom hold; the URL's host stands for those.
func certificateName(address, urlHost string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return urlHost
	}
	if isIP(host) && urlHost != "" && !isIP(urlHost) {
		return urlHost
	}
	return host
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// knownMaster keeps a sentinel's "no such master" from being taken for Redis'
// answer to a command: both are redis.Nil, and that would be an empty queue.
type knownMaster struct{ name string }

func (k knownMaster) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if errors.Is(err, redis.Nil) {
			err = fmt.Errorf("the sentinels know no master %q", k.name)
		}
		return conn, err
	}
}

func (knownMaster) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (knownMaster) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// answered is for the nodes of a cluster. It ends a command that got no answer,
// which the library would send again, and has the cluster's slots read again:
// the node may be gone, and the library asks only nodes that answer. Pipelines
// without MULTI it can't keep from being repeated.
type answered struct{ reload func(context.Context) }

func (answered) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a answered) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		return a.final(ctx, next(ctx, command))
	}
}

func (a answered) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		err := next(ctx, commands)
		_ = a.final(ctx, err)
		return err
	}
}

func (a answered) final(ctx context.Context, err error) error {
	var answer redis.Error
	switch {
	case err == nil:
		return nil
	case redis.IsClusterDownError(err):
		a.reload(ctx)
		return err
	case errors.As(err, &answer), errors.Is(err, redis.ErrClosed):
		return err
	}
	if !errors.Is(err, context.Canceled) {
		a.reload(ctx)
	}
	return &unanswered{err}
}

// unanswered hides from the library what it would send a command again for.
type unanswered struct{ err error }

func (u *unanswered) Error() string { return u.err.Error() }

func (u *unanswered) Is(target error) bool {
	switch target {
	case io.EOF, io.ErrUnexpectedEOF, redis.ErrPoolTimeout:
		return false
	}
	return errors.Is(u.err, target)
}

// hear hands over what is published on a channel, until ctx ends. subscribed is
// called after each beginning: what was published between two is lost. Both are
// called one after the other.
//
// The library's own way, PubSub.Channel, never leaves a Redis that keeps the
// connection open and answers nothing: it sends pings and waits for no pong.
func hear(ctx context.Context, client redis.UniversalClient, channel string, subscribed func(), message func(payload string)) {
	for ctx.Err() == nil {
		hearOnce(ctx, client, channel, subscribed, message)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// hearOnce ends when nothing was heard for twice ioTimeout, a pong included.
func hearOnce(ctx context.Context, client redis.UniversalClient, channel string, subscribed func(), message func(payload string)) {
	subscription := client.Subscribe(ctx, channel)
	defer func() { _ = subscription.Close() }()
	// Receiving ends with its timeout, not with ctx.
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	pinged := false
	for {
		got, err := subscription.ReceiveTimeout(ctx, ioTimeout)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && !pinged && subscription.Ping(ctx) == nil {
			pinged = true
			continue
		}
		if err != nil {
			return
		}
		pinged = false
		switch got := got.(type) {
		case *redis.Subscription:
			subscribed()
		case *redis.Message:
			message(got.Payload)
		}
	}
}
