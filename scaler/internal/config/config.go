// Package config reads the scaler's config file. It is strict: every unknown
// key, missing key and value out of range is reported, all of them at once.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"time"
)

// Config is what the file says, defaults filled in, all of it valid.
type Config struct {
	// Target or Processes is what is scaled, and the other is empty.
	Target     Target
	Processes  Processes
	Mode       Mode
	Prometheus Prometheus
	Signals    Signals
	SLO        SLO
	Replicas   Replicas
	// Tick is the time between decisions.
	Tick time.Duration
	// LeadTime is the time from ordering a replica to its being ready, until it has
	// been learned.
	LeadTime  time.Duration
	ScaleOut  ScaleOut
	ScaleIn   ScaleIn
	Fallback  Fallback
	Bridge    Bridge
	Schedules []Schedule
	Lease     Lease
	State     State
	// Listen is the address of /metrics, /healthz and /readyz.
	Listen string
}

// Target is what is scaled: any kind that has the scale subresource.
type Target struct {
	Namespace, APIVersion, Kind string
	// Resource is the kind's plural, as the API server's paths have it.
	Resource string
	Name     string
	// Container is the one whose CPU the bridge raises, "" for the pod's first.
	Container string
}

// Mode says whether decisions are carried out.
type Mode string

const (
	// Active carries decisions out.
	Active Mode = "active"
	// DryRun only says what would be done.
	DryRun Mode = "dry-run"
)

// Prometheus is where the signals are read.
type Prometheus struct {
	URL string
	// Timeout of one reading of all signals, less than a tick.
	Timeout time.Duration
	// ScrapeInterval is how often Prometheus scrapes what the signals are made of.
	// The windows of rates are multiples of it.
	ScrapeInterval time.Duration
	// StaleAfter is the age of the newest sample from which a signal is stale, at
	// least two scrapes.
	StaleAfter time.Duration
}

// SLO is the promise: the share Quantile of requests is answered within Latency.
type SLO struct {
	Latency  time.Duration
	Quantile float64
}

// Replicas bounds the count: 0 ≤ Min ≤ Max, 1 ≤ Max.
type Replicas struct {
	Min, Max int
	// IdleAfter is how long nothing may have arrived before the last replicas are
	// taken away, where Min is 0.
	IdleAfter time.Duration
}

// ScaleOut bounds what may be planned for, and how fast replicas are added: by
// Step or the Share (0..1) of the present count, whichever is more, in one
// Interval. Without Step and Share there is no bound.
type ScaleOut struct {
	// Utilization is the highest share of a replica's time that may be planned for.
	Utilization float64
	Step        int
	Share       float64
	Interval    time.Duration
}

// ScaleIn says how slowly replicas are taken away; Step, Share and Interval are
// as in [ScaleOut].
type ScaleIn struct {
	// Tolerance is the share (0..1) by which demand may grow without the smaller
	// count's being too small.
	Tolerance float64
	// Stabilization is how long nothing higher may have been asked for.
	Stabilization time.Duration
	Step          int
	Share         float64
	Interval      time.Duration
}

// Fallback is the least count once the load has been unknown for the time After;
// an After of 0 holds the present count for ever.
type Fallback struct {
	After    time.Duration
	Replicas int
}

// Bridge lets ready replicas have more CPU while others start.
type Bridge struct {
	// Ceiling is the most CPU of one replica, as a multiple of its usual limit; 1
	// switches the bridge off.
	Ceiling float64
}

// Lease is the Kubernetes Lease that elects the one scaler that writes.
type Lease struct {
	Enabled         bool
	Namespace, Name string
}

// State is where what was learned is kept for the scaler that leads next.
type State struct {
	// ConfigMap is its name, in the target's namespace.
	ConfigMap string
}

// Defaults are what a file without any key stands for. What has no default, the
// target's place and Prometheus' URL, is empty.
func Defaults() Config {
	return Config{
		Target: Target{APIVersion: "apps/v1", Kind: "Deployment"},
		Mode:   Active,
		Prometheus: Prometheus{
			Timeout:        800 * time.Millisecond,
			ScrapeInterval: time.Second,
			StaleAfter:     10 * time.Second,
		},
		Signals:  defaultSignals(),
		SLO:      SLO{Latency: 500 * time.Millisecond, Quantile: 0.99},
		Replicas: Replicas{Min: 1, Max: 10, IdleAfter: 5 * time.Minute},
		Tick:     time.Second,
		LeadTime: 15 * time.Second,
		ScaleOut: ScaleOut{Utilization: 0.85},
		ScaleIn:  ScaleIn{Tolerance: 0.1, Stabilization: time.Minute, Step: 1, Share: 0.25, Interval: 5 * time.Second},
		Bridge:   Bridge{Ceiling: 1},
		Lease:    Lease{Enabled: true, Namespace: "headroom", Name: "headroom-scaler"},
		State:    State{ConfigMap: "headroom-scaler-state"},
		Listen:   ":8002",
	}
}

// Equal tells whether both configs say the same.
func (c Config) Equal(other Config) bool {
	if !slices.EqualFunc(c.Schedules, other.Schedules, Schedule.equal) {
		return false
	}
	c.Schedules, other.Schedules = nil, nil
	return reflect.DeepEqual(c, other)
}

// maxFile bounds what is read, in bytes. A config is well under one percent of it.
const maxFile = 1 << 20

// Load reads and checks the file at path. Its error lists every problem, one a
// line, each with the file, the key, the value and what is allowed.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("config file: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("config file: %w", err)
	}
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("%s: larger than the %d bytes allowed", path, maxFile)
	}
	c, problems := Parse(text)
	lines := make([]error, len(problems))
	for i, problem := range problems {
		lines[i] = fmt.Errorf("%s: %s", path, problem)
	}
	return c, errors.Join(lines...)
}

// Parse checks the text of a config file, and returns every problem with it, one
// line each. With any problem the Config is the zero value.
func Parse(text []byte) (Config, []string) {
	c := Defaults()
	c.Processes = defaultProcesses()
	drafts := &schedules{}
	r := reader{
		keys:     c.keys(),
		lists:    map[string]list{"schedules": {most: 100, item: drafts.item}},
		words:    map[string]words{},
		sections: map[string]bool{}, seen: map[string]bool{}, bad: map[string]bool{},
	}
	c.Processes.keys(&r)
	r.read(text)
	c.choose(&r)
	r.missing()
	c.Schedules = drafts.done()
	c.check(&r)
	if len(r.problems) > 0 {
		return Config{}, r.problems
	}
	return c, nil
}
