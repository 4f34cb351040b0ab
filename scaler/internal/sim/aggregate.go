package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// aggregateStep is the time that the aggregate engine computes at once.
const aggregateStep = 10 * time.Millisecond

// aggregateEngine plays requests by the number, in steps of 10 ms. The rules are the
// request engine's; this is approximated:
//
//   - Arrivals of a step are Poisson, from a mean of 16 on rounded normal. Waits are
//     whole steps.
//   - What leaves a step is what exponential service times would let leave, plus
//     normal noise: with the variance of an infinite-server queue while slots are
//     free (so that the number in service varies as M/G/∞'s, which is Poisson), and
//     with the squared CV of the service time while all are busy. Together that
//     makes the stochastic wait near saturation M/M/c's times (1+scv)/2.
//   - A latency, and whether it is late, is counted when the request gets its slot,
//     spread over the service time's distribution.
//   - Replicas share the work equally. Of those taken away, the ones that can't be
//     idle last the mean service time longer. Requests of a killed one start anew
//     without having waited, and may do so more than once.
type aggregateEngine struct {
	*tally
	door
	fleet   *fleet
	service serviceByWait
	scv     float64

	rates          []float64
	end            int        // step at which arrivals end
	random         *rand.Rand // arrivals
	noise          *rand.Rand
	second         int     // that mean and never are for
	perStep        float64 // arrivals in a step, on average
	noneInStep     float64 // and the probability of there being none
	now            int     // steps done
	queue          fifo[cohort]
	waiting        int
	busy           int
	carry          float64 // part of a request that is owed to the next step's departures
	stay, freeDrop float64 // of one in service: e^-x, and (1-e^-x)/x of one that arrives
	freeNoise      float64 // variance of departures by their mean, while slots are free
	slotClock      float64 // seconds that an average slot has worked, at the usual limit
}

// cohort is the requests of one step that wait.
type cohort struct {
	step, count int
	patient     bool
}

func newAggregateEngine(s *Scenario, f *fleet, t *tally) *aggregateEngine {
	e := &aggregateEngine{
		tally: t, door: newDoor(s), fleet: f, service: newServiceByWait(s),
		rates: s.Rates, end: int(s.Duration / aggregateStep), second: -1,
		random: stream(s.Seed, arrivalStream), noise: stream(s.Seed, departureStream),
	}
	_, e.scv = s.Service.moments()
	f.begin(s.Initial, s.ColdStart.Mean)
	e.predict()
	return e
}

func (e *aggregateEngine) slots() int { return e.fleet.visible * e.fleet.slots }

func (e *aggregateEngine) predict() {
	e.door.predict(e.slots(), e.fleet.speed)
	x := e.leaving()
	e.stay = math.Exp(-x)
	e.freeDrop = (1 - e.stay) / x
	e.freeNoise = ((1 - e.stay*e.stay) - (1-e.stay)*e.freeDrop) / x
}

// leaving is how many requests leave a busy slot in a step, on average.
func (e *aggregateEngine) leaving() float64 {
	return float64(aggregateStep) * e.fleet.speed / e.mean
}

func (e *aggregateEngine) advance(to time.Duration) {
	for time.Duration(e.now+1)*aggregateStep <= to {
		e.step()
	}
}

func (e *aggregateEngine) step() {
	e.events++
	for now := time.Duration(e.now) * aggregateStep; e.fleet.nextEvent() <= now; {
		if r := e.fleet.step(); r != nil {
			r.mark = e.slotClock
			e.predict()
		}
	}
	arriving := e.arrive()
	e.arrived += float64(arriving)
	e.prune()

	slots, before := e.slots(), e.busy
	left := e.leave(arriving, slots)
	e.busy -= left
	e.answered += float64(left)
	e.serviceSum += float64(left) * e.mean * 1e-9 / e.fleet.speed
	e.service.answered += float64(left)

	free := max(slots-e.busy, 0)
	for free > 0 && e.queue.n > 0 {
		c := e.queue.at(0)
		n := min(free, c.count)
		e.start(n, e.now-c.step)
		free -= n
		e.waiting -= n
		if c.count -= n; c.count == 0 {
			e.queue.pop()
		}
	}
	straight := min(free, arriving)
	e.start(straight, 0)
	e.admit(arriving-straight, slots)

	seconds := aggregateStep.Seconds()
	average := float64(before+e.busy) / 2
	e.work += seconds * average * e.fleet.speed
	e.presence += seconds * (average + float64(e.waiting))
	if slots > 0 {
		e.slotClock += seconds * e.fleet.speed * min(average/float64(slots), 1)
	}
	e.now++
}

// arrive is how many requests arrive in this step.
func (e *aggregateEngine) arrive() int {
	second := e.now / int(time.Second/aggregateStep)
	if e.now >= e.end || second >= len(e.rates) {
		return 0
	}
	if second != e.second {
		e.second = second
		e.perStep = e.rates[second] * aggregateStep.Seconds()
		e.noneInStep = math.Exp(-e.perStep)
	}
	if e.perStep >= 16 {
		return max(int(math.Round(e.perStep+math.Sqrt(e.perStep)*e.random.NormFloat64())), 0)
	}
	n := 0
	for p := e.random.Float64(); p > e.noneInStep; p *= e.random.Float64() {
		n++
	}
	return n
}

// leave is how many requests are done with in this step.
func (e *aggregateEngine) leave(arriving, slots int) int {
	busy, x := float64(e.busy), e.leaving()
	saturated := busy * x
	mean, variance := saturated, saturated*e.scv
	if e.waiting == 0 {
		after := busy*e.stay + float64(arriving)*e.freeDrop
		if after <= float64(slots) {
			mean = busy + float64(arriving) - after
			variance = mean * e.freeNoise
		}
	}
	mean += e.carry
	if variance > 0 {
		mean += math.Sqrt(variance) * e.noise.NormFloat64()
	}
	most := e.busy
	if e.waiting == 0 {
		most += min(arriving, max(slots-e.busy, 0))
	}
	left := min(max(int(math.Floor(mean)), 0), most)
	e.carry = min(max(mean-float64(left), -1), 1)
	return left
}

// start gives requests their slots after a wait of so many steps.
func (e *aggregateEngine) start(n, waited int) {
	if n == 0 {
		return
	}
	e.busy += n
	late := e.service.start(float64(n), waited, e.fleet.speed)
	e.late += late
	e.unavoidable += min(late, float64(n)*e.service.alone)
}

// admit lets requests into the queue that find no slot, as many as there is hope for.
func (e *aggregateEngine) admit(n, slots int) {
	if n == 0 {
		return
	}
	patient := slots == 0 && e.allowance > 0
	let := n
	if !patient {
		let = min(n, max(int(math.Floor(e.maxAhead))+1-e.waiting, 0))
		if slots == 0 {
			let = 0
		}
	}
	e.refused += float64(n - let)
	e.unavoidable += float64(n-let) * e.service.alone
	if let > 0 {
		e.waiting += let
		e.queue.push(cohort{step: e.now, count: let, patient: patient})
	}
}

func (e *aggregateEngine) prune() {
	for e.queue.n > 0 {
		c := e.queue.at(0)
		if !e.hopeless(time.Duration(e.now-c.step)*aggregateStep, c.patient) {
			return
		}
		e.drop()
	}
}

// drop drops the cohort at the head of the queue.
func (e *aggregateEngine) drop() {
	n := e.queue.pop().count
	e.waiting -= n
	e.dropped += float64(n)
	e.unavoidable += float64(n) * e.service.alone
}

func (e *aggregateEngine) scale(now time.Duration, replicas int) {
	idle := max(e.slots()-e.busy, 0) / e.fleet.slots
	for _, r := range e.fleet.scale(now, replicas) {
		switch {
		case !r.visible:
			e.fleet.end(now, r)
		case idle > 0:
			idle--
			e.fleet.end(now, r)
		default:
			e.fleet.pending.push(now+time.Duration(e.mean/e.fleet.speed), r)
		}
	}
	e.predict()
}

func (e *aggregateEngine) kill(now time.Duration, replicas int) {
	visible := e.fleet.visible
	e.fleet.oldest(now, replicas)
	if visible > 0 {
		lost := e.busy * (visible - e.fleet.visible) / visible
		if lost > 0 {
			e.busy -= lost
			e.waiting += lost
			e.queue.pushFront(cohort{step: e.now, count: lost})
		}
	}
	e.scale(now, e.fleet.spec)
}

func (e *aggregateEngine) setSpeed(now time.Duration, factor float64) {
	e.flush()
	e.fleet.cost(now)
	e.fleet.speed = factor
	e.predict()
}

func (e *aggregateEngine) flush() { e.service.flush(e.tally, e.fleet.speed) }

func (e *aggregateEngine) gauges(time.Duration) gauges {
	g := gauges{backlog: float64(e.waiting), inFlight: float64(e.busy)}
	if e.queue.n > 0 {
		g.oldest = time.Duration(e.now-e.queue.at(0).step) * aggregateStep
	}
	return g
}

func (e *aggregateEngine) workOf(r *replica) float64 {
	if !r.visible {
		return 0
	}
	return float64(e.fleet.slots) * (e.slotClock - r.mark)
}

func (e *aggregateEngine) finish() {
	e.end = 0
	for last := e.now + int(e.timeout/aggregateStep); e.queue.n > 0 && e.now < last; {
		e.step()
	}
	for e.queue.n > 0 {
		e.drop()
	}
	e.answered += float64(e.busy)
	e.service.answered += float64(e.busy)
}
