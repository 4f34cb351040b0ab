package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Signals are the PromQL expressions behind the policy's signals, each of which
// gives one number. An empty one is switched off. [Variable] finds $window and
// $quantile in them.
type Signals struct {
	// Arrivals are requests per second over $window. It is asked twice, for a short
	// window and for a long one.
	Arrivals string
	// Backlog is how many requests wait, and OldestAge how long the oldest has, in seconds.
	Backlog, OldestAge string
	// InFlight is how many requests are at a replica.
	InFlight string
	// ServiceMean and ServiceP99 are seconds that one request takes a replica.
	ServiceMean, ServiceP99 string
	// CPUPerRequest is CPU seconds for one request, CPULimit the cores of one replica.
	CPUPerRequest, CPULimit string
	// Slots is how many requests one replica serves at the same time.
	Slots string
	// LatencyQuantile is the latency, in seconds, that the share $quantile of the
	// answered requests stayed inside.
	LatencyQuantile string
	// Lost is the share (0..1) of the requests that arrived which were refused or given
	// up for want of capacity: no latency shows them.
	Lost string
	// Work has many numbers: the requests that each replica has to do, by the label
	// replica or instance.
	Work      string
	Freshness Freshness
}

// Freshness are selectors of counters that tell how old the signals are, and
// whether what they count was restarted. Each process has one series of it.
type Freshness struct {
	// Arrivals stands for what arrives and waits, Service for what serves.
	Arrivals, Service string
}

// defaultSignals ask for what our dispatcher and model server export, by the
// names in contract/metrics.json.
func defaultSignals() Signals {
	return Signals{
		Arrivals:  `sum(rate(dispatcher_requests_total[$window]))`,
		Backlog:   `max(dispatcher_queue_size)`,
		OldestAge: `max(dispatcher_queue_oldest_age_seconds)`,
		InFlight:  `sum(dispatcher_in_flight)`,
		// 0/0 without requests: NaN, which the policy knows to be no fault then.
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
		Freshness: Freshness{Arrivals: `dispatcher_requests_total`, Service: `inference_latency_seconds_count`},
	}
}

func (s *Signals) keys() map[string]key {
	return map[string]key{
		"arrivals":           {query(&s.Arrivals, "$window"), false},
		"backlog":            {queryOrNone(&s.Backlog), false},
		"oldestAge":          {queryOrNone(&s.OldestAge), false},
		"inFlight":           {queryOrNone(&s.InFlight), false},
		"serviceMean":        {query(&s.ServiceMean, ""), false},
		"serviceP99":         {queryOrNone(&s.ServiceP99), false},
		"cpuPerRequest":      {queryOrNone(&s.CPUPerRequest), false},
		"cpuLimit":           {queryOrNone(&s.CPULimit), false},
		"slots":              {queryOrNone(&s.Slots), false},
		"latencyQuantile":    {queryOrNone(&s.LatencyQuantile), false},
		"lost":               {queryOrNone(&s.Lost), false},
		"work":               {queryOrNone(&s.Work), false},
		"freshness.arrivals": {selector(&s.Freshness.Arrivals), false},
		"freshness.service":  {selector(&s.Freshness.Service), false},
	}
}

// Variable matches what is replaced in a query before it is asked. $1 and ${1},
// as label_replace has them, are none.
var Variable = regexp.MustCompile(`\$[A-Za-z_][A-Za-z0-9_]*`)

// none is the value that switches a signal off.
const none = "none"

const maxQuery = 4096 // bytes

// query is a PromQL expression. Its syntax is Prometheus' affair, as it depends
// on the version; what is checked is what surely is wrong. It must have the
// variable `needs` in it, if any.
func query(to *string, needs string) setter {
	allowed := "a PromQL expression of at most " + strconv.Itoa(maxQuery) + " bytes with no variables but $window and $quantile (a fixed number is vector(1))"
	if needs != "" {
		allowed += " and with " + needs + " in it"
	}
	return func(s string) (string, bool) {
		s = strings.TrimSpace(s)
		variables := map[string]bool{}
		for _, v := range Variable.FindAllString(s, -1) {
			variables[v] = true
		}
		if needs != "" && !variables[needs] {
			return allowed, false
		}
		delete(variables, "$window")
		delete(variables, "$quantile")
		_, scalar := strconv.ParseFloat(s, 64)
		if s == "" || s == none || len(s) > maxQuery || scalar == nil || len(variables) > 0 {
			return allowed, false
		}
		*to = s
		return allowed, true
	}
}

func queryOrNone(to *string) setter {
	set := query(to, "")
	return func(s string) (string, bool) {
		if s == none {
			*to = ""
			return "", true
		}
		allowed, ok := set(s)
		return allowed + ", or none", ok
	}
}

// seriesSelector is a metric's name with or without matchers: what a window or
// an offset can be written after.
var seriesSelector = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*\s*(?:\{\s*(?:` + matcher + `\s*(?:,\s*` + matcher + `\s*)*,?\s*)?\})?$`)

const matcher = `[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=|!=|=~|!~)\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')`

func selector(to *string) setter {
	const allowed = `a counter's name, with matchers if need be, such as requests_total{job="web"}`
	return func(s string) (string, bool) {
		s = strings.TrimSpace(s)
		if s == none || len(s) > maxQuery || !seriesSelector.MatchString(s) {
			return allowed, false
		}
		*to = s
		return allowed, true
	}
}
