package faulttest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
)

const (
	// reclaimAfter is how long a dispatcher may be silent about what it has
	// taken.
	reclaimAfter = time.Second
	// reclaimTime is how long it takes at most until another one has it: they
	// look every second.
	reclaimTime = reclaimAfter + time.Second
	// places is how many requests a dispatcher gives a replica at a time, and
	// no more where it would rather find that out.
	places = 4
	// clientPatience is when a request that is not answered at all is given
	// up. Nothing here may take so long.
	clientPatience = 20 * time.Second
)

// cluster is all that takes part in a test, and its account of requests.
type cluster struct {
	t       *testing.T
	redis   *redisServer
	journal *journal
	noise   *noise
	client  *http.Client
	picture []byte
	// asyncTimeout is the time between the arrival of an asynchronous request
	// and its deadline.
	asyncTimeout time.Duration
	// lossFrom and lossTo enclose the instants at which a request may have been
	// accepted and yet be lost; both zero where none may.
	lossFrom, lossTo time.Time

	sending sync.WaitGroup

	mu       sync.Mutex
	requests []*request
	// readers are the dispatchers that results are asked for.
	readers                 []*dispatcher
	faultBegan, faultPassed time.Time
	stopWatching            func()
}

// settings of a cluster that differ from test to test.
type settings struct {
	redis        []string
	pictureBytes int
	asyncTimeout time.Duration
}

func newCluster(t *testing.T, s settings) *cluster {
	t.Helper()
	c := &cluster{
		t: t, journal: newJournal(t), picture: bytes.Repeat([]byte("picture "), s.pictureBytes/8), asyncTimeout: s.asyncTimeout,
		// Each request has a connection of its own: on one that breaks, the
		// library might send a request again.
		client:       &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: clientPatience},
		stopWatching: func() {},
	}
	c.redis = startRedis(t, s.redis...)
	c.noise = measureNoise(t, c.picture)
	t.Cleanup(c.sending.Wait)
	return c
}

// replica starts one more replica.
func (c *cluster) replica(name string) *replica {
	c.t.Helper()
	return startReplica(c.t, name, c.journal.path)
}

// dispatcher is a dispatcher in a process of its own.
type dispatcher struct {
	*process
	address string
}

// dispatcher starts one more dispatcher, which reaches Redis at redisAddress.
func (c *cluster) dispatcher(name, redisAddress string, backends ...string) *dispatcher {
	c.t.Helper()
	d := &dispatcher{address: fixedAddress(c.t)}
	d.process = launch(c.t, name, dispatcherProgram,
		[]string{"REDIS_PASSWORD=" + dispatchtest.RedisPassword, fmt.Sprintf("MAX_BACKEND_CONCURRENCY=%d", places)},
		"--redis", "redis://"+redisAddress+"/0", "--listen", d.address, "--metrics-listen", "127.0.0.1:0",
		"--backends", strings.Join(backends, ","), "--backend-concurrency", fmt.Sprint(places),
		"--reclaim-after", reclaimAfter.String(), "--async-timeout", c.asyncTimeout.String(),
		"--max-queue", "1000", "--log-level", "debug")
	c.awaitReady(d)
	return d
}

func (d *dispatcher) url() string { return "http://" + d.address }

func (c *cluster) awaitReady(d *dispatcher) {
	c.t.Helper()
	dispatchtest.Eventually(c.t, 20*time.Second, d.name+" is ready", func() bool { return statusOf(d.url()+"/readyz") == http.StatusOK })
}

func urls(replicas ...*replica) []string {
	var list []string
	for _, r := range replicas {
		list = append(list, r.url())
	}
	return list
}

// faultBegins and faultHasPassed enclose what is done to the cluster. Only what
// is under way in between may be worked on twice.
func (c *cluster) faultBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faultBegan = time.Now()
}

func (c *cluster) faultHasPassed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faultPassed = time.Now()
}

// request is one request of a test, and what became of it.
type request struct {
	id      string
	async   bool
	timeout time.Duration
	to      *dispatcher
	// sent is just before it was sent, and answered is when all of the answer
	// was there.
	sent, answered time.Time
	answer         answer
	done           chan struct{}

	// Of an accepted asynchronous request: its first final answer, when it was
	// seen, whether another one was seen, and how often the dispatchers said
	// that they don't know the request.
	final     answer
	finalSeen time.Time
	changed   bool
	unknown   int
}

type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, a.body)
}

func (a answer) same(b answer) bool {
	return a.status == b.status && bytes.Equal(a.body, b.body)
}

// accepted says whether r is asynchronous and accepted.
func (r *request) accepted() bool { return r.async && r.answer.status == http.StatusAccepted }

// ended is when r was over as far as its caller knows; zero while it isn't.
func (r *request) ended() time.Time {
	if r.accepted() {
		return r.finalSeen
	}
	return r.answered
}

// async sends an asynchronous request and does not wait for the answer.
func (c *cluster) async(d *dispatcher) *request { return c.send(d, true, 0) }

// sync sends a synchronous request and does not wait for the answer.
func (c *cluster) sync(d *dispatcher, timeout time.Duration) *request {
	return c.send(d, false, timeout)
}

func (c *cluster) send(d *dispatcher, async bool, timeout time.Duration) *request {
	r := &request{async: async, timeout: timeout, to: d, done: make(chan struct{})}
	c.mu.Lock()
	r.id = fmt.Sprintf("sync-%d", len(c.requests))
	if async {
		r.id = "a" + r.id
	}
	c.requests = append(c.requests, r)
	c.mu.Unlock()
	c.sending.Go(func() {
		defer close(r.done)
		post, err := http.NewRequest(http.MethodPost, d.url()+"/query", bytes.NewReader(c.picture))
		if err != nil {
			c.t.Errorf("%s: %v", r.id, err)
			return
		}
		post.Header.Set(reply.IDHeader, r.id)
		if async {
			post.Header.Set("Prefer", "respond-async")
		} else {
			post.Header.Set("Headroom-Timeout", timeout.String())
		}
		sent := time.Now()
		a := do(c.client, post)
		answered := time.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		r.sent, r.answer, r.answered = sent, a, answered
	})
	return r
}

func do(client *http.Client, r *http.Request) answer {
	response, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{err: err}
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}
}

// burst sends n requests, every other one asynchronous, to the dispatchers in
// turn, but for those that the test has felled. It does not wait for answers.
func (c *cluster) burst(n int, every, timeout time.Duration, to ...*dispatcher) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := range n {
		<-ticker.C
		c.sendToOneOf(i, timeout, to)
	}
}

// traffic is a burst without end, until stop is called.
func (c *cluster) traffic(every, timeout time.Duration, to ...*dispatcher) (stop func()) {
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-ticker.C:
				c.sendToOneOf(i, timeout, to)
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(ended)
		<-stopped
	})
	c.t.Cleanup(stop)
	return stop
}

// sendToOneOf sends the i-th request of many: two to one dispatcher, two to the
// next.
func (c *cluster) sendToOneOf(i int, timeout time.Duration, all []*dispatcher) {
	var up []*dispatcher
	for _, d := range all {
		if !d.wasFelled() {
			up = append(up, d)
		}
	}
	c.send(up[i/2%len(up)], i%2 == 1, timeout)
}

// of are the requests for which want holds, in the order in which they were
// sent.
func (c *cluster) of(want func(*request) bool) []*request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*request
	for _, r := range c.requests {
		if want(r) {
			list = append(list, r)
		}
	}
	return list
}

// awaitFinal waits until n accepted requests have a final answer.
func (c *cluster) awaitFinal(n int) {
	c.t.Helper()
	dispatchtest.Eventually(c.t, 15*time.Second, fmt.Sprintf("%d asynchronous requests have ended", n), func() bool {
		return len(c.of(func(r *request) bool { return !r.finalSeen.IsZero() })) == n
	})
}

// secondRuns is the number of accepted requests that replicas worked on more
// than once. None means that a fault has hit nothing.
func (c *cluster) secondRuns() int {
	c.t.Helper()
	count := map[string]int{}
	for _, run := range c.journal.runs() {
		count[run.id]++
	}
	return len(c.of(func(r *request) bool { return r.accepted() && count[r.id] > 1 }))
}

// answerOf waits for the answer to the POST of a request.
func (c *cluster) answerOf(r *request) answer {
	<-r.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.answer
}

// allAccepted waits for answers and fails the test where one is not 202.
func (c *cluster) allAccepted(requests []*request) {
	c.t.Helper()
	for _, r := range requests {
		if a := c.answerOf(r); a.status != http.StatusAccepted {
			c.t.Fatalf("%s was answered %v, want 202", r.id, a)
		}
	}
}

// awaitAnswer sends requests, one after the other, until one is answered with a
// status.
func (c *cluster) awaitAnswer(status int, send func() *request) {
	c.t.Helper()
	for begin := time.Now(); ; time.Sleep(watchEvery) {
		r := send()
		a := c.answerOf(r)
		if a.status == status {
			return
		}
		if time.Since(begin) > 10*time.Second {
			c.t.Fatalf("%s answers %v for 10s, want %d", r.to.name, a, status)
		}
	}
}

// recovers waits until dispatchers take and answer both kinds of requests again,
// and then sends them some, which must all be answered with 200.
func (c *cluster) recovers(ds ...*dispatcher) {
	c.t.Helper()
	for _, d := range ds {
		c.awaitReady(d)
		c.awaitAnswer(http.StatusOK, func() *request { return c.sync(d, time.Second) })
		c.awaitAnswer(http.StatusAccepted, func() *request { return c.async(d) })
	}
	c.faultHasPassed()
	var asked []*request
	for i := range 10 {
		d := ds[i%len(ds)]
		asked = append(asked, c.async(d))
		r := c.sync(d, 5*time.Second)
		if a := c.answerOf(r); a.status != http.StatusOK {
			c.t.Errorf("after the fault %s was answered %v", r.id, a)
		}
	}
	c.allAccepted(asked)
}
