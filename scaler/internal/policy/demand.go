package policy

import (
	"math"
	"time"
)

// demand is what the arrival history says of the load.
type demand struct {
	known bool
	// level is the rate now, err its standard error, window the seconds of arrivals
	// that it is the mean of.
	level, err, window float64
	// trend is by how much the rate grows per second, 0 where that is not certain,
	// and line the rate now on that line.
	trend, line float64
}

const (
	// memory is how long samples are kept, maxSamples how many at most.
	memory     = 2 * time.Minute
	maxSamples = 128
	// fresh is how old the newest sample may be to speak of the rate now.
	fresh = 5 * time.Second
	// significance is how many standard errors two means must lie apart, and
	// relevance what share of the older one, to count as a change.
	significance = 4.0
	relevance    = 0.1
	// rateSignificance is the same for means of the rate, of which so many are compared
	// at each look that 4 are reached by chance more than once an hour, and
	// trendSignificance for the slope of a line.
	rateSignificance  = 4.5
	trendSignificance = 3.5
	// lineBetter is how much smaller the squared errors of a line must be than those
	// of a step for a rise to be taken for a trend.
	lineBetter = 0.8
	// minTrendWindow is the shortest time that a trend is read from, seconds.
	minTrendWindow = 15.0
)

// remember adds a sample to the history, oldest first, no closer together than
// the memory divided by the most samples.
func remember(history []Sample, rate Signal, now time.Time) []Sample {
	kept := make([]Sample, 0, len(history)+1)
	for _, s := range history {
		if age := now.Sub(s.At); age > 0 && age <= memory {
			kept = append(kept, s)
		}
	}
	if rate.OK() && (len(kept) == 0 || now.Sub(kept[len(kept)-1].At) >= memory/maxSamples) {
		kept = append(kept, Sample{now, rate.Value})
	}
	return kept
}

// estimate reads level and trend from the history, of which each sample shows the
// arrivals of so many seconds.
//
// The level is the mean over the longest time that ends now and in which the rate
// has not changed: going back in growing steps, the mean of the newer samples is
// compared with that of the older ones, as two Poisson counts by the difference of
// their square roots, whose variance does not depend on the rate (F. J. Anscombe,
// Biometrika 35, 1948). So a flat load is known more exactly with every second, and
// a step is followed at once, without a window that somebody has to choose. The idea
// is that of ADWIN (A. Bifet, R. Gavaldà, "Learning from time-changing data with
// adaptive windowing", SDM 2007), with that test in the place of Hoeffding's bound.
func estimate(history []Sample, shows, lead float64, now time.Time) demand {
	n := len(history)
	if n == 0 || now.Sub(history[n-1].At) > fresh {
		return demand{}
	}
	sums := make([]float64, n+1) // sums[i] is the sum of the newest i rates
	for i := range n {
		sums[i+1] = sums[i] + history[n-1-i].Rate
	}
	mean := func(from, to int) float64 { return (sums[to] - sums[from]) / float64(to-from) }
	// So many seconds of arrivals stand behind the samples from..to−1, each of which
	// is itself a mean over a short window.
	spacing := now.Sub(history[0].At).Seconds() / float64(max(1, n-1))
	span := func(from, to int) float64 { return shows + float64(to-from-1)*spacing }

	d := demand{known: true}
	size := n
	for cut := 1; cut < n; cut = max(cut+1, cut*3/2) {
		end := min(n, 4*cut)
		newer, older := mean(0, cut), mean(cut, end)
		z := 2 * (math.Sqrt(newer) - math.Sqrt(older)) / math.Sqrt(1/span(0, cut)+1/span(cut, end))
		if math.Abs(z) > rateSignificance && math.Abs(newer-older) > relevance*older {
			size = cut
			break
		}
	}
	d.level, d.window = mean(0, size), span(0, size)
	d.err = math.Sqrt(d.level / d.window)
	d.trend, d.line = trend(history, math.Max(minTrendWindow, 3*lead), d.level, now)
	return d
}

// trend is the slope of the rate over the last seconds, per second, and the rate now
// on that line, where a line explains the samples better than a step and rises
// significantly; else both are 0.
func trend(history []Sample, seconds, level float64, now time.Time) (slope, present float64) {
	first := len(history)
	for first > 0 && now.Sub(history[first-1].At).Seconds() <= seconds {
		first--
	}
	samples := history[first:]
	n := float64(len(samples))
	if n < minTrendWindow/2 {
		return 0, 0
	}
	var sx, sy, sxx, sxy, syy float64
	for _, s := range samples {
		x := -now.Sub(s.At).Seconds()
		sx, sy, sxx, sxy, syy = sx+x, sy+s.Rate, sxx+x*x, sxy+x*s.Rate, syy+s.Rate*s.Rate
	}
	dx := sxx - sx*sx/n
	if dx <= 0 {
		return 0, 0
	}
	slope = (sxy - sx*sy/n) / dx
	// A sample of so many seconds has a variance of level/seconds, and as many
	// neighbours share their arrivals.
	if slope <= trendSignificance*math.Sqrt(math.Max(level, 1)/dx) {
		return 0, 0
	}
	total := syy - sy*sy/n
	line := total - slope*slope*dx
	step := total
	var left float64
	for i := 1; i < len(samples); i++ {
		left += samples[i-1].Rate
		k := float64(i)
		between := left*left/k + (sy-left)*(sy-left)/(n-k) - sy*sy/n
		step = math.Min(step, total-between)
	}
	if line > lineBetter*step {
		return 0, 0
	}
	return slope, (sy - slope*sx) / n
}
