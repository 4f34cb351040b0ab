package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// queue is both ends of asynq.
type queue struct {
	client *asynq.Client
	server *asynq.Server
	close  func() error
}

// open empties the database and starts a server with handle.
func open(ctx context.Context, c common, concurrency int, poll time.Duration, handle asynq.HandlerFunc) (*queue, error) {
	empty, err := connect(ctx, c, 1)
	if err != nil {
		return nil, err
	}
	connection := asynq.RedisClientOpt{Addr: c.Redis, DB: c.DB, PoolSize: concurrency + 1}
	q := &queue{
		client: asynq.NewClient(connection),
		server: asynq.NewServer(connection, asynq.Config{Concurrency: concurrency, TaskCheckInterval: poll, LogLevel: asynq.FatalLevel}),
	}
	q.close = func() error {
		q.server.Shutdown()
		return errors.Join(q.client.Close(), empty.FlushDB(context.Background()).Err(), empty.Close())
	}
	if err := q.server.Start(handle); err != nil {
		return nil, errors.Join(fmt.Errorf("starting asynq's server: %w", err), q.client.Close(), empty.Close())
	}
	return q, nil
}

// saturate keeps a number of jobs in asynq: each that is handled makes room for
// another one.
func saturate(ctx context.Context, o options) (found outcome, err error) {
	s := o.Saturate
	payload, err := os.ReadFile(s.Payload)
	if err != nil {
		return found, err
	}
	var done atomic.Int64
	room := make(chan struct{}, s.InFlight)
	for range cap(room) {
		room <- struct{}{}
	}
	q, err := open(ctx, s.common, s.Workers, s.Poll, func(context.Context, *asynq.Task) error {
		done.Add(1)
		room <- struct{}{}
		return nil
	})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, q.close()) }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var producers sync.WaitGroup
	for range s.Workers {
		producers.Go(func() {
			for {
				select {
				case <-room:
				case <-ctx.Done():
					return
				}
				_, err := q.client.EnqueueContext(ctx, asynq.NewTask("job", payload))
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					cancel(fmt.Errorf("enqueuing a job: %w", err))
					return
				}
			}
		})
	}
	found, err = watch(ctx, s.saturation, &done)
	cancel(nil)
	producers.Wait()
	return found, err
}

func pickup(ctx context.Context, o options) (found outcome, err error) {
	p := o.Pickup
	payload, err := os.ReadFile(p.Payload)
	if err != nil {
		return found, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	began := time.Now()
	picked := make(chan time.Duration)
	q, err := open(ctx, p.common, 1, p.Poll, func(_ context.Context, task *asynq.Task) error {
		took := time.Since(began) - time.Duration(binary.LittleEndian.Uint64(task.Payload()))
		select {
		case picked <- took:
		case <-ctx.Done():
		}
		return nil
	})
	if err != nil {
		cancel(nil)
		return found, err
	}
	defer func() {
		cancel(nil)
		err = errors.Join(err, q.close())
	}()

	cpu, begin := cpuSeconds(), time.Now()
	enqueued := make(chan int, 1)
	go func() {
		n, err := enqueueAtRandom(ctx, q.client, payload, p.Rate, p.Stretch, p.Seed, began)
		if err != nil {
			cancel(err)
		}
		enqueued <- n
	}()
	for want := -1; want != len(found.Pickups); {
		select {
		case want = <-enqueued:
		case took := <-picked:
			found.Pickups = append(found.Pickups, took.Seconds())
		case <-ctx.Done():
			return found, context.Cause(ctx)
		}
	}
	found.Jobs, found.Seconds, found.CPUSeconds = int64(len(found.Pickups)), time.Since(begin).Seconds(), cpuSeconds()-cpu
	return found, nil
}

// enqueueAtRandom enqueues jobs at random instants of a stretch of time, and
// returns how many. Each begins with the time since began, in nanoseconds.
func enqueueAtRandom(ctx context.Context, client *asynq.Client, payload []byte, rate float64, stretch time.Duration, seed uint64, began time.Time) (n int, err error) {
	random := rand.New(rand.NewPCG(seed, 0))
	begin := time.Now()
	for due := begin; ; n++ {
		due = due.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		if due.Sub(begin) > stretch {
			return n, nil
		}
		if err := sleep(ctx, time.Until(due)); err != nil {
			return n, err
		}
		binary.LittleEndian.PutUint64(payload, uint64(time.Since(began)))
		if _, err := client.EnqueueContext(ctx, asynq.NewTask("job", payload)); err != nil {
			return n, fmt.Errorf("enqueuing a job: %w", err)
		}
	}
}
