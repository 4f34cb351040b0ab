package rules

import "fmt"

// leads narrows what scalers tell to the one that leads.
const leads = " and on (instance) (headroom_scaler_leader == 1)"

// service alerts on the way of a request, whoever scales.
func service(args Args) []Rule {
	rules := []Rule{
		alert("HeadroomQueueAge", Warning,
			`max(dispatcher_queue_oldest_age_seconds) > 30`, "1m",
			"A request has waited in the queue for more than 30 s",
			"The oldest request in the queue has waited for {{ $value | humanizeDuration }}."),
		alert("HeadroomDeadLetters", Warning,
			`max(dispatcher_dead_letters) > 0`, "",
			"Requests were given up and are kept as dead letters",
			"{{ $value }} dead letters wait for somebody to send them again or to remove them."),
		alert("HeadroomQueueUnreachable", Critical,
			`count((up{job="dispatcher"} == 1) unless on (instance) dispatcher_queue_size) > 0`, "1m",
			"Dispatchers can't reach Redis",
			"{{ $value }} of the dispatchers have not been able to ask Redis for a minute: asynchronous requests are refused, and others do without the queue."),
		alert("HeadroomModelServersNotReady", Warning,
			`max(headroom_scaler_starting_replicas or dispatcher_replicas{state="starting"}) > 0`, "10m",
			"Model servers have not become ready for ten minutes",
			"{{ $value }} model servers exist and are not ready."),
	}
	if args.RedisExporter {
		rules = append(rules, alert("HeadroomRedisMemory", Warning,
			`redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.8`, "2m",
			"Redis' memory is nearly full",
			"Redis uses {{ $value | humanizePercentage }} of maxmemory: at 100% new requests are refused."))
	}
	return rules
}

// scaler alerts on headroom's own scaler. Where it doesn't run, its series are
// not there and nothing fires.
func scaler() []Rule {
	return []Rule{
		alert("HeadroomModelServersAtMax", Warning,
			`max(headroom_scaler_limited{limiter="max"}`+leads+`) == 1`, "5m",
			"More model servers are needed than are allowed",
			"For five minutes the load has asked for more model servers than maxReplicas."),
		alert("HeadroomScalerUntrusted", Warning,
			`max(headroom_scaler_untrusted_seconds`+leads+`) > 60`, "1m",
			"The scaler can't rely on what it measures",
			"A signal that is needed has been missing, stale or invalid for {{ $value | humanizeDuration }}: no model server is taken away, and none added for what is not known."),
		// A scaler that is down tells nothing, also not that it doesn't lead.
		alert("HeadroomScalerNoLeader", Critical,
			`(max(headroom_scaler_leader) or 0 * max(up{job="scaler"})) == 0`, "1m",
			"No scaler leads",
			"For a minute no scaler that can be asked has held the Lease: the number of model servers stays as it is, whatever arrives."),
		alert("HeadroomScalerLoopStopped", Critical,
			`sum by (instance) (increase(headroom_scaler_decisions_total[1m])) == 0`+leads, "1m",
			"The scaler doesn't decide any more",
			"The leading scaler, {{ $labels.instance }}, has decided nothing for two minutes: the number of model servers stays as it is, whatever arrives."),
		alert("HeadroomScalerErrors", Warning,
			`sum by (source) (rate(headroom_scaler_errors_total[5m])) > 0.1`, "5m",
			"The scaler's reads or writes fail",
			"{{ $value | humanize }} times a second the scaler fails to read from or write to {{ $labels.source }}."),
		alert("HeadroomScalerConfigRejected", Warning,
			`max(headroom_scaler_config_reload_failed) == 1`, "1m",
			"The scaler doesn't run with its config file",
			"The config file has a mistake, so the scaler keeps the configuration from before; its log says which."),
	}
}

// targets alerts on what Prometheus can't scrape, as nothing is known of that.
func targets(args Args) []Rule {
	rules := []Rule{
		alert("HeadroomTargetDown", Warning,
			`up{job=~"dispatcher|model-server|scaler|redis"} == 0`, "2m",
			"A pod can't be scraped",
			"{{ $labels.instance }} of the job {{ $labels.job }} has not answered Prometheus for two minutes."),
		noTargets("dispatcher", `absent(up{job="dispatcher"})`),
		// There may be none of these, so somebody else has to know of one.
		noTargets("model-server", `absent(up{job="model-server"}) and on () (max(dispatcher_replicas{state="ready"}) > 0)`),
	}
	if args.Scaler {
		absent := `absent(up{job="scaler"})`
		if args.ScalerRuns != "" {
			absent = fmt.Sprintf("%s and on () (%s)", absent, args.ScalerRuns)
		}
		rules = append(rules, noTargets("scaler", absent))
	}
	if args.RedisExporter {
		rules = append(rules, noTargets("redis", `absent(up{job="redis"})`))
	}
	if args.Self {
		rules = append(rules, alert("HeadroomRuleFailures", Warning,
			`sum(increase(prometheus_rule_evaluation_failures_total[5m])) > 0`, "",
			"Prometheus can't evaluate its rules",
			"{{ $value | humanize }} evaluations failed within five minutes: what the rules would tell is not known. Prometheus' log says why."))
	}
	return rules
}

func noTargets(job, expr string) Rule {
	rule := alert("HeadroomNoTargets", Critical, expr, "3m",
		"Prometheus finds nothing to scrape",
		fmt.Sprintf("The job %s has had no targets for three minutes, although there should be some.", job))
	rule.Labels["job"] = job
	return rule
}
