package redisqueue

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatchtest"
)

const (
	testStream  = "{headroom}:test:stream"
	testChannel = "{headroom}:test:news"
)

// connected is a connection's two clients, both of which answer.
type connected struct {
	submissions, work redis.UniversalClient
	address           string
}

func dial(t *testing.T, c Connection) connected {
	t.Helper()
	submissions, work, address, err := c.clients(8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = submissions.Close(), work.Close() })
	for _, client := range []redis.UniversalClient{submissions, work} {
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
	}
	return connected{submissions, work, address}
}

// refused is the error of the first command over a connection.
func refused(t *testing.T, c Connection) error {
	t.Helper()
	submissions, work, _, err := c.clients(8)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = submissions.Close(), work.Close() }()
	err = submissions.XLen(t.Context(), testStream).Err()
	if err == nil {
		t.Fatalf("%s answers", c.URL)
	}
	if strings.Contains(err.Error(), dispatchtest.RedisPassword) {
		t.Errorf("the error %q holds the password", err)
	}
	return err
}

func withMode(url string, mode Mode) Connection {
	c := Connection{URL: url, Mode: mode, Password: dispatchtest.RedisPassword}
	if mode == Sentinel {
		c.SentinelPassword = dispatchtest.RedisPassword
	}
	return c
}

func withCertificates(c Connection, certificates *dispatchtest.Certificates) Connection {
	c.CAFile, c.CertFile, c.KeyFile = certificates.CAFile, certificates.CertFile, certificates.KeyFile
	return c
}

func TestEveryTopologyDoesWhatTheQueueNeeds(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) Connection{
		"standalone": func(t *testing.T) Connection { return withMode(dispatchtest.StartRedis(t).URL(), "") },
		"sentinel":   func(t *testing.T) Connection { return withMode(dispatchtest.StartSentinel(t).URL(), Sentinel) },
		"cluster":    func(t *testing.T) Connection { return withMode(dispatchtest.StartCluster(t).URL(), Cluster) },
		"standalone with TLS": func(t *testing.T) Connection {
			certificates := dispatchtest.NewCertificates(t, "127.0.0.1")
			c := withMode(dispatchtest.StartTLSRedis(t, certificates, false).URL(), Standalone)
			c.CAFile = certificates.CAFile
			return c
		},
		"standalone with client certificates": func(t *testing.T) Connection {
			certificates := dispatchtest.NewCertificates(t, "127.0.0.1")
			return withCertificates(withMode(dispatchtest.StartTLSRedis(t, certificates, true).URL(), Standalone), certificates)
		},
		"sentinel with client certificates": func(t *testing.T) Connection {
			certificates := dispatchtest.NewCertificates(t, "127.0.0.1")
			return withCertificates(withMode(dispatchtest.StartTLSSentinel(t, certificates).URL(), Sentinel), certificates)
		},
		// The nodes tell 127.0.0.1, and the certificate is for localhost.
		"cluster with client certificates for the URL's host": func(t *testing.T) Connection {
			certificates := dispatchtest.NewCertificates(t, "localhost")
			url := strings.ReplaceAll(dispatchtest.StartTLSCluster(t, certificates).URL(), "127.0.0.1", "localhost")
			return withCertificates(withMode(url, Cluster), certificates)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			connection := start(t)
			t.Logf("started in %v", time.Since(begin).Round(time.Millisecond))
			c := dial(t, connection)
			runsScripts(t, c)
			runsTransactions(t, c)
			readsSeveralStreams(t, c)
			popsLists(t, c)
			hearsWhatScriptsPublish(t, c)
		})
	}
}

func runsScripts(t *testing.T, c connected) {
	t.Helper()
	script := redis.NewScript(`redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[2]) return redis.call('GET', KEYS[1]) .. redis.call('GET', KEYS[2])`)
	keys := []string{"{headroom}:test:a", "{headroom}:test:b"}
	if err := script.EvalSha(t.Context(), c.work, keys, "x", "y").Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
		t.Fatalf("a script that nobody ran: %v, want NOSCRIPT", err)
	}
	if got, err := script.Run(t.Context(), c.work, keys, "x", "y").Text(); err != nil || got != "xy" {
		t.Fatalf("the script returns %q, %v", got, err)
	}
	if got, err := script.EvalSha(t.Context(), c.submissions, keys, "1", "2").Text(); err != nil || got != "12" {
		t.Fatalf("the known script returns %q, %v", got, err)
	}
}

func runsTransactions(t *testing.T, c connected) {
	t.Helper()
	var a, b *redis.IntCmd
	_, err := c.work.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		a, b = p.Incr(t.Context(), "{headroom}:test:n"), p.Incr(t.Context(), "{headroom}:test:m")
		return nil
	})
	if err != nil || a.Val() != 1 || b.Val() != 1 {
		t.Fatalf("the transaction returns %d and %d, %v", a.Val(), b.Val(), err)
	}
}

func group3(t *testing.T, c connected) []string {
	t.Helper()
	streams := []string{testStream + ":1", testStream + ":2", testStream + ":3"}
	for _, stream := range streams {
		if err := c.work.XGroupCreateMkStream(t.Context(), stream, group, "0").Err(); err != nil {
			t.Fatal(err)
		}
	}
	return streams
}

func readGroup(ctx context.Context, c connected, block time.Duration, streams ...string) ([]redis.XStream, error) {
	arguments := slices.Clone(streams)
	for range streams {
		arguments = append(arguments, ">")
	}
	return c.work.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: "reader", Streams: arguments, Count: 10, Block: block}).Result()
}

// masterOf is the client of the one Redis that has the queue.
func masterOf(t *testing.T, client redis.UniversalClient) *redis.Client {
	t.Helper()
	switch client := client.(type) {
	case *redis.Client:
		return client
	case *redis.ClusterClient:
		master, err := client.MasterForKey(t.Context(), testStream)
		if err != nil {
			t.Fatal(err)
		}
		return master
	}
	t.Fatalf("a %T has no master", client)
	return nil
}

func readsSeveralStreams(t *testing.T, c connected) {
	t.Helper()
	streams := group3(t, c)
	type read struct {
		got []redis.XStream
		err error
	}
	done := make(chan read, 1)
	go func() {
		got, err := readGroup(t.Context(), c, 10*time.Second, streams...)
		done <- read{got, err}
	}()
	dispatchtest.Eventually(t, 5*time.Second, "the reader waits", func() bool {
		return strings.Contains(masterOf(t, c.submissions).Info(t.Context(), "clients").Val(), "\r\nblocked_clients:1\r\n")
	})
	if err := c.submissions.XAdd(t.Context(), &redis.XAddArgs{Stream: streams[1], Values: []any{"k", "v"}}).Err(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil || len(r.got) != 1 || r.got[0].Stream != streams[1] || len(r.got[0].Messages) != 1 {
		t.Fatalf("the reader got %v, %v", r.got, r.err)
	}
	// Longer than any other exchange may take.
	if got, err := readGroup(t.Context(), c, ioTimeout+100*time.Millisecond, streams...); !errors.Is(err, redis.Nil) {
		t.Fatalf("nothing is there, and the reader got %v, %v", got, err)
	}
}

func popsLists(t *testing.T, c connected) {
	t.Helper()
	popped := make(chan []string, 1)
	go func() {
		got, err := c.work.BLPop(t.Context(), 10*time.Second, "{headroom}:test:list").Result()
		if err != nil {
			t.Error(err)
		}
		popped <- got
	}()
	if err := c.submissions.RPush(t.Context(), "{headroom}:test:list", "one").Err(); err != nil {
		t.Fatal(err)
	}
	if got := <-popped; len(got) != 2 || got[1] != "one" {
		t.Fatalf("popped %q", got)
	}
}

// listen hears what is published until the test ends.
func listen(t *testing.T, c connected, message func(payload string)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	subscribed := make(chan struct{}, 100)
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() {
		hear(ctx, c.work, testChannel, func() { subscribed <- struct{}{} }, message)
	})
	select {
	case <-subscribed:
	case <-time.After(5 * time.Second):
		t.Fatal("no subscription")
	}
}

var publish = redis.NewScript(`return redis.call('PUBLISH', ARGV[1], redis.call('INCR', KEYS[1]))`)

func hearsWhatScriptsPublish(t *testing.T, c connected) {
	t.Helper()
	news := make(chan string, 1)
	listen(t, c, func(payload string) { news <- payload })
	if err := publish.Run(t.Context(), c.submissions, []string{"{headroom}:test:count"}, testChannel).Err(); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-news:
		if m != "1" {
			t.Errorf("heard %q", m)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing is heard")
	}
}

// hearing is what a reader and a subscription have got so far.
type hearing struct {
	mu          sync.Mutex
	read, heard map[string]bool
}

func (h *hearing) has(what map[string]bool, one string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return what[one]
}

// attend keeps a reader and a subscription going until the test ends.
func attend(t *testing.T, c connected) *hearing {
	t.Helper()
	makeGroup := func(ctx context.Context) error { return c.work.XGroupCreateMkStream(ctx, testStream, group, "0").Err() }
	if err := makeGroup(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := &hearing{read: map[string]bool{}, heard: map[string]bool{}}
	listen(t, c, func(payload string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heard[payload] = true
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() {
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(ctx, time.Second+ioTimeout)
			streams, err := readGroup(one, c, time.Second, testStream)
			cancel()
			if redis.HasErrorPrefix(err, "NOGROUP") {
				_ = makeGroup(ctx)
			}
			h.mu.Lock()
			for _, s := range streams {
				for _, m := range s.Messages {
					h.read[m.ID] = true
				}
			}
			h.mu.Unlock()
		}
	})
	return h
}

// works waits until a submission is taken and read, and a publication heard.
func (h *hearing) works(t *testing.T, c connected, within time.Duration) {
	t.Helper()
	begin := time.Now()
	var took []time.Duration
	var id string
	dispatchtest.Eventually(t, within, "a submission is taken", func() (ok bool) {
		id, ok = submitTest(t, c)
		return ok
	})
	took = append(took, time.Since(begin).Round(time.Millisecond))
	dispatchtest.Eventually(t, within, "it is read", func() bool { return h.has(h.read, id) })
	took = append(took, time.Since(begin).Round(time.Millisecond))
	payload := time.Now().String()
	dispatchtest.Eventually(t, within, "a publication is heard", func() bool {
		_ = c.submissions.Publish(t.Context(), testChannel, payload).Err()
		return h.has(h.heard, payload)
	})
	took = append(took, time.Since(begin).Round(time.Millisecond))
	t.Logf("taken, read and heard after %v", took)
}

func submitTest(t *testing.T, c connected) (id string, ok bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	id, err := c.submissions.XAdd(ctx, &redis.XAddArgs{Stream: testStream, Values: []any{"k", "v"}}).Result()
	return id, err == nil
}

func TestAClientGoesOnWithThePromotedReplica(t *testing.T) {
	type redundant interface {
		URL() string
		Master() string
		KillMaster() string
		FreezeMaster() string
		Thaw(address string)
	}
	for name, mode := range map[string]Mode{"sentinel": Sentinel, "cluster": Cluster} {
		start := func(t *testing.T) redundant {
			if mode == Sentinel {
				return dispatchtest.StartSentinel(t)
			}
			return dispatchtest.StartCluster(t)
		}
		t.Run(name+", its master dead", func(t *testing.T) {
			t.Parallel()
			server := start(t)
			c := dial(t, withMode(server.URL(), mode))
			h := attend(t, c)
			h.works(t, c, 5*time.Second)
			server.KillMaster()
			h.works(t, c, 15*time.Second)
		})
		t.Run(name+", its master frozen for a while", func(t *testing.T) {
			t.Parallel()
			server := start(t)
			c := dial(t, withMode(server.URL(), mode))
			h := attend(t, c)
			h.works(t, c, 5*time.Second)
			old := server.FreezeMaster()
			h.works(t, c, 15*time.Second)
			server.Thaw(old)
			h.works(t, c, 5*time.Second)
			if now := server.Master(); now == old {
				t.Errorf("%s is master again", old)
			}
		})
	}
}

func TestAClientNeedsOnlyOneSentinelOfItsURL(t *testing.T) {
	server := dispatchtest.StartSentinel(t)
	server.KillSentinel()
	c := dial(t, withMode(server.URL(), Sentinel))
	h := attend(t, c)
	h.works(t, c, 5*time.Second)
	server.KillMaster()
	h.works(t, c, 15*time.Second)
}

func TestAClusterClientKnowsAndFollowsTheQueuesPlace(t *testing.T) {
	server := dispatchtest.StartCluster(t)
	c := dial(t, withMode(server.URL(), Cluster))
	moved := func() bool {
		for _, address := range server.Nodes() {
			client := server.Client(address)
			stats, err := client.Info(t.Context(), "errorstats").Result()
			_ = client.Close()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(stats, "errorstat_MOVED") {
				return true
			}
		}
		return false
	}
	h := attend(t, c)
	h.works(t, c, 5*time.Second)
	runsScripts(t, c)
	runsTransactions(t, c)
	if moved() {
		t.Error("the client asked a node that does not have the queue")
	}
	before := server.Master()
	server.MoveQueue()
	h.works(t, c, 5*time.Second)
	if now := server.Master(); now == before || !moved() {
		t.Errorf("the queue is at %s, and was at %s", now, before)
	}
}

func TestACommandWithoutAnAnswerIsSentOnce(t *testing.T) {
	server := dispatchtest.StartCluster(t)
	c := dial(t, withMode(server.URL(), Cluster))
	for _, address := range server.Nodes() {
		client := server.Client(address)
		// Nobody is to take the master's place.
		if err := client.ConfigSet(t.Context(), "cluster-node-timeout", "60000").Err(); err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
	}
	if _, ok := submitTest(t, c); !ok {
		t.Fatal("the cluster takes nothing")
	}
	// More connections than one, over which a command could be sent again.
	var readers sync.WaitGroup
	for range 6 {
		readers.Go(func() {
			if err := c.submissions.XRead(t.Context(), &redis.XReadArgs{Streams: []string{testStream, "$"}, Block: 200 * time.Millisecond}).Err(); !errors.Is(err, redis.Nil) {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	master := server.FreezeMaster()
	begin := time.Now()
	err := c.submissions.XAdd(t.Context(), &redis.XAddArgs{Stream: testStream, Values: []any{"k", "v"}}).Err()
	if took := time.Since(begin); err == nil || took > 2*ioTimeout {
		t.Errorf("no answer is %v after %v", err, took)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.submissions.XAdd(short, &redis.XAddArgs{Stream: testStream, Values: []any{"k", "v"}}).Err(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the caller's end is %v, want %v", err, os.ErrDeadlineExceeded)
	}
	server.Thaw(master)
	client := server.Client(master)
	defer func() { _ = client.Close() }()
	// What was sent is executed before what is sent now.
	if n, err := client.XLen(t.Context(), testStream).Result(); err != nil || n != 3 {
		t.Errorf("there are %d entries, %v; want 3", n, err)
	}
}

func TestTLSErrorsSayWhatIsWrong(t *testing.T) {
	certificates, others := dispatchtest.NewCertificates(t, "127.0.0.1"), dispatchtest.NewCertificates(t, "127.0.0.1")
	server := dispatchtest.StartTLSRedis(t, certificates, true)
	good := withCertificates(withMode(server.URL(), Standalone), certificates)
	dial(t, good)
	for name, c := range map[string]struct {
		spoil func(*Connection)
		want  string
	}{
		"another authority":          {func(c *Connection) { c.CAFile = others.CAFile }, "x509: certificate signed by unknown authority"},
		"the system's authorities":   {func(c *Connection) { c.CAFile = "" }, "x509: certificate signed by unknown authority"},
		"no client certificate":      {func(c *Connection) { c.CertFile, c.KeyFile = "", "" }, "tls: certificate required"},
		"another authority's client": {func(c *Connection) { c.CertFile, c.KeyFile = others.CertFile, others.KeyFile }, "tls: unknown certificate authority"},
		"another host":               {func(c *Connection) { c.URL = strings.Replace(c.URL, "127.0.0.1", "localhost", 1) }, "x509: certificate is not valid for any names, but wanted to match localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			spoiled := good
			c.spoil(&spoiled)
			if err := refused(t, spoiled); !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %q, want %q", err, c.want)
			}
		})
	}
	t.Run("a Redis without TLS", func(t *testing.T) {
		c := withCertificates(withMode(strings.Replace(dispatchtest.StartRedis(t).URL(), "redis:", "rediss:", 1), ""), certificates)
		if err := refused(t, c); !strings.HasPrefix(err.Error(), "TLS with 127.0.0.1:") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %q", err)
		}
	})
}

func TestAWrongPasswordIsTold(t *testing.T) {
	sentinels, cluster := dispatchtest.StartSentinel(t), dispatchtest.StartCluster(t)
	for name, c := range map[string]Connection{
		"of a Redis":                {URL: dispatchtest.StartRedis(t).URL(), Password: "no"},
		"of sentinels":              {URL: sentinels.URL(), Mode: Sentinel, Password: dispatchtest.RedisPassword, SentinelPassword: "no"},
		"that sentinels don't get":  {URL: sentinels.URL(), Mode: Sentinel, Password: dispatchtest.RedisPassword},
		"of a Redis with sentinels": {URL: sentinels.URL(), Mode: Sentinel, Password: "no", SentinelPassword: dispatchtest.RedisPassword},
		"of a cluster":              {URL: cluster.URL(), Mode: Cluster, Password: "no"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := refused(t, c); !redis.IsAuthError(err) {
				t.Errorf("the error is %q", err)
			}
		})
	}
}

func TestAMasterThatSentinelsDoNotKnowIsNoEmptyQueue(t *testing.T) {
	c := withMode(strings.Replace(dispatchtest.StartSentinel(t).URL(), "master_name="+dispatchtest.MasterName, "master_name=other", 1), Sentinel)
	if err := refused(t, c); errors.Is(err, redis.Nil) || err.Error() != `the sentinels know no master "other"` {
		t.Errorf("the error is %q", err)
	}
}

func TestAConnectionSaysWhereRedisIsWithoutPasswords(t *testing.T) {
	for _, c := range []struct {
		connection Connection
		want       string
	}{
		{Connection{URL: "redis://user:secret@redis:6380/3"}, "redis:6380"},
		{Connection{URL: "redis://redis"}, "redis:6379"},
		{Connection{URL: "rediss://[::1]:6379/?db=2&skip_verify=true", Mode: Standalone, Password: "secret"}, "[::1]:6379"},
		{Connection{URL: "unix://:secret@/run/redis.sock?db=1"}, "/run/redis.sock"},
		{
			Connection{URL: "redis://user:secret@a:26379/3?master_name=m&addr=b:26379&username=u&password=secret", Mode: Sentinel, SentinelPassword: "secret"},
			"a:26379,b:26379 (master m)",
		},
		{Connection{URL: "redis://user:secret@a:7000/0?addr=b:7001", Mode: Cluster}, "a:7000,b:7001"},
	} {
		if err := c.connection.Check(); err != nil {
			t.Errorf("%q: %v", c.connection.URL, err)
			continue
		}
		submissions, work, address, err := c.connection.clients(1)
		if err != nil || address != c.want {
			t.Errorf("%q is at %q, %v; want %q", c.connection.URL, address, err, c.want)
			continue
		}
		_, _ = submissions.Close(), work.Close()
	}
}

func TestThePasswordsOfTheURLComeFirst(t *testing.T) {
	for _, c := range []struct {
		connection Connection
		want       string
	}{
		{Connection{URL: "redis://redis", Password: "given"}, "given"},
		{Connection{URL: "redis://user:url@redis", Password: "given"}, "url"},
		{Connection{URL: "redis://a:1?master_name=m", Mode: Sentinel, Password: "given", SentinelPassword: "no"}, "given"},
		{Connection{URL: "redis://user:no@a:1?master_name=m&password=url", Mode: Sentinel, Password: "given"}, "url"},
		{Connection{URL: "redis://a", Mode: Cluster, Password: "given"}, "given"},
		{Connection{URL: "redis://user:url@a", Mode: Cluster, Password: "given"}, "url"},
	} {
		submissions, work, _, err := c.connection.clients(1)
		if err != nil {
			t.Errorf("%q: %v", c.connection.URL, err)
			continue
		}
		var got string
		switch client := work.(type) {
		case *redis.Client:
			got = client.Options().Password
		case *redis.ClusterClient:
			got = client.Options().Password
		}
		if got != c.want {
			t.Errorf("%q uses %q, want %q", c.connection.URL, got, c.want)
		}
		_, _ = submissions.Close(), work.Close()
	}
}

func TestABadConnectionIsRefusedWithoutConnecting(t *testing.T) {
	certificates, others := dispatchtest.NewCertificates(t, "127.0.0.1"), dispatchtest.NewCertificates(t, "127.0.0.1")
	missing := filepath.Join(t.TempDir(), "missing.pem")
	const (
		standalone = "; allowed: redis://[user:password@]host:port[/db], the same with rediss:// for TLS, or unix:///path"
		sentinel   = "; allowed: redis://[user:password@]sentinel:port[/db]?master_name=NAME[&addr=sentinel2:port], or the same with rediss:// for TLS; user and password are the sentinels', and those of Redis are username=USER&password=PASSWORD"
		cluster    = "; allowed: redis://[user:password@]host:port[?addr=host2:port], or the same with rediss:// for TLS"
	)
	for _, c := range []struct {
		connection Connection
		want       string
	}{
		{Connection{}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis:6379"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "http://redis:6379"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://:se%cret@redis"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://:12#secret@redis"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://user:12/secret@redis"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://user:12?secret@redis"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://:secret@redis/-1"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://:secret@redis/zero"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://:secret@redis?secret;"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "unix://run/redis.sock"}, "URL is not a Redis URL" + standalone},
		{Connection{URL: "redis://:secret@redis:0"}, "URL has a port out of range; allowed: 1 to 65535"},
		{Connection{URL: "redis://:secret@redis:65536"}, "URL has a port out of range; allowed: 1 to 65535"},
		{Connection{URL: "redis://:secret@redis?addr=b:1"}, "URL has the option addr; allowed: only with mode sentinel or cluster"},
		{Connection{URL: "redis://:secret@redis?master_name=m"}, "URL has the option master_name; allowed: only with mode sentinel"},
		{Connection{URL: "redis://:secret@redis", Mode: "secrets"}, `Mode is "secrets"; allowed: standalone, sentinel or cluster`},
		{Connection{URL: "redis://:secret@redis", SentinelPassword: "secret"}, "SentinelPassword is given without sentinels; allowed: only with mode sentinel"},

		{Connection{URL: "unix:///run/redis.sock", Mode: Sentinel}, "URL is not a URL of sentinels" + sentinel},
		{Connection{URL: "unix://a:1/run/redis.sock?master_name=m", Mode: Sentinel}, "URL is not a URL of sentinels" + sentinel},
		{Connection{URL: "redis://:secret@a:26379/0", Mode: Sentinel}, "URL has no master_name" + sentinel},
		{Connection{URL: "redis://:secret@a/0?master_name=m", Mode: Sentinel}, "URL has no port" + sentinel},
		{Connection{URL: "redis://:secret@a:26379/0?master_name=m&addr=b", Mode: Sentinel}, "URL is not a URL of sentinels" + sentinel},
		{Connection{URL: "redis://:secret@a:26379/0?master_name=m&addr=b:0", Mode: Sentinel}, "URL has a port out of range; allowed: 1 to 65535"},
		{Connection{URL: "redis://:secret@a:26379/-1?master_name=m", Mode: Sentinel}, "URL is not a URL of sentinels" + sentinel},
		{Connection{URL: "redis://:secret@a:26379/0?master_name=m&route_randomly=true", Mode: Sentinel}, "URL has the option route_randomly; a queue can't be read from replicas"},

		{Connection{URL: "unix:///run/redis.sock", Mode: Cluster}, "URL is not a URL of a Redis Cluster" + cluster},
		{Connection{URL: "redis://:secret@a:7000/1", Mode: Cluster}, "URL has a path; a cluster has only database 0"},
		{Connection{URL: "redis://:secret@a:7000?addr=b", Mode: Cluster}, "URL is not a URL of a Redis Cluster" + cluster},
		{Connection{URL: "redis://:secret@a:7000?addr=b:70000", Mode: Cluster}, "URL has a port out of range; allowed: 1 to 65535"},
		{Connection{URL: "redis://:secret@a:7000?master_name=secret", Mode: Cluster}, "URL is not a URL of a Redis Cluster" + cluster},
		{Connection{URL: "redis://:secret@a:7000?read_only=true", Mode: Cluster}, "URL has the option read_only; a queue can't be read from replicas"},

		{Connection{URL: "redis://:secret@redis", CAFile: certificates.CAFile}, "CAFile is given without TLS; allowed: only with a rediss:// URL"},
		{Connection{URL: "redis://:secret@a", Mode: Cluster, CertFile: missing, KeyFile: missing}, "CertFile is given without TLS; allowed: only with a rediss:// URL"},
		{Connection{URL: "unix:///run/redis.sock", KeyFile: missing}, "KeyFile is given without TLS; allowed: only with a rediss:// URL"},
		{Connection{URL: "rediss://:secret@redis?skip_verify=true", CAFile: certificates.CAFile}, "CAFile is given and the URL has skip_verify; allowed: at most one of them"},
		{Connection{URL: "rediss://:secret@redis", CAFile: missing}, "CAFile can't be read: open " + missing + ": no such file or directory"},
		{Connection{URL: "rediss://:secret@redis", CAFile: certificates.KeyFile}, `CAFile "` + certificates.KeyFile + `" holds no certificate; allowed: PEM with one or more`},
		{Connection{URL: "rediss://:secret@redis", CertFile: certificates.CertFile}, "CertFile is given without its key; allowed: both or neither"},
		{Connection{URL: "rediss://:secret@redis", KeyFile: certificates.KeyFile}, "KeyFile is given without its certificate; allowed: both or neither"},
		{Connection{URL: "rediss://:secret@redis", CertFile: missing, KeyFile: certificates.KeyFile}, "CertFile can't be read: open " + missing + ": no such file or directory"},
		{Connection{URL: "rediss://:secret@redis", CertFile: certificates.CertFile, KeyFile: missing}, "KeyFile can't be read: open " + missing + ": no such file or directory"},
		{
			Connection{URL: "rediss://:secret@redis", CertFile: certificates.CertFile, KeyFile: others.KeyFile},
			`CertFile "` + certificates.CertFile + `" does not go with the key "` + others.KeyFile + `"; allowed: a certificate and its key, both PEM: tls: private key does not match public key`,
		},
	} {
		err := c.connection.Check()
		var invalid *InvalidError
		if !errors.As(err, &invalid) || err.Error() != c.want {
			t.Errorf("%q %q: %v\nwant %s", c.connection.URL, c.connection.Mode, err, c.want)
			continue
		}
		if !strings.Contains(string(c.connection.Mode), "secret") && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q holds the password", err)
		}
		if _, _, _, again := c.connection.clients(1); again == nil || again.Error() != c.want {
			t.Errorf("%q: %v without Check", c.connection.URL, again)
		}
	}
}

func TestACertificateIsForTheHostOrForTheURLsWhereOnlyAnIPAddressIsKnown(t *testing.T) {
	for _, c := range []struct{ address, urlHost, want string }{
		{"redis:6379", "redis", "redis"},
		{"node-2:6379", "node-1", "node-2"},
		{"10.0.0.2:6379", "redis.example", "redis.example"},
		{"[fd00::2]:6379", "redis.example", "redis.example"},
		{"10.0.0.2:6379", "10.0.0.1", "10.0.0.2"},
		{"[fd00::2%eth0]:6379", "fd00::1", "fd00::2%eth0"},
		{"10.0.0.2:6379", "", "10.0.0.2"},
	} {
		if got := certificateName(c.address, c.urlHost); got != c.want {
			t.Errorf("%s of rediss://%s: %q, want %q", c.address, c.urlHost, got, c.want)
		}
	}
}
