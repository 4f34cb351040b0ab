package dashboards

import (
	"fmt"

	"headroom.dev/infra/internal/rules"
)

// budget is the share of the requests that may miss the promise.
var budget = fmt.Sprintf("%.2g", 1-rules.Objective)

// service shows what callers see: whether the promise is kept, and why not.
func service(args Args) board {
	return board{
		id: "headroom-service", title: "headroom: service", description: "Whether requests are answered within the promise, and what they wait for.",
		rows: []row{
			{"The promise", promise(args)},
			{"Requests", []panel{
				{
					title: "Requests, by outcome", unit: perSecond, stacked: true,
					description: "Of callers who wait for the answer.",
					series:      []series{{"sum by (outcome) (rate(dispatcher_request_duration_seconds_count[$__rate_interval]))", "{{outcome}}"}},
				},
				{
					title: "Arrivals", unit: perSecond,
					description: "All requests, also those whose result is fetched later.",
					series: []series{
						{"sum(rate(dispatcher_requests_total[$__rate_interval]))", "arrived"},
						{"sum(rate(dispatcher_requests_straight_total[$__rate_interval]))", "went straight to a free model server"},
					},
				},
				{
					title: "Refused and given up, by reason", unit: perSecond, stacked: true,
					series: []series{{"sum by (reason) (rate(dispatcher_requests_dropped_total[$__rate_interval]))", "{{reason}}"}},
				},
			}},
			{"Queue", queue(args)},
			{"Model servers", replicas(args)},
		},
	}
}

func promise(args Args) []panel {
	seconds := args.SLOLatency.Seconds()
	var burns []series
	var bounds []line
	for _, b := range rules.Burns(args.Lookback) {
		window := rules.Span(b.Long)
		burns = append(burns, series{fmt.Sprintf("headroom:slo_violations:ratio%s / %s", window, budget), window})
	}
	burns = append([]series{{fmt.Sprintf("headroom:slo_violations:ratio5m / %s", budget), "5m"}}, burns...)
	for _, b := range rules.Burns(args.Lookback) {
		color := notGood
		if b.Severity == rules.Critical {
			color = bad
		}
		bounds = append([]line{{b.Factor, color}}, bounds...)
	}
	return []panel{
		{
			title: "Answered within the promise", kind: single, unit: inShares, base: bad, lines: []line{{rules.Objective, good}},
			description: fmt.Sprintf("The share of the requests shown that were answered within %s. The objective is %g%%.", args.SLOLatency, 100*rules.Objective),
			series: []series{{
				"1 - sum_over_time(headroom:slo_violations:increase5m[$__range]) / sum_over_time(headroom:slo_requests:increase5m[$__range])", "answered in time",
			}},
		},
		{
			title: "Latency of answered requests", unit: inSeconds, lines: []line{{seconds, bad}},
			description: fmt.Sprintf("From accepting a request to writing its reply. The line is the promise, %s, for 99%% of them.", args.SLOLatency),
			series: []series{
				{quantile(0.5, "dispatcher_request_duration_seconds", `{outcome="answered"}`), "p50"},
				{quantile(0.9, "dispatcher_request_duration_seconds", `{outcome="answered"}`), "p90"},
				{quantile(0.99, "dispatcher_request_duration_seconds", `{outcome="answered"}`), "p99"},
			},
		},
		{
			title: "Burn rate of the error budget", unit: number, lines: bounds,
			description: "1: the budget of 30 days lasts 30 days. The lines are where alerts fire, for each window its own.",
			series:      burns,
		},
	}
}

func queue(args Args) []panel {
	panels := []panel{
		{
			title: "Requests that wait, and that are worked on", unit: number,
			series: []series{
				{"max(dispatcher_queue_size)", "in the queue"},
				{"sum(dispatcher_waiting)", "of these in dispatchers' memory"},
				{"sum(dispatcher_in_flight)", "at model servers"},
			},
		},
		{
			title: "Age of the oldest that waits", unit: inSeconds, lines: []line{{30, bad}},
			series: []series{{"max(dispatcher_queue_oldest_age_seconds)", "oldest"}},
		},
		{
			title: "Done again, and given up", unit: operations,
			description: "Second attempts by what ended the first, requests taken over from another dispatcher, and dead letters.",
			series: []series{
				{"sum by (after) (rate(dispatcher_retries_total[$__rate_interval]))", "again after {{after}}"},
				{"sum(rate(dispatcher_reclaims_total[$__rate_interval]))", "taken over"},
				{"sum(rate(dispatcher_dead_letters_total[$__rate_interval]))", "dead letters"},
			},
		},
	}
	if args.RedisExporter {
		panels = append(panels, panel{
			title: "Redis' memory", unit: inBytes,
			series: []series{
				{"max(redis_memory_used_bytes)", "used"}, {"max(redis_memory_max_bytes)", "maxmemory"},
			},
		})
	}
	return panels
}

func replicas(args Args) []panel {
	count := []series{
		{`max by (state) (dispatcher_replicas)`, "{{state}}"},
	}
	if args.Scaler {
		count = append(count, series{"max(headroom_scaler_desired_replicas" + leads + ")", "desired"})
	}
	return []panel{
		{title: "Number", unit: number, series: count},
		{
			title: "CPU", unit: number, description: "In cores, of all model servers.",
			series: []series{
				{`sum(rate(process_cpu_seconds_total{job="model-server"}[$__rate_interval]))`, "used"},
				{"sum(modelserver_cpu_limit_cores)", "limit"},
			},
		},
		{
			title: "Time of an attempt", unit: inSeconds, description: "From sending a request to a model server to having read its answer.",
			series: []series{
				{quantile(0.5, "dispatcher_backend_duration_seconds", ""), "p50"},
				{quantile(0.99, "dispatcher_backend_duration_seconds", ""), "p99"},
			},
		},
	}
}
