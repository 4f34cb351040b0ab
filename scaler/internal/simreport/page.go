package simreport

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"headroom.dev/scaler/internal/compare"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// worstCases is how many workloads the page lists.
const worstCases = 20

// page is what the template shows.
type page struct {
	Title, What string
	Cards       []card
	Legend      []legend
	Scatter     *scatter
	Beaten      []string
	Rows        []tableRow
	Charts      []chart
	Strips      []strips
	Totals      []totalRow
	Aims        []aimRow
	Worst       []worstRow
	Others      []string // whose shares stand beside the worst cases
	Faults      []faultRow
	Settings    []setting
	Single      bool
	Colors      []int
}

type card struct{ Name, Value, Detail, Class string }

type legend struct{ Name, Class string }

type tableRow struct {
	Class, Name, Lost, Note                            string
	Avoidable, Share, P50, P99, Cost, Over, Limit, CPU string
	Outs, Ins, Flaps                                   int
	Changes, Reaction                                  string
	Bad                                                bool
	SharePart, CostPart                                string // of a bar, in percent
}

type totalRow struct {
	Class, Name                                               string
	Cases, Lost                                               int
	Avoidable, Share, Median, P90, Worst, Cost, Over, OverP90 string
	OverWorst, Changes                                        string
	Flaps                                                     int
}

type aimRow struct {
	compare.Aim
	Verdict, Class string
	Shown          []string
	More           int
}

type worstRow struct {
	Name   string
	Ours   string
	Cost   string
	Others []string
}

type faultRow struct {
	Kind, Signals string
	Runs          int
	Ins, Beyond   int
}

type setting struct{ Name, Value string }

func writePage(w io.Writer, r *Report) error { return pageTemplate.Execute(w, pageOf(r)) }

func pageOf(r *Report) page {
	var policies []string
	for _, t := range r.Totals {
		policies = append(policies, t.Policy)
	}
	class := styles(policies)
	p := page{Title: "Scalers compared: " + r.Source, Single: r.single(), Settings: settingsOf(r), Colors: make([]int, colors)}
	for i := range p.Colors {
		p.Colors[i] = i
	}
	for _, name := range policies {
		p.Legend = append(p.Legend, legend{name, class[name]})
	}
	if r.single() {
		c := &r.Cases[0]
		s := c.Scenario
		p.What = fmt.Sprintf("A request takes a replica %s (CV %.2g), which works on %d at once; the promise is %s. A replica takes %s to start. Seed %d.",
			s.Service.Mean, s.Service.CV, s.Slots, s.SLO, s.ColdStart.Mean, r.Seed)
		p.Rows = tableOf(c.Rows, class)
		p.Charts = timelines(c.Rows, s.SLO.Seconds(), class)
		p.Scatter, p.Beaten = tradeoff(r.Tradeoff, c.Rows), beaten(r.Tradeoff)
		p.Cards = cardsOf(c.Rows, class)
		return p
	}
	p.What = fmt.Sprintf("Random loads, service times and cold starts, from seed %d. Each is played with every policy from the same arrivals.", r.Seed)
	p.Totals, p.Aims, p.Faults = totalsOf(r.Totals, class), aimsOf(r.Aims), faultsOf(r.Faults)
	p.Worst, p.Others = worstOf(r)
	p.Strips = []strips{
		distribution(r, class, "Avoidable violations", "Share of the requests; a dot for each workload, those without any on the left edge. The long mark is the median, the short one the 90th percentile; in numbers on the right: median · 90th percentile · worst.",
			true, 1e-5, 1, 0.02, func(row compare.Row) (float64, bool) { return row.AvoidableShare, row.Lost == "" }, percentTick, percent),
		distribution(r, class, "Cost", "Replica-seconds by the clairvoyant’s, where one was found; those outside the picture lie at its edges.",
			false, 0.8, 3, 0, func(row compare.Row) (float64, bool) {
				if row.OverClairvoyant == nil {
					return 0, false
				}
				return *row.OverClairvoyant, true
			}, times, times),
	}
	return p
}

func times(x float64) string { return fmt.Sprintf("%.2f×", x) }

func cardsOf(rows []compare.Row, class map[string]string) []card {
	var out []card
	for _, r := range rows {
		if r.Lost != "" {
			continue
		}
		detail := fmt.Sprintf("%.0f replica-seconds", r.ReplicaSeconds)
		if r.OverClairvoyant != nil {
			detail += fmt.Sprintf(", %.2f× the clairvoyant’s", *r.OverClairvoyant)
		}
		out = append(out, card{r.Policy, percent(r.AvoidableShare), detail, hue(class[r.Policy])})
	}
	return out
}

func tableOf(rows []compare.Row, class map[string]string) []tableRow {
	share, cost := 0.0, 0.0
	for _, r := range rows {
		share, cost = max(share, r.AvoidableShare), max(cost, r.ReplicaSeconds)
	}
	part := func(x, of float64) string {
		if of == 0 {
			return "0"
		}
		return fmt.Sprintf("%.1f", 100*x/of)
	}
	var out []tableRow
	for _, r := range rows {
		t := tableRow{
			Class: hue(class[r.Policy]), Name: r.Policy, Lost: r.Lost, Note: r.Note,
			Avoidable: whole(r.Avoidable), Share: percent(r.AvoidableShare),
			P50: fmt.Sprintf("%.0f", 1000*r.LatencyP50), P99: fmt.Sprintf("%.0f", 1000*r.LatencyP99),
			Cost: fmt.Sprintf("%.0f", r.ReplicaSeconds), Over: "–", Limit: fmt.Sprintf("%.0f", r.CPULimitSeconds), CPU: fmt.Sprintf("%.0f", r.CPUSeconds),
			Outs: r.ScaleOuts, Ins: r.ScaleIns, Flaps: r.Flaps, Changes: fmt.Sprintf("%.0f", r.ChangesPerHour), Reaction: "–",
			SharePart: part(r.AvoidableShare, share), CostPart: part(r.ReplicaSeconds, cost), Bad: r.AvoidableShare > 0.01,
		}
		if r.OverClairvoyant != nil {
			t.Over = fmt.Sprintf("%.2f×", *r.OverClairvoyant)
		}
		if r.Reaction != nil {
			t.Reaction = fmt.Sprintf("%.1f s", *r.Reaction)
		}
		out = append(out, t)
	}
	return out
}

func totalsOf(totals []compare.Total, class map[string]string) []totalRow {
	var out []totalRow
	for _, t := range totals {
		s, o := t.AvoidableShares, t.OverClairvoyants
		over := func(x float64) string {
			if x == 0 {
				return "–"
			}
			return fmt.Sprintf("%.2f×", x)
		}
		out = append(out, totalRow{
			Class: hue(class[t.Policy]), Name: t.Policy, Cases: t.Cases, Lost: t.Lost,
			Avoidable: whole(t.Avoidable), Share: percent(t.AvoidableShare), Median: percent(s.Median), P90: percent(s.P90), Worst: percent(s.Worst),
			Cost: fmt.Sprintf("%.0f", t.ReplicaSeconds), Over: over(o.Median), OverP90: over(o.P90), OverWorst: over(o.Worst),
			Changes: fmt.Sprintf("%.0f", t.ChangesPerHour.Median), Flaps: t.Flaps,
		})
	}
	return out
}

// missesShown is how many misses of an aim are named.
const missesShown = 10

func aimsOf(aims []compare.Aim) []aimRow {
	var out []aimRow
	for _, a := range aims {
		row := aimRow{Aim: a, Verdict: "miss", Class: "bad", Shown: a.Misses}
		switch {
		case !a.Judged:
			row.Verdict, row.Class = "not judged", "faint"
		case a.Pass:
			row.Verdict, row.Class = "pass", "good"
		}
		if len(row.Shown) > missesShown {
			row.More = len(row.Shown) - missesShown
			row.Shown = row.Shown[:missesShown]
		}
		out = append(out, row)
	}
	return out
}

func faultsOf(runs []compare.FaultRun) []faultRow {
	var out []faultRow
	for _, f := range runs {
		i := slices.IndexFunc(out, func(r faultRow) bool { return r.Kind == string(f.Kind) && r.Signals == string(f.Signals) })
		if i < 0 {
			i, out = len(out), append(out, faultRow{Kind: string(f.Kind), Signals: string(f.Signals)})
		}
		out[i].Runs++
		out[i].Ins += f.ScaleIns
		out[i].Beyond += f.Beyond
	}
	return out
}

// worstOf are the workloads in which headroom has the most avoidable violations
// by the requests, the worst first, with the others' beside them.
func worstOf(r *Report) (out []worstRow, others []string) {
	type ranked struct {
		share float64
		c     *compare.Case
	}
	var all []ranked
	for i := range r.Cases {
		if row, ok := r.Cases[i].Row(compare.Headroom); ok {
			all = append(all, ranked{row.AvoidableShare, &r.Cases[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		switch {
		case a.share > b.share:
			return -1
		case a.share < b.share:
			return 1
		}
		return strings.Compare(a.c.Scenario.Name, b.c.Scenario.Name)
	})
	for _, t := range r.Totals {
		if t.Policy != compare.Headroom && t.Policy != compare.Clairvoyant {
			others = append(others, t.Policy)
		}
	}
	for _, w := range all[:min(worstCases, len(all))] {
		ours, _ := w.c.Row(compare.Headroom)
		row := worstRow{Name: w.c.Scenario.Name, Ours: percent(w.share), Cost: "–"}
		if ours.OverClairvoyant != nil {
			row.Cost = fmt.Sprintf("%.2f×", *ours.OverClairvoyant)
		}
		for _, name := range others {
			text := "–"
			if theirs, ok := w.c.Row(name); ok {
				text = percent(theirs.AvoidableShare)
			}
			row.Others = append(row.Others, text)
		}
		out = append(out, row)
	}
	return out, others
}

func settingsOf(r *Report) []setting {
	c := r.Headroom
	return []setting{
		{"utilization", fmt.Sprint(c.Utilization)},
		{"stabilization", c.ScaleIn.Stabilization.String()},
		{"scale-in", fmt.Sprintf("%d or %.0f %% every %s", c.ScaleIn.Step, 100*c.ScaleIn.Share, c.ScaleIn.Interval)},
		{"tolerance", fmt.Sprint(c.ScaleIn.Tolerance)},
		{"replicas", fmt.Sprintf("%d to %d", c.Min, c.Max)},
		{"CPU request", fmt.Sprintf("%.0f %% of the limit", 100*r.CPURequest)},
	}
}
