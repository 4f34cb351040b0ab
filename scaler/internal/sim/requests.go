package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// request is one request, from its arrival to its end.
type request struct {
	arrived, started time.Duration
	work             time.Duration // at the usual CPU limit
	patient          bool          // it found no replica and may wait for a cold start
	retried          bool
	on               *replica
}

// requestEngine plays every request by itself, exactly.
//
// The dispatcher is one queue, first come first served, as all deadlines are
// equally far. A request goes to a free slot of a replica with the least in
// flight, drawn among equals.
type requestEngine struct {
	*tally
	door
	fleet *fleet
	slo   time.Duration

	arrivals    arrivals
	nextArrival time.Duration
	demand      draws
	routing     *rand.Rand

	queue      fifo[request]
	done       heap[int32] // indices into flights, by the time of being done
	flights    []request
	unused     []int32
	byInFlight [][]*replica // visible replicas; [i] has those with i requests in flight
	settled    time.Duration
	workClock  float64 // seconds that a busy slot would have worked at the usual limit
	period     time.Duration
	limit      float64 // cores for requests
}

func newRequestEngine(s *Scenario, f *fleet, t *tally) *requestEngine {
	e := &requestEngine{
		tally: t, door: newDoor(s), fleet: f, slo: s.SLO,
		arrivals: newArrivals(s), demand: s.Service.draws(stream(s.Seed, serviceStream)),
		routing: stream(s.Seed, routingStream), byInFlight: make([][]*replica, s.Slots+1),
		period: s.QuotaPeriod, limit: s.CPULimit - s.Upkeep,
	}
	e.nextArrival = e.arrivals.next()
	for _, r := range f.begin(s.Initial, s.ColdStart.Mean) {
		e.list(r)
	}
	e.predict()
	return e
}

func (e *requestEngine) predict() { e.door.predict(e.fleet.visible*e.fleet.slots, e.fleet.speed) }

func (e *requestEngine) advance(to time.Duration) {
	for {
		done, fleet := e.done.first(), e.fleet.nextEvent()
		now := min(done, fleet, e.nextArrival)
		if now > to || now == never {
			e.settle(to)
			return
		}
		e.settle(now)
		switch now {
		case fleet:
			if r := e.fleet.step(); r != nil {
				e.list(r)
				e.predict()
				e.fill(now)
			}
		case done:
			e.complete(now)
		default:
			e.arrive(now)
			e.nextArrival = e.arrivals.next()
		}
	}
}

// settle brings what grows with time up to the present.
func (e *requestEngine) settle(now time.Duration) {
	seconds := float64(now-e.settled) * 1e-9
	e.settled = now
	busy := float64(len(e.done.items))
	e.presence += seconds * (busy + float64(e.queue.n))
	if e.period == 0 {
		e.work += seconds * e.fleet.speed * busy
		e.workClock += seconds * e.fleet.speed
	}
}

func (e *requestEngine) arrive(now time.Duration) {
	e.events++
	e.arrived++
	r := request{arrived: now, work: e.demand.next()}
	e.prune(now)
	if e.queue.n == 0 {
		if on := e.free(); on != nil {
			e.start(now, r, on)
			return
		}
	}
	switch {
	case e.fleet.visible == 0 && e.allowance > 0:
		r.patient = true
	case e.fleet.visible == 0, float64(e.queue.n) > e.maxAhead:
		e.refused++
		e.violated(&r)
		return
	}
	e.queue.push(r)
}

// violated counts what no number of replicas would have helped.
func (e *requestEngine) violated(r *request) {
	if r.work > e.slo {
		e.unavoidable++
	}
}

// prune drops what is at the head of the queue and would be answered too late.
func (e *requestEngine) prune(now time.Duration) {
	for e.queue.n > 0 {
		r := e.queue.at(0)
		if !e.hopeless(now-r.arrived, r.patient) {
			return
		}
		e.dropped++
		e.violated(r)
		e.queue.pop()
	}
}

// free is a replica with a free slot, or nil.
func (e *requestEngine) free() *replica {
	for _, list := range e.byInFlight[:e.fleet.slots] {
		if len(list) > 0 {
			return list[e.routing.IntN(len(list))]
		}
	}
	return nil
}

func (e *requestEngine) list(r *replica) {
	r.place = len(e.byInFlight[r.inFlight])
	e.byInFlight[r.inFlight] = append(e.byInFlight[r.inFlight], r)
}

func (e *requestEngine) unlist(r *replica) {
	list := e.byInFlight[r.inFlight]
	last := list[len(list)-1]
	list[r.place], last.place = last, r.place
	e.byInFlight[r.inFlight] = list[:len(list)-1]
}

// load changes a replica's requests in flight.
func (e *requestEngine) load(r *replica, by int) {
	r.work, r.mark = e.workOf(r), e.workClock
	listed := r.state == ready && r.visible
	if listed {
		e.unlist(r)
	}
	r.inFlight += by
	if listed {
		e.list(r)
	}
}

func (e *requestEngine) workOf(r *replica) float64 {
	return r.work + float64(r.inFlight)*(e.workClock-r.mark)
}

func (e *requestEngine) begin(now time.Duration, r request, on *replica) (time.Duration, int32) {
	r.on, r.started = on, now
	var i int32
	if last := len(e.unused) - 1; last >= 0 {
		i, e.unused = e.unused[last], e.unused[:last]
		e.flights[i] = r
	} else {
		i = int32(len(e.flights))
		e.flights = append(e.flights, r)
	}
	if e.period > 0 {
		cores := func(d time.Duration) time.Duration { return time.Duration(float64(d) * e.limit) }
		return on.quota.run(now, cores(r.work), e.period, time.Duration(float64(cores(e.period))*e.fleet.speed)), i
	}
	takes := r.work
	if e.fleet.speed != 1 {
		takes = time.Duration(float64(takes) / e.fleet.speed)
	}
	return now + takes, i
}

func (e *requestEngine) start(now time.Duration, r request, on *replica) {
	e.load(on, 1)
	e.done.push(e.begin(now, r, on))
}

// fill gives what waits to free slots.
func (e *requestEngine) fill(now time.Duration) {
	for e.prune(now); e.queue.n > 0; e.prune(now) {
		on := e.free()
		if on == nil {
			return
		}
		e.start(now, e.queue.pop(), on)
	}
}

// complete answers the request that is done first; its slot takes the next one.
func (e *requestEngine) complete(now time.Duration) {
	e.events++
	i := e.done.items[0].what
	r := &e.flights[i]
	e.unused = append(e.unused, i)
	latency, took := now-r.arrived, now-r.started
	e.answered++
	e.serviceSum += float64(took) * 1e-9
	e.service.add(took)
	e.latency.add(latency)
	if latency > e.slo {
		e.late++
		e.violated(r)
	}
	on := r.on
	if e.period > 0 {
		e.work += r.work.Seconds()
		on.work += r.work.Seconds()
	}
	e.prune(now)
	if e.queue.n > 0 && on.state == ready {
		e.done.replaceFirst(e.begin(now, e.queue.pop(), on))
		return
	}
	e.done.pop()
	e.load(on, -1)
	if on.state == draining && on.inFlight == 0 {
		e.fleet.end(now, on)
	}
}

func (e *requestEngine) scale(now time.Duration, replicas int) {
	for _, r := range e.fleet.scale(now, replicas) {
		e.take(now, r)
	}
	e.predict()
}

// take sends a replica nothing more.
func (e *requestEngine) take(now time.Duration, r *replica) {
	if r.visible {
		e.unlist(r)
	}
	if r.inFlight == 0 {
		e.fleet.end(now, r)
	}
}

// kill ends the replicas that have been ready longest. What they worked on goes
// back to the head of the queue once; the Deployment orders others.
func (e *requestEngine) kill(now time.Duration, replicas int) {
	dead := e.fleet.oldest(now, replicas)
	for _, r := range dead {
		if r.visible {
			e.unlist(r)
		}
	}
	var lost []request
	e.done.items = slices.DeleteFunc(e.done.items, func(t timed[int32]) bool {
		r := e.flights[t.what]
		if r.on.state != gone {
			return false
		}
		lost, e.unused = append(lost, r), append(e.unused, t.what)
		return true
	})
	e.done.order()
	slices.SortStableFunc(lost, func(a, b request) int { return cmp.Compare(b.arrived, a.arrived) })
	for _, r := range lost {
		if r.retried {
			e.dropped++
			e.violated(&r)
			continue
		}
		r.retried = true
		e.queue.pushFront(r)
	}
	e.scale(now, e.fleet.spec)
	e.fill(now)
}

// setSpeed changes how long everything in progress still takes. As all of it
// changes by one factor, its order stays. Under a quota, what is in progress, which
// is a period's work or so, ends as it was to.
func (e *requestEngine) setSpeed(now time.Duration, factor float64) {
	ratio := e.fleet.speed / factor
	for i := range e.done.items {
		if e.period > 0 {
			break
		}
		at := &e.done.items[i].at
		*at = now + time.Duration(math.Round(float64(*at-now)*ratio))
	}
	e.fleet.cost(now)
	e.fleet.speed = factor
	e.predict()
	e.prune(now)
}

// flush has nothing to do: every counter is up to date.
func (e *requestEngine) flush() {}

func (e *requestEngine) gauges(now time.Duration) gauges {
	e.prune(now)
	g := gauges{backlog: float64(e.queue.n), inFlight: float64(len(e.done.items))}
	if e.queue.n > 0 {
		g.oldest = now - e.queue.at(0).arrived
	}
	return g
}

func (e *requestEngine) finish() {
	for len(e.done.items) > 0 || e.queue.n > 0 {
		next := min(e.done.first(), e.fleet.nextEvent())
		if next == never {
			break
		}
		e.advance(next)
	}
	for ; e.queue.n > 0; e.queue.pop() {
		e.dropped++
		e.violated(e.queue.at(0))
	}
}
