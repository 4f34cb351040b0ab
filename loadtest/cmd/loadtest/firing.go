package main

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"headroom.dev/loadtest/internal/fire"
	"headroom.dev/loadtest/internal/progress"
	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

// lookEvery is the time between two looks at the service for the live view.
const lookEvery = 2 * time.Second

// fire sends the schedule and shows how far it has come.
func (p *plan) fire(ctx context.Context, start time.Time, writer *record.Writer, stderr io.Writer) (interrupted bool) {
	watching, watched := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer watched()
	v := &view{plan: p, start: start, writer: writer, recent: record.NewRecent()}
	v.present.Store(&timeline.Present{Queue: math.NaN(), Ready: math.NaN(), Starting: math.NaN()})
	if p.source != nil {
		watchers.Go(func() { v.lookAtService(watching) })
	}
	watchers.Go(func() {
		progress.Print(watching, stderr, terminalWidth(stderr), ctx.Done(), v.state)
	})
	return fire.Run(ctx, fire.Config{
		Target: p.target, Images: p.images, Timeout: p.command.Timeout, MaxInFlight: p.command.MaxInFlight,
		RunID: requestPrefix(p.out, start), Mode: fire.Mode(p.command.Mode), Protocol: fire.Protocol(p.command.Protocol), Sent: &v.sent,
	}, start, p.schedule.times, func(r record.Record) {
		writer.Add(r)
		v.recent.Add(r)
	})
}

// requestPrefix begins the id of every request. The time keeps two runs into
// folders of one name apart: a service may take equal ids for one request.
func requestPrefix(out string, start time.Time) string {
	const longest = 60
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return r
		}
		return '_'
	}, filepath.Base(out))
	return name[:min(len(name), longest)] + "-" + strconv.FormatInt(start.UnixMilli(), 36)
}

// view gathers what is shown of a run under way.
type view struct {
	plan    *plan
	start   time.Time
	writer  *record.Writer
	recent  *record.Recent
	sent    atomic.Uint64
	present atomic.Pointer[timeline.Present]

	// last is where the rates were last counted from.
	last struct {
		elapsed         time.Duration
		due             int
		sent            uint64
		wanted, reached float64
	}
}

// shortestRate is the least time to tell a rate from.
const shortestRate = 500 * time.Millisecond

// state is the run's state now.
func (v *view) state(now time.Time) progress.State {
	times := v.plan.schedule.times
	elapsed, sent, present := now.Sub(v.start), v.sent.Load(), v.present.Load()
	due, _ := slices.BinarySearch(times, elapsed)
	if passed := elapsed - v.last.elapsed; passed >= shortestRate {
		v.last.wanted, v.last.reached = float64(due-v.last.due)/passed.Seconds(), float64(sent-v.last.sent)/passed.Seconds()
		v.last.elapsed, v.last.due, v.last.sent = elapsed, due, sent
	}
	latency := v.recent.Quantiles(elapsed, 0.5, report.Quantile)
	s := progress.State{
		Elapsed: elapsed, Total: times[len(times)-1],
		Sent: int(sent), Scheduled: len(times),
		Wanted: v.last.wanted, Reached: v.last.reached,
		P50: latency[0], P99: latency[1],
		Queue: present.Queue, Ready: present.Ready, Starting: present.Starting,
	}
	v.writer.Read(func(t *record.Tally) {
		s.Errors = t.Due() - t.Outcomes[record.Answered]
		s.InFlight = max(int(sent)-t.Sent(), 0)
	})
	return s
}

// lookAtService asks Prometheus for queue and replicas until ctx ends. Where it
// can't tell, none are shown.
func (v *view) lookAtService(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		present, err := v.plan.source.Present(ctx)
		if err != nil {
			present = timeline.Present{Queue: math.NaN(), Ready: math.NaN(), Starting: math.NaN()}
		}
		v.present.Store(&present)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// isTerminal tells whether a person sees what is written to w as it comes.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// terminalWidth returns what tells w's width in characters; nil where w is no
// terminal, or one that can't be drawn over.
func terminalWidth(w io.Writer) func() int {
	if !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	file := w.(*os.File)
	return func() int {
		const usual = 80
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return width
		}
		return usual
	}
}
