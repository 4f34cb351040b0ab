package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"headroom.dev/loadtest/internal/timeline"
)

// column is one of autoscaler_summary.csv.
type column struct {
	name string
	cell func(Summary) string
}

// summaryColumns are those of autoscaler_summary.csv. Times are seconds; an
// empty cell is not measured.
func summaryColumns() []column {
	server := func(s Summary) Latency {
		if s.Server == nil {
			return Latency{}
		}
		return *s.Server
	}
	text := func(name string, value func(Summary) string) column { return column{name, value} }
	count := func(name string, value func(Summary) int) column {
		return column{name, func(s Summary) string { return strconv.Itoa(value(s)) }}
	}
	figure := func(name string, value measure) column {
		return column{name, func(s Summary) string { return cell(value(s)) }}
	}
	queue := func(value func(Queue) float64) measure {
		return func(s Summary) float64 {
			if s.Queue == nil {
				return math.NaN()
			}
			return value(*s.Queue)
		}
	}
	return []column{
		text("Run", func(s Summary) string { return s.Run.ID }),
		text("Scaler", func(s Summary) string { return s.Run.Scaler }),
		text("Trace", func(s Summary) string { return s.Run.Trace }),
		count("Requests", func(s Summary) int { return s.Requests.Scheduled }),
		count("Answered", func(s Summary) int { return s.Requests.Answered }),
		count("Refused", func(s Summary) int { return s.Requests.Refused }),
		count("Failed", func(s Summary) int { return s.Requests.Failed }),
		count("SLO_Violations", func(s Summary) int { return s.Violations.Count }),
		figure("SLO_Violation_Share", func(s Summary) float64 { return s.Violations.Share }),
		figure("P50_Client", func(s Summary) float64 { return unknownAsNaN(s.Client.P50) }),
		figure("P90_Client", func(s Summary) float64 { return unknownAsNaN(s.Client.P90) }),
		figure("P99_Client", func(s Summary) float64 { return unknownAsNaN(s.Client.P99) }),
		figure("P50_Server", func(s Summary) float64 { return unknownAsNaN(server(s).P50) }),
		figure("P90_Server", func(s Summary) float64 { return unknownAsNaN(server(s).P90) }),
		figure("P99_Server", func(s Summary) float64 { return unknownAsNaN(server(s).P99) }),
		figure("Replica_Seconds", ofCost(func(c Cost) float64 { return c.ReplicaSeconds })),
		figure("Mean_Replicas", ofReplicas(func(r Replicas) float64 { return r.Mean })),
		figure("Peak_Replicas", ofReplicas(func(r Replicas) float64 { return float64(r.Peak) })),
		figure("Mean_Queue", queue(func(q Queue) float64 { return q.Mean })),
		figure("Peak_Queue", queue(func(q Queue) float64 { return q.Peak })),
		count("Unsent", func(s Summary) int { return s.Requests.Unsent }),
		figure("P999_Client", func(s Summary) float64 { return unknownAsNaN(s.Client.P999) }),
		figure("P999_Server", func(s Summary) float64 { return unknownAsNaN(server(s).P999) }),
		figure("Ready_Replica_Seconds", ofReplicas(func(r Replicas) float64 { return r.ReplicaSeconds })),
		figure("CPU_Limit_Seconds", ofCost(func(c Cost) float64 { return unknownAsNaN(c.CPULimitSeconds) })),
		figure("CPU_Seconds", ofCost(func(c Cost) float64 { return unknownAsNaN(c.CPUSeconds) })),
		figure("Reaction", ofScaling(func(c Scaling) float64 { return unknownAsNaN(c.ReactionS) })),
		figure("Scale_Outs", ofScaling(func(c Scaling) float64 { return float64(c.Outs) })),
		figure("Scale_Ins", ofScaling(func(c Scaling) float64 { return float64(c.Ins) })),
		figure("Flaps", ofScaling(func(c Scaling) float64 { return float64(c.Flaps) })),
		figure("Send_Lag_P99", func(s Summary) float64 { return unknownAsNaN(s.SendLag.P99) }),
		text("Valid", func(s Summary) string { return strconv.FormatBool(s.Validity.Valid) }),
		text("Seed", func(s Summary) string { return strconv.FormatInt(s.Run.Seed, 10) }),
		count("Repetition", func(s Summary) int { return s.Run.Repetition }),
	}
}

// WriteSummaryCSV writes a header and a row for each run. Times are seconds; an
// empty cell is not measured.
func WriteSummaryCSV(w io.Writer, runs ...Summary) error {
	columns := summaryColumns()
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = c.name
	}
	return writeCSV(w, header, func(yield func([]string) error) error {
		for _, s := range runs {
			row := make([]string, len(columns))
			for i, c := range columns {
				row[i] = c.cell(s)
			}
			if err := yield(row); err != nil {
				return err
			}
		}
		return nil
	})
}

var logHeader = []string{
	"Timestamp", "P99_Latency", "Queue_Size", "Replica_Count",
	"Arrival_Rate", "Desired_Replicas", "Starting_Replicas", "Terminating_Replicas", "In_Flight", "CPU_Cores", "Queue_Age",
	"Offered_Rate", "Client_P99_Latency",
	"Existing_Replicas", "CPU_Limit_Cores", "Memory_Bytes", "HPA_Desired", "HPA_CPU_Percent", "SLO_Violations", "Decision",
}

// writeLogCSV writes one row a second. Latencies and ages are seconds, rates
// requests per second; an empty cell is not measured. A decision is written as
// "2>4 demand".
func writeLogCSV(w io.Writer, s Seconds) error {
	decided := map[int][]string{}
	if s.Measured != nil {
		for _, d := range s.Measured.Decisions {
			decided[int(d.AtS)] = append(decided[int(d.AtS)], strings.TrimSpace(fmt.Sprintf("%d>%d %s", d.From, d.To, d.Reason)))
		}
	}
	return writeCSV(w, logHeader, func(yield func([]string) error) error {
		for i := range s.Count {
			row := []string{s.Start.Add(time.Duration(i) * time.Second).Format(time.RFC3339)}
			signals := func(names ...timeline.Signal) {
				for _, signal := range names {
					row = append(row, cell(s.Measured.Signal(signal).At(i)))
				}
			}
			signals(timeline.ServerP99, timeline.QueueSize, timeline.Ready, timeline.ArrivalRate, timeline.Desired, timeline.Starting,
				timeline.Terminating, timeline.InFlight, timeline.CPU, timeline.QueueAge)
			row = append(row, cell(s.Offered.At(i)), cell(s.ClientP99.At(i)))
			signals(timeline.Existing, timeline.CPULimit, timeline.Memory, timeline.HPADesired, timeline.HPACPU)
			row = append(row, cell(s.Violations.At(i)), strings.Join(decided[i], "; "))
			if err := yield(row); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeCSV(w io.Writer, header []string, rows func(yield func([]string) error) error) error {
	writer := csv.NewWriter(w)
	if err := writer.Write(header); err != nil {
		return err
	}
	if err := rows(writer.Write); err != nil {
		return err
	}
	writer.Flush()
	return writer.Error()
}

// cell prints a figure with at most six decimals, and an unknown one as nothing.
func cell(x float64) string {
	if math.IsNaN(x) {
		return ""
	}
	return strconv.FormatFloat(math.Round(x*1e6)/1e6, 'f', -1, 64)
}

// figure is one line of the table that people read.
type figure struct {
	Name, Value string
}

// figures are what a run comes down to, in the order in which it is asked for.
func figures(s Summary) []figure {
	server := Latency{}
	if s.Server != nil {
		server = *s.Server
	}
	latency := func(name string, p *float64) figure {
		return figure{Name: name, Value: milliseconds(p)}
	}
	all := []figure{
		{Name: "requests", Value: strconv.Itoa(s.Requests.Scheduled)},
		{Name: "answered", Value: strconv.Itoa(s.Requests.Answered)},
		{Name: "refused / failed / unsent", Value: fmt.Sprintf("%d / %d / %d", s.Requests.Refused, s.Requests.Failed, s.Requests.Unsent)},
		{
			Name:  fmt.Sprintf("SLO violations (over %s, or no answer)", milliseconds(&s.SLO.LatencyS)),
			Value: fmt.Sprintf("%d (%.2f%%)", s.Violations.Count, s.Violations.Share*100),
		},
		latency("p50 server", server.P50), latency("p90 server", server.P90), latency("p99 server", server.P99), latency("p99.9 server", server.P999),
		latency("p50 client", s.Client.P50), latency("p90 client", s.Client.P90), latency("p99 client", s.Client.P99), latency("p99.9 client", s.Client.P999),
	}
	cost := func(figure func(Cost) float64) string { return rounded(ofCost(figure)(s)) }
	mean, peak := notMeasured, notMeasured
	if r := s.Replicas; r != nil {
		mean, peak = fmt.Sprintf("%.2f", r.Mean), strconv.Itoa(r.Peak)
	}
	queueMean, queuePeak := notMeasured, notMeasured
	if q := s.Queue; q != nil {
		queueMean, queuePeak = fmt.Sprintf("%.1f", q.Mean), fmt.Sprintf("%.0f", q.Peak)
	}
	actions, flaps, reaction := notMeasured, notMeasured, notMeasured
	if c := s.Scaling; c != nil {
		actions, flaps, reaction = fmt.Sprintf("%d / %d", c.Outs, c.Ins), strconv.Itoa(c.Flaps), reactionText(*c)
	}
	return append(all,
		figure{Name: "replica-seconds", Value: cost(func(c Cost) float64 { return c.ReplicaSeconds })},
		figure{Name: "CPU-limit-seconds", Value: cost(func(c Cost) float64 { return unknownAsNaN(c.CPULimitSeconds) })},
		figure{Name: "CPU-seconds used", Value: cost(func(c Cost) float64 { return unknownAsNaN(c.CPUSeconds) })},
		figure{Name: "replicas mean", Value: mean}, figure{Name: "replicas peak", Value: peak},
		figure{Name: "scaled out / in", Value: actions}, figure{Name: "flaps", Value: flaps},
		figure{Name: "reaction to a step", Value: reaction},
		figure{Name: "queue mean", Value: queueMean}, figure{Name: "queue peak", Value: queuePeak},
		figure{Name: "send lag p99", Value: milliseconds(s.SendLag.P99)},
	)
}

// reactionText says how fast replicas came, and after how many of the steps.
func reactionText(c Scaling) string {
	followed := 0
	for _, r := range c.Reactions {
		if r.ReadyS != nil {
			followed++
		}
	}
	switch {
	case len(c.Reactions) == 0:
		return "no step"
	case c.ReactionS == nil:
		return fmt.Sprintf("none to %d", len(c.Reactions))
	default:
		return fmt.Sprintf("%.1f s (%d of %d)", *c.ReactionS, followed, len(c.Reactions))
	}
}

func rounded(x float64) string {
	if math.IsNaN(x) {
		return notMeasured
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

const notMeasured = "–"

func milliseconds(seconds *float64) string {
	switch {
	case seconds == nil:
		return notMeasured
	case *seconds < 0.010:
		return fmt.Sprintf("%.1f ms", *seconds*1000)
	default:
		return fmt.Sprintf("%.0f ms", *seconds*1000)
	}
}

const (
	redInk   = "\x1b[31m"
	plainInk = "\x1b[0m"
)

// Table writes the figures of one run or several, a column for each, and below
// them which of the runs do not count and which thresholds were missed; these
// lines are red with colour.
func Table(w io.Writer, colour bool, runs ...Summary) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(name string, value func(Summary) string) {
		cells := []string{name}
		for _, s := range runs {
			cells = append(cells, value(s))
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	row("run", func(s Summary) string { return s.Run.ID })
	row("scaler", func(s Summary) string { return orNone(s.Run.Scaler) })
	row("trace", func(s Summary) string { return s.Run.Trace })
	if len(runs) > 0 {
		for i, f := range figures(runs[0]) {
			row(f.Name, func(s Summary) string { return figures(s)[i].Value })
		}
	}
	// The table buffers all rows and writes them here.
	if err := table.Flush(); err != nil {
		return err
	}
	for _, line := range warnings(runs) {
		if colour {
			line = redInk + line + plainInk
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func warnings(runs []Summary) []string {
	var all []string
	for _, s := range runs {
		if !s.Validity.Valid {
			all = append(all, fmt.Sprintf("INVALID run %s: %s", s.Run.ID, strings.Join(s.Validity.Reasons, "; ")))
		}
		for _, t := range s.Thresholds {
			if !t.OK {
				all = append(all, fmt.Sprintf("MISSED in run %s: %v", s.Run.ID, t))
			}
		}
	}
	return all
}

func orNone(text string) string {
	if text == "" {
		return notMeasured
	}
	return text
}
