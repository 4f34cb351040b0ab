package dispatchbench

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"headroom.dev/apps/internal/servebench"
)

const (
	// Model servers of the overload: how many, and how long a request takes in
	// each, one at a time. capacity is requests a second.
	replicas = 4
	service  = 20 * time.Millisecond
	capacity = float64(replicas) / (float64(service) / float64(time.Second))
	// waiting is how many requests each lets wait, as the real model server does.
	waiting = "16"
	// usualLoad and overLoad are shares of the capacity.
	usualLoad = 0.95
	overLoad  = 2.0
	// promise is the dispatcher's default --slo.
	promise = 500 * time.Millisecond
	// overloadWarmUp is time under that load before it is measured.
	overloadWarmUp = 3 * time.Second
	// overloadStretches is for how many stretches it is.
	overloadStretches = 1.25
)

// loaded is what became of the requests of a stretch of time.
type loaded struct {
	Seconds float64 `json:"seconds"`
	Sent    int     `json:"sent"`
	// OnTime were answered with a prediction within the promise, Late after it,
	// Refused with 503, TimedOut with 504, and Failed in any other way or not at
	// all.
	OnTime   int `json:"on_time"`
	Late     int `json:"late"`
	Refused  int `json:"refused"`
	TimedOut int `json:"timed_out"`
	Failed   int `json:"failed"`
	// AcceptedP50 and AcceptedP99 are of the time until a prediction, RefusedP99
	// of that until a 503, in seconds.
	AcceptedP50 float64 `json:"accepted_p50_s"`
	AcceptedP99 float64 `json:"accepted_p99_s"`
	RefusedP99  float64 `json:"refused_p99_s"`
}

// judge counts the requests that were due in the stretch from an instant on.
func judge(samples []sample, from, stretch time.Duration) loaded {
	l := loaded{Seconds: stretch.Seconds()}
	var accepted, refused []time.Duration
	for _, s := range samples {
		if s.Due < from || s.Due >= from+stretch {
			continue
		}
		l.Sent++
		switch s.Status {
		case http.StatusOK:
			accepted = append(accepted, s.Took)
			if s.Took <= promise {
				l.OnTime++
			} else {
				l.Late++
			}
		case http.StatusServiceUnavailable:
			refused = append(refused, s.Took)
			l.Refused++
		case http.StatusGatewayTimeout:
			l.TimedOut++
		default:
			l.Failed++
		}
	}
	l.AcceptedP50, l.AcceptedP99, l.RefusedP99 = quantile(accepted, 0.5), quantile(accepted, 0.99), quantile(refused, 0.99)
	return l
}

// goodput is requests a second that got what was promised.
func (l loaded) goodput() float64 { return float64(l.OnTime) / l.Seconds }

// lateShare is the share of predictions that came after the promise; unkept the
// share of requests that were not refused and got no prediction within it.
func (l loaded) lateShare() float64 { return share(l.Late, l.OnTime+l.Late) }
func (l loaded) unkept() float64    { return share(l.Late+l.TimedOut+l.Failed, l.Sent-l.Refused) }

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// overloadRound is one at the usual load and one at twice the capacity.
type overloadRound struct {
	Usual loaded `json:"usual_load"`
	Over  loaded `json:"overload"`
}

// overload measures how much of what the model servers can do is done in time
// when twice as much is asked for.
func (b *bench) overload(ctx context.Context, figures map[string]servebench.Figure) error {
	stub, urls, err := b.startStub(ctx, replicas, "--service", service.String(), "--slots", "1", "--waiting", waiting)
	if err != nil {
		return err
	}
	defer stub.stop()
	d, err := b.startDispatcher(ctx, b.variants()[0], urls)
	if err != nil {
		return err
	}
	defer d.stop()
	send := post(b.client, d.query, b.small)
	stretch := time.Duration(overloadStretches * float64(b.Stretch))
	load := func(round int, share float64) (loaded, error) {
		what := fmt.Sprintf("overload, round %d of %d: %.2f times the capacity", round+1, b.Rounds, share)
		b.Progress("%s, %.0f requests/s", what, share*capacity)
		seed := b.Seed + uint64(round)
		// The warm-up has its own arrivals, so that those measured are as many as
		// the rate says.
		due := poisson(share*capacity, overloadWarmUp, seed<<8)
		for _, after := range poisson(share*capacity, stretch, seed) {
			due = append(due, overloadWarmUp+after)
		}
		samples, err := openLoop(ctx, due, send)
		if err != nil {
			return loaded{}, err
		}
		b.trust(what, samples)
		return judge(samples, overloadWarmUp, stretch), nil
	}
	var rounds []overloadRound
	for i := range b.Rounds {
		var r overloadRound
		if r.Usual, err = load(i, usualLoad); err != nil {
			return err
		}
		if r.Over, err = load(i, overLoad); err != nil {
			return err
		}
		if r.Usual.OnTime == 0 {
			return fmt.Errorf("at %.2f times the capacity, none of %d requests was answered in time", usualLoad, r.Usual.Sent)
		}
		rounds = append(rounds, r)
	}
	for name, figure := range overloadFigures(rounds) {
		figures[name] = figure
	}
	return nil
}

func overloadFigures(rounds []overloadRound) map[string]servebench.Figure {
	figure := func(unit, what string, details any, of func(overloadRound) float64) servebench.Figure {
		values := make([]float64, len(rounds))
		for i, r := range rounds {
			values[i] = of(r)
		}
		return servebench.Median(unit, what, values, details)
	}
	how := fmt.Sprintf("%d model servers that take %v for a request, one at a time: %.0f/s; Poisson arrivals", replicas, service, capacity)
	return map[string]servebench.Figure{
		"dispatcher_goodput_2x": figure("ratio", fmt.Sprintf("predictions within %v at %.0f times the capacity, against those at %.2f times; %s", promise, overLoad, usualLoad, how), rounds,
			func(r overloadRound) float64 { return r.Over.goodput() / r.Usual.goodput() }),
		"dispatcher_goodput_2x_of_capacity": figure("ratio", fmt.Sprintf("predictions within %v at %.0f times the capacity, against the capacity; %s", promise, overLoad, how), nil,
			func(r overloadRound) float64 { return r.Over.goodput() / capacity }),
		"dispatcher_late_share_2x": figure("share", fmt.Sprintf("of the predictions at %.0f times the capacity, those that came after %v", overLoad, promise), nil,
			func(r overloadRound) float64 { return r.Over.lateShare() }),
		"dispatcher_unkept_share_2x": figure("share", fmt.Sprintf("of the requests at %.0f times the capacity that were not refused with 503, those without a prediction within %v: late, answered 504, or failed", overLoad, promise), nil,
			func(r overloadRound) float64 { return r.Over.unkept() }),
		"dispatcher_accepted_p99_2x_ms": figure("ms", fmt.Sprintf("99th percentile of the time until a prediction at %.0f times the capacity", overLoad), nil,
			func(r overloadRound) float64 { return 1000 * r.Over.AcceptedP99 }),
		"dispatcher_refused_p99_2x_ms": figure("ms", fmt.Sprintf("99th percentile of the time until a 503 at %.0f times the capacity", overLoad), nil,
			func(r overloadRound) float64 { return 1000 * r.Over.RefusedP99 }),
		"dispatcher_refused_share_2x": figure("share", fmt.Sprintf("of the requests at %.0f times the capacity, those refused with 503: half can't be served", overLoad), nil,
			func(r overloadRound) float64 { return share(r.Over.Refused, r.Over.Sent) }),
	}
}
