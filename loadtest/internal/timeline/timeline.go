// Package timeline reads from Prometheus what the service and its scaler did
// during a run, second by second. What was not measured stays unknown (NaN in
// memory, null in JSON, an empty cell in CSV); it is never taken for zero.
package timeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Signal names one line of the timeline.
type Signal string

// The signals, with their units.
const (
	QueueSize   Signal = "queue_size"              // entries that no worker has taken yet
	QueueAge    Signal = "queue_age_s"             // age of the oldest of them, seconds
	Ready       Signal = "replicas_ready"          // model server replicas
	Starting    Signal = "replicas_starting"       // model server replicas
	Terminating Signal = "replicas_terminating"    // model server replicas
	Desired     Signal = "replicas_desired"        // what the scaler last asked for
	ArrivalRate Signal = "arrival_rate_per_s"      // requests per second at the dispatcher, over 5 s
	ServerP99   Signal = "server_p99_s"            // of answered requests, over 10 s, seconds
	InFlight    Signal = "in_flight"               // requests at the model servers
	CPU         Signal = "model_servers_cpu_cores" // over 10 s
	Memory      Signal = "memory_bytes"            // resident, of all model servers
	// CPULimit is the sum of the model servers' CPU limits, in cores. A replica that
	// exists and is not scraped, as one that starts, counts with the usual limit.
	CPULimit Signal = "cpu_limit_cores"
	// Existing are the model server replicas in any state. Several dispatchers may
	// see one replica in different states, so it may be less than the states' sum.
	Existing   Signal = "replicas_existing"
	HPADesired Signal = "hpa_desired"     // what a HorizontalPodAutoscaler last asked for
	HPACPU     Signal = "hpa_cpu_percent" // CPU that it measured, as a percentage of what is requested
)

// Values is one value a second; NaN is not measured.
type Values []float64

// MarshalJSON writes NaN as null.
func (v Values) MarshalJSON() ([]byte, error) {
	text := []byte{'['}
	for i, value := range v {
		if i > 0 {
			text = append(text, ',')
		}
		if math.IsNaN(value) || math.IsInf(value, 0) {
			text = append(text, "null"...)
		} else {
			text = strconv.AppendFloat(text, value, 'g', -1, 64)
		}
	}
	return append(text, ']'), nil
}

// UnmarshalJSON reads null as NaN.
func (v *Values) UnmarshalJSON(text []byte) error {
	var known []*float64
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&known); err != nil {
		return err
	}
	*v = make(Values, len(known))
	for i, value := range known {
		(*v)[i] = math.NaN()
		if value != nil {
			(*v)[i] = *value
		}
	}
	return nil
}

// At returns the value of second i, NaN where there is none.
func (v Values) At(i int) float64 {
	if i < 0 || i >= len(v) {
		return math.NaN()
	}
	return v[i]
}

// Timeline is what Prometheus knew about a run.
type Timeline struct {
	// Start is the instant of every signal's first value; a whole second.
	Start time.Time `json:"start"`
	// Seconds is how many values each signal has.
	Seconds int `json:"seconds"`
	// Signals holds one value a second for each signal.
	Signals map[Signal]Values `json:"signals"`
	// Latency is the server-side latency over the run; nil when no request was answered.
	Latency *Latency `json:"server_latency_s"`
	// Decisions are the changes of the wanted number of replicas, in order; nil when unknown.
	Decisions []Decision `json:"decisions"`
	// ModelServers is what the model servers said about themselves and used.
	ModelServers ModelServers `json:"model_servers"`
}

// ModelServers is what is known about the model servers of a run; nil and
// empty are unknown.
type ModelServers struct {
	// Model is what they serve, MaxBatch the most pictures of one run of it.
	Model    string `json:"model"`
	MaxBatch *int   `json:"max_batch"`
	// CPULimitCores is the usual CPU limit of one: the lowest over the run.
	CPULimitCores *float64 `json:"cpu_limit_cores"`
	// CPUSeconds is the CPU time that they used during the run.
	CPUSeconds *float64 `json:"cpu_seconds"`
}

// setStates keeps the replicas by state. As many exist as the dispatcher that
// sees most of them says; a state's share of them ends there.
func (t *Timeline) setStates(ready, starting, terminating Values) {
	existing := t.Signals[Existing]
	states := []struct {
		signal Signal
		values Values
	}{{Ready, ready}, {Starting, starting}, {Terminating, terminating}}
	for i := range states {
		if states[i].values == nil {
			states[i].values = unknown(t.Seconds)
		}
		t.Signals[states[i].signal] = states[i].values
	}
	for i, left := range existing {
		for _, state := range states {
			if !math.IsNaN(state.values[i]) {
				state.values[i] = min(state.values[i], left)
				left -= state.values[i]
			}
		}
	}
}

// setCPULimit adds up the CPU limits: sum is of the replicas that are scraped,
// of which there are count. One that exists beside them has the usual limit.
func (t *Timeline) setCPULimit(sum, count Values) {
	limit := make(Values, t.Seconds)
	for i := range limit {
		unseen := t.Signals[Existing][i] - orZero(count[i])
		switch {
		case math.IsNaN(unseen):
			limit[i] = sum[i]
		case unseen <= 0:
			limit[i] = orZero(sum[i])
		case t.ModelServers.CPULimitCores == nil:
			limit[i] = math.NaN()
		default:
			limit[i] = orZero(sum[i]) + unseen**t.ModelServers.CPULimitCores
		}
	}
	t.Signals[CPULimit] = limit
}

func orZero(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return x
}

// lowestOf returns the lowest known value; nil when there is none.
func lowestOf(values Values) *float64 {
	lowest := math.NaN()
	for _, x := range values {
		if !(x >= lowest) && !math.IsNaN(x) {
			lowest = x
		}
	}
	if math.IsNaN(lowest) {
		return nil
	}
	return &lowest
}

// UnmarshalJSON works out from the others the signals and decisions that a
// timeline of an older version lacks.
func (t *Timeline) UnmarshalJSON(text []byte) error {
	type plain Timeline
	if err := json.Unmarshal(text, (*plain)(t)); err != nil {
		return err
	}
	if t.Signals[Ready] == nil || t.Validate() != nil {
		return nil // it is for the caller to refuse it
	}
	if t.Signals[Existing] == nil {
		existing := make(Values, t.Seconds)
		for i := range existing {
			existing[i] = t.Signals[Ready][i] + orZero(t.Signals[Starting].At(i)) + orZero(t.Signals[Terminating].At(i))
		}
		t.Signals[Existing] = existing
	}
	if t.Decisions == nil {
		if t.Decisions = changes(t.Signals[Desired]); t.Decisions == nil {
			t.Decisions = changes(t.present())
		}
	}
	return nil
}

// Signal returns a signal's values; nil when there are none.
func (t *Timeline) Signal(s Signal) Values {
	if t == nil {
		return nil
	}
	return t.Signals[s]
}

// Validate makes sure that a timeline that was read from a file hangs together.
func (t *Timeline) Validate() error {
	for signal, values := range t.Signals {
		if len(values) != t.Seconds {
			return fmt.Errorf("signal %s has %d values, allowed are %d as given by seconds", signal, len(values), t.Seconds)
		}
	}
	return nil
}

// Latency is a distribution of server-side latencies, in seconds, from the
// buckets of dispatcher_request_duration_seconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Mean float64 `json:"mean"`
}

// Bucket is one bucket of a histogram: the count of values at or below Bound.
type Bucket struct {
	Bound, Count float64
}

// Quantile returns the value that a share q (0 to 1) of a histogram is at or
// below, interpolated in a straight line inside the bucket that it falls into,
// as PromQL's histogram_quantile does: the first bucket starts at 0, and in the
// last one, which has no upper end, the answer is its lower end. buckets are
// sorted by Bound, cumulative, and end with +Inf. NaN when they are empty.
func Quantile(q float64, buckets []Bucket) float64 {
	if len(buckets) < 2 || !math.IsInf(buckets[len(buckets)-1].Bound, 1) {
		return math.NaN()
	}
	total := buckets[len(buckets)-1].Count
	if total <= 0 {
		return math.NaN()
	}
	rank := q * total
	lower := Bucket{}
	for _, upper := range buckets {
		if upper.Count >= rank && upper.Count > lower.Count {
			if math.IsInf(upper.Bound, 1) {
				return lower.Bound
			}
			return lower.Bound + (upper.Bound-lower.Bound)*(rank-lower.Count)/(upper.Count-lower.Count)
		}
		lower = upper
	}
	return lower.Bound
}

// Sample is a counter's value at an instant.
type Sample struct {
	At    time.Time
	Value float64
}

// Increase is by how much a counter rose between start and the last sample.
// The baseline is the last sample at or before start; a counter with none was
// born during the run, at 0. A fall is a restart, after which it counts from 0.
func Increase(samples []Sample, start time.Time) float64 {
	previous, sum := 0.0, 0.0
	for _, sample := range samples {
		switch {
		case !sample.At.After(start):
		case sample.Value < previous:
			sum += sample.Value
		default:
			sum += sample.Value - previous
		}
		previous = sample.Value
	}
	return sum
}
