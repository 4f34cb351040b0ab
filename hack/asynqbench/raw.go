package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	stream = "jobs"
	group  = "workers"
	// readBlock is how long a read waits for a job; the end waits for it too.
	readBlock = 100 * time.Millisecond
)

// connect opens connections and empties the database.
func connect(ctx context.Context, c common, connections int) (*redis.Client, error) {
	client := redis.NewClient(&redis.Options{Addr: c.Redis, DB: c.DB, PoolSize: connections, Protocol: 2, DisableIdentity: true})
	if err := client.FlushDB(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("emptying database %d of %s: %w", c.DB, c.Redis, err), client.Close())
	}
	return client, nil
}

// raw keeps a number of jobs in a stream: each that is done makes room for
// another one.
func raw(ctx context.Context, o options) (found outcome, err error) {
	r := o.Raw
	payload, err := os.ReadFile(r.Payload)
	if err != nil {
		return found, err
	}
	readers := max(1, r.InFlight/r.Count)
	client, err := connect(ctx, r.common, r.InFlight+readers)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, client.FlushDB(context.Background()).Err(), client.Close()) }()
	if err := client.XGroupCreateMkStream(ctx, stream, group, "0").Err(); err != nil {
		return found, fmt.Errorf("making the stream: %w", err)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	room := make(chan struct{}, r.InFlight)
	for range r.InFlight {
		room <- struct{}{}
	}
	var workers sync.WaitGroup
	for range r.InFlight {
		workers.Go(func() { cancel(add(ctx, client, payload, room)) })
	}
	for i := range readers {
		workers.Go(func() { cancel(take(ctx, client, fmt.Sprint(i), int64(r.Count), &done, room)) })
	}
	found, err = watch(ctx, r.saturation, &done)
	cancel(nil)
	workers.Wait()
	return found, err
}

// add puts jobs into the stream as there is room, until ctx ends.
func add(ctx context.Context, client *redis.Client, payload []byte, room <-chan struct{}) error {
	for {
		select {
		case <-room:
		case <-ctx.Done():
			return nil
		}
		err := client.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []any{"picture", payload}}).Err()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("adding a job: %w", err)
		}
	}
}

// take takes jobs out of the stream, until ctx ends.
func take(ctx context.Context, client *redis.Client, name string, count int64, done *atomic.Int64, room chan<- struct{}) error {
	for {
		streams, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: group, Consumer: name, Streams: []string{stream, ">"}, Count: count, Block: readBlock,
		}).Result()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading jobs: %w", err)
		}
		ids := make([]string, len(streams[0].Messages))
		for i, message := range streams[0].Messages {
			ids[i] = message.ID
		}
		_, err = client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.XAck(ctx, stream, group, ids...)
			p.XDel(ctx, stream, ids...)
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("removing jobs: %w", err)
		}
		done.Add(int64(len(ids)))
		for range ids {
			room <- struct{}{}
		}
	}
}
