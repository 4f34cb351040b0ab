package dispatchbench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"headroom.dev/apps/internal/servebench"
)

const (
	// overheadRate is requests a second where the time that the dispatcher adds
	// is measured.
	overheadRate = 500
	// overheadPlaces are requests that the model server may work on at a time:
	// several times what that rate needs.
	overheadPlaces = "16"
	// alone is what the figures' details call the model server without a
	// dispatcher.
	alone = "model_server_alone"
)

// target is what requests are sent to.
type target struct {
	name string
	send sendFunc
}

// overhead measures what time a request takes through the dispatcher, less what
// it takes without.
func (b *bench) overhead(ctx context.Context, figures map[string]servebench.Figure) error {
	dispatchers, stop, err := b.startDispatchers(ctx, []string{b.null}, "--backend-concurrency", overheadPlaces)
	if err != nil {
		return err
	}
	defer stop()
	targets := []target{{alone, post(b.client, b.null, b.picture)}}
	for _, d := range dispatchers {
		targets = append(targets, target{d.name, post(b.client, d.query, b.picture)})
	}
	for _, t := range targets { // so that connections are open and memory is warm
		b.Progress("overhead: warming up %s", t.name)
		if _, err := openLoop(ctx, evenly(overheadRate, time.Second), t.send); err != nil {
			return err
		}
	}

	var rounds []map[string]phase
	for i := range b.Rounds {
		samples := map[string][]sample{}
		for _, t := range thereAndBack(targets) {
			b.Progress("overhead, round %d of %d: %s at %d requests/s", i+1, b.Rounds, t.name, overheadRate)
			got, err := openLoop(ctx, evenly(overheadRate, b.Stretch), t.send)
			if err != nil {
				return err
			}
			samples[t.name] = append(samples[t.name], got...)
		}
		round := map[string]phase{}
		for _, t := range targets {
			round[t.name] = b.trust(fmt.Sprintf("overhead, round %d, %s", i+1, t.name), samples[t.name])
			if err := round[t.name].check(t.name); err != nil {
				return err
			}
		}
		rounds = append(rounds, round)
	}
	for i, v := range b.variants() {
		for name, figure := range overheadFigures(v.name, rounds) {
			figure.What += fmt.Sprintf(": %d requests/s of %d KiB at even intervals%s", overheadRate, pictureBytes>>10, v.what)
			if i == 0 && name == v.name+"_overhead_p50_ms" {
				figure.Details = rounds
			}
			figures[name] = figure
		}
	}
	return nil
}

// thereAndBack is A B C C B A: what drifts meanwhile is the same for all.
func thereAndBack[T any](all []T) []T {
	back := slices.Clone(all)
	slices.Reverse(back)
	return append(slices.Clone(all), back...)
}

// overheadFigures are those of a variant.
func overheadFigures(variant string, rounds []map[string]phase) map[string]servebench.Figure {
	var p50, p99 []float64
	for _, round := range rounds {
		p50 = append(p50, 1000*(round[variant].P50-round[alone].P50))
		p99 = append(p99, 1000*(round[variant].P99-round[alone].P99))
	}
	return map[string]servebench.Figure{
		variant + "_overhead_p50_ms": servebench.Median("ms", "median time of a request through the dispatcher, less that of the same model server asked without it", p50, nil),
		variant + "_overhead_p99_ms": servebench.Median("ms", "99th percentile of the time of a request through the dispatcher, less that of the same model server asked without it", p99, nil),
	}
}
