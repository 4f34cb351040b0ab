package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/report"
)

// Sample is what a verdict needs to know of a label; an estimate is nil where it
// was not measured, and where no run of the label counts.
type Sample struct {
	Label string
	// Seeds are of the runs, in the order of the estimates' values.
	Seeds []int64
	// Violations is the share of requests, ServerP99 seconds.
	Violations, ServerP99           *Estimate
	ReplicaSeconds, CPULimitSeconds *Estimate
}

func sample(g Group) Sample {
	s := Sample{
		Label: g.Label, Violations: figureOf("violation_share").estimate(g), ServerP99: figureOf("server_p99_s").estimate(g),
		ReplicaSeconds: figureOf("replica_seconds").estimate(g), CPULimitSeconds: figureOf("cpu_limit_seconds").estimate(g),
	}
	for _, r := range g.Counted {
		s.Seeds = append(s.Seeds, r.Summary.Run.Seed)
	}
	return s
}

// Relation is how label A did against label B. Differences are A's figure minus B's.
type Relation struct {
	A               string     `json:"a"`
	B               string     `json:"b"`
	Violations      Difference `json:"violation_share"`
	ReplicaSeconds  Difference `json:"replica_seconds"`
	CPULimitSeconds Difference `json:"cpu_limit_seconds"`
	// Dominates is the label with fewer violations at no more cost, or with exactly
	// as many at less; empty where there is none.
	Dominates string `json:"dominates"`
}

// Verdict is what a comparison comes to.
type Verdict struct {
	Headline  string     `json:"headline"`
	Tone      page.Tone  `json:"-"`
	Relations []Relation `json:"relations"`
	// Best is the label that kept the promise at the lowest cost; empty where none did.
	Best string `json:"best"`
	// Remarks say it pair by pair.
	Remarks []page.Remark `json:"-"`
}

// Judge compares every label with every other. A label keeps the promise when
// the mean share of violations is at most 1 − slo.Quantile.
func Judge(samples []Sample, slo report.SLO) Verdict {
	allowed := 1 - slo.Quantile
	var judged []Sample
	v := Verdict{Tone: page.Unsure, Relations: []Relation{}}
	for _, s := range samples {
		if s.Violations == nil {
			v.Remarks = append(v.Remarks, page.Remark{Tone: page.Unsure, Term: s.Label + ":", Text: "no run of it counts, so nothing is said about it."})
			continue
		}
		judged = append(judged, s)
	}
	if len(judged) == 0 {
		v.Headline = "No verdict: not one run counts."
		return v
	}
	// The best come first: who kept the promise, then who cost less, then who broke it less.
	ranked := slices.Clone(judged)
	slices.SortStableFunc(ranked, func(a, b Sample) int { return rank(a, b, allowed) })
	best := ranked[0]
	var keepers []Sample
	for _, s := range ranked {
		if keeps(s, allowed) {
			keepers = append(keepers, s)
		}
	}
	for i, a := range ranked {
		for _, b := range ranked[i+1:] {
			v.Relations = append(v.Relations, relate(a, b))
		}
	}
	if len(keepers) > 0 {
		v.Best = best.Label
	}
	v.Headline, v.Tone = headline(ranked, keepers, v.Relations, slo)
	var remarks []page.Remark
	for _, s := range ranked {
		remarks = append(remarks, standing(s, slo))
	}
	for _, r := range v.Relations {
		// What the best does against each, and who dominates whom, is what is asked for.
		if r.A == best.Label || r.Dominates != "" {
			remarks = append(remarks, against(r, slices.ContainsFunc(keepers, func(s Sample) bool { return s.Label == r.A }) &&
				!slices.ContainsFunc(keepers, func(s Sample) bool { return s.Label == r.B })))
		}
	}
	v.Remarks = append(remarks, v.Remarks...)
	v.Remarks = append(v.Remarks, page.Remark{Tone: page.Unsure, Term: "How sure is it?", Text: uncertainty(judged)})
	return v
}

func keeps(s Sample, allowed float64) bool { return s.Violations.Mean <= allowed }

func rank(a, b Sample, allowed float64) int {
	keepsA, keepsB := keeps(a, allowed), keeps(b, allowed)
	switch {
	case keepsA && !keepsB:
		return -1
	case keepsB && !keepsA:
		return 1
	case keepsA && a.ReplicaSeconds != nil && b.ReplicaSeconds != nil && a.ReplicaSeconds.Mean != b.ReplicaSeconds.Mean:
		return sign(a.ReplicaSeconds.Mean - b.ReplicaSeconds.Mean)
	}
	return sign(a.Violations.Mean - b.Violations.Mean)
}

func sign(x float64) int {
	switch {
	case x < 0:
		return -1
	case x > 0:
		return 1
	}
	return 0
}

func relate(a, b Sample) Relation {
	r := Relation{
		A: a.Label, B: b.Label,
		Violations:      differ(a.Violations, b.Violations, a.Seeds, b.Seeds),
		ReplicaSeconds:  differ(a.ReplicaSeconds, b.ReplicaSeconds, a.Seeds, b.Seeds),
		CPULimitSeconds: differ(a.CPULimitSeconds, b.CPULimitSeconds, a.Seeds, b.Seeds),
	}
	switch {
	case r.ReplicaSeconds.Sign == Unknown: // without a cost there is no trade to speak of
	case dominates(r, Less, More):
		r.Dominates = a.Label
	case dominates(r, More, Less):
		r.Dominates = b.Label
	}
	return r
}

// dominates tells whether the label whose figures are better is the better one;
// worse is the opposite sign.
func dominates(r Relation, better, worse Sign) bool {
	costs := []Sign{r.ReplicaSeconds.Sign, r.CPULimitSeconds.Sign}
	if slices.Contains(costs, worse) {
		return false
	}
	return r.Violations.Sign == better || same(r.Violations) && slices.Contains(costs, better)
}

// same tells that there is no difference at all, not even one inside the noise.
func same(d Difference) bool {
	return d.Sign == Noise && d.Mean == 0 && (d.HalfWidth == nil || *d.HalfWidth == 0)
}

func headline(ranked, keepers []Sample, relations []Relation, slo report.SLO) (string, page.Tone) {
	allowed := 1 - slo.Quantile
	limit := percentage(allowed)
	best := ranked[0]
	doubt := ""
	if slices.ContainsFunc(ranked, func(s Sample) bool { return s.Violations.HalfWidth == nil }) {
		doubt = " There is one run of some, so chance is not ruled out."
		if !slices.ContainsFunc(ranked, func(s Sample) bool { return s.Violations.HalfWidth != nil }) {
			doubt = " It is one run of each, so chance is not ruled out."
		}
		if len(ranked) == 1 {
			doubt = " It is one run, so chance is not ruled out."
		}
	}
	figures := percentage(best.Violations.Mean) + " violations (at most " + limit + " may)"
	if best.ReplicaSeconds != nil {
		figures += " for " + whole(best.ReplicaSeconds.Mean) + " replica-seconds"
	}
	switch {
	case len(ranked) == 1 && len(keepers) == 1:
		return fmt.Sprintf("%s kept the promise: %s. There is nothing to compare it with.%s", best.Label, figures, doubt), page.Good
	case len(ranked) == 1:
		return fmt.Sprintf("%s missed the promise: %s. There is nothing to compare it with.%s", best.Label, figures, doubt), page.Bad
	case len(keepers) == 0:
		return fmt.Sprintf("None kept the promise. %s came closest: %s.%s", best.Label, figures, doubt), page.Bad
	case len(keepers) == 1:
		return fmt.Sprintf("Only %s kept the promise: %s; %s missed it.%s", best.Label, figures, labels(ranked[1:]), doubt), page.Good
	}
	second := keepers[1]
	at := slices.IndexFunc(relations, func(r Relation) bool { return r.A == best.Label && r.B == second.Label })
	var text string
	tone := page.Good
	switch d := relations[at].ReplicaSeconds; d.Sign {
	case Less:
		text = fmt.Sprintf("%s kept the promise at the lowest cost: %s, %s fewer than %s.", best.Label, figures, relative(d), second.Label)
	case Unknown:
		text = fmt.Sprintf("%s kept the promise; what they cost was not measured.", labels(keepers))
		tone = page.Unsure
	default:
		text = fmt.Sprintf("%s and %s kept the promise, and which of them costs less is inside the noise of the runs: %s and %s replica-seconds.",
			best.Label, second.Label, whole(best.ReplicaSeconds.Mean), whole(second.ReplicaSeconds.Mean))
		tone = page.Unsure
	}
	if missed := ranked[len(keepers):]; len(missed) > 0 {
		text = strings.TrimSuffix(text, ".") + "; " + labels(missed) + " missed it."
	}
	return text + doubt, tone
}

// labels joins the labels as one says them.
func labels(samples []Sample) string {
	var all []string
	for _, s := range samples {
		all = append(all, s.Label)
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// relative is by how much, without the direction.
func relative(d Difference) string {
	if d.Relative == nil {
		return whole(math.Abs(d.Mean))
	}
	text := fmt.Sprintf("%.0f%%", math.Abs(*d.Relative)*100)
	if d.HalfWidth != nil && d.Mean != 0 {
		text += fmt.Sprintf(" (± %.0f)", math.Abs(*d.HalfWidth*(*d.Relative)/d.Mean)*100)
	}
	return text
}

// standing says what a label kept of the promise, and how surely.
func standing(s Sample, slo report.SLO) page.Remark {
	allowed := 1 - slo.Quantile
	r := page.Remark{Term: s.Label, Tone: page.Bad, Text: "missed the promise"}
	if keeps(s, allowed) {
		r.Tone, r.Text = page.Good, "kept the promise"
	}
	share := percentage(s.Violations.Mean)
	if half := s.Violations.HalfWidth; half != nil {
		share += " ± " + percentage(*half)
		if math.Abs(s.Violations.Mean-allowed) <= *half {
			r.Tone = page.Unsure
			r.Text += " on average, though its runs don't rule out the contrary"
		}
	}
	r.Text += fmt.Sprintf(": %s of its requests were late or not answered", share)
	if s.ServerP99 != nil {
		r.Text += fmt.Sprintf(", with a server-side p99 of %s ms", figureOf("server_p99_s").cell(s.ServerP99))
	}
	r.Text += "."
	return r
}

// against says in words how A did against B; onlyA tells that A kept the promise and B did not.
func against(r Relation, onlyA bool) page.Remark {
	remark := page.Remark{Term: r.A + " against " + r.B + ":"}
	parts := []string{inPoints(r.Violations), byShare(r.ReplicaSeconds, "replica-seconds")}
	if r.CPULimitSeconds.Sign != Unknown {
		parts = append(parts, byShare(r.CPULimitSeconds, "CPU-limit-seconds"))
	}
	remark.Text = strings.Join(parts, ", ") + "."
	costs := []Sign{r.ReplicaSeconds.Sign, r.CPULimitSeconds.Sign}
	cheaper, dearer := slices.Contains(costs, Less), slices.Contains(costs, More)
	switch {
	case r.Dominates != "" && same(r.Violations):
		remark.Tone = page.Good
		remark.Text += " " + r.Dominates + " dominates: as many violations at less cost."
	case r.Dominates != "":
		remark.Tone = page.Good
		remark.Text += " " + r.Dominates + " dominates: fewer violations at no more cost."
	case r.ReplicaSeconds.Sign == Unknown:
	case r.Violations.Sign == Noise && !cheaper && !dearer:
		remark.Tone = page.Unsure
		remark.Text += " The runs can't tell them apart."
	case r.Violations.Sign == Noise && cheaper != dearer:
		remark.Tone = page.Unsure
		remark.Text += fmt.Sprintf(" %s is cheaper; which of them breaks the promise more often, the runs can't tell.", map[bool]string{true: r.A, false: r.B}[cheaper])
	case onlyA && dearer:
		remark.Text += " That is the price of the promise, which " + r.B + " did not keep."
	default:
		remark.Text += " That is a trade: neither is better in everything."
	}
	return remark
}

func percentage(share float64) string { return percent(share) + "%" }

func inPoints(d Difference) string {
	interval := ""
	if d.HalfWidth != nil {
		interval = fmt.Sprintf(" (± %.2f)", *d.HalfWidth*100)
	}
	switch d.Sign {
	case Less:
		return fmt.Sprintf("%.2f%s percentage points fewer violations", -d.Mean*100, interval)
	case More:
		return fmt.Sprintf("%.2f%s percentage points more violations", d.Mean*100, interval)
	case Unknown:
		return "violations not measured"
	}
	if same(d) {
		return "as many violations"
	}
	return fmt.Sprintf("violations equal within the noise (%+.2f ± %.2f percentage points)", d.Mean*100, *d.HalfWidth*100)
}

func byShare(d Difference, what string) string {
	switch d.Sign {
	case Less:
		return relative(d) + " fewer " + what
	case More:
		return relative(d) + " more " + what
	case Unknown:
		return what + " not measured"
	}
	if same(d) {
		return "as many " + what
	}
	return what + " equal within the noise"
}

// uncertainty says what the intervals are, and where there are none.
func uncertainty(samples []Sample) string {
	var single []string
	runs := 0
	for _, s := range samples {
		runs = max(runs, len(s.Violations.Values))
		if s.Violations.HalfWidth == nil {
			single = append(single, s.Label)
		}
	}
	switch {
	case len(single) == len(samples):
		return "One run of each gives no interval: the same run made again would differ, nobody knows by how much. Repeat it to know."
	case len(single) > 0:
		return fmt.Sprintf("Of %s there is one run, which gives no interval. The others' are 95%% confidence intervals, from Student's t over their runs.", strings.Join(single, ", "))
	}
	return fmt.Sprintf("± is half of a 95%% confidence interval, from Student's t over up to %d runs of a label; where the labels have the same seeds, differences are taken seed by seed. With few runs the intervals are wide, and more runs narrow them.", runs)
}
