package sim

import (
	"math"
	"slices"
	"time"
)

// plan orders what was laid down for each second.
type plan []int

func (p plan) Every() time.Duration { return time.Second }

func (p plan) Decide(at time.Duration, _ *World) Order {
	return Order{Replicas: p[min(int(at/time.Second), len(p)-1)]}
}

// clairvoyantRuns bounds the runs that one search takes.
const clairvoyantRuns = 150

// aggregateShare is the share of requests that may be avoidable violations for
// the aggregate engine, which knows no single one: they are probabilities there.
const aggregateShare = 1e-6

// Clairvoyant is about the cheapest way to have no violation but the unavoidable,
// for one who knows every arrival; with the aggregate engine, at most one in a
// million. It is found by search, so the true floor may be a little lower:
//
//   - It starts from what each second's arrivals need to be worked off, raises it
//     where violations come of it until there are none, and then lowers stretch
//     after stretch as long as none comes back.
//   - What a second needs is ordered a cold start ahead and kept through gaps that
//     are shorter than that. Before the first second, too: the initial replicas are
//     its choice.
//   - Every cold start takes the mean. Who knew each one's own time would order it
//     earlier or later, at the same cost on average.
//
// ok is false where the search ended with violations left.
func Clairvoyant(s Scenario) (r Result, ok bool, err error) {
	if err := s.Validate(); err != nil {
		return Result{}, false, err
	}
	s = s.withDefaults()
	s.ColdStart.CV = 0
	c := &clairvoyant{scenario: s}
	c.lead = max(1, int(math.Ceil((s.ColdStart.Mean + s.EndpointLag + s.TickOffset%time.Second).Seconds())))
	c.need = c.arrivals()
	if err := c.raise(); err != nil || c.best == nil {
		return c.last, false, err
	}
	if err := c.lower(); err != nil {
		return Result{}, false, err
	}
	return *c.best, true, nil
}

type clairvoyant struct {
	scenario Scenario
	lead     int   // seconds from an order to its being of use
	need     []int // replicas, by second
	runs     int
	last     Result
	kept     bool    // it had no violation
	best     *Result // without violations, at the least cost
	bestNeed []int
}

// arrivals is the replicas that each second's own arrivals keep busy.
func (c *clairvoyant) arrivals() []int {
	need := make([]int, c.scenario.seconds())
	perReplica := float64(c.scenario.Slots) / c.scenario.Service.mean()
	if c.scenario.engineToUse() == Aggregate {
		for i := range need {
			need[i] = int(math.Ceil(c.scenario.rate(time.Duration(i)*time.Second) / perReplica))
		}
		return need
	}
	counts := make([]float64, len(need))
	for a := newArrivals(&c.scenario); ; {
		at := a.next()
		if at == never {
			break
		}
		counts[at/time.Second]++
	}
	for i, n := range counts {
		need[i] = int(math.Ceil(n / perReplica))
	}
	return need
}

// run plays what is needed, and tells of each second whether it had an avoidable violation.
func (c *clairvoyant) run() ([]bool, error) {
	c.runs++
	orders := make(plan, len(c.need))
	for i := range orders {
		for _, n := range c.need[i:min(i+c.lead+1, len(c.need))] {
			orders[i] = max(orders[i], n)
		}
	}
	s := c.scenario
	s.Initial = orders[0]
	r, err := Run(s, orders)
	if err != nil {
		return nil, err
	}
	c.last = r
	allowed := 0.0 // in each second
	if r.Engine == Aggregate {
		allowed = aggregateShare * float64(r.Requests) / float64(len(c.need))
	}
	violated := make([]bool, len(c.need))
	c.kept = true
	for i, p := range r.Timeline {
		violated[i] = p.avoidable > allowed
		c.kept = c.kept && !violated[i]
	}
	if c.kept && (c.best == nil || r.ReplicaSeconds < c.best.ReplicaSeconds) {
		c.best, c.bestNeed = &r, slices.Clone(c.need)
	}
	return violated, nil
}

// raise adds replicas where violations come of their lack: they show in the
// second in which an answer is late, which is mostly the next one.
func (c *clairvoyant) raise() error {
	for c.best == nil && c.runs < clairvoyantRuns/2 {
		violated, err := c.run()
		if err != nil {
			return err
		}
		for i := range c.need {
			if violated[i] || i+1 < len(violated) && violated[i+1] {
				c.need[i] += 1 + c.need[i]/32
			}
		}
	}
	return nil
}

// lower takes the highest replicas of every other stretch away at once, and gives
// them back where violations came of it.
func (c *clairvoyant) lower() error {
	for _, length := range []int{16 * c.lead, 4 * c.lead, c.lead, max(c.lead/4, 1)} {
		for stuck := 0; stuck < 2 && c.runs < clairvoyantRuns; {
			before := c.best.ReplicaSeconds
			for phase := range 2 {
				if err := c.lowerEveryOther(length, phase); err != nil {
					return err
				}
			}
			if c.best.ReplicaSeconds > before*0.999 {
				stuck++
			}
		}
	}
	return nil
}

// lowerEveryOther is one pass of lower over the even stretches (phase 0) or the odd
// ones. A plan that violates to the end is forgotten.
func (c *clairvoyant) lowerEveryOther(length, phase int) error {
	copy(c.need, c.bestNeed)
	for from := phase * length; from < len(c.need); from += 2 * length {
		stretch := c.need[from:min(from+length, len(c.need))]
		most := slices.Max(stretch)
		for i := range stretch {
			stretch[i] = min(stretch[i], max(most-1-most/32, 0))
		}
	}
	const attempts = 4
	for range attempts {
		violated, err := c.run()
		if err != nil || c.kept {
			return err
		}
		for i, v := range violated {
			if !v {
				continue
			}
			// It came of the stretch that it is in, or of the one that ended before.
			stretch := i / length
			if stretch%2 != phase {
				stretch--
			}
			if stretch >= 0 {
				from, to := stretch*length, min((stretch+1)*length, len(c.need))
				copy(c.need[from:to], c.bestNeed[from:to])
			}
		}
	}
	return nil
}
