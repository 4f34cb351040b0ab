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

var summaryHeader = []string{
	"Run", "Scaler", "Trace", "Requests", "Answered", "Refused", "Failed", "SLO_Violations", "SLO_Violation_Share",
	"P50_Client", "P90_Client", "P99_Client", "P50_Server", "P90_Server", "P99_Server",
	"Replica_Seconds", "Mean_Replicas", "Peak_Replicas", "Mean_Queue", "Peak_Queue", "Unsent",
}

// writeSummaryCSV writes one header and one row. Latencies are seconds; an
// empty cell is not measured.
func writeSummaryCSV(w io.Writer, s Summary) error {
	server := Latency{}
	if s.Server != nil {
		server = *s.Server
	}
	row := []string{
		s.Run.ID, s.Run.Scaler, s.Run.Trace,
		strconv.Itoa(s.Requests.Scheduled), strconv.Itoa(s.Requests.Answered), strconv.Itoa(s.Requests.Refused), strconv.Itoa(s.Requests.Failed),
		strconv.Itoa(s.Violations.Count), cell(s.Violations.Share),
		cell(unknownAsNaN(s.Client.P50)), cell(unknownAsNaN(s.Client.P90)), cell(unknownAsNaN(s.Client.P99)),
		cell(unknownAsNaN(server.P50)), cell(unknownAsNaN(server.P90)), cell(unknownAsNaN(server.P99)),
	}
	if r := s.Replicas; r != nil {
		row = append(row, cell(r.ReplicaSeconds), cell(r.Mean), strconv.Itoa(r.Peak))
	} else {
		row = append(row, "", "", "")
	}
	if q := s.Queue; q != nil {
		row = append(row, cell(q.Mean), cell(q.Peak))
	} else {
		row = append(row, "", "")
	}
	return writeCSV(w, summaryHeader, func(yield func([]string) error) error {
		return yield(append(row, strconv.Itoa(s.Requests.Unsent)))
	})
}

var logHeader = []string{
	"Timestamp", "P99_Latency", "Queue_Size", "Replica_Count",
	"Arrival_Rate", "Desired_Replicas", "Starting_Replicas", "Terminating_Replicas", "In_Flight", "CPU_Cores", "Queue_Age",
	"Offered_Rate", "Client_P99_Latency",
}

// writeLogCSV writes one row a second. Latencies and ages are seconds, rates
// requests per second; an empty cell is not measured.
func writeLogCSV(w io.Writer, s Seconds) error {
	return writeCSV(w, logHeader, func(yield func([]string) error) error {
		for i := range s.Count {
			row := []string{s.Start.Add(time.Duration(i) * time.Second).Format(time.RFC3339)}
			for _, signal := range []timeline.Signal{
				timeline.ServerP99, timeline.QueueSize, timeline.Ready, timeline.ArrivalRate, timeline.Desired, timeline.Starting,
				timeline.Terminating, timeline.InFlight, timeline.CPU, timeline.QueueAge,
			} {
				row = append(row, cell(s.measuredAt(signal, i)))
			}
			if err := yield(append(row, cell(s.Offered.At(i)), cell(s.ClientP99.At(i)))); err != nil {
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

// measuredAt returns a signal's value in a second; NaN where it was not measured.
func (s Seconds) measuredAt(signal timeline.Signal, i int) float64 {
	return s.Measured.Signal(signal).At(i)
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
	// Bad marks a figure that breaks the promise.
	Bad bool
}

// figures are what a run comes down to, in the order in which it is asked for.
func figures(s Summary) []figure {
	server := Latency{}
	if s.Server != nil {
		server = *s.Server
	}
	over := func(p *float64) bool { return unknownAsNaN(p) > s.SLO.LatencyS }
	all := []figure{
		{Name: "requests", Value: strconv.Itoa(s.Requests.Scheduled)},
		{Name: "answered", Value: strconv.Itoa(s.Requests.Answered)},
		{Name: "refused / failed / unsent", Value: fmt.Sprintf("%d / %d / %d", s.Requests.Refused, s.Requests.Failed, s.Requests.Unsent)},
		{Name: "p50 client", Value: milliseconds(s.Client.P50), Bad: over(s.Client.P50)},
		{Name: "p99 client", Value: milliseconds(s.Client.P99), Bad: over(s.Client.P99)},
		{Name: "p50 server", Value: milliseconds(server.P50), Bad: over(server.P50)},
		{Name: "p99 server", Value: milliseconds(server.P99), Bad: over(server.P99)},
		{
			Name:  fmt.Sprintf("SLO violations (over %s, or no answer)", milliseconds(&s.SLO.LatencyS)),
			Value: fmt.Sprintf("%d (%.2f%%)", s.Violations.Count, s.Violations.Share*100), Bad: s.Violations.Share > 1-s.SLO.Quantile,
		},
	}
	mean, peak, cost := notMeasured, notMeasured, notMeasured
	if r := s.Replicas; r != nil {
		mean, peak, cost = fmt.Sprintf("%.2f", r.Mean), strconv.Itoa(r.Peak), fmt.Sprintf("%.0f", r.ReplicaSeconds)
	}
	queueMean, queuePeak := notMeasured, notMeasured
	if q := s.Queue; q != nil {
		queueMean, queuePeak = fmt.Sprintf("%.1f", q.Mean), fmt.Sprintf("%.0f", q.Peak)
	}
	return append(all,
		figure{Name: "replicas mean", Value: mean}, figure{Name: "replicas peak", Value: peak},
		figure{Name: "replica-seconds", Value: cost},
		figure{Name: "queue mean", Value: queueMean}, figure{Name: "queue peak", Value: queuePeak},
		figure{Name: "send lag p99", Value: milliseconds(s.SendLag.P99)},
	)
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

// Table writes the figures of one run or several, a column for each.
func Table(w io.Writer, runs ...Summary) error {
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
	return table.Flush()
}

func orNone(text string) string {
	if text == "" {
		return notMeasured
	}
	return text
}
