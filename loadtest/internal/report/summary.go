// Package report makes the results of a run from its raw files: the summary,
// the tables, the plots and the page that shows them.
package report

import (
	"math"
	"slices"
	"strconv"
	"time"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/timeline"
)

// Quantile is the share of requests that the SLO is about.
const Quantile = 0.99

// Run says what was replayed, when, and against what.
type Run struct {
	// ID is the name of the result folder.
	ID string `json:"id"`
	// StartedAt is the trace's second 0.
	StartedAt time.Time `json:"started_at"`
	// DurationS is from the first intended send time to the last answer, in seconds.
	DurationS float64 `json:"duration_s"`
	// Trace is the trace's name.
	Trace string `json:"trace"`
	// Scale and Speed are the factors on the trace's rates and clock.
	Scale float64 `json:"scale"`
	Speed float64 `json:"speed"`
	// Arrivals is even or poisson, and Seed what the latter was drawn from.
	Arrivals string `json:"arrivals"`
	Seed     int64  `json:"seed"`
	// Target is the dispatcher's base URL.
	Target string `json:"target"`
	// Scaler is what the operator said was scaling.
	Scaler string `json:"scaler"`
	// Interrupted is true when the run was ended before its schedule.
	Interrupted bool `json:"interrupted"`
}

// SLO is the latency promise.
type SLO struct {
	// LatencyS is in seconds.
	LatencyS float64 `json:"latency_s"`
	// Quantile is the share of requests that must be inside it.
	Quantile float64 `json:"quantile"`
}

// Requests counts them by what became of them.
type Requests struct {
	Scheduled int `json:"scheduled"`
	Sent      int `json:"sent"`
	Answered  int `json:"answered"`
	Refused   int `json:"refused"`
	Failed    int `json:"failed"`
	Unsent    int `json:"unsent"`
}

// Violations are the requests that were due and got no prediction inside the SLO.
type Violations struct {
	Count int     `json:"count"`
	Share float64 `json:"share"`
}

// Latency holds percentiles in seconds; nil is not measured.
type Latency struct {
	P50  *float64 `json:"p50"`
	P90  *float64 `json:"p90"`
	P99  *float64 `json:"p99"`
	P999 *float64 `json:"p999"`
	Mean *float64 `json:"mean"`
	Max  *float64 `json:"max"`
}

// Lag is the load tester's own lateness in seconds; nil when nothing was sent.
type Lag struct {
	P50 *float64 `json:"p50"`
	P99 *float64 `json:"p99"`
	Max *float64 `json:"max"`
}

// Replicas are the ready ones over the run.
type Replicas struct {
	ReplicaSeconds float64 `json:"replica_seconds"`
	Mean           float64 `json:"mean"`
	Min            int     `json:"min"`
	Peak           int     `json:"peak"`
	First          int     `json:"first"`
	Last           int     `json:"last"`
}

// Queue is the queue's length over the run.
type Queue struct {
	Mean float64 `json:"mean"`
	Peak float64 `json:"peak"`
}

// Summary is a run in figures, as in summary.json (contract/summary.schema.json).
type Summary struct {
	SchemaVersion int            `json:"schema_version"`
	Run           Run            `json:"run"`
	SLO           SLO            `json:"slo"`
	Requests      Requests       `json:"requests"`
	Violations    Violations     `json:"slo_violations"`
	Client        Latency        `json:"latency_client_s"`
	Server        *Latency       `json:"latency_server_s"`
	SendLag       Lag            `json:"send_lag_s"`
	Replicas      *Replicas      `json:"replicas"`
	Queue         *Queue         `json:"queue"`
	ByStatus      map[string]int `json:"by_status"`
}

const schemaVersion = 1

// Summarize works out a run's figures. scheduled is the number of requests in
// the schedule; t is nil where Prometheus was not asked. Requests that were not
// due when the run was interrupted count as unsent but not as violations.
func Summarize(run Run, slo time.Duration, scheduled int, all *record.Tally, t *timeline.Timeline) Summary {
	run.DurationS = max(all.Last-all.First, 0).Seconds()
	s := Summary{
		SchemaVersion: schemaVersion,
		Run:           run,
		SLO:           SLO{LatencyS: slo.Seconds(), Quantile: Quantile},
		Requests: Requests{
			Scheduled: scheduled, Sent: all.Sent(), Unsent: scheduled - all.Sent(),
			Answered: all.Outcomes[record.Answered], Refused: all.Outcomes[record.Refused], Failed: all.Outcomes[record.Failed],
		},
		Violations: Violations{Count: all.Violations()},
		Client:     distribution(all.Latency),
		SendLag:    Lag{P50: known(all.Lag.Quantile(0.5)), P99: known(all.Lag.Quantile(0.99)), Max: known(all.Lag.Max())},
		ByStatus:   map[string]int{},
	}
	if due := all.Due(); due > 0 {
		s.Violations.Share = float64(s.Violations.Count) / float64(due)
	}
	for status, count := range all.Statuses {
		s.ByStatus[strconv.Itoa(status)] = count
	}
	if t == nil {
		return s
	}
	if l := t.Latency; l != nil {
		s.Server = &Latency{P50: known(l.P50), P90: known(l.P90), P99: known(l.P99), P999: known(l.P999), Mean: known(l.Mean)}
	}
	// The first sample is of the whole second in which the run began.
	s.Replicas = replicasOver(t.Signal(timeline.Ready), all.Last.Seconds())
	s.Queue = queueOver(t.Signal(timeline.QueueSize), all.Last.Seconds())
	return s
}

func distribution(d *record.Distribution) Latency {
	return Latency{
		P50: known(d.Quantile(0.5)), P90: known(d.Quantile(0.9)), P99: known(d.Quantile(0.99)),
		P999: known(d.Quantile(0.999)), Mean: known(d.Mean()), Max: known(d.Max()),
	}
}

// known returns nil for NaN.
func known(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}

// unknownAsNaN is the reverse of known.
func unknownAsNaN(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

// replicasOver integrates ready replicas over the run's seconds. A gap is
// bridged with the last count before it (the first count after it, at the
// start): replicas go on costing while nobody looks. nil when nothing is known.
func replicasOver(ready timeline.Values, seconds float64) *Replicas {
	ready = during(ready, seconds)
	begin := slices.IndexFunc(ready, func(x float64) bool { return !math.IsNaN(x) })
	if begin < 0 {
		return nil
	}
	held := ready[begin]
	r := &Replicas{Min: int(held), Peak: int(held), First: int(held)}
	for i, count := range ready {
		if !math.IsNaN(count) {
			held = count
			r.Min, r.Peak = min(r.Min, int(count)), max(r.Peak, int(count))
		}
		r.ReplicaSeconds += held * min(1, seconds-float64(i))
	}
	// Where the timeline ends before the run, the last count is held.
	if missing := seconds - float64(len(ready)); missing > 0 {
		r.ReplicaSeconds += held * missing
	}
	r.Last = int(held)
	r.Mean = r.ReplicaSeconds / seconds
	return r
}

func queueOver(size timeline.Values, seconds float64) *Queue {
	sum, peak, count := 0.0, 0.0, 0
	for _, x := range during(size, seconds) {
		if !math.IsNaN(x) {
			sum, peak, count = sum+x, max(peak, x), count+1
		}
	}
	if count == 0 {
		return nil
	}
	return &Queue{Mean: sum / float64(count), Peak: peak}
}

// during cuts off what was measured after the run.
func during(values timeline.Values, seconds float64) timeline.Values {
	return values[:min(len(values), int(math.Ceil(seconds)))]
}
