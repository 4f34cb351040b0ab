// Package realrun holds the simulator against reality: it reads what a load test
// measured on a real stack, plays the same arrivals in virtual time, and tells how
// far the two are apart.
package realrun

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// The files of a result folder that are read; contract/summary.schema.json has the
// first.
const (
	summaryFile  = "summary.json"
	timelineFile = "timeline.json"
	requestsFile = "requests.csv.gz"

	schemaVersion = 2
	maxRequests   = 20_000_000
)

// Run is a load test that was made.
type Run struct {
	// Scaler is what scaled: custom, custom-bridge, or hpaN.
	Scaler string
	// SLO is the latency promise.
	SLO time.Duration
	// CPULimit is the cores of a replica.
	CPULimit float64
	// Arrivals are when requests were meant to be sent, from the start and in order.
	Arrivals []time.Duration
	// Seconds are what Prometheus saw, one entry a second; NaN-free: a second of which
	// something is unknown is left out.
	Seconds []Second
	// ColdStart is the mean time from ordering replicas to the first one's being ready; 0 where
	// none was added.
	ColdStart time.Duration
	// Measured is what it came to.
	Measured Figures
	// Answered is the number of requests with a prediction.
	Answered int
}

// Second is one second of the service.
type Second struct {
	CPU      float64 // cores that the model servers used
	Replicas float64 // ready
	Rate     float64 // requests per second that arrived
}

// Figures are what a run and its simulation are compared by.
type Figures struct {
	P50, P99       float64 // seconds, server side
	ViolationShare float64 // 0..1
	ReplicaSeconds float64
	CPUSeconds     float64
	Peak           float64 // most ready replicas
}

type summary struct {
	SchemaVersion int `json:"schema_version"`
	Run           struct {
		Scaler string `json:"scaler"`
	} `json:"run"`
	Environment struct {
		CPULimit *float64 `json:"replica_cpu_limit_cores"`
	} `json:"environment"`
	SLO struct {
		LatencyS float64 `json:"latency_s"`
	} `json:"slo"`
	Requests struct {
		Answered int `json:"answered"`
	} `json:"requests"`
	Violations struct {
		Share float64 `json:"share"`
	} `json:"slo_violations"`
	Server *struct {
		P50 *float64 `json:"p50"`
		P99 *float64 `json:"p99"`
	} `json:"latency_server_s"`
	Replicas *struct {
		Peak float64 `json:"peak"`
	} `json:"replicas"`
	Cost *struct {
		ReplicaSeconds float64  `json:"replica_seconds"`
		CPUSeconds     *float64 `json:"cpu_seconds"`
	} `json:"cost"`
	Scaling *struct {
		Reactions []struct {
			OrderedS *float64 `json:"ordered_s"`
			ReadyS   *float64 `json:"ready_s"`
		} `json:"reactions"`
	} `json:"scaling"`
}

// Load reads a result folder. Errors are one line that names the file and what is
// wrong with it.
func Load(dir string) (Run, error) {
	var s summary
	if err := readJSON(filepath.Join(dir, summaryFile), &s); err != nil {
		return Run{}, err
	}
	path := filepath.Join(dir, summaryFile)
	switch {
	case s.SchemaVersion != schemaVersion:
		return Run{}, fmt.Errorf("%s: schema_version %d; allowed is %d", path, s.SchemaVersion, schemaVersion)
	case s.Server == nil || s.Server.P50 == nil || s.Server.P99 == nil || s.Replicas == nil || s.Cost == nil || s.Cost.CPUSeconds == nil:
		return Run{}, fmt.Errorf("%s: latency_server_s, replicas and cost must be there: the run needs a Prometheus", path)
	case s.Environment.CPULimit == nil || !(*s.Environment.CPULimit > 0):
		return Run{}, fmt.Errorf("%s: environment.replica_cpu_limit_cores must be above 0: the model servers need a CPU limit", path)
	case !(s.SLO.LatencyS > 0):
		return Run{}, fmt.Errorf("%s: slo.latency_s %v must be above 0", path, s.SLO.LatencyS)
	}
	r := Run{
		Scaler: s.Run.Scaler, SLO: time.Duration(s.SLO.LatencyS * float64(time.Second)).Round(time.Microsecond),
		CPULimit: *s.Environment.CPULimit, Answered: s.Requests.Answered,
		Measured: Figures{
			P50: *s.Server.P50, P99: *s.Server.P99, ViolationShare: s.Violations.Share,
			ReplicaSeconds: s.Cost.ReplicaSeconds, CPUSeconds: *s.Cost.CPUSeconds, Peak: s.Replicas.Peak,
		},
	}
	if s.Scaling != nil {
		var sum float64
		var n int
		for _, reaction := range s.Scaling.Reactions {
			if reaction.OrderedS != nil && reaction.ReadyS != nil && *reaction.ReadyS > *reaction.OrderedS {
				sum, n = sum+*reaction.ReadyS-*reaction.OrderedS, n+1
			}
		}
		if n > 0 {
			r.ColdStart = time.Duration(sum / float64(n) * float64(time.Second))
		}
	}
	var err error
	if r.Seconds, err = readTimeline(filepath.Join(dir, timelineFile)); err != nil {
		return Run{}, err
	}
	r.Arrivals, err = readArrivals(filepath.Join(dir, requestsFile))
	return r, err
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a run: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readTimeline(path string) ([]Second, error) {
	var t struct {
		Signals map[string][]*float64 `json:"signals"`
	}
	if err := readJSON(path, &t); err != nil {
		return nil, err
	}
	cpu, ready, rate := t.Signals["model_servers_cpu_cores"], t.Signals["replicas_ready"], t.Signals["arrival_rate_per_s"]
	if len(cpu) == 0 || len(ready) != len(cpu) || len(rate) != len(cpu) {
		return nil, fmt.Errorf("%s: signals model_servers_cpu_cores, replicas_ready and arrival_rate_per_s have %d, %d and %d values; as many of each are needed", path, len(cpu), len(ready), len(rate))
	}
	var out []Second
	for i := range cpu {
		if cpu[i] != nil && ready[i] != nil && rate[i] != nil {
			out = append(out, Second{CPU: *cpu[i], Replicas: *ready[i], Rate: *rate[i]})
		}
	}
	return out, nil
}

// readArrivals takes the intended times of the raw records.
func readArrivals(path string) (times []time.Duration, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a run: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	reader := csv.NewReader(text)
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	column := slices.Index(header, "intended_s")
	if column < 0 {
		return nil, fmt.Errorf("%s: there is no column intended_s", path)
	}
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		seconds, err := strconv.ParseFloat(row[column], 64)
		if err != nil || !(seconds >= 0) || len(times) == maxRequests {
			return nil, fmt.Errorf("%s: request %d is meant for %q; allowed are seconds from 0, of at most %d requests", path, len(times)+1, row[column], maxRequests)
		}
		times = append(times, time.Duration(seconds*float64(time.Second)))
	}
	if len(times) == 0 {
		return nil, fmt.Errorf("%s: there is no request", path)
	}
	slices.Sort(times) // they are written as they end
	return times, nil
}
