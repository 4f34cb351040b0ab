package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/redisqueue"
)

const (
	deadLettersCommand = "dead-letters"
	// connectWait is how long a command waits for Redis.
	connectWait = 5 * time.Second
)

type deadLettersOptions struct {
	queueOptions `embed:""`
	List         struct {
		JSON bool `help:"One JSON object a line instead of a table."`
	} `cmd:"" help:"List them, the oldest first."`
	Redrive struct {
		chosen       `embed:""`
		AsyncTimeout time.Duration `default:"60s" help:"How long each may take, 1s to 1h."`
		ResultTTL    time.Duration `default:"10m" help:"How long its result is kept after that, 1s to 24h."`
	} `cmd:"" help:"Queue them anew; GET /result/{id} answers for them then."`
	Remove struct {
		chosen `embed:""`
	} `cmd:"" help:"Remove them for good."`
}

// chosen are the dead letters that a command is about.
type chosen struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Which, by the ID that 'list' shows."`
	All bool     `help:"All of them."`
}

func (c chosen) check() error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("either IDs or --all must be given")
	}
	return nil
}

// Validate is called by kong.
func (o *deadLettersOptions) Validate() error {
	for _, r := range []struct {
		flag            string
		value, from, to time.Duration
	}{
		{"--async-timeout", o.Redrive.AsyncTimeout, time.Second, time.Hour},
		{"--result-ttl", o.Redrive.ResultTTL, time.Second, 24 * time.Hour},
	} {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%s is %v; allowed: %v to %v", r.flag, r.value, r.from, r.to)
		}
	}
	return nil
}

func runDeadLetters(args []string, stdout, stderr io.Writer) int {
	var o deadLettersOptions
	return command.Run("dispatcher "+deadLettersCommand, "Requests that were given up, because whoever worked on them failed or fell silent, are kept with their pictures. "+
		"These commands show them and try them again.", &o, args, stdout, stderr, func(parsed *kong.Context) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		redisqueue.UseLogger(slog.New(slog.DiscardHandler))
		queue, err := o.queue(redisqueue.Config{Name: "dead-letters", Connections: 1, ResultTTL: o.Redrive.ResultTTL})
		if err != nil {
			return err
		}
		defer func() { _ = queue.Close() }()
		if err := queue.Connect(ctx, connectWait, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		switch strings.Fields(parsed.Command())[0] {
		case "redrive":
			return o.redrive(ctx, queue, stdout)
		case "remove":
			return o.remove(ctx, queue, stdout)
		}
		return list(ctx, queue, o.List.JSON, stdout)
	})
}

// list shows the dead letters without their pictures.
func list(ctx context.Context, queue *redisqueue.Queue, asJSON bool, stdout io.Writer) error {
	table := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	n := 0
	err := queue.DeadLetters(ctx, func(d redisqueue.DeadLetter) error {
		n++
		if asJSON {
			return json.NewEncoder(stdout).Encode(map[string]any{
				"id": d.ID, "at": d.At.UTC().Format(time.RFC3339Nano), "request_id": d.Request.ID, "mode": d.Mode, "priority": d.Priority.String(),
				"deliveries": d.Deliveries, "picture_bytes": len(d.Picture), "reason": d.Reason,
			})
		}
		if n == 1 {
			_, _ = fmt.Fprintln(table, "ID\tGIVEN UP\tREQUEST\tMODE\tDELIVERIES\tBYTES\tREASON")
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n",
			d.ID, d.At.Local().Format(time.DateTime), d.Request.ID, d.Mode, d.Deliveries, len(d.Picture), d.Reason)
		return err
	})
	if err != nil {
		return err
	}
	if n == 0 && !asJSON {
		_, err := fmt.Fprintln(stdout, "there are no dead letters")
		return err
	}
	return table.Flush()
}

// each calls do for the chosen dead letters. One that is gone or answered is in no
// other's way: the error is of all of them.
func (c chosen) each(ctx context.Context, queue *redisqueue.Queue, do func(id string) error) error {
	if err := c.check(); err != nil {
		return command.AsUsage(err)
	}
	ids := c.IDs
	if c.All {
		// Those of now: what comes back while they are worked on stays.
		err := queue.DeadLetters(ctx, func(d redisqueue.DeadLetter) error { ids = append(ids, d.ID); return nil })
		if err != nil {
			return err
		}
	}
	var failed []error
	for _, id := range ids {
		err := do(id)
		gone := errors.Is(err, redisqueue.ErrNoDeadLetter)
		if err == nil || gone && c.All {
			continue
		}
		failed = append(failed, fmt.Errorf("dead letter %q: %w", id, err))
		if !gone && !errors.Is(err, redisqueue.ErrAnswered) {
			break // nor would the others succeed
		}
	}
	return errors.Join(failed...)
}

func (o *deadLettersOptions) redrive(ctx context.Context, queue *redisqueue.Queue, stdout io.Writer) error {
	return o.Redrive.each(ctx, queue, func(id string) error {
		r, err := queue.Redrive(ctx, id, time.Now().Add(o.Redrive.AsyncTimeout).Truncate(time.Millisecond))
		if err != nil {
			return err
		}
		// Who may ask for the result stands before its id.
		_, result, _ := strings.Cut(r.ResultID, ":")
		_, err = fmt.Fprintf(stdout, "%s queued again: /result/%s\n", id, url.PathEscape(result))
		return err
	})
}

func (o *deadLettersOptions) remove(ctx context.Context, queue *redisqueue.Queue, stdout io.Writer) error {
	return o.Remove.each(ctx, queue, func(id string) error {
		if err := queue.Forget(ctx, id); err != nil {
			return err
		}
		_, err := fmt.Fprintf(stdout, "%s removed\n", id)
		return err
	})
}
