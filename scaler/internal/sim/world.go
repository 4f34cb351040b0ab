package sim

import (
	"fmt"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// World is what scalers may see of a run.
type World struct {
	scenario *Scenario
	scaler   Scaler
	engine   engine
	fleet    *fleet
	tally    *tally
	metrics  *metrics
	result   *Result
	now      time.Duration

	nextScrape, nextPods, nextTick, nextSecond time.Duration
	kills                                      heap[int]
	resizes                                    []resize
	asked                                      float64       // the CPU factor ordered last
	second                                     tally         // as it was at the last full second
	decided                                    time.Duration // when the last decision was,
	arrivedBefore, presenceBefore              float64       // and the counters of then
	podsAt                                     time.Duration // the last look at pods
	changed                                    time.Duration // when the last change was ordered,
	direction                                  int           // and whether it was up or down
	pods                                       []PodGroup
}

// resize is a CPU factor on its way.
type resize struct {
	at     time.Duration
	factor float64
}

// Run plays a scenario to its end against a scaler. The error is Validate's, or
// the scaler's.
func Run(s Scenario, scaler Scaler) (Result, error) {
	if err := s.Validate(); err != nil {
		return Result{}, err
	}
	if scaler.Every() <= 0 {
		return Result{}, fmt.Errorf("scaler: decides every %s; must be above 0s", scaler.Every())
	}
	w := newWorld(s.withDefaults(), scaler)
	w.play()
	if f, ok := scaler.(failing); ok && f.failure() != nil {
		return *w.result, fmt.Errorf("scaler: %w", f.failure())
	}
	return *w.result, nil
}

func newWorld(s Scenario, scaler Scaler) *World {
	t := new(tally)
	f := newFleet(&s, &t.events)
	w := &World{
		scenario: &s, scaler: scaler, fleet: f, tally: t, metrics: newMetrics(&s), asked: 1,
		nextScrape: s.ScrapeOffset, nextTick: s.TickOffset, nextSecond: min(time.Second, s.Duration),
		nextPods: never,
		result:   &Result{Scenario: s.Name, Engine: s.engineToUse()},
	}
	if watcher, ok := scaler.(podWatcher); ok {
		w.nextPods = s.ScrapeOffset
		if watcher.zeroLag() {
			w.nextPods = s.TickOffset // it is looked at first
		}
	}
	if w.result.Engine == Aggregate {
		w.engine = newAggregateEngine(&s, f, t)
	} else {
		w.engine = newRequestEngine(&s, f, t)
	}
	for _, f := range s.Faults {
		if f.Kind == Kill {
			w.kills.push(f.From, f.Replicas)
		}
	}
	return w
}

// play does what happens by the clock: faults, scrapes, decisions, records.
func (w *World) play() {
	end := w.scenario.Duration
	for {
		resize := never
		if len(w.resizes) > 0 {
			resize = w.resizes[0].at
		}
		w.now = min(w.kills.first(), resize, w.nextScrape, w.nextPods, w.nextTick, w.nextSecond)
		if w.now > end {
			break
		}
		w.engine.advance(w.now)
		w.tally.events++
		switch w.now {
		case w.kills.first():
			_, n := w.kills.pop()
			w.engine.kill(w.now, n)
		case resize:
			w.engine.setSpeed(w.now, w.resizes[0].factor)
			w.resizes = w.resizes[1:]
		case w.nextScrape:
			w.nextScrape += w.scenario.ScrapeInterval
			w.engine.flush()
			w.metrics.scrape(sample{
				at: w.now, counters: *w.tally, gauges: w.engine.gauges(w.now),
				servers: len(w.fleet.ready) + w.fleet.draining, upkeep: w.fleet.servedSeconds(w.now) * w.scenario.Upkeep,
			})
		case w.nextPods:
			w.nextPods += w.podsEvery()
			w.samplePods()
		case w.nextTick:
			w.nextTick += w.scaler.Every()
			w.obey(w.scaler.Decide(w.now, w))
			w.arrivedBefore, w.presenceBefore, w.decided = w.tally.arrived, w.tally.presence, w.now
		case w.nextSecond:
			w.record()
			w.nextSecond = min(w.nextSecond+time.Second, end)
			if w.now == end {
				w.nextSecond = never
			}
		}
	}
	w.now = end
	w.engine.advance(end)
	w.fleet.cost(end)
	w.conclude()
}

func (w *World) obey(o Order) {
	replicas, factor := max(o.Replicas, 0), o.CPUFactor
	if !(factor > 0) {
		factor = 1
	}
	if factor != w.asked {
		w.asked = factor
		w.resizes = append(w.resizes, resize{w.now + w.scenario.ResizeDelay, factor})
	}
	if replicas == w.fleet.spec {
		return
	}
	w.noteChange(replicas - w.fleet.spec)
	w.engine.scale(w.now, replicas)
}

// Snapshot is what headroom's policy sees. Replicas that became ready are in the
// first one after.
func (w *World) Snapshot() policy.Snapshot {
	g := w.engine.gauges(w.now)
	snap := policy.Snapshot{
		Signals:     w.metrics.read(w.now),
		Spec:        w.fleet.spec,
		Ready:       len(w.fleet.ready),
		Starting:    w.fleet.cohorts(w.now),
		BecameReady: w.fleet.becameReady,
		Woken:       len(w.fleet.ready) == 0 && (g.backlog > 0 || w.tally.arrived > w.arrivedBefore),
	}
	w.fleet.becameReady = nil
	return snap
}

// Scenario is the whole of it, the future too. It must not be changed.
func (w *World) Scenario() *Scenario { return w.scenario }

// Rate is the true arrival rate at present, per second.
func (w *World) Rate() float64 { return w.scenario.rate(w.now) }

// Spec is the number of replicas ordered.
func (w *World) Spec() int { return w.fleet.spec }

// Queue is how many requests wait, as of the last scrape.
func (w *World) Queue() float64 {
	if w.metrics.scrapes == 0 {
		return 0
	}
	return w.metrics.samples[(w.metrics.scrapes-1)%longScrapes].gauges.backlog
}

// Concurrency is how many requests waited or were worked on, on average since the
// last decision.
func (w *World) Concurrency() float64 {
	if w.now <= w.decided {
		return 0
	}
	return (w.tally.presence - w.presenceBefore) / (w.now - w.decided).Seconds()
}
