package scaler

import "headroom.dev/infra/internal/promql"

// signals are PromQL: what the dispatcher and the model server export, by the
// names in contract/metrics.json. The scaler fills in $window and $quantile.
type signals struct {
	Arrivals        string    `yaml:"arrivals"`
	Backlog         string    `yaml:"backlog"`
	OldestAge       string    `yaml:"oldestAge"`
	InFlight        string    `yaml:"inFlight"`
	ServiceMean     string    `yaml:"serviceMean"`
	ServiceP99      string    `yaml:"serviceP99"`
	CPUPerRequest   string    `yaml:"cpuPerRequest"`
	CPULimit        string    `yaml:"cpuLimit"`
	Slots           string    `yaml:"slots"`
	LatencyQuantile string    `yaml:"latencyQuantile"`
	Lost            string    `yaml:"lost"`
	Work            string    `yaml:"work"`
	Freshness       freshness `yaml:"freshness"`
}

// freshness are counters of which each process has one series, so that their
// age is the signals' and their restarts show.
type freshness struct {
	Arrivals string `yaml:"arrivals"`
	Service  string `yaml:"service"`
}

func ourSignals() signals {
	return signals{
		Arrivals:    `sum(rate(dispatcher_requests_total[$window]))`,
		Backlog:     `max(dispatcher_queue_size)`,
		OldestAge:   `max(dispatcher_queue_oldest_age_seconds)`,
		InFlight:    `sum(dispatcher_in_flight)`,
		ServiceMean: `sum(rate(inference_latency_seconds_sum[$window])) / sum(rate(inference_latency_seconds_count[$window]))`,
		ServiceP99:  `histogram_quantile(0.99, sum by (le) (rate(inference_latency_seconds_bucket[$window])))`,
		// What an answered request costs: all replicas' CPU by all their requests, as one that
		// is ending has answered next to nothing of late, and would by itself show its
		// upkeep. A replica that has not been ready for the whole window is left out: it
		// has burnt CPU to load its model, which after a scale-out would make every request
		// look dear just then.
		CPUPerRequest: `sum(sum by (instance) (rate(process_cpu_seconds_total{job="model-server"}[$window]))` +
			` and on (instance) (max by (instance) (modelserver_ready offset $window) == 1))` +
			` / (sum(sum by (instance) (rate(inference_requests_total{outcome="answered"}[$window]))` +
			` and on (instance) (max by (instance) (modelserver_ready offset $window) == 1)) > 0)`,
		CPULimit:        `min(modelserver_cpu_limit_cores)`,
		Slots:           `min(inference_slots)`,
		LatencyQuantile: `histogram_quantile($quantile, sum by (le) (rate(dispatcher_request_duration_seconds_bucket{outcome="answered"}[$window])))`,
		Lost: `sum(rate(dispatcher_requests_dropped_total{reason=~"deadline|hopeless|overload|predicted"}[$window]))` +
			` / sum(rate(dispatcher_requests_total[$window]))`,
		Work:      `sum by (replica) (dispatcher_replica_in_flight)`,
		Freshness: freshness{Arrivals: `dispatcher_requests_total`, Service: `inference_latency_seconds_count`},
	}
}

// scoped are the signals of one namespace; an empty one is no bound.
func (s signals) scoped(namespace string) signals {
	for _, query := range []*string{
		&s.Arrivals, &s.Backlog, &s.OldestAge, &s.InFlight, &s.ServiceMean, &s.ServiceP99, &s.CPUPerRequest, &s.CPULimit,
		&s.Slots, &s.LatencyQuantile, &s.Lost, &s.Work, &s.Freshness.Arrivals, &s.Freshness.Service,
	} {
		*query = promql.Scope(*query, namespace)
	}
	return s
}
