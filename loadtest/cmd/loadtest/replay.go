package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"headroom.dev/loadtest/internal/fire"
	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

const (
	// scrapeWait is how long Prometheus may take to scrape: before the run for
	// the first time, after it for the last.
	scrapeWait = 20 * time.Second

	longestPromise = time.Hour
	longestSettle  = 24 * time.Hour
	highestFactor  = 10_000
	mostInFlight   = 100_000
	longestLabel   = 60

	shortestLagBound = 100 * time.Microsecond
	mostRepetitions  = 10_000
)

// plan is a run whose every input has been read and found good.
type plan struct {
	command  *runCommand
	schedule schedule
	images   []fire.Image
	target   *url.URL
	source   *timeline.Source // nil without Prometheus
	limits   []report.Limit
	out      string
}

// prepare checks everything that can be checked without a network.
func prepare(c *runCommand) (*plan, error) {
	durations := []struct {
		flag           string
		value, min, to time.Duration
	}{
		{"--slo", c.SLO, time.Millisecond, longestPromise},
		{"--timeout", c.Timeout, time.Millisecond, longestPromise},
		{"--settle", c.Settle, 0, longestSettle},
		{"--lag-bound", c.LagBound, shortestLagBound, longestPromise},
	}
	for _, d := range durations {
		if d.value < d.min || d.value > d.to {
			return nil, fmt.Errorf("%s %v: allowed are durations from %v to %v", d.flag, d.value, d.min, d.to)
		}
	}
	factors := []struct {
		flag  string
		value float64
	}{{"--scale", c.Scale}, {"--speed", c.Speed}}
	for _, f := range factors {
		if !(f.value > 0 && f.value <= highestFactor) {
			return nil, fmt.Errorf("%s %v: allowed are numbers above 0, up to %d", f.flag, f.value, highestFactor)
		}
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > mostInFlight {
		return nil, fmt.Errorf("--max-in-flight %d: allowed are whole numbers from 1 to %d", c.MaxInFlight, mostInFlight)
	}
	if c.Repetition < 1 || c.Repetition > mostRepetitions {
		return nil, fmt.Errorf("--repetition %d: allowed are whole numbers from 1 to %d", c.Repetition, mostRepetitions)
	}
	if len(c.Scaler) > longestLabel {
		return nil, fmt.Errorf("--scaler %q: allowed are up to %d characters", c.Scaler, longestLabel)
	}

	if c.HPALog != "" && c.Prometheus == "" {
		return nil, fmt.Errorf("--hpa-log %s: it goes with --prometheus, which is not given", c.HPALog)
	}

	p := &plan{command: c}
	for _, text := range c.Max {
		limit, err := report.ParseLimit(text)
		if err != nil {
			return nil, fmt.Errorf("--max %w", err)
		}
		p.limits = append(p.limits, limit)
	}
	var err error
	if p.target, err = fire.ParseTarget(c.Target); err != nil {
		return nil, err
	}
	if c.Prometheus != "" {
		if p.source, err = timeline.NewSource(c.Prometheus); err != nil {
			return nil, err
		}
	}
	if p.schedule, err = newSchedule(c); err != nil {
		return nil, err
	}
	if p.images, err = fire.LoadImages(c.Images); err != nil {
		return nil, err
	}
	if p.out, err = filepath.Abs(c.Out); err != nil {
		return nil, fmt.Errorf("out %s: %w", c.Out, err)
	}
	return p, report.CheckFolder(p.out)
}

// replay is the run command. Nothing is created before everything that the run
// needs was found to be there.
func replay(ctx context.Context, c *runCommand, stdout, stderr io.Writer) error {
	p, err := prepare(c)
	if err != nil {
		return usageError{err}
	}
	if err := fire.Check(ctx, p.target, fire.Protocol(c.Protocol)); err != nil {
		return err
	}
	if p.source != nil {
		if err := p.source.Check(ctx, scrapeWait); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return fmt.Errorf("out: %w", err)
	}
	writer, err := record.Create(filepath.Join(p.out, report.RequestsFile), c.SLO)
	if err != nil {
		return err
	}

	start := time.Now()
	interrupted := p.fire(ctx, start, writer, stderr)
	tally, err := writer.Close()
	if err != nil {
		return err
	}

	// A failing Prometheus costs the timeline, not the results.
	var blind error
	if p.source != nil {
		blind = p.observe(ctx, start, start.Add(tally.Last), stderr)
	}
	cores := runtime.NumCPU()
	summary, err := report.Make(p.out, report.Plan{
		Run: report.Run{
			ID: filepath.Base(p.out), StartedAt: start.UTC(), Trace: p.schedule.trace.Name,
			Scale: c.Scale, Speed: c.Speed, Arrivals: string(p.schedule.arrivals), ArrivalsCV: p.schedule.cv, Seed: c.Seed,
			Target: p.target.Redacted(), Scaler: c.Scaler, Protocol: c.Protocol, Mode: c.Mode, Repetition: c.Repetition,
			Interrupted: interrupted,
		},
		SLO: c.SLO, Scheduled: len(p.schedule.times), Cores: &cores, LagBound: c.LagBound, Limits: p.limits,
	})
	if err != nil {
		return errors.Join(blind, err)
	}
	if err := report.LinkLatest(p.out); err != nil {
		_, _ = fmt.Fprintln(stderr, "loadtest:", oneLine(err))
	}
	if err := report.Table(stdout, colourful(stdout), summary); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "\nreport: %s\n", filepath.Join(p.out, report.PageFile))
	switch {
	case blind != nil:
		return fmt.Errorf("the results are written, but %w", blind)
	case summary.Requests.Answered == 0 && !interrupted:
		return fmt.Errorf("not one of %d requests was answered with a prediction", summary.Requests.Scheduled)
	}
	return verdict(summary)
}

// verdict is nil for a run that counts and misses no threshold.
func verdict(s report.Summary) error {
	if !s.Validity.Valid {
		return verdictError{exitInvalid, "the run is invalid: " + strings.Join(s.Validity.Reasons, "; ")}
	}
	var missed []string
	for _, t := range s.Thresholds {
		if !t.OK {
			missed = append(missed, t.String())
		}
	}
	if len(missed) > 0 {
		return verdictError{exitMissed, fmt.Sprintf("%d of %d thresholds missed: %s", len(missed), len(s.Thresholds), strings.Join(missed, "; "))}
	}
	return nil
}

// observe reads the timeline when the service has settled and Prometheus has
// seen it, and keeps it in the result folder. An interruption only ends the settling.
func (p *plan) observe(ctx context.Context, start, runEnd time.Time, stderr io.Writer) error {
	if p.command.Settle > 0 && ctx.Err() == nil {
		_, _ = fmt.Fprintf(stderr, "looking on for %v while replicas and queue settle\n", p.command.Settle)
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(runEnd.Add(p.command.Settle))):
		}
	}
	end := runEnd
	if now := time.Now(); p.command.Settle > 0 && now.After(end) {
		end = now
	}
	uninterrupted := context.WithoutCancel(ctx)
	if err := p.source.AwaitScrape(uninterrupted, end, scrapeWait); err != nil {
		_, _ = fmt.Fprintln(stderr, "loadtest: the timeline may lack its end:", oneLine(err))
	}
	measured, err := p.source.Read(uninterrupted, start, runEnd, end)
	if err != nil {
		return fmt.Errorf("without a timeline: %w", err)
	}
	var unread error
	if p.command.HPALog != "" {
		var log []timeline.HPAStatus
		if log, unread = timeline.ReadHPALog(p.command.HPALog); unread == nil {
			measured.AddHPA(log)
		} else {
			unread = fmt.Errorf("without the HPA's status: %w", unread)
		}
	}
	return errors.Join(report.WriteTimeline(p.out, measured), unread)
}

// colourful tells whether what is written to w may be in colour.
func colourful(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }
