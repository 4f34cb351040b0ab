// Package runtest makes result folders for tests, as a run leaves them: it
// simulates a service that a scaler drives, request by request.
package runtest

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

// SLO is the promise of every run.
const SLO = 500 * time.Millisecond

const (
	tick      = 0.005 // seconds
	service   = 0.1   // mean seconds of one request on one replica
	coldStart = 9.0   // seconds from being ordered to being ready
	cpuLimit  = 0.15  // cores of a replica
	mebibyte  = 1 << 20
)

// Policy returns the replicas wanted at second t, given the requests per second
// of the last 3 s, the share of the replicas' CPU that the last 15 s took, and
// how many are wanted now.
type Policy func(t int, rate, busy float64, now int) (replicas int, reason string)

// Quick follows demand within seconds and keeps a reserve.
func Quick(_ int, rate, _ float64, now int) (int, string) {
	wanted := int(math.Ceil(rate*service/0.62)) + 1
	if wanted > now {
		return wanted, "demand"
	}
	return max(wanted, now-1), "scale_in"
}

// HPA is Kubernetes' formula on CPU, every 15 s with a tolerance of 10%. What a
// replica requests is 80% of its limit.
func HPA(percent float64) Policy {
	return func(t int, _, busy float64, now int) (int, string) {
		ratio := busy / 0.8 * 100 / percent
		if t%15 != 0 || math.Abs(ratio-1) <= 0.1 {
			return now, ""
		}
		return max(1, min(int(math.Ceil(float64(now)*ratio)), 2*now)), "hpa"
	}
}

// Workload is a run's demand in requests per second: 7, from second 250 a minute
// at 20, then 36 up to second 420, and back to 7 by 480.
func Workload() []float64 {
	rates := make([]float64, 630)
	for i := range rates {
		switch {
		case i < 250 || i >= 480:
			rates[i] = 7
		case i < 310:
			rates[i] = 20
		case i < 420:
			rates[i] = 36
		default:
			rates[i] = 36 - 29*float64(i-420)/60
		}
	}
	return rates
}

// Run is what is simulated.
type Run struct {
	// Label is what scaled, and Scale what it was.
	Label string
	Scale Policy
	// Rates is the demand; Workload when nil.
	Rates []float64
	// Seed draws arrivals and service times.
	Seed int64
	// ScaleInAfter is how many seconds fewer must have been wanted; 60 when 0.
	ScaleInAfter int
	// Lag is how late the load tester sends.
	Lag time.Duration
	// GapFrom and GapTo are the seconds that Prometheus knows nothing of.
	GapFrom, GapTo int
	// Change alters the plan before the results are made.
	Change func(*report.Plan)
}

// Started is the start of every run.
var Started = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

type replica struct {
	readyAt, freeAt float64
}

type waiting struct{ at float64 }

// Make simulates the run and leaves its results in a folder, which it returns.
// The folder's name is the run's.
func Make(t testing.TB, parent, name string, r Run) string {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if r.Rates == nil {
		r.Rates = Workload()
	}
	if r.ScaleInAfter == 0 {
		r.ScaleInAfter = 60
	}
	records, measured := simulate(r)
	w, err := record.Create(filepath.Join(dir, report.RequestsFile), SLO)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range records {
		w.Add(one)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteTimeline(dir, measured); err != nil {
		t.Fatal(err)
	}
	cores := 2
	plan := report.Plan{
		Run: report.Run{
			ID: name, StartedAt: Started, Trace: "workload.txt", Scale: 1, Speed: 1, Arrivals: "poisson", ArrivalsCV: 1, Seed: r.Seed,
			Target: "http://127.0.0.1:5001", Scaler: r.Label, Protocol: "http/1.1", Mode: "sync", Repetition: 1,
		},
		SLO: SLO, Scheduled: len(records), Cores: &cores, LagBound: report.DefaultLagBound,
	}
	if r.Change != nil {
		r.Change(&plan)
	}
	if _, err := report.Make(dir, plan); err != nil {
		t.Fatal(err)
	}
	return dir
}

// arrivals draws a Poisson process whose rate is the demand.
func arrivals(rates []float64, random *rand.Rand) []float64 {
	highest := slices.Max(rates)
	var all []float64
	for at := random.ExpFloat64() / highest; at < float64(len(rates)); at += random.ExpFloat64() / highest {
		if random.Float64()*highest < rates[int(at)] {
			all = append(all, at)
		}
	}
	return all
}

func simulate(r Run) ([]record.Record, *timeline.Timeline) {
	random := rand.New(rand.NewPCG(uint64(r.Seed), 7))
	due := arrivals(r.Rates, random)
	slo := SLO.Seconds()
	replicas := []replica{{}}
	wanted, lower := 1, 0
	var queue []waiting
	var records []record.Record
	var answers []struct{ at, latency float64 }
	var busyBySecond []float64
	values := map[timeline.Signal]timeline.Values{}
	put := func(signal timeline.Signal, x float64) { values[signal] = append(values[signal], x) }
	var decisions []timeline.Decision
	busy, next := 0.0, 0
	finish := func(at, latency float64, status int, outcome record.Outcome, code string) {
		records = append(records, record.Record{
			Intended: seconds(at), Lag: r.Lag + time.Duration(random.ExpFloat64()*3e5), Latency: seconds(latency) + r.Lag + time.Millisecond,
			Status: status, Outcome: outcome, Code: code, Bytes: 300,
		})
	}
	end := len(r.Rates) + 30
	for step := 0; step < int(float64(end)/tick); step++ {
		now := float64(step) * tick
		for ; next < len(due) && due[next] <= now; next++ {
			queue = append(queue, waiting{due[next]})
		}
		for i := range replicas {
			for len(queue) > 0 && replicas[i].readyAt <= now && replicas[i].freeAt <= now {
				first := queue[0]
				queue = queue[1:]
				if now-first.at > slo-service/2 {
					finish(first.at, now-first.at, 504, record.Refused, "deadline")
					continue
				}
				took := service * (0.75 + 0.5*random.Float64())
				replicas[i].freeAt = now + took
				busy += took
				latency := now + took - first.at
				finish(first.at, latency, 200, record.Answered, "")
				answers = append(answers, struct{ at, latency float64 }{now + took, latency})
			}
		}
		if (step+1)%int(1/tick) != 0 {
			continue
		}
		second := int(now)
		ready := 0
		for _, one := range replicas {
			if one.readyAt <= now {
				ready++
			}
		}
		busyBySecond = append(busyBySecond, busy)
		busy = 0
		share := mean(last(busyBySecond, 15)) / float64(max(ready, 1))
		recent := 0.0
		for _, at := range due {
			if at > now-3 && at <= now {
				recent++
			}
		}
		to, reason := r.Scale(second, recent/3, share, wanted)
		if to < wanted {
			lower++
			if lower < r.ScaleInAfter {
				to = wanted
			}
		} else {
			lower = 0
		}
		if to != wanted {
			decisions = append(decisions, timeline.Decision{AtS: float64(second), From: wanted, To: to, Reason: reason})
			for len(replicas) < to {
				replicas = append(replicas, replica{readyAt: now + coldStart + 2*random.Float64()})
			}
			replicas = replicas[:to]
			wanted = to
		}
		put(timeline.QueueSize, float64(len(queue)))
		age := 0.0
		if len(queue) > 0 {
			age = now - queue[0].at
		}
		put(timeline.QueueAge, age)
		put(timeline.Ready, float64(min(ready, wanted)))
		put(timeline.Starting, float64(wanted-min(ready, wanted)))
		put(timeline.Terminating, 0)
		put(timeline.Existing, float64(wanted))
		put(timeline.Desired, float64(wanted))
		put(timeline.ArrivalRate, recent/3)
		var latencies []float64
		for _, a := range answers {
			if a.at > now-10 && a.at <= now {
				latencies = append(latencies, a.latency)
			}
		}
		put(timeline.ServerP99, p99(latencies))
		put(timeline.InFlight, share*float64(ready))
		put(timeline.CPU, share*float64(ready)*cpuLimit)
		put(timeline.CPULimit, float64(wanted)*cpuLimit)
		put(timeline.Memory, float64(wanted)*92*mebibyte)
	}
	for _, v := range values {
		for i := r.GapFrom; i < r.GapTo; i++ {
			v[i] = math.NaN()
		}
	}
	return records, &timeline.Timeline{
		Start: Started, Seconds: end, Signals: values, Latency: distribution(answers), Decisions: decisions,
		ModelServers: timeline.ModelServers{Model: "vehicles", CPULimitCores: pointer(cpuLimit), MaxBatch: pointer(8), CPUSeconds: pointer(sum(values[timeline.CPU]))},
	}
}

func seconds(x float64) time.Duration { return time.Duration(max(x, 0) * float64(time.Second)) }

func pointer[T any](x T) *T { return &x }

func last(values []float64, n int) []float64 { return values[max(0, len(values)-n):] }

func mean(values []float64) float64 { return sum(values) / float64(max(len(values), 1)) }

func sum(values []float64) float64 {
	total := 0.0
	for _, x := range values {
		if !math.IsNaN(x) {
			total += x
		}
	}
	return total
}

func p99(values []float64) float64 { return quantile(0.99, values) }

func quantile(q float64, values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[int(math.Ceil(q*float64(len(values))-1e-9))-1]
}

func distribution(answers []struct{ at, latency float64 }) *timeline.Latency {
	var all []float64
	for _, a := range answers {
		all = append(all, a.latency)
	}
	return &timeline.Latency{P50: quantile(0.5, all), P90: quantile(0.9, all), P99: quantile(0.99, all), P999: quantile(0.999, all), Mean: mean(all)}
}
