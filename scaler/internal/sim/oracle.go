package sim

import (
	"fmt"
	"time"
)

// Oracle is the reactive oracle: it knows the true arrival rate at once, but not
// the future, and pays the cold start. It wants the fewest replicas that an M/G/c
// queue needs for the rate times 1+headroom, at least one, and keeps a higher
// count for as long as hold.
func Oracle(headroom float64, hold time.Duration) Scaler {
	return &oracle{headroom: headroom, hold: hold}
}

type oracle struct {
	headroom float64
	hold     time.Duration
	world    *Scenario // whose rate it knows; nil for the one that it is asked in
	size     *sizing
	wanted   fifo[want] // falling counts: what is, or will be, the most within hold
}

type want struct {
	at       time.Duration
	replicas int
}

func (o *oracle) Every() time.Duration { return time.Second }

func (o *oracle) Decide(at time.Duration, w *World) Order {
	if o.world == nil {
		o.world = w.Scenario()
	}
	if o.size == nil {
		o.size = newSizing(o.world)
	}
	now := want{at, max(1, o.size.replicas(o.world.rate(at)*(1+o.headroom)))}
	for o.wanted.n > 0 && o.wanted.at(o.wanted.n-1).replicas <= now.replicas {
		o.wanted.n--
	}
	o.wanted.push(now)
	for o.wanted.at(0).at < at-o.hold {
		o.wanted.pop()
	}
	return Order{Replicas: o.wanted.at(0).replicas}
}

// OracleChoice is an oracle and what it came to.
type OracleChoice struct {
	Headroom float64       `json:"headroom"`
	Hold     time.Duration `json:"hold"`
	Result   Result        `json:"result"`
}

// The grid that OracleAt looks at: headrooms from -0.3 to 2.8 in steps of a tenth, and these.
const (
	oracleHeadrooms = 32
	lowestTenth     = -3
)

func oracleHolds() []time.Duration {
	return []time.Duration{0, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute}
}

// OracleAt is the [Oracle] with the fewest violations, of those on a grid of
// headrooms and holds that cost at most so many replica-seconds. It takes the
// highest affordable headroom of each hold, as more of it costs more and violates
// less. The error is the scenario's, or says that not even the cheapest is affordable.
func OracleAt(s Scenario, replicaSeconds float64) (OracleChoice, error) {
	if err := s.Validate(); err != nil {
		return OracleChoice{}, err
	}
	s = s.withDefaults()
	size := newSizing(&s)
	at := func(step int, hold time.Duration) *oracle {
		return &oracle{headroom: float64(lowestTenth+step) / 10, hold: hold, world: &s, size: size}
	}
	// Orders do not depend on requests, so that a world without any tells the cost.
	empty := s
	empty.Rates, empty.Times, empty.Duration, empty.Engine = []float64{0}, nil, s.Duration, Requests
	best, found, cheapest := OracleChoice{}, false, 0.0
	for _, hold := range oracleHolds() {
		low, high := 0, oracleHeadrooms // the first that is too dear is above low
		for low < high {
			middle := (low + high) / 2
			r, err := Run(empty, at(middle, hold))
			if err != nil {
				return OracleChoice{}, err
			}
			if middle == 0 || cheapest == 0 {
				cheapest = r.ReplicaSeconds
			}
			if r.ReplicaSeconds <= replicaSeconds {
				low = middle + 1
			} else {
				high = middle
			}
		}
		// Requests that replicas finish before they go may cost a little more.
		for step := low - 1; step >= 0; step-- {
			o := at(step, hold)
			r, err := Run(s, o)
			if err != nil {
				return OracleChoice{}, err
			}
			if r.ReplicaSeconds <= replicaSeconds {
				if !found || r.Violations < best.Result.Violations {
					best, found = OracleChoice{o.headroom, hold, r}, true
				}
				break
			}
		}
	}
	if !found {
		return best, fmt.Errorf("replicaSeconds: %.0f must be enough for an oracle, of which the cheapest takes %.0f", replicaSeconds, cheapest)
	}
	return best, nil
}
