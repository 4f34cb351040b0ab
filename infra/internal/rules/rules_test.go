package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/promqltest"
)

// own are the rules of a Prometheus of headroom's own that keeps its data for
// six hours.
func own() Args {
	return Args{
		SLOLatency: 500 * time.Millisecond, Lookback: 6 * time.Hour,
		Scaler: true, ScalerRuns: `up{job="prometheus",scaler="custom"}`,
		RedisExporter: true, Self: true, Runbooks: "docs/monitoring.md",
	}
}

// elsewhere are those of somebody else's, which keeps it for long.
func elsewhere() Args {
	return Args{
		SLOLatency: 500 * time.Millisecond, Scaler: true, RedisExporter: true,
		Namespace: "shop", Runbooks: "https://runbooks.example/headroom",
	}
}

// ruleFile writes the rules where promtool finds them.
func ruleFile(t *testing.T, args Args) string {
	t.Helper()
	content, err := File(Groups(args))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func all(args Args) []Rule {
	var rules []Rule
	for _, group := range Groups(args) {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func TestPrometheusAcceptsTheRules(t *testing.T) {
	for _, promise := range []time.Duration{10 * time.Millisecond, 320 * time.Millisecond, 500 * time.Millisecond, time.Second, 30 * time.Second} {
		for _, args := range []Args{own(), elsewhere(), {Lookback: time.Hour, Runbooks: "x"}} {
			args.SLOLatency = promise
			out, err := promqltest.Promtool(t, "check", "rules", "--lint=all", "--lint-fatal", ruleFile(t, args))
			require.NoError(t, err, out)
		}
	}
}

// Every series that a rule asks for is exported by a pod, recorded by a rule, or
// Prometheus' own.
func TestRulesAskForSeriesThatExist(t *testing.T) {
	for _, args := range []Args{own(), elsewhere()} {
		known := promqltest.Contract(t)
		for _, name := range []string{"up", "redis_memory_used_bytes", "redis_memory_max_bytes", "prometheus_rule_evaluation_failures_total"} {
			known[name] = true
		}
		for _, rule := range all(args) {
			known[rule.Record] = true
		}
		for _, rule := range all(args) {
			names := promqltest.Names(rule.Expr)
			require.NotEmpty(t, names, rule.Expr)
			for _, name := range names {
				require.True(t, known[name], "%s%s asks for %s", rule.Record, rule.Alert, name)
			}
		}
	}
}

// In a Prometheus that others use too, no rule sees their series, and none of
// ours is taken for another namespace's.
func TestRulesKeepToTheirNamespace(t *testing.T) {
	selectors := regexp.MustCompile(`\{[^}]*\}`)
	for _, rule := range all(elsewhere()) {
		require.Equal(t, "shop", rule.Labels["namespace"])
		found := selectors.FindAllString(rule.Expr, -1)
		require.Len(t, found, len(regexp.MustCompile(`\b(up\{|(headroom|dispatcher|redis)[_:])`).FindAllString(rule.Expr, -1)), rule.Expr)
		for _, selector := range found {
			require.Contains(t, selector, `namespace="shop"`, rule.Expr)
		}
	}
	for _, rule := range all(own()) {
		require.NotContains(t, rule.Expr, "namespace")
		require.NotContains(t, rule.Labels, "namespace")
	}
}

// What an alert says is complete, and its runbook is there; no runbook is about
// an alert that isn't.
func TestEveryAlertHasARunbook(t *testing.T) {
	page, err := os.ReadFile("../../../docs/monitoring.md")
	require.NoError(t, err)
	headings := regexp.MustCompile(`(?m)^### (Headroom\w+)$`).FindAllStringSubmatch(string(page), -1)
	var described, alerts []string
	for _, heading := range headings {
		described = append(described, heading[1])
	}
	for _, rule := range all(own()) {
		if rule.Alert == "" {
			require.True(t, strings.HasPrefix(rule.Record, "headroom:"))
			continue
		}
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		require.Equal(t, "docs/monitoring.md#"+strings.ToLower(rule.Alert), rule.Annotations["runbook_url"])
		require.Contains(t, []string{Critical, Warning}, rule.Labels["severity"], rule.Alert)
		if !slices.Contains(alerts, rule.Alert) {
			alerts = append(alerts, rule.Alert)
		}
	}
	slices.Sort(alerts)
	slices.Sort(described)
	require.Equal(t, alerts, described)
}

func TestBurnsAreThoseThatTheDataCanTellOf(t *testing.T) {
	windows := func(lookback time.Duration) []string {
		var found []string
		for _, window := range Windows(lookback) {
			found = append(found, Span(window))
		}
		return found
	}
	require.Equal(t, []string{"5m", "1h"}, windows(time.Hour))
	require.Equal(t, []string{"5m", "30m", "1h", "6h"}, windows(6*time.Hour))
	require.Equal(t, []string{"5m", "30m", "1h", "2h", "6h", "1d"}, windows(2*24*time.Hour))
	require.Equal(t, []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"}, windows(0))
	require.Len(t, Burns(time.Hour), 1)
	require.Len(t, Burns(0), 4)
}

func TestBucketsAreThoseOfTheContract(t *testing.T) {
	require.Equal(t, promqltest.Buckets(t, "dispatcher", "dispatcher_request_duration_seconds"), LatencyBuckets)
}
