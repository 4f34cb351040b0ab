package dashboards

// modelServers shows each model server, and what a request costs in it.
func modelServers() board {
	return board{
		id: "headroom-model-servers", title: "headroom: model servers", description: "What each model server does, and where its time goes.",
		rows: []row{
			{"Requests", []panel{
				{
					title: "Requests, by outcome", unit: perSecond, stacked: true,
					series: []series{{"sum by (outcome) (rate(inference_requests_total[$__rate_interval]))", "{{outcome}}"}},
				},
				{
					title: "Refused, by reason", unit: perSecond, stacked: true,
					series: []series{{"sum by (reason) (rate(inference_refused_total[$__rate_interval]))", "{{reason}}"}},
				},
				{
					title: "Answered, by model server", unit: perSecond, stacked: true,
					series: []series{{`sum by (instance) (rate(inference_requests_total{outcome="answered"}[$__rate_interval]))`, "{{instance}}"}},
				},
			}},
			{"Time", []panel{
				{
					title: "Service time", unit: inSeconds, description: "Of answered requests, without waiting for a turn.",
					series: []series{
						{quantile(0.5, "inference_latency_seconds", ""), "p50"},
						{quantile(0.99, "inference_latency_seconds", ""), "p99"},
						{mean("inference_latency_seconds", ""), "mean"},
					},
				},
				{
					title: "Time by stage", unit: inSeconds, description: "In the mean.", stacked: true,
					series: []series{{mean("inference_stage_seconds", "stage"), "{{stage}}"}},
				},
				{
					title: "Pictures of one run of the network", unit: number,
					series: []series{{mean("inference_batch_size", ""), "mean"}},
				},
			}},
			{"Load", []panel{
				{
					title: "Requests inside, by model server", unit: number,
					series: []series{
						{"inference_in_flight", "{{instance}}"}, {"max(inference_slots)", "slots of one"},
					},
				},
				{
					title: "CPU used of the limit", unit: inShares, lines: []line{{1, bad}},
					series: []series{{
						`rate(process_cpu_seconds_total{job="model-server"}[$__rate_interval]) / on (instance) modelserver_cpu_limit_cores`, "{{instance}}",
					}},
				},
				{
					title: "Resident memory", unit: inBytes,
					series: []series{{`process_resident_memory_bytes{job="model-server"}`, "{{instance}}"}},
				},
			}},
			{"As the dispatchers see them", []panel{
				{
					title: "Latency of attempts", unit: inSeconds, description: "Smoothed mean.",
					series: []series{{"max by (replica) (dispatcher_replica_latency_seconds)", "{{replica}}"}},
				},
				{
					title: "Requests in flight", unit: number, stacked: true,
					series: []series{{"sum by (replica) (dispatcher_replica_in_flight)", "{{replica}}"}},
				},
				{
					title: "Left alone after failures", unit: number,
					series: []series{{"sum(dispatcher_replica_avoided)", "by a dispatcher each"}},
				},
			}},
			{"Start", []panel{
				{
					title: "Ready", kind: states, unit: number,
					series: []series{{"modelserver_ready", "{{instance}}"}},
				},
				{
					title: "Time to be ready", unit: inSeconds, description: "From starting to load the model, of those that are there.",
					series: []series{
						{"max(modelserver_model_load_seconds)", "longest"}, {"max(modelserver_model_warmup_seconds)", "warm-up of it"},
					},
				},
			}},
		},
	}
}
