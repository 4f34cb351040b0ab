package rules

import (
	"fmt"
	"strconv"
	"time"
)

// Objective is the share of the requests that are to be answered within the
// promise.
const Objective = 0.99

// sloInterval is the time between two looks at the SLO.
const sloInterval = 30 * time.Second

// LeastViolations is how many there must be in an alert's long window: of the
// few requests of a quiet hour one is many percent, and not worth a page.
const LeastViolations = 10

// LatencyBuckets are the upper bounds of the buckets of
// dispatcher_request_duration_seconds, in seconds, as contract/metrics.json
// lists them.
var LatencyBuckets = []float64{
	.005, .01, .025, .05, .075, .1, .15, .2, .25, .3, .35, .4, .45, .5, .55, .6, .75, 1, 1.5, 2.5, 5, 10,
}

// Burn is an alert on the rate at which the error budget is used up: 1 is the
// rate at which a budget of 30 days lasts 30 days.
type Burn struct {
	Factor      float64
	Long, Short time.Duration // both windows must show it: the long one that it matters, the short one that it still goes on
	Severity    string
}

// burns are those of the Site Reliability Workbook, chapter 5.
var burns = []Burn{
	{14.4, time.Hour, 5 * time.Minute, Critical},    // 2% of the budget
	{6, 6 * time.Hour, 30 * time.Minute, Critical},  // 5%
	{3, 24 * time.Hour, 2 * time.Hour, Warning},     // 10%
	{1, 3 * 24 * time.Hour, 6 * time.Hour, Warning}, // 10%
}

// Burns are the alerts on the error budget that a Prometheus with so much data
// can tell of; 0 is any amount. A window that is longer than what is kept would
// be the mean of what is kept, under another name.
func Burns(lookback time.Duration) []Burn {
	var kept []Burn
	for _, b := range burns {
		if lookback == 0 || b.Long <= lookback {
			kept = append(kept, b)
		}
	}
	return kept
}

// shortest is the window that longer ones are put together from.
const shortest = 5 * time.Minute

// Windows are those for which the SLO is recorded, shortest first.
func Windows(lookback time.Duration) []time.Duration {
	windows := []time.Duration{shortest}
	for _, w := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour, 72 * time.Hour} {
		for _, b := range Burns(lookback) {
			if w == b.Long || w == b.Short {
				windows = append(windows, w)
				break
			}
		}
	}
	return windows
}

// Span writes a window as Prometheus does: 30m, 6h, 3d.
func Span(window time.Duration) string {
	switch {
	case window%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", window/(24*time.Hour))
	case window%time.Hour == 0:
		return fmt.Sprintf("%dh", window/time.Hour)
	}
	return fmt.Sprintf("%dm", window/time.Minute)
}

// slo records, for each window, the requests whose callers waited, those of
// them that were not answered within the promise, and their share; and alerts
// on the shares.
func slo(args Args) []Rule {
	var rules []Rule
	windows := Windows(args.Lookback)
	for _, window := range windows {
		requests, violations := counts(window, args.SLOLatency)
		rules = append(rules,
			Rule{Record: "headroom:slo_requests:increase" + Span(window), Expr: requests},
			Rule{Record: "headroom:slo_violations:increase" + Span(window), Expr: violations},
			Rule{Record: "headroom:slo_violations:ratio" + Span(window), Expr: fmt.Sprintf(
				"headroom:slo_violations:increase%[1]s / (headroom:slo_requests:increase%[1]s > 0)", Span(window))},
		)
	}
	for _, b := range Burns(args.Lookback) {
		rules = append(rules, burning(b, args.SLOLatency))
	}
	return rules
}

// counts are the requests of a window, without those that were their callers'
// mistakes, and the violations among them.
func counts(window, promise time.Duration) (requests, violations string) {
	if window > time.Hour {
		// Each request is in as many of the short windows as there are looks in one:
		// a sum of them costs little, where days of samples would cost much.
		looks := int(shortest / sloInterval)
		sum := func(name string) string {
			return fmt.Sprintf("sum_over_time(headroom:%s:increase%s[%s]) / %d", name, Span(shortest), Span(window), looks)
		}
		return sum("slo_requests"), sum("slo_violations")
	}
	requests = fmt.Sprintf(`sum(increase(dispatcher_request_duration_seconds_count{outcome!="client_error"}[%s]))`, Span(window))
	return requests, fmt.Sprintf("clamp_min(%s - (%s), 0)", requests, within(promise, window))
}

// within counts the requests of a window that were answered within the promise.
// Where the promise is no bucket's bound, those between the bounds around it
// count in proportion, as in histogram_quantile. Beyond the last bound all that
// were answered count: the dispatcher gives up a request at its deadline, which
// is the promise unless its caller has chosen another.
func within(promise, window time.Duration) string {
	upTo := func(matcher string) string {
		return fmt.Sprintf(`sum(increase(dispatcher_request_duration_seconds_bucket{outcome="answered",le%s}[%s]))`, matcher, Span(window))
	}
	seconds, lower := promise.Seconds(), 0.
	for _, upper := range LatencyBuckets {
		switch {
		case upper == seconds:
			return upTo(le(upper))
		case upper > seconds && lower == 0:
			return fmt.Sprintf("%s * %s", share(seconds/upper), upTo(le(upper)))
		case upper > seconds:
			part := (seconds - lower) / (upper - lower)
			return fmt.Sprintf("%s * %s + %s * %s", share(1-part), upTo(le(lower)), share(part), upTo(le(upper)))
		}
		lower = upper
	}
	return upTo(`="+Inf"`)
}

// le matches a bucket's bound as Prometheus may have it: 1 by the text format
// is 1.0 by OpenMetrics.
func le(bound float64) string {
	text := strconv.FormatFloat(bound, 'f', -1, 64)
	if bound == float64(int(bound)) {
		return `=~"` + text + `(\\.0)?"`
	}
	return `="` + text + `"`
}

func share(part float64) string { return strconv.FormatFloat(part, 'g', 6, 64) }

// burning alerts when both windows show that the budget burns too fast.
func burning(b Burn, promise time.Duration) Rule {
	long, short := Span(b.Long), Span(b.Short)
	factor := strconv.FormatFloat(b.Factor, 'f', -1, 64)
	bound := fmt.Sprintf("%s * %s", factor, share(1-Objective))
	rule := alert("HeadroomErrorBudgetBurn", b.Severity,
		fmt.Sprintf("headroom:slo_violations:ratio%s > %s and headroom:slo_violations:ratio%s > %s and headroom:slo_violations:increase%s >= %d",
			long, bound, short, bound, long, LeastViolations), "",
		fmt.Sprintf("The error budget burns at more than %s times the rate that it allows", factor),
		fmt.Sprintf("{{ $value | humanizePercentage }} of the requests of the last %s were not answered within %s; 1%% may be. "+
			"At this rate and above, the budget of 30 days is gone in %s.", long, promise, lasts(b.Factor)))
	rule.Labels["long"], rule.Labels["short"] = long, short
	return rule
}

// lasts is how long a budget of 30 days lasts at a rate.
func lasts(factor float64) string {
	hours := 30 * 24 / factor
	if hours < 72 {
		return fmt.Sprintf("%.0f hours", hours)
	}
	return fmt.Sprintf("%.0f days", hours/24)
}
