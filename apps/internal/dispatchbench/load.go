package dispatchbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headroom.dev/apps/internal/servebench"
)

// sendFunc sends a request and returns the status of the answer.
type sendFunc func(ctx context.Context) (status int, err error)

// newClient is a client that never waits for a connection and keeps all.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true},
	}
}

// post sends body to url.
func post(client *http.Client, url string, body []byte) sendFunc {
	return func(ctx context.Context) (int, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		request.Header.Set("Content-Type", "image/jpeg")
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, errors.Join(err, response.Body.Close())
	}
}

// sample is what became of one request.
type sample struct {
	// Due is when it was to be sent, from the beginning of the load; Lag is how
	// much later it was, Took the time from Due to the whole answer.
	Due, Lag, Took time.Duration
	// Status is the answer's; 0 where there was none.
	Status int
}

// openLoop sends a request at each of the instants due, whatever became of
// those before. A request's time counts from when it was due: what a slow
// answer, or this program itself, holds up is not left out.
func openLoop(ctx context.Context, due []time.Duration, send sendFunc) ([]sample, error) {
	clock, err := newAlarm()
	if err != nil {
		return nil, err
	}
	defer clock.close()
	samples := make([]sample, len(due))
	var requests sync.WaitGroup
	defer requests.Wait()
	begin := time.Now().Add(10 * time.Millisecond)
	for i, after := range due {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		instant := begin.Add(after)
		if err := clock.until(instant); err != nil {
			return nil, err
		}
		requests.Go(func() {
			lag := time.Since(instant)
			status, err := send(ctx)
			if err != nil {
				status = 0
			}
			samples[i] = sample{Due: after, Lag: lag, Took: time.Since(instant), Status: status}
		})
	}
	requests.Wait()
	return samples, context.Cause(ctx)
}

// phase is what was measured at a rate.
type phase struct {
	Sent int `json:"sent"`
	// Failed is how many were not answered with a prediction.
	Failed int `json:"failed"`
	// Failures are how many of these had which status; 0 is no answer.
	Failures string `json:"failures,omitempty"`
	// Mean, P50 and P99 are of the time from when requests were due to their
	// answers, failed ones included, in seconds.
	Mean float64 `json:"mean_s"`
	P50  float64 `json:"p50_s"`
	P99  float64 `json:"p99_s"`
	// LagP99 is of how late they were sent, in seconds.
	LagP99 float64 `json:"send_lag_p99_s"`
}

func summarize(samples []sample) phase {
	p := phase{Sent: len(samples)}
	var took, lags []time.Duration
	var total time.Duration
	failures := map[int]int{}
	for _, s := range samples {
		if s.Status != http.StatusOK {
			p.Failed++
			failures[s.Status]++
		}
		took, lags, total = append(took, s.Took), append(lags, s.Lag), total+s.Took
	}
	if p.Failed > 0 {
		p.Failures = strings.TrimPrefix(fmt.Sprint(failures), "map") // in order of the statuses
	}
	p.P50, p.P99, p.LagP99 = quantile(took, 0.5), quantile(took, 0.99), quantile(lags, 0.99)
	if p.Sent > 0 {
		p.Mean = total.Seconds() / float64(p.Sent)
	}
	return p
}

// quantile is servebench's of values in any order, in seconds.
func quantile(values []time.Duration, q float64) float64 {
	return servebench.Quantile(slices.Sorted(slices.Values(values)), q).Seconds()
}

// check says that too many failed where none should.
func (p phase) check(what string) error {
	if float64(p.Failed) > mostFailed*float64(p.Sent) {
		return fmt.Errorf("%s: %d of %d requests were not answered with a prediction; by status: %s", what, p.Failed, p.Sent, p.Failures)
	}
	return nil
}

// work is what was done in a stretch of time, and what its subject took for it.
type work struct {
	Jobs       int64   `json:"jobs"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// Pickups are times that jobs lay in a queue, in seconds, where they were
	// asked for.
	Pickups []float64 `json:"pickups_s,omitempty"`
}

// rate is jobs a second of time, perCPU jobs a second of the subject's time on a
// core.
func (w work) rate() float64   { return float64(w.Jobs) / w.Seconds }
func (w work) perCPU() float64 { return float64(w.Jobs) / w.CPUSeconds }

// closedLoop has a number of workers send one request after another, and counts
// those answered in a stretch of time after a warm-up. cpu is what the subject
// has taken of its cores, in seconds. Every request must be answered with a
// prediction.
func closedLoop(ctx context.Context, workers int, warmUp, stretch time.Duration, send sendFunc, cpu func() (float64, error)) (w work, err error) {
	var answered atomic.Int64
	var group sync.WaitGroup
	// The last requests are waited for, not broken off.
	sending, stop := context.WithCancelCause(ctx)
	defer func() {
		stop(nil)
		group.Wait()
	}()
	for range workers {
		group.Go(func() {
			for sending.Err() == nil {
				status, err := send(ctx)
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("a request was answered %d", status)
				}
				if err != nil {
					stop(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	if err := sleep(sending, warmUp); err != nil {
		return w, err
	}
	before, begin, jobs := 0.0, time.Now(), answered.Load()
	if before, err = cpu(); err != nil {
		return w, err
	}
	if err := sleep(sending, stretch); err != nil {
		return w, err
	}
	after, err := cpu()
	return work{Jobs: answered.Load() - jobs, Seconds: time.Since(begin).Seconds(), CPUSeconds: after - before}, err
}

// sleep sleeps for d; the error is why ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
