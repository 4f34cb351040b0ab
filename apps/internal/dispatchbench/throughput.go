package dispatchbench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"headroom.dev/apps/internal/servebench"
)

const (
	// inFlight is requests, or jobs, at a time where as many as there can be are
	// done.
	inFlight = 64
	// throughputWarmUp is time at full load before it is measured.
	throughputWarmUp = 300 * time.Millisecond
	// pickupRate is jobs a second where the time is measured that one lies in a
	// queue that is empty; pickupStretches is how many stretches that goes on.
	pickupRate      = 5
	pickupStretches = 2
	// neverEmpty is jobs in asynq at a time where its server, which sleeps when it
	// finds none, is never let to.
	neverEmpty = 8 * inFlight
	// asynqAtLeast is how long asynq as it comes is watched at least: it sleeps for
	// up to 1.5 s.
	asynqAtLeast = 2 * time.Second
	// fastPoll is asynq's shortest pause between two looks at an empty queue.
	fastPoll = "1ns"
)

// What the details of figures call the dispatcher's limits and its peers.
const (
	rawOne       = "redis_count_1"
	rawMany      = "redis_count_16"
	asynqDefault = "asynq"
	asynqFast    = "asynq_poll_1ns"
	asynqFull    = "asynq_never_empty"
)

// subject is what does as many jobs as it can.
type subject struct {
	name string
	do   func(context.Context) (work, error)
}

// throughput measures how much the dispatcher can do, and how long a request
// lies in an empty queue.
func (b *bench) throughput(ctx context.Context, figures map[string]servebench.Figure) error {
	dispatchers, stop, err := b.startDispatchers(ctx, []string{b.null},
		"--backend-concurrency", "1024", "--max-queue", "100000", "--slo", "10s")
	if err != nil {
		return err
	}
	defer stop()
	database := b.database()
	subjects := b.subjects(dispatchers, database)

	var rounds []map[string]work
	var pickups []map[string]pickup
	for i := range b.Rounds {
		round := map[string]work{}
		for _, s := range subjects {
			b.Progress("throughput, round %d of %d: %s", i+1, b.Rounds, s.name)
			w, err := s.do(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if w.Jobs == 0 || w.CPUSeconds == 0 {
				return fmt.Errorf("%s: %d jobs in %.1f s, with %.2f s of CPU time: there is no ratio to it", s.name, w.Jobs, w.Seconds, w.CPUSeconds)
			}
			round[s.name] = w
		}
		rounds = append(rounds, round)
		slices.Reverse(subjects) // what drifts is the same for all
		b.Progress("pick-up, round %d of %d: %d jobs/s through the dispatcher and asynq", i+1, b.Rounds, pickupRate)
		picked, err := b.pickups(ctx, i, dispatchers, database)
		if err != nil {
			return err
		}
		pickups = append(pickups, picked)
	}
	for i, v := range b.variants() {
		for name, figure := range throughputFigures(v, rounds) {
			if i == 0 && name == v.name+"_max_rps" {
				figure.Details = rounds
			}
			figures[name] = figure
		}
		figures[v.name+"_pickup_mean_ms"], figures[v.name+"_pickup_p99_ms"] = pickupFigures(
			"from when a request was due to its answer, at 5/s, with a model server that does nothing"+v.what, v.name, pickups)
	}
	for name, figure := range limitFigures(rounds) {
		figures[name] = figure
	}
	figures["asynq_pickup_mean_ms"], figures["asynq_pickup_p99_ms"] = pickupFigures(
		"from enqueuing a job in asynq to its handler's beginning, at 5/s", asynqDefault, pickups)
	figures["asynq_fast_pickup_mean_ms"], figures["asynq_fast_pickup_p99_ms"] = pickupFigures(
		"the same, with asynq's TaskCheckInterval at "+fastPoll+": it asks Redis without a pause", asynqFast, pickups)
	withDetails := figures["asynq_pickup_mean_ms"]
	withDetails.Details = pickups
	figures["asynq_pickup_mean_ms"] = withDetails
	return nil
}

func (b *bench) subjects(dispatchers []*dispatcher, database int) []subject {
	var subjects []subject
	for _, d := range dispatchers {
		send := post(b.client, d.query, b.picture)
		subjects = append(subjects, subject{d.name, func(ctx context.Context) (work, error) {
			return closedLoop(ctx, inFlight, throughputWarmUp, b.Stretch, send, d.cpu)
		}})
	}
	jobs := strconv.Itoa(inFlight)
	for _, p := range []struct {
		name    string
		stretch time.Duration
		args    []string
	}{
		{rawOne, b.Stretch, []string{"raw", "--count", "1", "--in-flight", jobs}},
		{rawMany, b.Stretch, []string{"raw", "--count", "16", "--in-flight", jobs}},
		{asynqDefault, max(b.Stretch, asynqAtLeast), []string{"saturate", "--in-flight", jobs}},
		{asynqFast, b.Stretch, []string{"saturate", "--in-flight", jobs, "--poll", fastPoll}},
		{asynqFull, b.Stretch, []string{"saturate", "--in-flight", strconv.Itoa(neverEmpty)}},
	} {
		args := slices.Concat(p.args, []string{"--stretch", p.stretch.String(), "--warm-up", throughputWarmUp.String()})
		subjects = append(subjects, subject{p.name, func(ctx context.Context) (work, error) { return b.peer(ctx, database, args...) }})
	}
	return subjects
}

// throughputFigures are those of a variant of the dispatcher. Beside them stand
// the best of the ways to use bare Redis, and of those to use asynq, and asynq as
// it comes.
func throughputFigures(v variant, rounds []map[string]work) map[string]servebench.Figure {
	const (
		onItsCore = "the dispatcher on one core; Redis, the model server and the sender share the others and may be the limit"
		ofItsCPU  = "for each second that each one's own process was on a core: what shares the other cores is not the limit"
	)
	all := map[string]servebench.Figure{}
	for _, unit := range []struct {
		suffix, what string
		of           func(work) float64
	}{
		{"", onItsCore, work.rate},
		{"_per_cpu_second", ofItsCPU, work.perCPU},
	} {
		var rates, toRedis, toAsynq, toDefault []float64
		for _, round := range rounds {
			rate := unit.of(round[v.name])
			rates = append(rates, rate)
			toRedis = append(toRedis, rate/best(round, unit.of, rawOne, rawMany))
			toAsynq = append(toAsynq, rate/best(round, unit.of, asynqDefault, asynqFast, asynqFull))
			toDefault = append(toDefault, rate/unit.of(round[asynqDefault]))
		}
		all[v.name+"_max_rps"+unit.suffix] = servebench.Median("1/s",
			fmt.Sprintf("requests of %d KiB answered, %d at a time, with a model server that does nothing%s; %s", pictureBytes>>10, inFlight, v.what, unit.what), rates, nil)
		all[v.name+"_vs_raw_redis"+unit.suffix] = servebench.Median("ratio",
			fmt.Sprintf("requests answered%s, against redis_raw_rps%s; %s", v.what, unit.suffix, unit.what), toRedis, nil)
		all[v.name+"_vs_asynq"+unit.suffix] = servebench.Median("ratio",
			fmt.Sprintf("requests answered%s, against asynq_max_rps%s; %s", v.what, unit.suffix, unit.what), toAsynq, nil)
		all[v.name+"_vs_asynq_default"+unit.suffix] = servebench.Median("ratio",
			fmt.Sprintf("requests answered%s, against asynq as it comes with as many jobs at a time: it sleeps when it finds none; %s", v.what, unit.what), toDefault, nil)
	}
	return all
}

// limitFigures are those of what the dispatcher is measured beside.
func limitFigures(rounds []map[string]work) map[string]servebench.Figure {
	all := map[string]servebench.Figure{}
	for suffix, of := range map[string]func(work) float64{"": work.rate, "_per_cpu_second": work.perCPU} {
		unit := "a second, on one core, with Redis on another"
		if suffix != "" {
			unit = "for each second that the client was on a core"
		}
		var redis, asynq []float64
		for _, round := range rounds {
			redis = append(redis, best(round, of, rawOne, rawMany))
			asynq = append(asynq, best(round, of, asynqDefault, asynqFast, asynqFull))
		}
		all["redis_raw_rps"+suffix] = servebench.Median("1/s",
			"jobs of the same size through a Redis stream, XADD, XREADGROUP, XACK and XDEL alone, 1 or 16 to a read, whichever did more: "+unit, redis, nil)
		all["asynq_max_rps"+suffix] = servebench.Median("1/s",
			fmt.Sprintf("jobs of the same size through asynq, as it comes, without a pause between looks at an empty queue, or with %d jobs at a time so that it has none, whichever did more: %s", neverEmpty, unit), asynq, nil)
	}
	return all
}

func best(round map[string]work, of func(work) float64, names ...string) float64 {
	most := 0.0
	for _, name := range names {
		most = max(most, of(round[name]))
	}
	return most
}

// pickup is how long jobs lay in a queue, in seconds, at pickupRate.
type pickup struct {
	Jobs int     `json:"jobs"`
	Mean float64 `json:"mean_s"`
	P99  float64 `json:"p99_s"`
	// CPUShare is what the subject took of one core meanwhile; 0 where nobody
	// looked.
	CPUShare float64 `json:"cpu_share,omitempty"`
}

// pickups measures the dispatchers and asynq at the same time, for at this rate
// they do nothing for most of it, and asynq without pauses after that.
func (b *bench) pickups(ctx context.Context, round int, dispatchers []*dispatcher, database int) (map[string]pickup, error) {
	seed := b.Seed + uint64(round)
	ofAsynq := func(ctx context.Context, stretch time.Duration, more ...string) (pickup, error) {
		w, err := b.peer(ctx, database, append([]string{"pickup", "--rate", strconv.Itoa(pickupRate), "--seed", strconv.FormatUint(seed, 10), "--stretch", stretch.String()}, more...)...)
		if err != nil {
			return pickup{}, err
		}
		p := summarizePickups(w.Pickups)
		p.CPUShare = w.CPUSeconds / w.Seconds
		return p, nil
	}

	samples := make([][]sample, len(dispatchers))
	var asynq pickup
	group, together := errgroup.WithContext(ctx)
	for i, d := range dispatchers {
		group.Go(func() (err error) {
			due := poisson(pickupRate, pickupStretches*b.Stretch, seed<<8+uint64(i))
			samples[i], err = openLoop(together, due, post(b.client, d.query, b.picture))
			return err
		})
	}
	group.Go(func() (err error) {
		asynq, err = ofAsynq(together, pickupStretches*b.Stretch)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	picked := map[string]pickup{asynqDefault: asynq}
	for i, d := range dispatchers {
		p := b.trust(fmt.Sprintf("pick-up, round %d, %s", round+1, d.name), samples[i])
		if err := p.check(d.name); err != nil {
			return nil, err
		}
		picked[d.name] = pickup{Jobs: p.Sent, Mean: p.Mean, P99: p.P99}
	}
	var err error
	picked[asynqFast], err = ofAsynq(ctx, b.Stretch, "--poll", fastPoll)
	return picked, err
}

func summarizePickups(seconds []float64) pickup {
	samples := make([]sample, len(seconds))
	for i, s := range seconds {
		samples[i].Took = time.Duration(s * float64(time.Second))
	}
	p := summarize(samples)
	return pickup{Jobs: p.Sent, Mean: p.Mean, P99: p.P99}
}

func pickupFigures(what, name string, rounds []map[string]pickup) (mean, p99 servebench.Figure) {
	var means, p99s []float64
	for _, round := range rounds {
		means, p99s = append(means, 1000*round[name].Mean), append(p99s, 1000*round[name].P99)
	}
	return servebench.Median("ms", "mean time "+what, means, nil),
		servebench.Median("ms", "99th percentile of a round's few dozen times "+what, p99s, nil)
}
