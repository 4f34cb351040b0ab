package faulttest

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatchtest"
)

func TestAKilledDispatcherLosesNoAsyncRequest(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 110_000, asyncTimeout: 10 * time.Second})
	r1, r2 := c.replica("replica 1"), c.replica("replica 2")
	a := c.dispatcher("dispatcher A", c.redis.address, urls(r1, r2)...)
	b := c.dispatcher("dispatcher B", c.redis.address, urls(r1, r2)...)
	c.watch(b)

	const every, timeout = 5 * time.Millisecond, 3 * time.Second
	c.burst(130, every, timeout, a, b)
	// Both dispatchers have in hand what they may, which is what nobody waits
	// for on a connection that breaks.
	r1.hold()
	r2.hold()
	for range 20 {
		c.async(a)
		c.async(b)
	}
	c.journal.awaitUnderWay(r1, 2*places)
	c.journal.awaitUnderWay(r2, 2*places)
	burst := make(chan struct{})
	go func() {
		defer close(burst)
		c.burst(130, every, timeout, a, b)
	}()
	// Callers of A wait too.
	dispatchtest.Eventually(t, 10*time.Second, "callers wait for A", func() bool {
		return len(c.of(func(r *request) bool { return r.to == a && !r.async && r.answered.IsZero() })) >= 10
	})
	c.faultBegins()
	a.kill()
	r1.release()
	r2.release()
	<-burst

	c.recovers(b)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{b}})
	if c.secondRuns() == 0 {
		t.Error("the killed dispatcher had no asynchronous request in hand")
	}
}

// takenOver are the requests of a test that one dispatcher has in hand when
// another one takes them over.
type takenOver struct {
	*cluster
	// a takes requests to late, and b those that b takes to prompt.
	a, b         *dispatcher
	late, prompt *replica
}

// letBTakeOver has A take requests to its replica, which holds them, strikes,
// and waits until B has done them all.
func letBTakeOver(t *testing.T, c *cluster, aReaches string, strike func(takenOver)) takenOver {
	t.Helper()
	o := takenOver{cluster: c, late: c.replica("A's replica"), prompt: c.replica("B's replica")}
	o.a = c.dispatcher("dispatcher A", aReaches, o.late.url())
	o.b = c.dispatcher("dispatcher B", c.redis.address, o.prompt.url())
	c.watch(o.b)
	o.late.hold()
	o.prompt.hold()
	const crowd = 3 * places
	var asked []*request
	for range crowd {
		asked = append(asked, c.async(o.b))
	}
	c.allAccepted(asked)
	c.journal.awaitUnderWay(o.late, places)
	c.journal.awaitUnderWay(o.prompt, places)
	o.prompt.release()
	c.awaitFinal(crowd - places)

	c.faultBegins()
	strike(o)
	c.awaitFinal(crowd)
	return o
}

// aComesBack has A's replica answer half of its requests before the fault ends
// and half afterwards, and checks that the results stay what they were.
func (o takenOver) aComesBack(heal func()) {
	o.t.Helper()
	o.late.releaseSome(places / 2)
	o.journal.awaitAtMost(o.late, places/2)
	// A may try more than once to store what it has.
	time.Sleep(time.Second)
	heal()
	o.awaitReady(o.a)
	o.late.release()
	o.journal.awaitAtMost(o.late, 0)
	o.recovers(o.a, o.b)
	o.askAt(o.a, o.b)
	// What A does late it does within a second or two.
	time.Sleep(2 * time.Second)

	o.account(expectations{allAnswered: true, ask: []*dispatcher{o.a, o.b}})
	if n := o.secondRuns(); n != places {
		o.t.Errorf("B took %d requests over that A was working on, want %d", n, places)
	}
}

func cutOff(t *testing.T, strike func(*proxy)) {
	c := newCluster(t, settings{pictureBytes: 1000, asyncTimeout: 20 * time.Second})
	p := startProxy(t, c.redis.address)
	o := letBTakeOver(t, c, p.address, func(o takenOver) {
		for range 5 {
			c.sync(o.a, 500*time.Millisecond)
		}
		strike(p)
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			c.sync(o.a, 500*time.Millisecond)
		}
	})
	o.aComesBack(p.heal)
}

func TestADispatcherThatHearsNothingFromRedisChangesNoResultLater(t *testing.T) {
	cutOff(t, (*proxy).blackhole)
}

func TestADispatcherThatIsRefusedByRedisChangesNoResultLater(t *testing.T) {
	cutOff(t, (*proxy).cut)
}

func TestAStoppedDispatcherChangesNoResultLater(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 1000, asyncTimeout: 20 * time.Second})
	o := letBTakeOver(t, c, c.redis.address, func(o takenOver) { o.a.freeze() })
	o.aComesBack(o.a.thaw)
}

func TestAResultThatCameTooLateReplacesNoneThatWasRead(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 1000, asyncTimeout: 2 * time.Second})
	p := startProxy(t, c.redis.address)
	held := c.replica("A's replica")
	a := c.dispatcher("dispatcher A", p.address, held.url())
	// B has no replica that could do the work instead.
	b := c.dispatcher("dispatcher B", c.redis.address, "http://"+fixedAddress(t))
	held.hold()
	var asked []*request
	for range places {
		asked = append(asked, c.async(a))
	}
	c.allAccepted(asked)
	c.journal.awaitUnderWay(held, places)
	c.faultBegins()
	p.cut()
	held.release()
	c.journal.awaitAtMost(held, 0)
	c.watch(b)
	c.awaitFinal(places)
	p.heal()
	c.awaitReady(a)
	c.askAt(a, b)
	// A tries to store what it has for longer than this.
	time.Sleep(2 * time.Second)
	c.faultHasPassed()
	c.account(expectations{ask: []*dispatcher{a, b}})
	for _, r := range asked {
		if !slices.Contains([]int{http.StatusOK, http.StatusGatewayTimeout}, r.final.status) {
			t.Errorf("%s ended in %v", r.id, r.final)
		}
	}
}
