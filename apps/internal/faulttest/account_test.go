package faulttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"headroom.dev/apps/internal/reply"
)

const (
	// punctual is how late a synchronous answer may be, on a machine that makes
	// nothing late.
	punctual = 50 * time.Millisecond
	// unsettled is how long before a fault a request may have been answered
	// whose entry is still in the queue: what the caller sees comes first.
	unsettled = time.Second
	// watchEvery is the pause between two looks at results.
	watchEvery = 4 * time.Millisecond
)

// watch asks the dispatchers for all results again and again until the account
// is made: one that changes is seen, whatever happens next.
func (c *cluster) watch(from ...*dispatcher) {
	c.askAt(from...)
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			// What has no result is looked at first, and of the others one.
			open := c.of(func(r *request) bool { return r.accepted() && r.finalSeen.IsZero() })
			closed := c.of(func(r *request) bool { return !r.finalSeen.IsZero() })
			if len(closed) > 0 {
				open = append(open, closed[i%len(closed)])
			}
			for _, r := range open {
				c.look(r, c.reader(i))
				select {
				case <-ended:
					return
				case <-time.After(watchEvery):
				}
			}
			select {
			case <-ended:
				return
			case <-time.After(watchEvery):
			}
		}
	}()
	c.stopWatching = sync.OnceFunc(func() {
		close(ended)
		<-stopped
	})
	c.t.Cleanup(c.stopWatching)
}

// askAt names the dispatchers that are asked for results from now on.
func (c *cluster) askAt(ds ...*dispatcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers = ds
}

func (c *cluster) reader(i int) *dispatcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readers[i%len(c.readers)]
}

// resultClient asks for results.
var resultClient = &http.Client{Timeout: 5 * time.Second}

// look asks a dispatcher once for the result of an accepted request, keeps
// account of the answer, and returns it.
func (c *cluster) look(r *request, d *dispatcher) answer {
	get, err := http.NewRequest(http.MethodGet, d.url()+"/result/"+r.id, nil)
	if err != nil {
		return answer{err: err}
	}
	a := do(resultClient, get)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := !r.finalSeen.IsZero()
	switch {
	case a.saysNothing(), a.err != nil && d.wasFelled():
	case a.err != nil:
		c.t.Errorf("the result of %s at %s: %v", r.id, d.name, a.err)
	case a.status == http.StatusNotFound && !seen:
		r.unknown++
	case a.status == http.StatusAccepted && !seen:
	case !seen:
		r.final, r.finalSeen = a, now
	case !r.final.same(a) && !r.changed:
		r.changed = true
		c.t.Errorf("the result of %s was %v and is %v at %s", r.id, r.final, a, d.name)
	}
	return a
}

// saysNothing says whether a is about the dispatcher that was asked for a
// result, not about the request.
func (a answer) saysNothing() bool {
	var failure reply.Failure
	return a.status == http.StatusServiceUnavailable && json.Unmarshal(a.body, &failure) == nil &&
		(failure.Error.Code == reply.QueueUnavailable || failure.Error.Code == reply.NotReady)
}

// expectations of a test, beyond what always holds.
type expectations struct {
	// allAnswered says that every accepted asynchronous request ends in 200.
	allAnswered bool
	// ask are the dispatchers that must agree on the results.
	ask []*dispatcher
}

// account waits until every request has ended and checks all that must hold.
func (c *cluster) account(want expectations) {
	c.t.Helper()
	c.sending.Wait()
	c.stopWatching()
	runs := map[string][]run{}
	for _, r := range c.of((*request).accepted) {
		c.settle(r, want.ask)
	}
	for _, run := range c.journal.runs() {
		runs[run.id] = append(runs[run.id], run)
	}
	for _, r := range c.of(func(*request) bool { return true }) {
		switch {
		case !r.accepted():
			c.checkAnswer(r, r.answer, runs[r.id])
		case !r.finalSeen.IsZero():
			for _, d := range want.ask {
				if a := c.look(r, d); a.saysNothing() {
					c.t.Errorf("the result of %s was not there at %s: %v", r.id, d.name, a)
				}
			}
			c.checkAnswer(r, r.final, runs[r.id])
			if want.allAnswered && r.final.status != http.StatusOK {
				c.t.Errorf("%s ended in %v, want 200", r.id, r.final)
			}
		}
		if !r.async {
			c.checkPunctuality(r)
		}
		c.checkRepeats(r, runs[r.id])
	}
	c.summarize(runs)
}

// settle waits until an accepted request has ended.
func (c *cluster) settle(r *request, ask []*dispatcher) {
	c.t.Helper()
	end := r.answered.Add(c.asyncTimeout + reclaimTime)
	for i := 0; r.finalSeen.IsZero(); i++ {
		asked := time.Now()
		a := c.look(r, ask[i%len(ask)])
		if !r.finalSeen.IsZero() || a.status != http.StatusNotFound && !asked.After(end) {
			time.Sleep(watchEvery)
			continue
		}
		if !c.mayBeLost(r) && !c.isDeadLetter(r.id) {
			c.t.Errorf("%s, accepted by %s at %s, is lost: %v", r.id, r.to.name, r.answered.Format(time.StampMilli), a)
		}
		return
	}
	if r.unknown > 0 && !c.mayBeLost(r) && !c.isDeadLetter(r.id) {
		c.t.Errorf("%s, accepted by %s, was not known %d times", r.id, r.to.name, r.unknown)
	}
}

func (c *cluster) mayBeLost(r *request) bool {
	return r.answered.After(c.lossFrom) && r.answered.Before(c.lossTo)
}

// isDeadLetter looks for a request in all of the dispatchers' streams that no
// group works on.
func (c *cluster) isDeadLetter(id string) bool {
	c.t.Helper()
	keys, err := c.redis.client.Keys(c.t.Context(), "{headroom}*").Result()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, key := range keys {
		if c.redis.client.Type(c.t.Context(), key).Val() != "stream" || len(c.redis.client.XInfoGroups(c.t.Context(), key).Val()) > 0 {
			continue
		}
		messages, err := c.redis.client.XRange(c.t.Context(), key, "-", "+").Result()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, m := range messages {
			if slices.Contains(slices.Collect(maps.Values(m.Values)), any(id)) {
				return true
			}
		}
	}
	return false
}

// schemas are those of the contract.
var schemas = sync.OnceValue(func() map[string]*jsonschema.Schema {
	compiled := map[string]*jsonschema.Schema{}
	for _, name := range []string{"reply", "error"} {
		compiled[name] = jsonschema.NewCompiler().MustCompile("../../../contract/" + name + ".schema.json")
	}
	return compiled
})

func keepsContract(t testing.TB, id, schema string, body []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schemas()[schema].Validate(value)
	}
	if err != nil {
		t.Errorf("%s was answered %q: %v", id, body, err)
	}
}

// checkAnswer checks the last word on a request: the synchronous answer, the
// refusal, or the result.
func (c *cluster) checkAnswer(r *request, a answer, runs []run) {
	c.t.Helper()
	switch a.status {
	case 0:
		// A process that is killed breaks its connections; one that is
		// stopped may answer nothing.
		if !r.to.wasFelled() {
			c.t.Errorf("%s at %s: %v", r.id, r.to.name, a.err)
		}
	case http.StatusOK:
		keepsContract(c.t, r.id, "reply", a.body)
		var prediction reply.Reply
		if err := json.Unmarshal(a.body, &prediction); err != nil || len(prediction.Predictions) == 0 {
			return
		}
		label := prediction.Predictions[0].Label
		if prediction.ID != r.id || !slices.ContainsFunc(runs, func(run run) bool { return run.name == label && run.ended == "end" }) {
			c.t.Errorf("%s was answered %s, which no replica did; it was worked on as %v", r.id, a.body, runs)
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		keepsContract(c.t, r.id, "error", a.body)
		var failure reply.Failure
		if json.Unmarshal(a.body, &failure) == nil && failure.ID != r.id {
			c.t.Errorf("%s was answered %s", r.id, a.body)
		}
		if refused := a.status == http.StatusServiceUnavailable; refused != (a.header.Get("Retry-After") != "") {
			c.t.Errorf("%s was answered %d with Retry-After %q", r.id, a.status, a.header.Get("Retry-After"))
		}
	default:
		c.t.Errorf("%s was answered %v", r.id, a)
	}
}

// checkPunctuality checks that a synchronous request was not answered late.
func (c *cluster) checkPunctuality(r *request) {
	c.t.Helper()
	took, noise := r.answered.Sub(r.sent), c.noise.worst(r.sent, r.answered)
	if took > r.timeout+punctual+noise {
		c.t.Errorf("%s to %s took %v; allowed are %v, %v, and %v that this machine made everything late meanwhile; it was answered %v",
			r.id, r.to.name, took, r.timeout, punctual, noise, r.answer)
	}
}

// checkRepeats checks that a replica worked twice only on what was under way
// during the fault.
func (c *cluster) checkRepeats(r *request, runs []run) {
	c.t.Helper()
	explained := !c.faultBegan.IsZero() && r.sent.Before(c.faultPassed) &&
		(r.ended().IsZero() || r.ended().After(c.faultBegan.Add(-unsettled)))
	if len(runs) > 1 && !explained {
		c.t.Errorf("%s was worked on %d times, and no fault explains it: %v", r.id, len(runs), runs)
	}
}

func (c *cluster) summarize(runs map[string][]run) {
	c.t.Helper()
	counts := map[string]int{}
	repeats := 0
	var latest, noise time.Duration
	for _, r := range c.of(func(*request) bool { return true }) {
		repeats += max(0, len(runs[r.id])-1)
		switch {
		case r.accepted() && r.finalSeen.IsZero():
			counts["async accepted, then lost"]++
		case r.accepted():
			counts[fmt.Sprintf("async accepted, then %d", r.final.status)]++
		case r.async:
			counts[fmt.Sprintf("async %d", r.answer.status)]++
		default:
			counts[fmt.Sprintf("sync %d", r.answer.status)]++
			latest = max(latest, r.answered.Sub(r.sent)-r.timeout)
			noise = max(noise, c.noise.worst(r.sent, r.answered))
		}
	}
	var text []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		text = append(text, fmt.Sprintf("%s: %d", key, counts[key]))
	}
	c.t.Logf("%s; second runs: %d; latest synchronous answer: %v after its deadline; worst noise: %v",
		strings.Join(text, ", "), repeats, latest, noise)
}
