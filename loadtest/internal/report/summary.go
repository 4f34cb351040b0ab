// Package report makes the results of a run from its raw files: the summary,
// the tables, the plots and the page that shows them.
package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/timeline"
)

// DefaultLagBound is how late requests may be sent, at the 99th percentile, in a
// run that counts: a fiftieth of the promise of 500 ms.
const DefaultLagBound = 10 * time.Millisecond

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
	// Arrivals is even, poisson or gamma, ArrivalsCV the coefficient of variation
	// of the gaps between requests, and Seed what they were drawn from.
	Arrivals   string  `json:"arrivals"`
	ArrivalsCV float64 `json:"arrivals_cv"`
	Seed       int64   `json:"seed"`
	// Protocol is http/1.1 or h2, Mode sync or async.
	Protocol string `json:"protocol"`
	Mode     string `json:"mode"`
	// Repetition numbers the runs of one comparison, from 1.
	Repetition int `json:"repetition"`
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

// Environment is what a run's figures depend on besides the demand; nil and
// empty are not known.
type Environment struct {
	// Cores are the CPU cores of the load tester's machine.
	Cores *int `json:"cores"`
	// ReplicaCPULimitCores is the usual CPU limit of one model server.
	ReplicaCPULimitCores *float64 `json:"replica_cpu_limit_cores"`
	// Model is what the model servers serve, MaxBatch the most pictures of one run of it.
	Model    string `json:"model"`
	MaxBatch *int   `json:"max_batch"`
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

// Cost is what the replicas took over the run; nil is not measured.
type Cost struct {
	// ReplicaSeconds counts replicas that start, are ready, or end.
	ReplicaSeconds float64 `json:"replica_seconds"`
	// CPULimitSeconds is the sum of their CPU limits over time, in core-seconds.
	CPULimitSeconds *float64 `json:"cpu_limit_seconds"`
	// CPUSeconds is the CPU time that the model servers used.
	CPUSeconds *float64 `json:"cpu_seconds"`
}

// Reaction is how a scaler followed one step up in demand.
type Reaction struct {
	// AtS is when demand stepped up, in seconds from the run's start, from FromPerS
	// to ToPerS requests per second.
	AtS      float64 `json:"at_s"`
	FromPerS float64 `json:"from_per_s"`
	ToPerS   float64 `json:"to_per_s"`
	// OrderedS and ReadyS are the seconds from the step to the first added replica's
	// being ordered and being ready; nil when none was.
	OrderedS *float64 `json:"ordered_s"`
	ReadyS   *float64 `json:"ready_s"`
}

// Scaling is what the scaler did.
type Scaling struct {
	// Outs and Ins count its decisions by direction.
	Outs int `json:"outs"`
	Ins  int `json:"ins"`
	// Flaps are changes of direction that demand does not explain.
	Flaps     int        `json:"flaps"`
	Reactions []Reaction `json:"reactions"`
	// ReactionS is the median of the reactions' ReadyS; nil when none has one.
	ReactionS *float64 `json:"reaction_s"`
}

// Validity tells whether the load was what the schedule said.
type Validity struct {
	Valid bool `json:"valid"`
	// Reasons say why it was not, one sentence each; empty when it was.
	Reasons []string `json:"reasons"`
	// LagP99BoundS is the highest 99th percentile of the send lag of a valid run, in seconds.
	LagP99BoundS float64 `json:"lag_p99_bound_s"`
}

// Threshold is a limit on a figure, and what became of it.
type Threshold struct {
	// Text is the limit as it was given, such as p99=500ms.
	Text string `json:"text"`
	// Figure names what is limited.
	Figure string `json:"figure"`
	// Limit and Measured are seconds, shares (0 to 1) or counts, as the figure is;
	// Measured is nil when the figure was not measured, which is a miss.
	Limit    float64  `json:"limit"`
	Measured *float64 `json:"measured"`
	OK       bool     `json:"ok"`
}

// Summary is a run in figures, as in summary.json (contract/summary.schema.json).
type Summary struct {
	SchemaVersion int            `json:"schema_version"`
	Run           Run            `json:"run"`
	Environment   Environment    `json:"environment"`
	SLO           SLO            `json:"slo"`
	Requests      Requests       `json:"requests"`
	Violations    Violations     `json:"slo_violations"`
	Client        Latency        `json:"latency_client_s"`
	Server        *Latency       `json:"latency_server_s"`
	SendLag       Lag            `json:"send_lag_s"`
	Replicas      *Replicas      `json:"replicas"`
	Cost          *Cost          `json:"cost"`
	Scaling       *Scaling       `json:"scaling"`
	Queue         *Queue         `json:"queue"`
	ByStatus      map[string]int `json:"by_status"`
	Validity      Validity       `json:"validity"`
	Thresholds    []Threshold    `json:"thresholds"`
}

const schemaVersion = 2

// Plan is what a run was to be, and what it is judged by.
type Plan struct {
	Run Run
	// SLO is the latency promise.
	SLO time.Duration
	// Scheduled is the number of requests in the schedule.
	Scheduled int
	// Cores are the CPU cores of the load tester's machine; nil is not known.
	Cores *int
	// LagBound is the highest 99th percentile of the send lag of a valid run.
	LagBound time.Duration
	// Limits are what figures may be at most.
	Limits []Limit
}

// Summarize works out a run's figures. Requests that were not due when the run
// was interrupted count as unsent but not as violations.
func Summarize(plan Plan, all *record.Tally, sec Seconds) Summary {
	s := summarize(plan, all, sec)
	for _, limit := range plan.Limits {
		s.Thresholds = append(s.Thresholds, limit.check(s))
	}
	return s
}

func summarize(plan Plan, all *record.Tally, sec Seconds) Summary {
	run := plan.Run
	run.DurationS = max(all.Last-all.First, 0).Seconds()
	s := Summary{
		SchemaVersion: schemaVersion,
		Run:           run,
		Environment:   Environment{Cores: plan.Cores},
		SLO:           SLO{LatencyS: plan.SLO.Seconds(), Quantile: Quantile},
		Requests: Requests{
			Scheduled: plan.Scheduled, Sent: all.Sent(), Unsent: plan.Scheduled - all.Sent(),
			Answered: all.Outcomes[record.Answered], Refused: all.Outcomes[record.Refused], Failed: all.Outcomes[record.Failed],
		},
		Violations: Violations{Count: all.Violations()},
		Client:     distribution(all.Latency),
		SendLag:    Lag{P50: known(all.Lag.Quantile(0.5)), P99: known(all.Lag.Quantile(0.99)), Max: known(all.Lag.Max())},
		ByStatus:   map[string]int{},
		Validity:   judge(all, plan.LagBound),
		Thresholds: []Threshold{},
	}
	if due := all.Due(); due > 0 {
		s.Violations.Share = float64(s.Violations.Count) / float64(due)
	}
	for status, count := range all.Statuses {
		s.ByStatus[strconv.Itoa(status)] = count
	}
	t := sec.Measured
	if t == nil {
		return s
	}
	if l := t.Latency; l != nil {
		s.Server = &Latency{P50: known(l.P50), P90: known(l.P90), P99: known(l.P99), P999: known(l.P999), Mean: known(l.Mean)}
	}
	s.Environment.Model, s.Environment.MaxBatch = t.ModelServers.Model, t.ModelServers.MaxBatch
	s.Environment.ReplicaCPULimitCores = t.ModelServers.CPULimitCores
	// The first sample is of the whole second in which the run began.
	s.Replicas = replicasOver(t.Signal(timeline.Ready), all.Last.Seconds())
	s.Queue = queueOver(t.Signal(timeline.QueueSize), all.Last.Seconds())
	s.Cost = costOver(t, all.Last.Seconds())
	s.Scaling = scalingOver(t, sec.due, run.StartedAt.Sub(t.Start).Seconds())
	return s
}

// judge tells whether the load was what the schedule said. What was not sent
// because the run was interrupted is no fault of it.
func judge(all *record.Tally, lagBound time.Duration) Validity {
	v := Validity{Reasons: []string{}, LagP99BoundS: lagBound.Seconds()}
	if lag := all.Lag.Quantile(Quantile); lag > v.LagP99BoundS {
		v.Reasons = append(v.Reasons, fmt.Sprintf("send lag p99 is %s ms, above the bound of %s ms", cell(lag*1000), cell(v.LagP99BoundS*1000)))
	}
	if unsent := all.Outcomes[record.Unsent]; unsent > 0 {
		v.Reasons = append(v.Reasons, fmt.Sprintf("%d of %d requests were not sent when their time came", unsent, all.Due()))
	}
	v.Valid = len(v.Reasons) == 0
	return v
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

// replicasOver works out what is known of the ready replicas over the run's
// seconds; nil when nothing is.
func replicasOver(ready timeline.Values, seconds float64) *Replicas {
	total, known := integral(ready, seconds)
	if !known {
		return nil
	}
	r := &Replicas{Min: math.MaxInt, ReplicaSeconds: total, Mean: total / seconds, First: -1}
	for _, x := range during(ready, seconds) {
		if math.IsNaN(x) {
			continue
		}
		count := int(x)
		if r.First < 0 {
			r.First = count
		}
		r.Min, r.Peak, r.Last = min(r.Min, count), max(r.Peak, count), count
	}
	return r
}

// costOver adds up what the replicas took over the run's seconds; nil when it is
// not known how many there were.
func costOver(t *timeline.Timeline, seconds float64) *Cost {
	total, measured := integral(t.Signal(timeline.Existing), seconds)
	if !measured {
		return nil
	}
	c := &Cost{ReplicaSeconds: total, CPUSeconds: t.ModelServers.CPUSeconds}
	if limits, measured := integral(t.Signal(timeline.CPULimit), seconds); measured {
		c.CPULimitSeconds = &limits
	}
	return c
}

// integral adds up one value a second over the run's seconds, of which the last
// may be a part of one. A gap is bridged with the last value before it (the first
// after it, at the start): what is there goes on costing while nobody looks, also
// where the timeline ends before the run. Not known when no value is.
func integral(values timeline.Values, seconds float64) (sum float64, known bool) {
	values = during(values, seconds)
	begin := slices.IndexFunc(values, func(x float64) bool { return !math.IsNaN(x) })
	if begin < 0 {
		return 0, false
	}
	held := values[begin]
	for i, x := range values {
		if !math.IsNaN(x) {
			held = x
		}
		sum += held * min(1, seconds-float64(i))
	}
	return sum + held*max(0, seconds-float64(len(values))), true
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
