package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/timeline"
)

// mebibyte is what memory is shown in.
const mebibyte = 1 << 20

// writePage writes one file that opens without a network: everything is in it.
func writePage(w io.Writer, r Result) error {
	return page.Write(w, document(r))
}

func document(r Result) page.Document {
	s := r.Summary
	charts := runTimeline(r)
	d := page.Document{
		Title: "Load test " + s.Run.ID, Lead: lead(s), Verdict: verdict(s), Tiles: tiles(s),
		Sections: []page.Section{
			{Title: "What to conclude", Remarks: Conclude(s, r.Seconds)},
			{Title: "Over time", Intro: intro(charts), Timeline: charts},
		},
	}
	if !s.Validity.Valid {
		d.Banner = s.Validity.Reasons
	}
	if len(s.Thresholds) > 0 {
		limits := page.Section{Title: "Thresholds", Tables: []page.Table{thresholdTable(s.Thresholds)}}
		d.Sections = slices.Insert(d.Sections, 0, limits)
	}
	if m := r.Seconds.Measured; m != nil && len(m.Decisions) > 0 {
		d.Sections = append(d.Sections, page.Section{
			Title: fmt.Sprintf("Scaling decisions (%d)", len(m.Decisions)), Folded: true, Tables: []page.Table{decisionTable(m.Decisions)},
		})
	}
	d.Sections = append(d.Sections,
		page.Section{Title: "Figures and answers", Tables: answerTables(r)},
		page.Section{Title: "Environment", Facts: environment(s)},
		page.Section{Title: "How to read this", Folded: true, Remarks: explanations},
	)
	return d
}

var explanations = []page.Remark{
	{Term: "Server latency", Text: "runs from the dispatcher’s accepting a request to its writing the reply, from its own histogram; it is the promise. Client latency runs from when the trace meant the request to be sent, so a stall counts against every request that it held up. Both are of answered requests, and the charts show the 99th percentile of the last ten seconds."},
	{Term: "An SLO violation", Text: "is a request whose time came and that got no prediction within the promise: answered late, refused, failed, or not sent because the load tester was out of connections. Seconds in which such a request was due are shaded red."},
	{Term: "Replica-seconds", Text: "are what the run cost: every replica from being ordered until it is gone, added up over the run. CPU-limit-seconds are the same with each replica’s CPU limit, which may change while it runs."},
	{Term: "Reaction time", Text: "is from a step up in demand to the first added replica’s being ready; where there were several steps, their median."},
	{Term: "Send lag", Text: "is the load tester’s own lateness. It is part of client latency; where its 99th percentile is above its bound, the run is invalid, because the machine that sends was too busy."},
	{Term: "A gap", Text: "in a line is time that was not measured; it is never shown as zero. In the grey area no load was on any more."},
	{Term: "Zoom", Text: "by dragging over a chart; double-click shows the whole run again. A click on a name hides its line."},
	{Term: "The same figures", Text: "by second are in autoscaler_log.csv, every request is in requests.csv.gz, and summary.json is for programs."},
}

func lead(s Summary) string {
	words := s.Run.Trace
	if s.Run.Scale != 1 {
		words += fmt.Sprintf(" at %v times its rates", s.Run.Scale)
	}
	if s.Run.Speed != 1 {
		words += fmt.Sprintf(" at %v times its speed", s.Run.Speed)
	}
	words += ", " + s.Run.Arrivals + " arrivals"
	if s.Run.Scaler != "" {
		words += ", scaler " + s.Run.Scaler
	}
	return words + "; started " + s.Run.StartedAt.UTC().Format("2 January 2006, 15:04:05 UTC") + "."
}

// kept tells whether the clients saw the promise kept.
func kept(s Summary) bool { return s.Requests.Sent > 0 && s.Violations.Share <= 1-s.SLO.Quantile }

// verdict says in a sentence what the clients saw of the SLO, and at what cost.
func verdict(s Summary) page.Remark {
	if s.Requests.Sent == 0 {
		return page.Remark{Text: "Nothing was sent.", Tone: page.Bad}
	}
	v := page.Remark{Text: "Promise kept", Tone: page.Good}
	if !kept(s) {
		v = page.Remark{Text: "Promise missed", Tone: page.Bad}
	}
	v.Text += fmt.Sprintf(": %s of the requests had a prediction within %s of when they were meant to be sent; at least %s must",
		percent(1-s.Violations.Share), milliseconds(&s.SLO.LatencyS), percent(s.SLO.Quantile))
	if r := s.Replicas; r != nil {
		v.Text += fmt.Sprintf(". It took %.1f replicas on average, %d at most", r.Mean, r.Peak)
	}
	if s.Run.Interrupted {
		v.Text = "Interrupted after " + clock(s.Run.DurationS) + ". Up to there: " + v.Text
		v.Tone = page.Unsure
	}
	v.Text += "."
	if !s.Validity.Valid {
		v.Text, v.Tone = "This run does not count. What it showed: "+v.Text, page.Unsure
	}
	return v
}

// percent prints a share with two decimals, or with more where it takes them to
// tell it from 0% and from 100%.
func percent(share float64) string {
	x := share * 100
	if math.Abs(x-math.Round(x)) < 1e-9 {
		return strconv.FormatFloat(x, 'f', 0, 64) + "%"
	}
	for decimals := 2; ; decimals++ {
		text := strconv.FormatFloat(x, 'f', decimals, 64)
		if digits := strings.Trim(text, "0."); (digits != "" && text != strconv.FormatFloat(100, 'f', decimals, 64)) || decimals == 6 {
			return text + "%"
		}
	}
}

// clock prints seconds as minutes:seconds.
func clock(seconds float64) string {
	whole := int(math.Round(seconds))
	if whole >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", whole/3600, whole/60%60, whole%60)
	}
	return fmt.Sprintf("%d:%02d", whole/60, whole%60)
}

func tone(ok bool) page.Tone {
	if ok {
		return page.Good
	}
	return page.Bad
}

func tiles(s Summary) []page.Tile {
	promise := milliseconds(&s.SLO.LatencyS)
	server := page.Tile{ID: "latency_server_s.p99", Name: "Server p99", Value: notMeasured, Note: "promise " + promise}
	if s.Server != nil && s.Server.P99 != nil {
		server.Value, server.Tone = milliseconds(s.Server.P99), tone(*s.Server.P99 <= s.SLO.LatencyS)
	}
	client := page.Tile{ID: "latency_client_s.p99", Name: "Client p99", Value: milliseconds(s.Client.P99), Note: "from the intended send time"}
	violations := page.Tile{
		ID: "slo_violations", Name: "SLO violations", Value: fmt.Sprintf("%d (%s)", s.Violations.Count, percent(s.Violations.Share)),
		Note: fmt.Sprintf("at most %s may", percent(1-s.SLO.Quantile)), Tone: tone(kept(s)),
	}
	cost := page.Tile{ID: "cost.replica_seconds", Name: "Replica-seconds", Value: notMeasured, Note: "from ordered to gone"}
	limit := page.Tile{ID: "cost.cpu_limit_seconds", Name: "CPU-limit-seconds", Value: notMeasured, Note: "cores reserved, over time"}
	if c := s.Cost; c != nil {
		cost.Value = whole(&c.ReplicaSeconds)
		limit.Value = whole(c.CPULimitSeconds)
		if c.CPUSeconds != nil && c.CPULimitSeconds != nil && *c.CPULimitSeconds > 0 {
			limit.Note = fmt.Sprintf("core-seconds; %.0f%% of them used", *c.CPUSeconds / *c.CPULimitSeconds * 100)
		}
	}
	replicas := page.Tile{ID: "replicas", Name: "Replicas, mean / peak", Value: notMeasured, Note: "ready"}
	if r := s.Replicas; r != nil {
		replicas.Value = fmt.Sprintf("%.2f / %d", r.Mean, r.Peak)
	}
	reaction := page.Tile{ID: "scaling.reaction_s", Name: "Reaction time", Value: notMeasured, Note: "no step up in demand was followed"}
	if c := s.Scaling; c != nil {
		if c.ReactionS != nil {
			reaction.Value, reaction.Note = fmt.Sprintf("%.0f s", *c.ReactionS), "from a step up to a ready replica"
		}
		if c.Flaps > 0 {
			reaction.Note += fmt.Sprintf("; %s back and forth", plural(c.Flaps, "time", "times"))
		}
	}
	lag := page.Tile{ID: "send_lag_s.p99", Name: "Send lag p99", Value: milliseconds(s.SendLag.P99), Note: "valid up to " + milliseconds(&s.Validity.LagP99BoundS), Tone: tone(s.Validity.Valid)}
	return []page.Tile{server, violations, cost, limit, client, replicas, reaction, lag}
}

func whole(x *float64) string {
	if x == nil {
		return notMeasured
	}
	if *x < 10 {
		return fmt.Sprintf("%.1f", *x)
	}
	return thousands(*x)
}

// thousands prints a whole number with a comma between groups of three digits.
func thousands(x float64) string {
	digits := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func thresholdTable(thresholds []Threshold) page.Table {
	table := page.Table{Head: []string{"Threshold", "Measured", "Limit", ""}}
	for _, t := range thresholds {
		result := page.Cell{Text: "passed", Tone: page.Good}
		if !t.OK {
			result = page.Cell{Text: "missed", Tone: page.Bad}
		}
		table.Rows = append(table.Rows, page.Row{
			page.Words(t.Text), page.Number(t.amount(t.Measured)), page.Number(t.amount(&t.Limit)), result,
		})
	}
	return table
}

// amount prints a limit, or what was measured, in its unit.
func (t Threshold) amount(x *float64) string {
	at := slices.IndexFunc(limitables(), func(l limitable) bool { return l.name == t.Figure })
	switch {
	case x == nil:
		return notMeasured
	case strings.HasSuffix(t.Text, "%"):
		return percent(*x)
	case at >= 0 && limitables()[at].seconds:
		return milliseconds(x)
	}
	return cell(*x)
}

func decisionTable(decisions []timeline.Decision) page.Table {
	table := page.Table{Head: []string{"At", "Replicas", "Reason"}}
	for _, d := range decisions {
		table.Rows = append(table.Rows, page.Row{
			page.Words(clock(d.AtS)), page.Words(fmt.Sprintf("%d → %d", d.From, d.To)), page.Words(orNone(reason(d.Reason))),
		})
	}
	return table
}

// reason makes words of a reason code.
func reason(code string) string {
	if code == "hpa" {
		return "HorizontalPodAutoscaler"
	}
	return strings.ReplaceAll(code, "_", " ")
}

func answerTables(r Result) []page.Table {
	s := r.Summary
	latency := page.Table{Caption: "Latency", Head: []string{"", "server", "client"}}
	server := Latency{}
	if s.Server != nil {
		server = *s.Server
	}
	for _, row := range []struct {
		name           string
		server, client *float64
	}{
		{"p50", server.P50, s.Client.P50}, {"p90", server.P90, s.Client.P90}, {"p99", server.P99, s.Client.P99},
		{"p99.9", server.P999, s.Client.P999}, {"mean", server.Mean, s.Client.Mean}, {"highest", server.Max, s.Client.Max},
	} {
		latency.Rows = append(latency.Rows, page.Row{page.Words(row.name), page.Number(milliseconds(row.server)), page.Number(milliseconds(row.client))})
	}
	requests := page.Table{Caption: "Requests"}
	for _, c := range []count{
		{"scheduled", s.Requests.Scheduled}, {"sent", s.Requests.Sent}, {"answered", s.Requests.Answered},
		{"refused", s.Requests.Refused}, {"failed", s.Requests.Failed}, {"not sent", s.Requests.Unsent},
	} {
		requests.Rows = append(requests.Rows, page.Row{page.Words(c.Name), page.Number(strconv.Itoa(c.Count))})
	}
	statuses := page.Table{Caption: "By HTTP status"}
	for _, c := range sorted(s.ByStatus) {
		name := c.Name
		if name == "0" {
			name = "no answer"
		}
		statuses.Rows = append(statuses.Rows, page.Row{page.Words(name), page.Number(strconv.Itoa(c.Count))})
	}
	codes := page.Table{Caption: "Not answered, by reason"}
	for _, c := range sorted(r.Codes) {
		codes.Rows = append(codes.Rows, page.Row{page.Words(c.Name), page.Number(strconv.Itoa(c.Count))})
	}
	if len(codes.Rows) == 0 {
		codes.Rows = []page.Row{{page.Words("every request was answered")}}
	}
	return []page.Table{latency, requests, statuses, codes}
}

// count is how often something happened.
type count struct {
	Name  string
	Count int
}

func sorted(counts map[string]int) []count {
	var all []count
	for name, n := range counts {
		all = append(all, count{name, n})
	}
	slices.SortFunc(all, func(a, b count) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

func environment(s Summary) []page.Fact {
	cores, limit, batch := notMeasured, notMeasured, notMeasured
	if c := s.Environment.Cores; c != nil {
		cores = strconv.Itoa(*c)
	}
	if l := s.Environment.ReplicaCPULimitCores; l != nil {
		limit = cell(*l) + " cores"
	}
	if b := s.Environment.MaxBatch; b != nil {
		batch = strconv.Itoa(*b)
	}
	arrivals := s.Run.Arrivals
	if s.Run.Arrivals == "gamma" {
		arrivals += fmt.Sprintf(", gaps vary by %v of their mean", s.Run.ArrivalsCV)
	}
	return []page.Fact{
		{Name: "CPU cores of this machine", Value: cores}, {Name: "CPU limit of a replica", Value: limit},
		{Name: "Model", Value: orNone(s.Environment.Model)}, {Name: "Largest batch", Value: batch},
		{Name: "Trace", Value: s.Run.Trace}, {Name: "Factor on rates", Value: cell(s.Run.Scale)}, {Name: "Factor on the clock", Value: cell(s.Run.Speed)},
		{Name: "Arrivals", Value: arrivals}, {Name: "Seed", Value: strconv.FormatInt(s.Run.Seed, 10)},
		{Name: "Repetition", Value: strconv.Itoa(s.Run.Repetition)},
		{Name: "Duration", Value: clock(s.Run.DurationS)},
		{Name: "Sent by", Value: s.Run.Protocol + ", " + s.Run.Mode},
		{Name: "Target", Value: s.Run.Target}, {Name: "Scaler", Value: orNone(s.Run.Scaler)},
	}
}

func intro(t *page.Timeline) string {
	words := "All charts share one time axis: drag over a chart to zoom, double-click for the whole run, point at ▲ or ▼ to see why it was scaled."
	if every := t.Every(); every > 1 {
		words += fmt.Sprintf(" The run is long: of every %d seconds each line shows the lowest and the highest value.", every)
	}
	return words
}

func runTimeline(r Result) *page.Timeline {
	s, sec := r.Summary, r.Seconds
	m := sec.Measured
	inMilliseconds := func(values timeline.Values) []float64 { return times(values, 1000) }
	slo := s.SLO.LatencyS * 1000
	latency := page.Chart{
		ID: "latency", Title: "Latency, 99th percentile", Unit: "ms", Wide: true, AtLeast: slo * 1.15,
		Lines: []page.Line{
			{Name: "client", Colour: 5, Values: inMilliseconds(sec.ClientP99)},
			{Name: "server", Colour: 1, Values: inMilliseconds(m.Signal(timeline.ServerP99))},
		},
		Levels: []page.Level{{Name: "promise " + milliseconds(&s.SLO.LatencyS), Value: slo}},
		Alarm:  &page.Line{Name: "SLO violations", Values: sec.Violations},
	}
	latency.Log = highest(latency.Lines) > 5*slo
	replicas := page.Chart{
		ID: "replicas", Title: "Replicas", Wide: true, AtLeast: 2,
		Lines: []page.Line{
			{Name: "ready", Colour: 3, Steps: true, Area: true, Values: m.Signal(timeline.Ready)},
			{Name: "ready and starting", Colour: 6, Steps: true, Values: added(m.Signal(timeline.Ready), m.Signal(timeline.Starting))},
			{Name: "wanted", Colour: 4, Steps: true, Dashed: true, Values: m.Signal(timeline.Desired)},
		},
	}
	if hpa := m.Signal(timeline.HPADesired); known(highest([]page.Line{{Values: hpa}})) != nil {
		replicas.Lines = append(replicas.Lines, page.Line{Name: "wanted by the HPA", Colour: 2, Steps: true, Dashed: true, Values: hpa})
	}
	t := &page.Timeline{
		Seconds: sec.Count,
		Charts: []page.Chart{
			latency,
			replicas,
			{ID: "demand", Title: "Demand", Unit: "requests per second", Wide: true, AtLeast: 1, Lines: []page.Line{
				{Name: "offered", Colour: 5, Steps: true, Area: true, Values: sec.Offered},
				{Name: "arrived (over 5 s)", Colour: 1, Values: m.Signal(timeline.ArrivalRate)},
				{Name: "answered", Colour: 3, Dashed: true, Values: sec.Answered},
			}},
			{ID: "queue", Title: "Queue", Unit: "requests", AtLeast: 5, Lines: []page.Line{
				{Name: "waiting", Colour: 2, Area: true, Values: m.Signal(timeline.QueueSize)},
			}},
			{ID: "age", Title: "Oldest request in the queue", Unit: "ms", AtLeast: 100, Lines: []page.Line{
				{Name: "age", Colour: 2, Values: inMilliseconds(m.Signal(timeline.QueueAge))},
			}},
			{ID: "cpu", Title: "CPU of the model servers", Unit: "cores", Lines: []page.Line{
				{Name: "used", Colour: 1, Area: true, Values: m.Signal(timeline.CPU)},
				{Name: "limit", Colour: 4, Steps: true, Dashed: true, Values: m.Signal(timeline.CPULimit)},
			}},
			{ID: "memory", Title: "Memory of the model servers", Unit: "MiB", Lines: []page.Line{
				{Name: "resident", Colour: 7, Area: true, Values: times(m.Signal(timeline.Memory), 1.0/mebibyte)},
			}},
		},
	}
	if cpu := m.Signal(timeline.HPACPU); known(highest([]page.Line{{Values: cpu}})) != nil {
		t.Charts = append(t.Charts, page.Chart{ID: "hpa", Title: "CPU as the HPA sees it", Unit: "% of the request", Lines: []page.Line{
			{Name: "measured", Colour: 2, Steps: true, Values: cpu},
		}})
	}
	t.Charts = append(t.Charts, page.Chart{ID: "lag", Title: "Send lag of the load tester, highest", Unit: "ms", AtLeast: 1, Lines: []page.Line{
		{Name: "lag", Colour: 7, Steps: true, Values: inMilliseconds(sec.SendLag)},
	}})
	if sec.LoadEnds > 0 && float64(sec.Count)-sec.LoadEnds > 3 {
		t.Spans = []page.Span{{From: sec.LoadEnds, To: float64(sec.Count), Name: "no load"}}
	}
	if m != nil {
		for _, d := range m.Decisions {
			text := fmt.Sprintf("%d → %d replicas", d.From, d.To)
			if d.Reason != "" {
				text += ": " + reason(d.Reason)
			}
			t.Marks = append(t.Marks, page.Mark{At: d.AtS, Up: d.To > d.From, Text: text})
		}
	}
	return t
}

// highest is NaN where nothing is known.
func highest(lines []page.Line) float64 {
	top := math.NaN()
	for _, l := range lines {
		for _, x := range l.Values {
			if !(x <= top) && !math.IsNaN(x) {
				top = x
			}
		}
	}
	return top
}

func added(a, b timeline.Values) timeline.Values {
	sum := make(timeline.Values, len(a))
	for i := range sum {
		sum[i] = a[i] + b.At(i)
	}
	return sum
}
