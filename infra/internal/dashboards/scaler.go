package dashboards

import "fmt"

// led is what the leading scaler tells.
func led(metric string) string { return fmt.Sprintf("max(%s%s)", metric, leads) }

// ledBy is the same for each value of a label.
func ledBy(label, metric string) string {
	return fmt.Sprintf("max by (%s) (%s%s)", label, metric, leads)
}

// scaler shows what the scaler saw, what it made of that, and what kept it from
// doing so.
func scaler(args Args) board {
	return board{
		id: "headroom-scaler", title: "headroom: scaler", description: "What the leading scaler decides, from what, and what limits it.",
		rows: []row{
			{"Decision", []panel{
				{
					title: "Model servers", unit: number,
					series: []series{
						{led("headroom_scaler_desired_replicas"), "desired"}, {led("headroom_scaler_spec_replicas"), "ordered"},
						{led("headroom_scaler_ready_replicas"), "ready"}, {led("headroom_scaler_starting_replicas"), "starting"},
					},
				},
				{
					title: "Asked for", unit: number, description: "By each term of the model; all is the most of demand, forecast and backlog.",
					series: []series{{ledBy("by", "headroom_scaler_asked_replicas"), "{{by}}"}},
				},
				{
					title: "Limited by", unit: number, kind: states, description: "What kept the decision from being what the model asked for.",
					series: []series{{ledBy("limiter", "headroom_scaler_limited"), "{{limiter}}"}},
				},
			}},
			{"Reasons", []panel{
				{
					title: "Decisions, by reason", unit: operations, stacked: true,
					series: []series{{"sum by (reason) (rate(headroom_scaler_decisions_total[$__rate_interval])" + leads + ") > 0", "{{reason}}"}},
				},
				{
					title: "Changes of the scale", unit: number,
					series: []series{
						{"sum by (direction) (increase(headroom_scaler_scalings_total[$__rate_interval]))", "{{direction}}"},
						{"sum by (direction) (increase(headroom_scaler_foreign_changes_total[$__rate_interval]))", "{{direction}}, by somebody else"},
						{"sum by (direction) (increase(headroom_scaler_would_have_scaled_total[$__rate_interval]))", "{{direction}}, only told"},
					},
				},
				{
					title: "Held before fewer", unit: inSeconds, description: "How long nothing higher must have been asked for, and the time from ordering a model server to its being ready.",
					series: []series{
						{led("headroom_scaler_hold_seconds"), "hold"}, {led("headroom_scaler_lead_time_seconds"), "lead time"},
					},
				},
			}},
			{"Demand", []panel{
				{
					title: "Arrivals", unit: perSecond,
					series: []series{
						{ledBy("kind", "headroom_scaler_arrival_rate"), "{{kind}}"},
						{led("headroom_scaler_arrival_rate_error"), "standard error"},
						{"sum(rate(dispatcher_requests_total[$__rate_interval]))", "at the dispatchers"},
					},
				},
				{
					title: "Error of the forecast", unit: inShares, signed: true, description: "Of the last one that has come due; above 0 is too high.",
					series: []series{{led("headroom_scaler_forecast_error_ratio"), "error"}},
				},
				{
					title: "Growth and backlog", unit: number, signed: true,
					series: []series{
						{led("headroom_scaler_arrival_trend"), "growth of arrivals, per second and second"},
						{led("headroom_scaler_backlog_expected"), "backlog when a new model server is ready"},
					},
				},
			}},
			{"Model", []panel{
				{
					title: "Latency at the promise's quantile", unit: inSeconds, lines: []line{{args.SLOLatency.Seconds(), bad}},
					description: fmt.Sprintf("As the model expects it of the ready model servers, and as it is. The line is the promise, %s.", args.SLOLatency),
					series: []series{
						{led("headroom_scaler_model_latency_seconds"), "expected"},
						{quantile(0.99, "dispatcher_request_duration_seconds", `{outcome="answered"}`), "measured"},
					},
				},
				{
					title: "Service time", unit: inSeconds,
					series: []series{{ledBy("kind", "headroom_scaler_service_seconds"), "{{kind}}"}},
				},
				{
					title: "Correction and utilization", unit: number, description: "The factor by which measured latency corrects the service time, and the share of time that the planned rate takes.",
					series: []series{
						{led("headroom_scaler_correction"), "correction"}, {led("headroom_scaler_planned_utilization"), "utilization"},
						{led("headroom_scaler_cpu_factor"), "CPU, times the usual limit"},
					},
				},
			}},
			{"Signals", []panel{
				{
					title: "Can be relied on", kind: states, unit: number,
					series: []series{{ledBy("signal", "headroom_scaler_signal_up"), "{{signal}}"}},
				},
				{
					title: "Age of the newest sample", unit: inSeconds,
					series: []series{{ledBy("signal", "headroom_scaler_signal_age_seconds"), "{{signal}}"}},
				},
				{
					title: "Signals, by state", unit: number, stacked: true,
					series: []series{{"sum by (state) (headroom_scaler_signal_state" + leads + ")", "{{state}}"}},
				},
			}},
			{"The scaler itself", []panel{
				{
					title: "Leads", kind: states, unit: number,
					series: []series{{"headroom_scaler_leader", "{{instance}}"}},
				},
				{
					title: "Duration of a turn", unit: inSeconds, lines: []line{{1, bad}},
					series: []series{
						{quantile(0.5, "headroom_scaler_loop_duration_seconds", ""), "p50"},
						{quantile(0.99, "headroom_scaler_loop_duration_seconds", ""), "p99"},
					},
				},
				{
					title: "Failures", unit: operations,
					series: []series{
						{"sum by (source) (rate(headroom_scaler_errors_total[$__rate_interval]))", "{{source}}"},
						{"sum(rate(headroom_scaler_loop_overruns_total[$__rate_interval]))", "turns cut off"},
					},
				},
				{
					title: "Could not rely on a signal for", unit: inSeconds, lines: []line{{60, bad}},
					series: []series{{led("headroom_scaler_untrusted_seconds"), "for"}},
				},
			}},
		},
	}
}
