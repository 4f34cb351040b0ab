package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/timeline"
)

const (
	// episodeGap is how many seconds without a violation end a stretch of them.
	episodeGap = 10
	// mostEpisodes and mostReactions are told about; the greatest are.
	mostEpisodes  = 3
	mostReactions = 3
	// notableGap is how many seconds unknown are worth a word; the second before the first scrape is not.
	notableGap = 3
	// lateShare is the share of the SLO above which a send lag may have cost it.
	lateShare = 0.2
	// before is how many seconds ahead of a stretch its cause is looked for: what
	// had to wait had arrived earlier.
	before = 3
)

// Conclude says in words what a run's figures mean: whether they count, where the
// promise was broken and why, how fast the scaler was, and what was paid for.
func Conclude(s Summary, sec Seconds) []page.Remark {
	var all []page.Remark
	say := func(tone page.Tone, term, format string, values ...any) {
		all = append(all, page.Remark{Term: term, Text: fmt.Sprintf(format, values...), Tone: tone})
	}
	if !s.Validity.Valid {
		say(page.Bad, "The run is invalid:", "%s. It says nothing about the service; give the load tester more CPU, or less to send.", strings.Join(s.Validity.Reasons, "; "))
	}
	if s.Run.Interrupted {
		say(page.Unsure, "The run was interrupted", "after %s, with %d of %d requests sent: what came later in the trace was not tried.", clock(s.Run.DurationS), s.Requests.Sent, s.Requests.Scheduled)
	}
	if s.Requests.Sent == 0 {
		return all
	}
	all = append(all, aboutLatency(s)...)
	all = append(all, aboutViolations(s, sec)...)
	all = append(all, aboutScaling(s, sec)...)
	if missed := slices.DeleteFunc(slices.Clone(s.Thresholds), func(t Threshold) bool { return t.OK }); len(missed) > 0 {
		var texts []string
		for _, t := range missed {
			texts = append(texts, t.Text)
		}
		say(page.Bad, "Thresholds missed:", "%s.", strings.Join(texts, ", "))
	}
	if gaps, of := unmeasured(sec); gaps >= notableGap {
		say(page.Unsure, "Gaps:", "Prometheus knew nothing of the replicas for %d of %d s. Costs go on with the last count that was seen.", gaps, of)
	}
	return all
}

func aboutLatency(s Summary) []page.Remark {
	if s.Server == nil || s.Server.P99 == nil {
		return []page.Remark{{Tone: page.Unsure, Term: "Server-side latency was not measured,", Text: "so only what the clients saw is known."}}
	}
	promise := milliseconds(&s.SLO.LatencyS)
	server := page.Remark{Tone: page.Good, Text: fmt.Sprintf("of the answered requests is %s, within the promise of %s.", milliseconds(s.Server.P99), promise)}
	if *s.Server.P99 > s.SLO.LatencyS {
		server = page.Remark{Tone: page.Bad, Text: fmt.Sprintf("of the answered requests is %s, above the promise of %s.", milliseconds(s.Server.P99), promise)}
	}
	server.Term = "Server-side p99"
	all := []page.Remark{server}
	if c := s.Client.P99; c != nil && *c-*s.Server.P99 > lateShare*s.SLO.LatencyS {
		way := *c - *s.Server.P99
		why := "it is spent on the way to the dispatcher and back"
		if s.SendLag.P99 != nil && *s.SendLag.P99 > way/2 {
			why = "much of it is the load tester's own lateness, at p99 " + milliseconds(s.SendLag.P99)
		}
		all = append(all, page.Remark{Tone: page.Unsure, Term: "The clients saw more:", Text: fmt.Sprintf("their p99 is %s above the server's; %s.", milliseconds(&way), why)})
	}
	return all
}

// episode is a stretch of seconds with violations that are close to each other.
type episode struct {
	from, to   int // seconds, both with violations
	violations int
}

func episodes(violations timeline.Values) []episode {
	var all []episode
	for i, n := range violations {
		if !(n > 0) {
			continue
		}
		if len(all) == 0 || i-all[len(all)-1].to > episodeGap {
			all = append(all, episode{from: i, to: i})
		}
		e := &all[len(all)-1]
		e.to, e.violations = i, e.violations+int(n)
	}
	return all
}

func aboutViolations(s Summary, sec Seconds) []page.Remark {
	if s.Violations.Count == 0 {
		return []page.Remark{{Tone: page.Good, Term: "No violation:", Text: "every request had its prediction in time."}}
	}
	all := episodes(sec.Violations)
	slices.SortStableFunc(all, func(a, b episode) int { return b.violations - a.violations })
	told := all[:min(mostEpisodes, len(all))]
	covered := 0
	for _, e := range told {
		covered += e.violations
	}
	remarks := []page.Remark{{
		Tone: tone(kept(s)), Term: fmt.Sprintf("%d violations:", s.Violations.Count),
	}}
	if s.Violations.Count == 1 {
		remarks[0].Term = "One violation:"
	}
	if covered == s.Violations.Count {
		remarks[0].Text = fmt.Sprintf("%s of the requests, in %s:", percent(s.Violations.Share), plural(len(all), "stretch", "stretches"))
	} else {
		remarks[0].Text = fmt.Sprintf("%s of the requests, in %s; %d of the violations in the worst %d:", percent(s.Violations.Share), plural(len(all), "stretch", "stretches"), covered, len(told))
	}
	for _, e := range told {
		at := "At " + clock(float64(e.from))
		if e.to > e.from {
			at = fmt.Sprintf("From %s to %s", clock(float64(e.from)), clock(float64(e.to)))
		}
		remarks = append(remarks, page.Remark{Term: fmt.Sprintf("%s, %d:", at, e.violations), Text: cause(s, sec, e)})
	}
	return remarks
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// cause says what went with a stretch of violations, the load tester's own part first.
func cause(s Summary, sec Seconds, e episode) string {
	m := sec.Measured
	begin, end := max(e.from-before, 0), e.to+1
	over := func(values timeline.Values, is func(float64) bool) int {
		n := 0
		for i := begin; i < end; i++ {
			if is(values.At(i)) {
				n++
			}
		}
		return n
	}
	top := func(values timeline.Values) float64 {
		highest := math.NaN()
		for i := begin; i < end; i++ {
			if x := values.At(i); !(x <= highest) && !math.IsNaN(x) {
				highest = x
			}
		}
		return highest
	}

	late := over(sec.SendLag, func(x float64) bool { return x > lateShare*s.SLO.LatencyS })
	if lag := top(sec.SendLag); 2*late >= end-begin {
		return fmt.Sprintf("the load tester itself sent up to %s late.", milliseconds(&lag))
	}
	unanswered := 0
	for i := e.from; i <= e.to; i++ {
		unanswered += int(sec.Unanswered.At(i))
	}
	part := ""
	switch {
	case unanswered == e.violations:
		part = " None of them was answered: they were refused, failed or not sent."
	case unanswered > 0:
		part = fmt.Sprintf(" %d of them were not answered at all, the others late.", unanswered)
	default:
		part = " All were answered, but late."
	}
	starting := over(m.Signal(timeline.Starting), func(x float64) bool { return x > 0 })
	queue := top(m.Signal(timeline.QueueSize))
	full := 0
	for i := begin; i < end; i++ {
		if m.Signal(timeline.CPU).At(i) > 0.9*m.Signal(timeline.CPULimit).At(i) {
			full++
		}
	}
	ready := top(m.Signal(timeline.Ready))
	switch {
	case m == nil || over(m.Signal(timeline.Ready), func(x float64) bool { return !math.IsNaN(x) }) == 0:
		return "Prometheus has no data for it, so the cause is unknown." + part
	case starting > 0:
		return fmt.Sprintf("too few replicas: up to %.0f were ready and more were starting for %d s of it; demand had risen before they could serve%s.%s", ready, starting, waited(queue), part)
	case queue >= ready && queue > 0:
		return fmt.Sprintf("too few replicas: %.0f ready and none on its way%s; the scaler asked for no more.%s", ready, waited(queue), part)
	case 2*full >= end-begin:
		return fmt.Sprintf("too little CPU: the %.0f replicas used all of their limit, with nothing on its way.%s", ready, part)
	default:
		return "not for want of replicas: there was no queue to speak of, and none was starting; single requests were slow." + part
	}
}

func waited(queue float64) string {
	if !(queue > 0) {
		return ""
	}
	return fmt.Sprintf(", and up to %.0f requests waited", queue)
}

func aboutScaling(s Summary, sec Seconds) []page.Remark {
	var all []page.Remark
	if c := s.Scaling; c != nil {
		steps := slices.Clone(c.Reactions)
		slices.SortStableFunc(steps, func(a, b Reaction) int { // the greatest first
			return int(math.Copysign(1, (b.ToPerS-b.FromPerS)-(a.ToPerS-a.FromPerS)))
		})
		steps = steps[:min(mostReactions, len(steps))]
		slices.SortStableFunc(steps, func(a, b Reaction) int { return int(math.Copysign(1, a.AtS-b.AtS)) })
		for _, step := range steps {
			all = append(all, aboutReaction(step))
		}
		did := page.Remark{Term: "Scaling:", Text: fmt.Sprintf("%s out, %d in", plural(c.Outs, "time", "times"), c.Ins)}
		if c.Flaps > 0 {
			did.Tone = page.Unsure
			did.Text += fmt.Sprintf("; %d of these went back on the one before though demand did not", c.Flaps)
		}
		did.Text += "."
		all = append(all, did)
	}
	if c := s.Cost; c != nil && c.CPUSeconds != nil && c.CPULimitSeconds != nil && *c.CPULimitSeconds > 0 {
		all = append(all, page.Remark{Term: "CPU:", Text: fmt.Sprintf("%.0f%% of what the replicas may use was used. The rest is the reserve for bursts, and what was started too early or kept too long.", *c.CPUSeconds / *c.CPULimitSeconds * 100)})
	}
	if sec.Measured == nil {
		all = append(all, page.Remark{Tone: page.Unsure, Term: "Replicas, queue and CPU were not measured:", Text: "the load tester was not told of a Prometheus, so the scaler can't be judged."})
	}
	return all
}

func aboutReaction(r Reaction) page.Remark {
	step := page.Remark{Term: fmt.Sprintf("At %s demand rose from %.0f to %.0f requests per second:", clock(r.AtS), r.FromPerS, r.ToPerS)}
	switch {
	case r.ReadyS != nil && r.OrderedS != nil:
		step.Text = fmt.Sprintf("the first added replica was ordered after %.0f s and ready after %.0f s.", *r.OrderedS, *r.ReadyS)
	case r.ReadyS != nil:
		step.Text = fmt.Sprintf("the first added replica was ready after %.0f s.", *r.ReadyS)
	case r.OrderedS != nil:
		step.Text = fmt.Sprintf("a replica was ordered after %.0f s, but none became ready for it.", *r.OrderedS)
	default:
		step.Text = "no replica was added for it; those that were there had to do."
	}
	return step
}

// unmeasured counts the seconds under load in which nothing is known of the
// replicas; of is 0 where Prometheus was not asked.
func unmeasured(sec Seconds) (gaps, of int) {
	if sec.Measured == nil {
		return 0, 0
	}
	of = min(int(math.Ceil(sec.LoadEnds)), sec.Count)
	for i := range of {
		if math.IsNaN(sec.Measured.Signal(timeline.Ready).At(i)) {
			gaps++
		}
	}
	return gaps, of
}
