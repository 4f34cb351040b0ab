package control

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// logEvery is the time after which a decision is logged again although it is
// the same as the one before.
const logEvery = 30 * time.Second

// said is the decision that was logged last.
type said struct {
	decision policy.Decision
	leads    bool
	at       time.Time
}

// logDecision logs a decision that differs from the last logged one in count,
// reason, limiter, signals relied on or leadership, one that acts, and one in every
// 30 s; the rest, which say the same again, at level debug.
func (l *Loop) logDecision(seen Replicas, d policy.Decision, leads bool, mode Mode) {
	last, now := l.said.decision, time.Now()
	level := slog.LevelDebug
	if d.Replicas != last.Replicas || d.Reason != last.Reason || d.Limiter != last.Limiter || leads != l.said.leads ||
		d.Replicas != seen.Spec && mode == Active || now.Sub(l.said.at) >= logEvery ||
		strings.Join(d.Terms.Untrusted, ",") != strings.Join(last.Terms.Untrusted, ",") {
		level = slog.LevelInfo
		l.said = said{d, leads, now}
	}
	t := d.Terms
	l.log.Log(context.Background(), level, "decision",
		"replicas", d.Replicas, "reason", string(d.Reason), "limiter", string(d.Limiter), "why", d.Sentence,
		"leader", leads, "mode", string(mode), "spec", seen.Spec, "ready", seen.Ready, "cpu_factor", d.CPUFactor,
		slog.Group("terms",
			"level", t.Level, "rate", t.Rate, "trend", t.Trend, "lead_time_s", t.LeadTime,
			"service_s", t.ServiceEffective, "correction", t.Correction, "model_latency_s", t.LatencyModel,
			"backlog_rate", t.BacklogRate, "utilization", t.Utilization,
			"for_demand", t.ForDemand, "for_forecast", t.ForForecast, "for_backlog", t.ForBacklog,
			"recommended", t.Recommended, "for_scale_in", t.ForScaleIn, "window_max", t.WindowMax, "hold_s", t.Hold,
		))
}
