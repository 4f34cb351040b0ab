package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"headroom.dev/scaler/internal/control/journal"
	"headroom.dev/scaler/internal/controls"
	"headroom.dev/scaler/internal/policy"
)

// printer writes decisions for people, and keeps the first error.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format, args...)
	}
}

// line is one line about a decision: what it is about, and that.
func (p *printer) line(about, format string, args ...any) {
	p.printf("  %-12s %s\n", about, fmt.Sprintf(format, args...))
}

func (p *printer) head(file string, rec journal.Recording) {
	oldest, newest := rec.Decisions[len(rec.Decisions)-1], rec.Decisions[0]
	p.printf("%s: %d decisions about %s, by %s (version %s)\n", file, len(rec.Decisions), rec.Target, rec.Scaler, rec.Version)
	p.printf("from %s to %s\n", stamp(oldest.At), stamp(newest.At))
}

func (p *printer) decision(r journal.Replayed) {
	e, d, cfg := r.Entry, r.Entry.Decision, r.Config
	t, snap := d.Terms, e.Snapshot
	count := fmt.Sprint(snap.Spec)
	if d.Replicas != snap.Spec {
		count = fmt.Sprintf("%d → %d", snap.Spec, d.Replicas)
	}
	p.printf("\n%s  number %d: %s, %s\n", stamp(e.At), e.Seq, counted(count, d.Replicas), d.Reason)
	for _, difference := range r.Differs {
		p.line("!! DIFFERS", "%s", difference)
	}
	p.line("why", "%s", d.Sentence)
	p.line("limited by", "%s", limiter(d.Limiter))
	p.line("done", "%s", doneWith(e))
	for _, note := range e.Notes {
		p.line("note", "%s", note)
	}
	p.line("config", "%d to %d replicas, %s at the %s percentile, utilization %s at most%s",
		cfg.Min, cfg.Max, cfg.SLO, ordinal(cfg.Quantile), percent(cfg.Utilization), changed(e))
	p.line("replicas", "told to have %d, %d ready%s%s%s", snap.Spec, snap.Ready,
		cohorts("starting", "for", snap.Starting), cohorts("became ready", "after", snap.BecameReady), woken(snap))
	p.line("ordered", "%s", controls.Describe(snap.Controls))
	p.signals(e)
	p.line("arrivals", "measured %s ± %s /s over %s, growing by %s /s each second, planned for %s /s",
		number(t.Level), number(t.LevelError), seconds(t.Window), number(t.Trend), number(t.Rate))
	p.line("lead time", "%s until a new replica is ready; %s", seconds(t.LeadTime), forecast(t))
	p.line("service", "mean %s, p99 %s, corrected by the factor %s", seconds(t.ServiceEffective), seconds(t.ServiceP99), number(t.Correction))
	p.line("latency", "%s by the model of the ready replicas, %s promised", model(t.LatencyModel), cfg.SLO)
	p.line("backlog", "%s expected to be left, to be drained at %s /s", number(t.BacklogExpected), number(t.BacklogRate))
	p.line("asked for", "%d by the rate now, %d by the forecast, %d with the backlog: %d",
		t.ForDemand, t.ForForecast, t.ForBacklog, t.Recommended)
	p.line("scaling in", "%d would do with a margin, %d are kept of what was asked for within %s", t.ForScaleIn, t.WindowMax, seconds(t.Hold))
	p.line("utilization", "%s of %s", percent(t.Utilization), counted(strconv.Itoa(d.Replicas), d.Replicas))
	p.line("CPU", "%s times the usual limit", number(d.CPUFactor))
	if len(t.Untrusted) > 0 {
		p.line("untrusted", "%s, for %s", strings.Join(t.Untrusted, ", "), t.UntrustedFor.Round(time.Second))
	}
}

func (p *printer) signals(e journal.Entry) {
	about := "signals"
	for name, s := range e.Snapshot.Signals.Named() {
		state := s.State.String()
		if age, ok := e.Ages[name]; ok {
			state += ", " + seconds(age) + " old"
		}
		p.line(about, "%-17s %9s  %s", name, number(s.Value), state)
		about = ""
	}
}

func doneWith(e journal.Entry) string {
	switch {
	case e.Error != "":
		return "failed: " + e.Error
	case e.Wrote:
		return "scaled"
	case e.Decision.Replicas == e.Snapshot.Spec:
		return "nothing, there was nothing to do"
	case !e.Leader:
		return "nothing, another scaler led"
	}
	return "nothing, in mode " + e.Mode
}

func changed(e journal.Entry) string {
	out := ""
	if e.Config != nil {
		out += " (reloaded)"
	}
	if e.State != nil {
		out += " (with a state that was taken over)"
	}
	return out
}

func woken(snap policy.Snapshot) string {
	if snap.Woken {
		return ", woken by a request that waits"
	}
	return ""
}

// cohorts is a part of a sentence about replicas in a state, empty for none.
func cohorts(state, age string, all []policy.Cohort) string {
	if len(all) == 0 {
		return ""
	}
	parts := make([]string, len(all))
	for i, c := range all {
		parts[i] = fmt.Sprintf("%d %s %s", c.Count, age, c.Age.Round(100*time.Millisecond))
	}
	return ", " + state + ": " + strings.Join(parts, " and ")
}

func counted(what string, n int) string {
	if n == 1 {
		return what + " replica"
	}
	return what + " replicas"
}

func limiter(l policy.Limiter) string {
	if l == policy.None {
		return "nothing"
	}
	return strings.ReplaceAll(string(l), "_", " ")
}

// model is a latency, of which 0 stands for one that can't be told.
func model(latency float64) string {
	if latency == 0 {
		return "unknown or without bound"
	}
	return seconds(latency)
}

func forecast(t policy.Terms) string {
	switch {
	case !t.ForecastKnown:
		return "no forecast has come due"
	case t.ForecastError < 0:
		return "the last forecast was " + percent(-t.ForecastError) + " too low"
	}
	return "the last forecast was " + percent(t.ForecastError) + " too high"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func number(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	if math.Abs(x) >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 0, 64) + " %" }

// ordinal is a quantile as a percentile, such as "99th".
func ordinal(quantile float64) string {
	return strconv.FormatFloat(math.Round(quantile*1e6)/1e4, 'f', -1, 64) + "th"
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}
