package faulttest

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// killAndRestart kills Redis under way and starts it again after a second.
func killAndRestart(t *testing.T, fsync string, watched bool) {
	c := newCluster(t, settings{redis: keeping(fsync), pictureBytes: 30_000, asyncTimeout: 10 * time.Second})
	r1, r2 := c.replica("replica 1"), c.replica("replica 2")
	a := c.dispatcher("dispatcher A", c.redis.address, urls(r1, r2)...)
	b := c.dispatcher("dispatcher B", c.redis.address, urls(r1, r2)...)
	if watched {
		c.watch(a, b)
	}
	stop := c.traffic(15*time.Millisecond, time.Second, a, b)
	time.Sleep(3 * time.Second)
	// Something of each kind is in Redis: waiting, in hand, and done.
	r1.hold()
	r2.hold()
	c.journal.awaitUnderWay(r1, 2*places)
	c.journal.awaitUnderWay(r2, 2*places)
	c.faultBegins()
	c.redis.kill()
	if !watched {
		c.lossFrom, c.lossTo = c.faultBegan.Add(-2*time.Second), time.Now()
	}
	r1.release()
	r2.release()
	time.Sleep(time.Second)
	c.redis.startAgain()
	if !watched {
		c.watch(a, b)
	}
	c.recovers(a, b)
	stop()
	c.account(expectations{allAnswered: true, ask: []*dispatcher{a, b}})
}

func TestARestartedRedisLosesNoAcceptedRequest(t *testing.T) {
	killAndRestart(t, "always", true)
}

// Nothing is read before the fault here: what Redis had not written yet may
// change.
func TestARestartedRedisLosesAtMostTheLastTwoSecondsWhereItWritesEachSecond(t *testing.T) {
	killAndRestart(t, "everysec", false)
}

func TestAPausedRedisHoldsNoSyncRequestAndLosesNoAsyncOne(t *testing.T) {
	c := newCluster(t, settings{redis: keeping("always"), pictureBytes: 30_000, asyncTimeout: 20 * time.Second})
	r1, r2 := c.replica("replica 1"), c.replica("replica 2")
	a := c.dispatcher("dispatcher A", c.redis.address, urls(r1, r2)...)
	b := c.dispatcher("dispatcher B", c.redis.address, urls(r1, r2)...)
	c.watch(a, b)
	stopSlow := c.traffic(50*time.Millisecond, time.Second, a, b)
	stopFast := c.traffic(50*time.Millisecond, 300*time.Millisecond, a, b)
	c.awaitFinal(10)
	c.faultBegins()
	c.redis.freeze()
	time.Sleep(5 * time.Second)
	c.redis.thaw()
	c.recovers(a, b)
	stopSlow()
	stopFast()
	c.account(expectations{allAnswered: true, ask: []*dispatcher{a, b}})
}

func TestAFullRedisRefusesAndRecovers(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 110_000, asyncTimeout: 20 * time.Second})
	r := c.replica("replica")
	d := c.dispatcher("dispatcher", c.redis.address, r.url())
	c.watch(d)
	c.burst(20, 5*time.Millisecond, 5*time.Second, d)
	c.awaitFinal(10)
	r.hold()
	c.limitMemory(4 << 20)

	// It is full after about 40 pictures.
	full := false
	for range 200 {
		if full = c.answerOf(c.async(d)).status == http.StatusServiceUnavailable; full {
			break
		}
	}
	if !full {
		t.Fatal("Redis takes everything")
	}
	c.journal.awaitUnderWay(r, places)
	begin := time.Now()
	c.burst(100, 25*time.Millisecond, 300*time.Millisecond, d)
	full = false
	for _, r := range c.of(func(r *request) bool { return r.sent.After(begin) && !r.async }) {
		full = full || c.answerOf(r).status == http.StatusServiceUnavailable
	}
	if !full {
		t.Error("no synchronous request was refused")
	}
	if status := statusOf(d.url() + "/healthz"); status != http.StatusOK {
		t.Errorf("healthz answers %d", status)
	}
	if n := len(c.journal.underWay(r)); n != places {
		t.Errorf("the replica works on %d requests, want %d: they were given up while Redis was full", n, places)
	}
	r.release()
	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
}

// limitMemory lets Redis take n more bytes than it has now.
func (c *cluster) limitMemory(n int64) {
	c.t.Helper()
	ctx := context.Background()
	info, err := c.redis.client.Info(ctx, "memory").Result()
	if err != nil {
		c.t.Fatal(err)
	}
	_, text, _ := strings.Cut(info, "used_memory:")
	text, _, _ = strings.Cut(text, "\r\n")
	used, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.redis.client.ConfigSet(ctx, "maxmemory", strconv.FormatInt(used+n, 10)).Err(); err != nil {
		c.t.Fatal(err)
	}
}
