package faulttest

import (
	"net/http"
	"testing"
	"time"
)

func TestAKilledReplicaLosesNoRequestWhereAnotherIsThere(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 110_000, asyncTimeout: 10 * time.Second})
	doomed, other := c.replica("doomed replica"), c.replica("other replica")
	d := c.dispatcher("dispatcher", c.redis.address, urls(doomed, other)...)
	c.watch(d)
	doomed.hold()
	other.hold() // one that answers at once could take them all
	for range 2 * places {
		c.async(d)
	}
	c.journal.awaitUnderWay(doomed, places)
	other.release()
	c.burst(60, 5*time.Millisecond, 5*time.Second, d)
	c.faultBegins()
	doomed.kill()
	c.burst(60, 5*time.Millisecond, 5*time.Second, d)

	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
	if c.secondRuns() == 0 {
		t.Error("the killed replica worked on no asynchronous request")
	}
	for _, r := range c.of(func(r *request) bool { return !r.async }) {
		if r.answer.status != http.StatusOK {
			t.Errorf("%s was answered %v, though a replica was there", r.id, r.answer)
		}
	}
}

func TestAKilledReplicaLosesNoAsyncRequestWhereItsReplacementComesLater(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 110_000, asyncTimeout: 12 * time.Second})
	only := c.replica("only replica")
	d := c.dispatcher("dispatcher", c.redis.address, only.url())
	c.watch(d)
	only.hold()
	for range places {
		c.async(d)
	}
	c.journal.awaitUnderWay(only, places)
	c.burst(40, 5*time.Millisecond, time.Second, d)
	c.faultBegins()
	only.kill()
	c.burst(150, 10*time.Millisecond, time.Second, d)
	only.startAgain()

	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
	if c.secondRuns() == 0 {
		t.Error("the killed replica worked on no asynchronous request")
	}
}

// What the first one worked on waits for room at the second when that one ends
// too.
func TestReplicasThatAreKilledOneAfterTheOtherLoseNoAsyncRequest(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 10_000, asyncTimeout: 12 * time.Second})
	r1, r2 := c.replica("replica 1"), c.replica("replica 2")
	d := c.dispatcher("dispatcher", c.redis.address, urls(r1, r2)...)
	c.watch(d)
	r1.hold()
	r2.hold()
	var asked []*request
	for range 3 * places {
		asked = append(asked, c.async(d))
	}
	c.allAccepted(asked)
	c.journal.awaitUnderWay(r1, places)
	c.journal.awaitUnderWay(r2, places)
	c.faultBegins()
	r1.kill()
	// A connection that breaks is noticed sooner than this.
	time.Sleep(200 * time.Millisecond)
	r2.kill()
	time.Sleep(time.Second)
	r1.startAgain()
	r2.startAgain()

	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
}

func TestRequestsOutliveTenSecondsWithoutAnyReplica(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 10_000, asyncTimeout: time.Minute})
	r1, r2 := c.replica("replica 1"), c.replica("replica 2")
	d := c.dispatcher("dispatcher", c.redis.address, urls(r1, r2)...)
	c.watch(d)
	stop := c.traffic(100*time.Millisecond, 500*time.Millisecond, d)
	c.awaitFinal(2)
	c.faultBegins()
	r1.kill()
	r2.kill()
	gone := time.Now()
	time.Sleep(10 * time.Second)
	back := time.Now()
	r1.startAgain()
	r2.startAgain()
	stop()

	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
	inTheGap := c.of(func(r *request) bool { return r.sent.After(gone) && r.sent.Before(back) })
	waited := 0
	for _, r := range inTheGap {
		// The dispatcher looks at each replica every second, and gives it a
		// second to answer.
		known := r.sent.After(gone.Add(2 * time.Second))
		switch {
		case r.accepted():
			waited++
		case !r.async && known && r.answer.status != http.StatusServiceUnavailable && r.answer.status != http.StatusGatewayTimeout:
			t.Errorf("without any replica %s was answered %v", r.id, r.answer)
		}
	}
	if waited == 0 {
		t.Error("no asynchronous request was accepted while there was no replica")
	}
}

// hang makes one of two replicas hang and sends synchronous requests for a
// while. It returns those that were sent after the first second.
func hang(t *testing.T, every time.Duration, stop, goOn func(*replica)) (later []*request) {
	c := newCluster(t, settings{pictureBytes: 10_000, asyncTimeout: 10 * time.Second})
	hanging, healthy := c.replica("hanging replica"), c.replica("healthy replica")
	d := c.dispatcher("dispatcher", c.redis.address, urls(hanging, healthy)...)
	c.faultBegins()
	stop(hanging)
	began := time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for now := range ticker.C {
		if now.Sub(began) > 5*time.Second {
			break
		}
		r := c.sync(d, time.Second)
		if now.Sub(began) > time.Second {
			later = append(later, r)
		}
	}
	c.sending.Wait()
	goOn(hanging)
	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
	return later
}

func nineOfTenAreAnswered(t *testing.T, requests []*request) {
	t.Helper()
	answered := 0
	for _, r := range requests {
		if r.answer.status == http.StatusOK {
			answered++
		}
	}
	t.Logf("%d of %d were answered by the healthy replica", answered, len(requests))
	if answered*10 < len(requests)*9 {
		t.Errorf("only %d of %d requests were answered, want nine of ten", answered, len(requests))
	}
}

func freeze(r *replica) { r.freeze() }
func thaw(r *replica)   { r.thaw() }

func TestAReplicaThatHangsHoldsNoSyncRequest(t *testing.T) {
	hang(t, 20*time.Millisecond, freeze, thaw)
}

func TestAReplicaThatHangsIsLeftAloneAfterASecond(t *testing.T) {
	nineOfTenAreAnswered(t, hang(t, 50*time.Millisecond, freeze, thaw))
}

// So few requests come here that a replica that is tried once a second costs
// more than one of ten.
func TestAReplicaThatAnswersNothingButProbesIsLeftAlone(t *testing.T) {
	nineOfTenAreAnswered(t, hang(t, 200*time.Millisecond, (*replica).hold, (*replica).release))
}

func TestAReplicaThatWasSlowForAWhileGetsRequestsAgain(t *testing.T) {
	c := newCluster(t, settings{pictureBytes: 10_000, asyncTimeout: 10 * time.Second})
	r := c.replica("replica")
	d := c.dispatcher("dispatcher", c.redis.address, r.url())
	c.watch(d)
	r.hold()
	var asked []*request
	for range places {
		asked = append(asked, c.async(d))
	}
	c.allAccepted(asked)
	c.journal.awaitUnderWay(r, places)
	// This is what it takes for each of them.
	time.Sleep(3 * time.Second)
	r.release()
	c.awaitFinal(places)
	c.recovers(d)
	c.account(expectations{allAnswered: true, ask: []*dispatcher{d}})
}
