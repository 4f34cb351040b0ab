package timeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

const (
	step         = time.Second
	queryTimeout = 15 * time.Second
	// pointsPerQuery stays below Prometheus' limit of 11,000 points a series.
	pointsPerQuery = 10_000
	// baselineLookback is how far before the run a counter's last value is
	// looked for; five minutes is what Prometheus itself looks back.
	baselineLookback = 5 * time.Minute
	pollInterval     = 250 * time.Millisecond

	arrived      = "dispatcher_requests_total"
	latencyNames = "dispatcher_request_duration_seconds_(bucket|sum|count)"
)

// fresh reads a gauge where it was scraped in the last ten seconds. A gauge on
// its own is repeated for five minutes after Prometheus itself went down.
func fresh(gauge string) string {
	return fmt.Sprintf("%[1]s and last_over_time(%[1]s[10s])", gauge)
}

// leading keeps those series of a scaler's gauge that come from the one that
// holds the Lease: the others decide too, and nobody follows them.
func leading(gauge string) string {
	return fmt.Sprintf("(%s) and on (job, instance) (%s) == 1", fresh(gauge), fresh("headroom_scaler_leader"))
}

func replicas() string { return "max by (state)(" + fresh("dispatcher_replicas") + ")" }

// Source is a Prometheus server.
type Source struct {
	address string
	client  promv1.API
}

// NewSource returns the Prometheus server at the base URL address. It asks nothing yet.
func NewSource(address string) (*Source, error) {
	parsed, err := url.Parse(address)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return nil, fmt.Errorf("prometheus %q: allowed are base URLs such as http://127.0.0.1:9090", address)
	}
	client, err := api.NewClient(api.Config{Address: address})
	if err != nil {
		return nil, fmt.Errorf("prometheus %q: %w", address, err)
	}
	return &Source{address: address, client: promv1.NewAPI(client)}, nil
}

// Check makes sure that Prometheus answers and scrapes a dispatcher, for which
// it waits as long as wait says.
func (s *Source) Check(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		found, err := s.instant(ctx, arrived)
		switch {
		case err == nil && len(found) > 0:
			return nil
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return err
			}
			return fmt.Errorf("prometheus %s has no %s: it does not scrape the dispatcher (waited %v)", s.address, arrived, wait)
		case <-time.After(pollInterval):
		}
	}
}

// Present is what is known of the service now; NaN is not known.
type Present struct {
	// Queue is the number of entries that no worker has taken yet.
	Queue float64
	// Ready and Starting are numbers of model server replicas.
	Ready, Starting float64
}

// Present asks for the state of the service now.
func (s *Source) Present(ctx context.Context) (Present, error) {
	now := Present{Queue: math.NaN(), Ready: math.NaN(), Starting: math.NaN()}
	states, err := s.instant(ctx, replicas())
	if err != nil {
		return now, err
	}
	for _, sample := range states {
		switch sample.Metric["state"] {
		case "ready":
			now.Ready = float64(sample.Value)
		case "starting":
			now.Starting = float64(sample.Value)
		}
	}
	queue, err := s.instant(ctx, "max("+fresh("dispatcher_queue_size")+")")
	if len(queue) == 1 {
		now.Queue = float64(queue[0].Value)
	}
	return now, err
}

// AwaitScrape returns when every dispatcher that Prometheus knows has been
// scraped at or after instant, so that what happened before it can be read.
func (s *Source) AwaitScrape(ctx context.Context, instant time.Time, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		oldest, err := s.instant(ctx, "min(timestamp("+arrived+"))")
		if err == nil && len(oldest) == 1 && float64(oldest[0].Value) >= float64(instant.UnixMilli())/1000 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("prometheus %s has not scraped every dispatcher since the run's end (waited %v)", s.address, wait), err)
		case <-time.After(pollInterval):
		}
	}
}

// Read returns the timeline from start to end. Server-side latency covers the
// requests from start to runEnd.
func (s *Source) Read(ctx context.Context, start, runEnd, end time.Time) (*Timeline, error) {
	first := start.Truncate(step)
	seconds := int(end.Sub(first)/step) + 1
	r := &reading{source: s, ctx: ctx, first: first, seconds: seconds}
	t := &Timeline{Start: first.UTC(), Seconds: seconds, Signals: map[Signal]Values{
		QueueSize:   r.one("max(" + fresh("dispatcher_queue_size") + ")"),
		QueueAge:    r.one("max(" + fresh("dispatcher_queue_oldest_age_seconds") + ")"),
		ArrivalRate: r.one("sum(rate(dispatcher_requests_total[5s]))"),
		ServerP99:   r.one(`histogram_quantile(0.99, sum by (le)(rate(dispatcher_request_duration_seconds_bucket{outcome="answered"}[10s])))`),
		InFlight:    r.one("sum(" + fresh("dispatcher_in_flight") + ")"),
		CPU:         r.one(`sum(rate(process_cpu_seconds_total{job="model-server"}[10s]))`),
		Memory:      r.one("sum(" + fresh(`process_resident_memory_bytes{job="model-server"}`) + ")"),
		// A dispatcher that sees a change before another does makes the states' maxima
		// count one replica twice; its own states do not.
		Existing: r.one("max(sum by (job, instance)(" + fresh("dispatcher_replicas") + "))"),
	}}
	byState := r.many(replicas(), func(m model.Metric) string { return string(m["state"]) })
	t.setStates(byState["ready"], byState["starting"], byState["terminating"])
	instance := func(m model.Metric) string { return string(m[model.InstanceLabel]) }
	wanted := r.many(leading("headroom_scaler_desired_replicas"), instance)
	counts := r.many(fresh("headroom_scaler_decisions_total"), func(m model.Metric) string {
		return counterKey(instance(m), string(m["reason"]))
	})
	t.setDesired(wanted, counts)

	limits := fresh("modelserver_cpu_limit_cores")
	lowest := r.one("min(" + limits + ")")
	t.ModelServers.CPULimitCores = lowestOf(lowest)
	t.setCPULimit(r.one("sum("+limits+")"), r.one("count("+limits+")"))
	if r.err != nil {
		return nil, r.err
	}

	// The first scrape after the run holds its last answers. Later ones may hold
	// requests that are none of ours.
	scraped, err := s.firstScrapeAfter(ctx, runEnd)
	if err != nil {
		return nil, err
	}
	if t.Latency, err = s.latency(ctx, start, scraped); err != nil {
		return nil, err
	}
	if t.ModelServers.CPUSeconds, err = s.cpuSeconds(ctx, start, scraped); err != nil {
		return nil, err
	}
	t.ModelServers.Model, t.ModelServers.MaxBatch, err = s.model(ctx, start, scraped)
	return t, err
}

// reading asks for one series after another and keeps the first error.
type reading struct {
	source  *Source
	ctx     context.Context
	first   time.Time
	seconds int
	err     error
}

// one evaluates an expression that gives one series, or none.
func (r *reading) one(expression string) Values {
	values := r.many(expression, func(model.Metric) string { return "" })[""]
	if values == nil {
		return unknown(r.seconds)
	}
	return values
}

// many evaluates an expression and files each resulting series under the key
// that it is given.
func (r *reading) many(expression string, key func(model.Metric) string) map[string]Values {
	if r.err != nil {
		return nil
	}
	found, err := r.source.series(r.ctx, expression, r.first, r.seconds, key)
	r.err = err
	return found
}

func unknown(seconds int) Values {
	values := make(Values, seconds)
	for i := range values {
		values[i] = math.NaN()
	}
	return values
}

// series evaluates an expression once a second and files each resulting series
// under the key that it is given.
func (s *Source) series(ctx context.Context, expression string, first time.Time, seconds int, key func(model.Metric) string) (map[string]Values, error) {
	found := map[string]Values{}
	for from := 0; from < seconds; from += pointsPerQuery {
		to := min(from+pointsPerQuery, seconds) - 1
		value, err := s.ask(ctx, expression, func(ctx context.Context) (model.Value, error) {
			value, _, _, err := s.client.QueryRange(ctx, expression, promv1.Range{
				Start: first.Add(time.Duration(from) * step), End: first.Add(time.Duration(to) * step), Step: step,
			})
			return value, err
		})
		if err != nil {
			return nil, err
		}
		matrix, ok := value.(model.Matrix)
		if !ok {
			return nil, fmt.Errorf("prometheus %s: %s gives a %s, wanted is a matrix", s.address, expression, value.Type())
		}
		for _, stream := range matrix {
			name := key(stream.Metric)
			if found[name] == nil {
				found[name] = unknown(seconds)
			}
			for _, point := range stream.Values {
				// Prometheus keeps milliseconds, so a point may lie a little before its second.
				i := int(math.Round(point.Timestamp.Time().Sub(first).Seconds() / step.Seconds()))
				if i >= 0 && i < seconds && !math.IsInf(float64(point.Value), 0) {
					found[name][i] = float64(point.Value)
				}
			}
		}
	}
	return found, nil
}

// latency adds up by how much every pod's buckets rose during the run; nil when
// no request was answered.
func (s *Source) latency(ctx context.Context, start, scraped time.Time) (*Latency, error) {
	streams, err := s.samples(ctx, fmt.Sprintf(`{__name__=~%q,outcome="answered"}`, latencyNames), start, scraped)
	if err != nil {
		return nil, err
	}
	bounds := map[float64]float64{}
	var sum, count float64
	for _, stream := range streams {
		increase := increase(stream, start)
		switch stream.Metric[model.MetricNameLabel] {
		case "dispatcher_request_duration_seconds_sum":
			sum += increase
		case "dispatcher_request_duration_seconds_count":
			count += increase
		default:
			bound, err := strconv.ParseFloat(string(stream.Metric[model.BucketLabel]), 64)
			if err != nil {
				return nil, fmt.Errorf("prometheus %s: bucket le=%q is no number", s.address, stream.Metric[model.BucketLabel])
			}
			bounds[bound] += increase
		}
	}
	if count <= 0 {
		return nil, nil
	}
	buckets := make([]Bucket, 0, len(bounds))
	for bound, increase := range bounds {
		buckets = append(buckets, Bucket{Bound: bound, Count: increase})
	}
	slices.SortFunc(buckets, func(a, b Bucket) int { return cmp.Compare(a.Bound, b.Bound) })
	return &Latency{
		P50: Quantile(0.5, buckets), P90: Quantile(0.9, buckets),
		P99: Quantile(0.99, buckets), P999: Quantile(0.999, buckets),
		Mean: sum / count,
	}, nil
}

// cpuSeconds adds up the CPU time that every model server used; nil when none was scraped.
func (s *Source) cpuSeconds(ctx context.Context, start, scraped time.Time) (*float64, error) {
	streams, err := s.samples(ctx, `process_cpu_seconds_total{job="model-server"}`, start, scraped)
	if err != nil || len(streams) == 0 {
		return nil, err
	}
	sum := 0.0
	for _, stream := range streams {
		sum += increase(stream, start)
	}
	return &sum, nil
}

// model returns what the model servers serve; the names of several are joined,
// and a batch that they do not agree on is unknown.
func (s *Source) model(ctx context.Context, start, scraped time.Time) (names string, maxBatch *int, err error) {
	streams, err := s.samples(ctx, "modelserver_model_info", start, scraped)
	if err != nil {
		return "", nil, err
	}
	models, batches := map[string]bool{}, map[int]bool{}
	for _, stream := range streams {
		models[string(stream.Metric["model"])] = true
		if batch, err := strconv.Atoi(string(stream.Metric["max_batch"])); err == nil {
			batches[batch] = true
		}
	}
	if len(batches) == 1 {
		for batch := range batches {
			maxBatch = &batch
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(models)), ", "), maxBatch, nil
}

// samples returns what was scraped of a selector's series up to an instant, and
// from so long before start that counters have their value before the run.
func (s *Source) samples(ctx context.Context, selector string, start, until time.Time) (model.Matrix, error) {
	window := until.Sub(start.Add(-baselineLookback)).Round(time.Second)
	expression := fmt.Sprintf("%s[%ds]", selector, int(window.Seconds()))
	value, err := s.ask(ctx, expression, func(ctx context.Context) (model.Value, error) {
		value, _, _, err := s.client.Query(ctx, expression, until)
		return value, err
	})
	if err != nil {
		return nil, err
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("prometheus %s: %s gives a %s, wanted is a matrix", s.address, expression, value.Type())
	}
	return matrix, nil
}

// increase is by how much a scraped counter rose since start.
func increase(stream *model.SampleStream, start time.Time) float64 {
	samples := make([]Sample, len(stream.Values))
	for i, point := range stream.Values {
		samples[i] = Sample{At: point.Timestamp.Time(), Value: float64(point.Value)}
	}
	return Increase(samples, start)
}

// firstScrapeAfter returns the earliest instant at which every dispatcher's
// newest sample is not older than end; now, where there has been none yet.
func (s *Source) firstScrapeAfter(ctx context.Context, end time.Time) (time.Time, error) {
	const within = 30 // seconds; above any scrape interval that a timeline in seconds makes sense with
	found, err := s.series(ctx, "min(timestamp("+arrived+"))", end, within, func(model.Metric) string { return "" })
	if err != nil {
		return time.Time{}, err
	}
	for i, scraped := range found[""] {
		if scraped >= float64(end.UnixMilli())/1000 {
			return end.Add(time.Duration(i) * step), nil
		}
	}
	return time.Now(), nil
}

func (s *Source) instant(ctx context.Context, expression string) (model.Vector, error) {
	value, err := s.ask(ctx, expression, func(ctx context.Context) (model.Value, error) {
		value, _, _, err := s.client.Query(ctx, expression, time.Time{})
		return value, err
	})
	if err != nil {
		return nil, err
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("prometheus %s: %s gives a %s, wanted is a vector", s.address, expression, value.Type())
	}
	return vector, nil
}

func (s *Source) ask(ctx context.Context, expression string, query func(context.Context) (model.Value, error)) (model.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	value, err := query(ctx)
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: query %s: %w", s.address, expression, err)
	}
	return value, nil
}
