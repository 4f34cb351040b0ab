package sim

import (
	"math"
	"time"
)

// A histogram has 32 buckets for each doubling, from 2⁻¹¹ s (0.5 ms) to 2⁶ s, so
// that a quantile interpolated in one is at most 3 % off. What lies outside
// counts in the bucket at that end.
const (
	bucketBits   = 5
	lowestPower  = -11
	highestPower = 6
	bucketCount  = (highestPower - lowestPower) << bucketBits
	bucketShift  = 52 - bucketBits
	bucketBase   = (1023 + lowestPower) << bucketBits
)

// histogram holds counts by seconds. They are float64s as the aggregate engine
// spreads requests over buckets by their probability.
type histogram [bucketCount]float64

// bucket is the one for a time: the exponent and the first bits of the mantissa
// of a float64 are the logarithm that is wanted.
func bucket(seconds float64) int {
	return min(max(int(math.Float64bits(seconds)>>bucketShift)-bucketBase, 0), bucketCount-1)
}

// bucketStart is the lower bound of a bucket, seconds; that of bucketCount is the
// upper bound of the last.
func bucketStart(i int) float64 {
	return math.Float64frombits(uint64(i+bucketBase) << bucketShift)
}

func (h *histogram) add(d time.Duration) { h[bucket(float64(d)*1e-9)]++ }

// quantileSince is the p-quantile, seconds, of what was added after before was
// copied from h, or NaN where nothing was. A nil before means all of it.
func (h *histogram) quantileSince(before *histogram, p float64) float64 {
	if before == nil {
		before = new(histogram)
	}
	total := 0.0
	for i := range h {
		total += h[i] - before[i]
	}
	if total <= 0 {
		return math.NaN()
	}
	left := p * total
	for i := range h {
		n := h[i] - before[i]
		if n > 0 && left <= n {
			return bucketStart(i) + max(left, 0)/n*(bucketStart(i+1)-bucketStart(i))
		}
		left -= n
	}
	return bucketStart(bucketCount)
}
