package rules

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/promqltest"
)

// The parts of promtool's unit tests that are used here.
type (
	unitTests struct {
		RuleFiles          []string   `yaml:"rule_files"`
		EvaluationInterval string     `yaml:"evaluation_interval"`
		Tests              []unitTest `yaml:"tests"`
	}
	unitTest struct {
		Name        string      `yaml:"name,omitempty"`
		Interval    string      `yaml:"interval"`
		InputSeries []input     `yaml:"input_series"`
		Queries     []query     `yaml:"promql_expr_test,omitempty"`
		Alerts      []alertTest `yaml:"alert_rule_test,omitempty"`
	}
	input struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	query struct {
		Expr     string   `yaml:"expr"`
		EvalTime string   `yaml:"eval_time"`
		Samples  []sample `yaml:"exp_samples"`
	}
	sample struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	}
	alertTest struct {
		EvalTime string          `yaml:"eval_time"`
		Name     string          `yaml:"alertname"`
		Alerts   []expectedAlert `yaml:"exp_alerts"`
	}
	expectedAlert struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	}
)

// series are time series in promtool's notation, by what selects them.
type series map[string]string

// with are the series with some changed; an empty one is left out.
func (s series) with(changes series) series {
	changed := maps.Clone(s)
	for name, values := range changes {
		if values == "" {
			delete(changed, name)
		} else {
			changed[name] = values
		}
	}
	return changed
}

func (s series) inputs() []input {
	var inputs []input
	for _, name := range slices.Sorted(maps.Keys(s)) {
		inputs = append(inputs, input{name, s[name]})
	}
	return inputs
}

// run has promtool try the tests on the rules.
func run(t *testing.T, args Args, tests ...unitTest) {
	t.Helper()
	runEvery(t, sloInterval, args, tests...)
}

// runEvery does so with another time between two evaluations.
func runEvery(t *testing.T, interval time.Duration, args Args, tests ...unitTest) {
	t.Helper()
	content, err := yaml.Marshal(unitTests{
		RuleFiles: []string{ruleFile(t, args)}, EvaluationInterval: interval.String(), Tests: tests,
	})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "test.yml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	out, err := promqltest.Promtool(t, "test", "rules", path)
	require.NoError(t, err, out)
}

// firing expects that exactly these alerts fire: a name, and those of the labels
// severity, long and job that it has.
func firing(at string, alerts ...string) query {
	q := query{Expr: `count by (alertname, severity, long, job) (ALERTS{alertstate="firing"})`, EvalTime: at, Samples: []sample{}}
	for _, alert := range alerts {
		name, labels, _ := strings.Cut(alert, " ")
		q.Samples = append(q.Samples, sample{fmt.Sprintf(`{alertname="%s",%s}`, name, labels), 1})
	}
	return q
}

// every is how far apart samples are, but where a test says something else.
const every = 15 * time.Second

const (
	answered = `dispatcher_request_duration_seconds_count{job="dispatcher",instance="d",outcome="answered"}`
	inTime   = `dispatcher_request_duration_seconds_bucket{job="dispatcher",instance="d",outcome="answered",le="0.5"}`
	refused  = `dispatcher_request_duration_seconds_count{job="dispatcher",instance="d",outcome="refused"}`
)

// steady holds a value for three hours, and growing adds so much each time.
func steady(value float64) string { return fmt.Sprintf("%gx720", value) }
func growing(by float64) string   { return fmt.Sprintf("0+%gx720", by) }

// healthy is a service of which nothing is to be told: ten requests a second, of
// which two thirds of a percent are late.
func healthy() series {
	return series{
		answered: growing(150), inTime: growing(149), refused: growing(0),
		`up{job="dispatcher",instance="d"}`:                                            steady(1),
		`up{job="model-server",instance="m"}`:                                          steady(1),
		`up{job="scaler",instance="s"}`:                                                steady(1),
		`up{job="scaler",instance="t"}`:                                                steady(1),
		`up{job="redis",instance="r"}`:                                                 steady(1),
		`up{job="prometheus",instance="p",scaler="custom"}`:                            steady(1),
		`dispatcher_queue_size{job="dispatcher",instance="d"}`:                         steady(3),
		`dispatcher_queue_oldest_age_seconds{job="dispatcher",instance="d"}`:           steady(0.2),
		`dispatcher_dead_letters{job="dispatcher",instance="d"}`:                       steady(0),
		`dispatcher_replicas{job="dispatcher",instance="d",state="ready"}`:             steady(2),
		`dispatcher_replicas{job="dispatcher",instance="d",state="starting"}`:          steady(0),
		`headroom_scaler_leader{job="scaler",instance="s"}`:                            steady(1),
		`headroom_scaler_leader{job="scaler",instance="t"}`:                            steady(0),
		`headroom_scaler_starting_replicas{job="scaler",instance="s"}`:                 steady(0),
		`headroom_scaler_untrusted_seconds{job="scaler",instance="s"}`:                 steady(0),
		`headroom_scaler_limited{job="scaler",instance="s",limiter="max"}`:             steady(0),
		`headroom_scaler_decisions_total{job="scaler",instance="s",reason="steady"}`:   growing(15),
		`headroom_scaler_decisions_total{job="scaler",instance="s",reason="scale_in"}`: growing(0),
		`headroom_scaler_errors_total{job="scaler",instance="s",source="kubernetes"}`:  growing(0),
		`headroom_scaler_config_reload_failed{job="scaler",instance="s"}`:              steady(0),
		`redis_memory_used_bytes{job="redis",instance="r"}`:                            steady(100),
		`redis_memory_max_bytes{job="redis",instance="r"}`:                             steady(1000),
		`prometheus_rule_evaluation_failures_total{job="prometheus",instance="p"}`:     growing(0),
	}
}

// Each test changes what it is about; nothing else may fire.
func TestAlertsFireWhenTheyShouldAndNotOtherwise(t *testing.T) {
	const (
		burn1h = `HeadroomErrorBudgetBurn severity="critical",long="1h"`
		burn6h = `HeadroomErrorBudgetBurn severity="critical",long="6h"`
	)
	var tests []unitTest
	for name, test := range map[string]struct {
		changes series
		want    []query
	}{
		"nothing": {nil, []query{firing("5m"), firing("2h")}},

		"a fifth of the requests is late": {series{inTime: growing(120)}, []query{firing("1h", burn1h, burn6h)}},
		"a fifth is refused": {
			series{answered: growing(120), inTime: growing(120), refused: growing(30)}, []query{firing("1h", burn1h, burn6h)},
		},
		"eight percent are late": {series{inTime: growing(138)}, []query{firing("2h", burn6h)}},
		"four percent are late":  {series{inTime: growing(144)}, []query{firing("2h")}},
		"it was late, and is in time since": {
			series{inTime: "0+120x240 28950+150x480"}, []query{firing("1h", burn1h, burn6h), firing("1h10m", burn6h), firing("1h40m")},
		},
		"nine requests in an hour, all refused":   {series{answered: growing(0), inTime: growing(0), refused: "0x20 9x700"}, []query{firing("9m")}},
		"twelve requests in an hour, all refused": {series{answered: growing(0), inTime: growing(0), refused: "0x20 12x700"}, []query{firing("9m", burn1h), firing("12m", burn6h), firing("40m")}},
		"no request at all":                       {series{answered: growing(0), inTime: growing(0)}, []query{firing("1h")}},

		"a request waits for long": {
			series{`dispatcher_queue_oldest_age_seconds{job="dispatcher",instance="d"}`: "1x40 31x700"},
			[]query{firing("10m"), firing("12m", `HeadroomQueueAge severity="warning"`)},
		},
		"a dead letter": {
			series{`dispatcher_dead_letters{job="dispatcher",instance="d"}`: steady(1)},
			[]query{firing("5m", `HeadroomDeadLetters severity="warning"`)},
		},
		"Redis can't be asked": {
			series{
				`dispatcher_queue_size{job="dispatcher",instance="d"}`:               "3x40 stale",
				`dispatcher_queue_oldest_age_seconds{job="dispatcher",instance="d"}`: "0x40 stale",
				`dispatcher_dead_letters{job="dispatcher",instance="d"}`:             "0x40 stale",
			},
			[]query{firing("10m"), firing("12m", `HeadroomQueueUnreachable severity="critical"`)},
		},
		"a model server starts, and is ready after five minutes": {
			series{`headroom_scaler_starting_replicas{job="scaler",instance="s"}`: "0x20 1x20 0x700"},
			[]query{firing("10m"), firing("20m")},
		},
		"a model server never gets ready": {
			series{`headroom_scaler_starting_replicas{job="scaler",instance="s"}`: steady(1)},
			[]query{firing("9m"), firing("11m", `HeadroomModelServersNotReady severity="warning"`)},
		},
		"with another scaler, a model server never gets ready": {
			series{
				`headroom_scaler_starting_replicas{job="scaler",instance="s"}`:        "",
				`dispatcher_replicas{job="dispatcher",instance="d",state="starting"}`: steady(1),
			},
			[]query{firing("11m", `HeadroomModelServersNotReady severity="warning"`)},
		},
		"Redis is nearly full": {
			series{`redis_memory_used_bytes{job="redis",instance="r"}`: steady(810)},
			[]query{firing("1m"), firing("3m", `HeadroomRedisMemory severity="warning",job="redis"`)},
		},
		"Redis has no limit": {series{`redis_memory_max_bytes{job="redis",instance="r"}`: steady(0)}, []query{firing("10m")}},

		"more model servers are wanted than allowed": {
			series{`headroom_scaler_limited{job="scaler",instance="s",limiter="max"}`: steady(1)},
			[]query{firing("4m"), firing("6m", `HeadroomModelServersAtMax severity="warning"`)},
		},
		"only a scaler that doesn't lead wants more": {
			series{`headroom_scaler_limited{job="scaler",instance="t",limiter="max"}`: steady(1)}, []query{firing("10m")},
		},
		"a signal can't be trusted": {
			series{`headroom_scaler_untrusted_seconds{job="scaler",instance="s"}`: "0x20 0+15x700"},
			[]query{firing("6m"), firing("8m", `HeadroomScalerUntrusted severity="warning"`)},
		},
		"nobody leads": {
			series{`headroom_scaler_leader{job="scaler",instance="s"}`: "1x20 0x700"},
			[]query{firing("5m"), firing("7m", `HeadroomScalerNoLeader severity="critical"`)},
		},
		"both scalers are down": {
			series{
				`up{job="scaler",instance="s"}`: "1x20 0x700", `up{job="scaler",instance="t"}`: "1x20 0x700",
				`headroom_scaler_leader{job="scaler",instance="s"}`: "1x20 stale", `headroom_scaler_leader{job="scaler",instance="t"}`: "0x20 stale",
				`headroom_scaler_decisions_total{job="scaler",instance="s",reason="steady"}`:   "0+15x20 stale",
				`headroom_scaler_decisions_total{job="scaler",instance="s",reason="scale_in"}`: "0x20 stale",
			},
			[]query{{
				Expr: `count by (alertname) (ALERTS{alertstate="firing"})`, EvalTime: "10m",
				Samples: []sample{{`{alertname="HeadroomScalerNoLeader"}`, 1}, {`{alertname="HeadroomTargetDown"}`, 2}},
			}},
		},
		"the leader decides nothing any more": {
			series{`headroom_scaler_decisions_total{job="scaler",instance="s",reason="steady"}`: "0+15x20 300x700"},
			[]query{firing("6m"), firing("8m", `HeadroomScalerLoopStopped severity="critical"`)},
		},
		"Kubernetes refuses the scaler": {
			series{`headroom_scaler_errors_total{job="scaler",instance="s",source="kubernetes"}`: growing(15)},
			[]query{firing("4m"), firing("12m", `HeadroomScalerErrors severity="warning"`)},
		},
		"the scaler's config is bad": {
			series{`headroom_scaler_config_reload_failed{job="scaler",instance="s"}`: steady(1)},
			[]query{firing("30s"), firing("2m", `HeadroomScalerConfigRejected severity="warning"`)},
		},

		"a model server can't be scraped": {
			series{`up{job="model-server",instance="m"}`: "1x20 0x700"},
			[]query{firing("6m"), firing("8m", `HeadroomTargetDown severity="warning",job="model-server"`)},
		},
		"no dispatcher is found": {
			series{`up{job="dispatcher",instance="d"}`: "1x20 stale"},
			[]query{firing("7m"), firing("9m", `HeadroomNoTargets severity="critical",job="dispatcher"`)},
		},
		"no model server is found, and there is one": {
			series{`up{job="model-server",instance="m"}`: "1x20 stale"},
			[]query{firing("7m"), firing("9m", `HeadroomNoTargets severity="critical",job="model-server"`)},
		},
		"no model server is found, as there is none": {
			series{
				`up{job="model-server",instance="m"}`:                              "1x20 stale",
				`dispatcher_replicas{job="dispatcher",instance="d",state="ready"}`: "1x20 0x700",
			},
			[]query{firing("15m")},
		},
		"no scaler is found": {
			gone("custom"), []query{firing("7m"), firing("9m", `HeadroomNoTargets severity="critical",job="scaler"`)},
		},
		"another scaler is in its place": {gone("hpa"), []query{firing("15m")}},
		"no exporter is found": {
			series{`up{job="redis",instance="r"}`: ""}, []query{firing("4m", `HeadroomNoTargets severity="critical",job="redis"`)},
		},
		"rules fail": {
			series{`prometheus_rule_evaluation_failures_total{job="prometheus",instance="p"}`: "0x20 3x700"},
			[]query{firing("6m", `HeadroomRuleFailures severity="warning"`), firing("12m")},
		},
	} {
		tests = append(tests, unitTest{
			Name: name, Interval: every.String(), InputSeries: healthy().with(test.changes).inputs(), Queries: test.want,
		})
	}
	run(t, own(), tests...)
}

// gone has the scalers' series end, and Prometheus know what scales instead.
func gone(scaler string) series {
	changes := series{
		`up{job="prometheus",instance="p",scaler="custom"}`:         "1x20 stale",
		`up{job="prometheus",instance="p",scaler="` + scaler + `"}`: steady(1),
	}
	for name := range healthy() {
		if strings.Contains(name, `job="scaler"`) {
			changes[name] = "1x20 stale"
		}
	}
	return changes
}

// Where the data goes back far enough, a slow burn is told too.
func TestSlowBurns(t *testing.T) {
	const (
		burn1d = `HeadroomErrorBudgetBurn severity="warning",long="1d",namespace="shop"`
		burn3d = `HeadroomErrorBudgetBurn severity="warning",long="3d",namespace="shop"`
	)
	slow := func(late float64, length time.Duration) []input {
		samples := int(length / (2 * time.Minute))
		named := func(name string) string { return strings.Replace(name, `job=`, `namespace="shop",job=`, 1) }
		return []input{
			{named(answered), fmt.Sprintf("0+100x%d", samples)},
			{named(inTime), fmt.Sprintf("0+%gx%d", 100-late, samples)},
			// What another namespace's dispatcher refuses is none of ours.
			{strings.Replace(refused, `job=`, `namespace="other",job=`, 1), fmt.Sprintf("0+100x%d", samples)},
		}
	}
	burns := func(at string, alerts ...string) query {
		q := firing(at, alerts...)
		q.Expr = `count by (alertname, severity, long, namespace) (ALERTS{alertstate="firing",alertname="HeadroomErrorBudgetBurn"})`
		return q
	}
	const day = 24 * time.Hour
	// Shares don't depend on how often there is a look, and days of looks take long.
	runEvery(t, 10*time.Minute, elsewhere(),
		unitTest{Interval: "2m", InputSeries: slow(4, day), Queries: []query{burns("24h", burn1d, burn3d)}},
		unitTest{Interval: "2m", InputSeries: slow(2, 3*day), Queries: []query{burns("72h", burn3d)}},
		unitTest{Interval: "2m", InputSeries: slow(0.5, day), Queries: []query{burns("24h")}},
	)
}

// What the windows count is what happened in them, put together from shorter
// ones or not.
func TestWindowsCountWhatHappened(t *testing.T) {
	args := own()
	args.Lookback = 0
	counted := func(name string, want float64) query {
		return query{Expr: fmt.Sprintf("abs(%s / %g - 1) < bool 0.01", name, want), EvalTime: "6h30m", Samples: []sample{{"{}", 1}}}
	}
	run(t, args, unitTest{
		Interval: "15s",
		InputSeries: []input{
			{answered, "0+10x1600"}, {inTime, "0+9x1600"},
		},
		Queries: []query{
			counted("headroom:slo_requests:increase5m", 200), counted("headroom:slo_violations:increase5m", 20),
			counted("headroom:slo_requests:increase1h", 2400), counted("headroom:slo_violations:increase1h", 240),
			counted("headroom:slo_requests:increase2h", 4800), counted("headroom:slo_violations:increase6h", 1440),
		},
	})
}

// The promise may be between the bounds of two buckets, or beyond the last.
func TestAnyPromiseCanBeHeldAgainstTheBuckets(t *testing.T) {
	bucket := func(le string, by int) input {
		name := fmt.Sprintf(`dispatcher_request_duration_seconds_bucket{outcome="answered",le="%s"}`, le)
		return input{name, fmt.Sprintf("0+%dx120", by)}
	}
	for promise, late := range map[time.Duration]float64{
		500 * time.Millisecond: 600 - 300,
		320 * time.Millisecond: 600 - (0.6*200 + 0.4*220),
		4 * time.Millisecond:   600 - 0.8*10,
		time.Second:            600 - 400,
		10 * time.Second:       600 - 480,
		30 * time.Second:       600 - 500,
	} {
		var tests []unitTest
		for _, one := range []string{"1", "1.0"} {
			ten := strings.Replace(one, "1", "10", 1)
			// 600 each time, of which 100 are refused; 20 times in five minutes. Mistakes of
			// callers are none of them.
			tests = append(tests, unitTest{
				Interval: every.String(),
				InputSeries: []input{
					bucket("0.005", 10), bucket("0.3", 200), bucket("0.35", 220), bucket("0.5", 300), bucket(one, 400), bucket(ten, 480), bucket("+Inf", 500),
					{`dispatcher_request_duration_seconds_count{outcome="answered"}`, "0+500x120"},
					{`dispatcher_request_duration_seconds_count{outcome="refused"}`, "0+100x120"},
					{`dispatcher_request_duration_seconds_count{outcome="client_error"}`, "0+5000x120"},
				},
				Queries: []query{{
					Expr: "round(headroom:slo_violations:increase5m / 20, 0.01)", EvalTime: "10m", Samples: []sample{{"{}", late}},
				}},
			})
		}
		args := own()
		args.SLOLatency = promise
		run(t, args, tests...)
	}
}

// What people read, with the values filled in.
func TestWhatAnAlertSays(t *testing.T) {
	run(t, own(), unitTest{
		Interval: every.String(), InputSeries: healthy().with(series{inTime: growing(120)}).inputs(),
		Alerts: []alertTest{{
			EvalTime: "2h", Name: "HeadroomErrorBudgetBurn",
			Alerts: []expectedAlert{
				{
					map[string]string{"severity": "critical", "long": "1h", "short": "5m"},
					map[string]string{
						"summary":     "The error budget burns at more than 14.4 times the rate that it allows",
						"description": "20% of the requests of the last 1h were not answered within 500ms; 1% may be. At this rate and above, the budget of 30 days is gone in 50 hours.",
						"runbook_url": "docs/monitoring.md#headroomerrorbudgetburn",
					},
				},
				{
					map[string]string{"severity": "critical", "long": "6h", "short": "30m"},
					map[string]string{
						"summary":     "The error budget burns at more than 6 times the rate that it allows",
						"description": "20% of the requests of the last 6h were not answered within 500ms; 1% may be. At this rate and above, the budget of 30 days is gone in 5 days.",
						"runbook_url": "docs/monitoring.md#headroomerrorbudgetburn",
					},
				},
			},
		}},
	})
}
