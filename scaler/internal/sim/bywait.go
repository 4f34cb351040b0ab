package sim

import "time"

// serviceByWait spreads requests that have waited some steps over the
// distribution of service times. It collects counts and does the sums when the
// histograms are looked at.
type serviceByWait struct {
	tail     func(float64) float64
	slo      float64
	alone    float64 // share of service times above the SLO, at the usual CPU
	answered float64
	speed    float64 // that spread and late are for
	waited   []float64
	spread   [][]share
	late     []float64
}

// share is the probability of a histogram's bucket.
type share struct {
	bucket      int
	probability float64
}

func newServiceByWait(s *Scenario) serviceByWait {
	b := serviceByWait{tail: s.Service.tail(), slo: s.SLO.Seconds()}
	b.alone = b.tail(b.slo)
	return b
}

// start counts requests that begin after a wait, and returns how many of them
// will be late.
func (b *serviceByWait) start(n float64, steps int, speed float64) float64 {
	if b.speed != speed {
		b.speed, b.spread, b.late = speed, nil, nil
	}
	for steps >= len(b.waited) {
		b.waited = append(b.waited, 0)
	}
	for i := len(b.late); i <= steps; i++ {
		b.late = append(b.late, b.tail((b.slo-wait(i))*speed))
	}
	b.waited[steps] += n
	return n * b.late[steps]
}

func wait(steps int) float64 { return (time.Duration(steps) * aggregateStep).Seconds() }

// flush adds what was collected, at one speed, to the histograms.
func (b *serviceByWait) flush(t *tally, speed float64) {
	for steps, n := range b.waited {
		if n > 0 {
			b.add(&t.latency, n, steps, speed)
			b.waited[steps] = 0
		}
	}
	if b.answered > 0 {
		b.add(&t.service, b.answered, 0, speed)
		b.answered = 0
	}
}

func (b *serviceByWait) add(to *histogram, n float64, steps int, speed float64) {
	for steps >= len(b.spread) {
		b.spread = append(b.spread, nil)
	}
	if b.spread[steps] == nil {
		b.spread[steps] = b.shares(wait(steps), speed)
	}
	for _, s := range b.spread[steps] {
		to[s.bucket] += n * s.probability
	}
}

// shares is the distribution of a wait plus a service time over the buckets.
func (b *serviceByWait) shares(wait, speed float64) []share {
	var out []share
	above := 1.0
	for i := range bucketCount {
		next := 0.0
		if i < bucketCount-1 {
			next = b.tail((bucketStart(i+1) - wait) * speed)
		}
		if p := above - next; p > 1e-12 {
			out = append(out, share{i, p})
		}
		above = next
	}
	return out
}
