package dispatch

import "time"

// Outcome is what became of an attempt at a replica.
type Outcome int

const (
	// Answered attempts have a prediction.
	Answered Outcome = iota
	// Rejected attempts were answered that the request is wrong. They say that
	// the replica is there, and nothing of how long its work takes.
	Rejected
	// Busy replicas refused to take more, or could not in time.
	Busy
	// Unreachable replicas never saw the request.
	Unreachable
	// Broken attempts lost their connection with the request under way.
	Broken
	// Erred attempts were answered that the replica failed.
	Erred
	// Slow attempts had no answer in the time they were given.
	Slow
	// Abandoned attempts were ended here: they say nothing about the replica.
	Abandoned
)

// Final says that an attempt's answer is the caller's.
func (o Outcome) Final() bool { return o == Answered || o == Rejected }

// Outcomes are all outcomes.
var Outcomes = [...]Outcome{Answered, Rejected, Busy, Unreachable, Broken, Erred, Slow, Abandoned}

var outcomeNames = [...]string{
	Answered: "answered", Rejected: "rejected", Busy: "busy", Unreachable: "unreachable", Broken: "broken", Erred: "erred", Slow: "slow", Abandoned: "abandoned",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Next is what to do after an attempt that got no answer.
type Next int

const (
	// GiveUp tells the caller.
	GiveUp Next = iota
	// Elsewhere makes another attempt, on another replica.
	Elsewhere
	// Anywhere makes another attempt, on whichever replica is there first.
	Anywhere
)

// Tries counts what was tried for a request.
type Tries struct {
	// Made is the number of attempts.
	Made int
	// Ruined is the number of those that may have harmed a replica: Broken,
	// Erred or Slow.
	Ruined int
}

// Count counts one more attempt.
func (t Tries) Count(o Outcome) Tries {
	t.Made++
	if o == Broken || o == Erred || o == Slow {
		t.Ruined++
	}
	return t
}

const (
	// maxSyncTries bounds what one caller's request may cost.
	maxSyncTries = 3
	// maxRuined bounds what one request that ends model servers can ruin.
	maxRuined = 3
)

// Retry decides after an attempt, the last of tries. A Sync request is tried
// again only on one of others, the other usable replicas, and while there is
// likely time to. An Async one has the time to wait for a replica; only what it
// may have ruined counts against it.
func Retry(r Request, last Outcome, tries Tries, others int, service Estimate, now time.Time) Next {
	switch {
	case last.Final(), last == Abandoned, Expired(r, now):
		return GiveUp
	case r.Mode == Async && tries.Ruined >= maxRuined:
		return GiveUp
	case r.Mode == Async && others > 0:
		return Elsewhere
	case r.Mode == Async:
		return Anywhere
	case others > 0 && tries.Made < maxSyncTries && !Hopeless(r, service, now):
		return Elsewhere
	}
	return GiveUp
}

// HedgeAfter is how long a Sync request's attempt may be without an answer before
// another one is made beside it, at another replica: one that hangs must not cost
// its callers everything. It is half of the time left, or earlier, when replicas
// would seldom have taken as long (Dean and Barroso, The Tail at Scale, 2013). The
// first answer counts, so one that is only slow has lost nothing.
func HedgeAfter(r Request, service Estimate, now time.Time) time.Duration {
	half := r.Deadline.Sub(now) / 2
	if long := hedgeFactor * service.Likely(); long > 0 {
		return min(half, long)
	}
	return half
}

// hedgeFactor is how many times what an attempt seldom exceeds it may take.
const hedgeFactor = 4

const (
	backoffFirst = 25 * time.Millisecond
	backoffMost  = time.Second
)

// Backoff is how long an Async request waits after the last of tries: it has the
// time, and replicas that are busy, or gone, have no use for it at once. It doubles
// with each, up to a second.
func Backoff(tries Tries) time.Duration {
	d := backoffFirst
	for range tries.Made - 1 {
		if d *= 2; d >= backoffMost {
			return backoffMost
		}
	}
	return d
}

// Budget bounds retries to a share of the requests: when everything fails,
// retries only add to it (Site Reliability Engineering, chapter 21). The zero
// value is full.
type Budget struct {
	spent float64 // tokens taken and not yet given back
	at    time.Time
}

const (
	// retryShare is how many retries one request pays for.
	retryShare = .1
	// retryRate is how many a second nobody has to pay for: a service with few
	// requests may retry too.
	retryRate = 2.
	// retryMost is how many may be made at once.
	retryMost = 20.
)

// Earn pays for a request that was let in.
func (b *Budget) Earn() { b.spent = max(0, b.spent-retryShare) }

// Spend asks for one retry.
func (b *Budget) Spend(now time.Time) bool {
	if !b.at.IsZero() {
		b.spent = max(0, b.spent-retryRate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	if b.spent+1 > retryMost {
		return false
	}
	b.spent++
	return true
}
