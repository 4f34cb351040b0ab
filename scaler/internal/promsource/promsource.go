// Package promsource reads the scaler's signals from Prometheus. It is the only
// package that knows Prometheus' query API and language.
package promsource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"headroom.dev/scaler/internal/policy"
)

// Options say where and over which times to read. The zero value of a time is
// its default.
type Options struct {
	// URL is Prometheus' own, such as http://prometheus:9090.
	URL string
	// Timeout of one query. Default 1 s.
	Timeout time.Duration
	// Short and Long are the windows of the rates. Each must hold at least two
	// scrapes. Defaults 5 s and 30 s, for a scrape interval of 1 s.
	Short, Long time.Duration
	// StaleAfter is the age of a job's newest sample from which its signals are
	// stale. Default 10 s.
	StaleAfter time.Duration
}

// Source reads signals. It is safe for concurrent use.
type Source struct {
	api     promapi.API
	options Options
	signals []signal
	ages    map[string]string // job → query for the age of its newest sample, seconds
}

// signal is one of the policy's signals, the query for it and whose samples it is made of.
type signal struct {
	name  string
	job   string
	query string
}

// The jobs and metric names are those of contract/metrics.json.
const (
	dispatcher  = "dispatcher"
	modelServer = "model-server"
)

const maxAnswer = 1 << 20 // bytes of one query's answer; a single number takes a few hundred

// New makes a Source. It does not connect: a Prometheus that isn't there yet
// shows as a failed Read.
func New(o Options) (*Source, error) {
	withDefault := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	withDefault(&o.Timeout, time.Second)
	withDefault(&o.Short, 5*time.Second)
	withDefault(&o.Long, 30*time.Second)
	withDefault(&o.StaleAfter, 10*time.Second)
	client, err := api.NewClient(api.Config{Address: o.URL, RoundTripper: limited{api.DefaultRoundTripper}})
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: %w", o.URL, err)
	}
	s := &Source{api: promapi.NewAPI(client), options: o}
	s.signals, s.ages = queries(o.Short, o.Long)
	return s, nil
}

// queries are the questions behind each signal. Each has one number for an answer.
func queries(short, long time.Duration) ([]signal, map[string]string) {
	in := strings.NewReplacer(
		"$short", model.Duration(short).String(),
		"$long", model.Duration(long).String(),
	).Replace
	signals := []signal{
		{"arrival_short", dispatcher, in(`sum(rate(dispatcher_requests_total[$short]))`)},
		{"arrival_long", dispatcher, in(`sum(rate(dispatcher_requests_total[$long]))`)},
		{"backlog", dispatcher, `max(dispatcher_queue_size)`},
		{"oldest_age", dispatcher, `max(dispatcher_queue_oldest_age_seconds)`},
		{"in_flight", dispatcher, `sum(dispatcher_in_flight)`},
		// 0/0 without requests: NaN, which the policy knows to be no fault then.
		{"service_mean", modelServer, in(`sum(rate(inference_latency_seconds_sum[$long])) / sum(rate(inference_latency_seconds_count[$long]))`)},
		{"service_p99", modelServer, in(`histogram_quantile(0.99, sum by (le) (rate(inference_latency_seconds_bucket[$long])))`)},
		// The median over replicas of what an answered request costs. A replica that
		// has not been ready for the whole window is left out: it has burnt CPU to load
		// its model and has answered little, which after a scale-out would make every
		// request look dear just then.
		{"cpu_per_request", modelServer, in(`quantile(0.5, (
			sum by (instance) (rate(process_cpu_seconds_total{job="model-server"}[$long]))
			/ (sum by (instance) (rate(inference_requests_total{outcome="answered"}[$long])) > 0)
		) and on (instance) (max by (instance) (modelserver_ready offset $long) == 1))`)},
		{"cpu_limit", modelServer, `min(modelserver_cpu_limit_cores)`},
		{"slots", modelServer, `min(inference_slots)`},
	}
	ages := map[string]string{
		dispatcher:  `time() - max(timestamp(dispatcher_requests_total))`,
		modelServer: `time() - max(timestamp(inference_slots))`,
	}
	return signals, ages
}

// Read asks for all signals at once, each with its own timeout. A signal whose
// query fails is missing; the error then names every such query, and the other
// signals are as good as ever.
func (s *Source) Read(ctx context.Context) (policy.Signals, error) {
	type answer struct {
		value policy.Signal
		err   error
	}
	values, ages := make([]answer, len(s.signals)), make(map[string]*answer, len(s.ages))
	var wg sync.WaitGroup
	ask := func(to *answer, query string) {
		wg.Go(func() { to.value, to.err = s.ask(ctx, query) })
	}
	for i, q := range s.signals {
		ask(&values[i], q.query)
	}
	for job, query := range s.ages {
		ages[job] = new(answer)
		ask(ages[job], query)
	}
	wg.Wait()

	var failed []string
	var cause error
	note := func(name string, err error) {
		if err != nil {
			failed = append(failed, name)
			if cause == nil {
				cause = err
			}
		}
	}
	byName := make(map[string]policy.Signal, len(s.signals))
	for i, q := range s.signals {
		note(q.name, values[i].err)
		byName[q.name] = s.judge(values[i].value, ages[q.job].value)
	}
	for _, job := range []string{dispatcher, modelServer} {
		note("age of "+job, ages[job].err)
	}
	var out policy.Signals
	for name, to := range out.Named() {
		*to = byName[name]
	}
	if cause != nil {
		return out, fmt.Errorf("prometheus %s: %d of %d queries failed (%s), the first with: %w",
			s.options.URL, len(failed), len(s.signals)+len(s.ages), strings.Join(failed, ", "), cause)
	}
	return out, nil
}

// judge makes a value stale whose job's newest sample is old or of unknown age.
// A sample from the future (a target's clock that is ahead) is not old.
func (s *Source) judge(value, age policy.Signal) policy.Signal {
	fresh := age.State == policy.OK || age.State == policy.Invalid && age.Value < 0
	if value.State != policy.Missing && (!fresh || age.Value > s.options.StaleAfter.Seconds()) {
		value.State = policy.Stale
	}
	return value
}

// ask has one query answered at Prometheus' own present, so that its clock and
// ours needn't agree. No answer is policy.Missing and no error.
func (s *Source) ask(ctx context.Context, query string) (policy.Signal, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	result, _, _, err := s.api.Query(ctx, query, time.Time{})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return policy.Signal{}, fmt.Errorf("no answer within %s: %w", s.options.Timeout, err)
	case err != nil:
		return policy.Signal{}, err
	}
	vector, ok := result.(model.Vector)
	switch {
	case !ok:
		return policy.Signal{}, fmt.Errorf("the answer is a %s, not a vector", result.Type())
	case len(vector) > 1:
		return policy.Signal{}, fmt.Errorf("the answer has %d values, not one", len(vector))
	case len(vector) == 0:
		return policy.Signal{}, nil
	}
	return policy.Value(float64(vector[0].Value)), nil
}

// limited bounds how much of an answer is read.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}
