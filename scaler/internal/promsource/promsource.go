// Package promsource reads the scaler's signals from Prometheus. It is the only
// package that knows Prometheus' query API.
package promsource

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
)

// Options say where and what to read, as a valid config has it.
type Options struct {
	Prometheus config.Prometheus
	Signals    config.Signals
	// Quantile is what $quantile stands for in queries, 0..1.
	Quantile float64
}

// Source reads signals. It is safe for concurrent use.
type Source struct {
	api     promapi.API
	address string // without a password
	options Options
	signals []signal
	asked   []question

	now   func() time.Time
	mu    sync.Mutex
	alone map[string]time.Time // questions that are not asked with the others, until when
}

// New makes a Source. It errs on a URL that is none. It does not connect: a
// Prometheus that isn't there yet shows as a failed Read.
func New(o Options) (*Source, error) {
	address, err := url.Parse(o.Prometheus.URL)
	if err != nil {
		return nil, fmt.Errorf("prometheus URL: %w", err)
	}
	client, err := api.NewClient(api.Config{Address: o.Prometheus.URL, RoundTripper: limited{api.DefaultRoundTripper}})
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: %w", address.Redacted(), err)
	}
	s := &Source{
		api: promapi.NewAPI(client), address: address.Redacted(), options: o,
		now: time.Now, alone: map[string]time.Time{},
	}
	s.signals, s.asked = questions(o)
	return s, nil
}

// Read asks for all signals at once, within one timeout. A signal whose query
// fails is missing; the error then names every such query, and the other signals
// are as good as ever. A signal that is switched off has its neutral value:
// backlog, oldest_age, in_flight, cpu_per_request, cpu_limit, latency_quantile and
// lost are 0, slots is 1, and service_p99 is what service_mean is.
func (s *Source) Read(ctx context.Context) (control.Measured, error) {
	answers := s.ask(ctx)
	m := control.Measured{Ages: map[string]float64{}}
	byName := map[string]policy.Signal{}
	ages := map[group]age{}
	for _, g := range groups {
		ages[g] = ageOf(answers[ageQuestion(g)])
	}
	for _, q := range s.signals {
		if q.off {
			byName[q.name] = q.neutral
			continue
		}
		read := s.judge(q, answers, ages[q.group])
		byName[q.name] = read
		if a := ages[q.group]; a.known && read.State != policy.Missing {
			m.Ages[q.name] = a.seconds
		}
	}
	for name, to := range m.Signals.Named() {
		*to = byName[name]
	}
	if s.options.Signals.ServiceP99 == "" {
		m.Signals.ServiceP99 = m.Signals.ServiceMean
	}
	if work, asked := answers[workQuestion]; asked && s.fresh(ages[arriving]) {
		m.Work = workByHost(work.samples)
	}
	return m, s.failures(answers)
}

// failures is one error for all questions that had no answer, nil where each had one.
func (s *Source) failures(answers map[string]answer) error {
	var failed []string
	var cause error
	for _, q := range s.asked {
		if err := answers[q.name].err; err != nil {
			failed = append(failed, q.name)
			if cause == nil {
				cause = err
			}
		}
	}
	switch {
	case cause == nil:
		return nil
	case len(failed) == len(s.asked):
		return fmt.Errorf("prometheus %s: none of %d queries was answered: %w", s.address, len(s.asked), cause)
	}
	return fmt.Errorf("prometheus %s: %d of %d queries failed (%s), the first with: %w",
		s.address, len(failed), len(s.asked), strings.Join(failed, ", "), cause)
}

// limited bounds how much of an answer is read.
type limited struct{ http.RoundTripper }

// maxAnswer is enough for the work of ten thousand replicas, in bytes.
const maxAnswer = 2 << 20

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}
