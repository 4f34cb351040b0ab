package promsource

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/policy"
)

// A question is a PromQL expression and the name under which its answer comes
// back: one number, or many.
type question struct {
	name, expression string
	many             bool
}

// A group of signals is measured by the same processes: they are of the same age,
// and restart together.
type group string

const (
	arriving group = "arrivals"
	serving  group = "service"
)

var groups = []group{arriving, serving}

// signal is one of the policy's signals.
type signal struct {
	name  string
	group group
	// window is what the value covers, 0 where it is of an instant.
	window time.Duration
	// A signal that is off is not asked for and has its neutral value.
	off     bool
	neutral policy.Signal
}

// The windows, in scrapes. A rate needs two samples; the short window has them
// with one scrape missed.
const (
	shortScrapes   = 3
	latencyScrapes = 10
	longScrapes    = 30
)

// workQuestion names the one question with many numbers for an answer.
const workQuestion = "work"

func ageQuestion(g group) string { return "age of " + string(g) }

func restartQuestion(g group, window time.Duration) string {
	return fmt.Sprintf("restarts of %s within %s", g, model.Duration(window))
}

// questions are all that is asked for in one reading, and the signals made of it.
func questions(o Options) ([]signal, []question) {
	scrapes := func(n int) time.Duration { return time.Duration(n) * o.Prometheus.ScrapeInterval }
	short, latency, long := scrapes(shortScrapes), scrapes(latencyScrapes), scrapes(longScrapes)
	var signals []signal
	var asked []question
	restarts := map[string]bool{}
	add := func(name string, g group, expression string, window time.Duration, neutral float64) {
		if expression == "" {
			signals = append(signals, signal{name: name, off: true, neutral: policy.Value(neutral)})
			return
		}
		asked = append(asked, question{name: name, expression: expand(expression, window, o.Quantile)})
		if !uses(expression, "$window") {
			signals = append(signals, signal{name: name, group: g})
			return
		}
		signals = append(signals, signal{name: name, group: g, window: window})
		if about := restartQuestion(g, window); !restarts[about] {
			restarts[about] = true
			asked = append(asked, question{name: about, expression: restartsIn(g, o, window)})
		}
	}
	q := o.Signals
	add("arrival_short", arriving, q.Arrivals, short, 0)
	add("arrival_long", arriving, q.Arrivals, long, 0)
	add("backlog", arriving, q.Backlog, long, 0)
	add("oldest_age", arriving, q.OldestAge, long, 0)
	add("in_flight", arriving, q.InFlight, long, 0)
	add("service_mean", serving, q.ServiceMean, long, 0)
	add("service_p99", serving, q.ServiceP99, long, 0)
	add("cpu_per_request", serving, q.CPUPerRequest, long, 0)
	add("cpu_limit", serving, q.CPULimit, long, 0)
	add("slots", serving, q.Slots, long, 1)
	add("latency_quantile", arriving, q.LatencyQuantile, latency, 0)
	add("lost", arriving, q.Lost, latency, 0)
	if q.Work != "" {
		asked = append(asked, question{name: workQuestion, expression: expand(q.Work, long, o.Quantile), many: true})
	}
	for _, g := range groups {
		asked = append(asked, question{name: ageQuestion(g), expression: ageIn(g, o)})
	}
	return signals, asked
}

// expand puts values in the place of a query's variables.
func expand(expression string, window time.Duration, quantile float64) string {
	return config.Variable.ReplaceAllStringFunc(expression, func(v string) string {
		switch v {
		case "$window":
			return model.Duration(window).String()
		case "$quantile":
			return strconv.FormatFloat(quantile, 'f', -1, 64)
		}
		return v
	})
}

func uses(expression, variable string) bool {
	for _, v := range config.Variable.FindAllString(expression, -1) {
		if v == variable {
			return true
		}
	}
	return false
}

func (g group) selector(o Options) string {
	if g == serving {
		return o.Signals.Freshness.Service
	}
	return o.Signals.Freshness.Arrivals
}

// ageIn asks for the age of the newest sample of a group, in seconds. A scrape
// that fails ends every series of its target at once; the sample before it is
// still no older than it was, and is looked for in the time that is not stale yet.
func ageIn(g group, o Options) string {
	return strings.NewReplacer(
		"SELECTOR", g.selector(o),
		"FRESH", model.Duration(o.Prometheus.StaleAfter).String(),
		"SCRAPE", model.Duration(o.Prometheus.ScrapeInterval).String(),
	).Replace(`time() - (max(timestamp(SELECTOR)) or max(max_over_time(timestamp(SELECTOR)[FRESH:SCRAPE])))`)
}

// restartsIn asks for the number of series of a group that started anew within
// the window, or were not watched for the whole of it. No answer means none.
//
// For what serves only a counter that has fallen counts: replicas come and go,
// and what is asked about them are ratios.
//
// What arrives is a sum over processes that stay. So every series that has
// samples in the window must exist now, else its process is gone, and what would
// have been counted is not seen. It must have a sample soon after the window's
// beginning: else it has just appeared, with a count that is no rate yet (a
// replaced process, or a Prometheus without a memory), or there is a gap (a
// Prometheus that was away), and a rate over the whole window is too low. And it
// must have one shortly before its end, for the same reason. A gap in the middle
// is no matter, as counters count on.
//
// The long window also misses a process that was seen in the last hour, is still a
// target (one that is gone is none for long) and can't be scraped: what arrives there
// is not counted, for however long. The short windows are believed without it: what
// they see is the least that arrives, and that much may still be answered by more.
func restartsIn(g group, o Options, window time.Duration) string {
	// Prometheus takes a rate to the window's edge where the next sample is no more
	// than 1.1 intervals away from it, and else only half an interval. So the first
	// must be as near. The last may be late by half an interval, as a scrape that is
	// under way counts only when it is done: the short window's rate is up to a third
	// too low then. A tenth of the window is forgiven at either end: that moves a rate
	// by less than a tenth, and lets a scrape fail in the long one.
	scrape := o.Prometheus.ScrapeInterval
	begin, end := max(scrape*11/10, window/10), max(scrape*3/2, window/10)
	fill := strings.NewReplacer(
		"SELECTOR", g.selector(o),
		"WINDOW", model.Duration(window).String(),
		"BEGIN", model.Duration(begin).String(),
		"REST", model.Duration(window-begin).String(),
		"END", model.Duration(end).String(),
		"AND_BEFORE", model.Duration(window+2*scrape).String(), // a fall shows against the sample before, one may be lacking
	).Replace
	if g == serving {
		return fill(`count(resets(SELECTOR[WINDOW]) > 0)`)
	}
	restarts := `(resets(SELECTOR[AND_BEFORE]) > 0) or (count_over_time(SELECTOR[WINDOW])` +
		` unless (SELECTOR and count_over_time(SELECTOR[BEGIN] offset REST) and count_over_time(SELECTOR[END])))`
	if window == longScrapes*scrape {
		restarts += ` or (group by (job, instance) (present_over_time(SELECTOR[1h])) and on (job, instance) (up == 0))`
	}
	return fill(`count(` + restarts + `)`)
}
