package config

import "slices"

// check adds the problems that lie between keys, each of which is good by itself.
func (c *Config) check(r *reader) {
	good := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { return r.bad[k] })
	}
	if good("replicas.min", "replicas.max") && c.Replicas.Min > c.Replicas.Max {
		r.problem("replicas.min: %d is more than replicas.max, which is %d", c.Replicas.Min, c.Replicas.Max)
	}
	if good("prometheus.timeout", "tick") && c.Prometheus.Timeout >= c.Tick {
		r.problem("prometheus.timeout: %s must be less than tick, which is %s", c.Prometheus.Timeout, c.Tick)
	}
	if good("prometheus.staleAfter", "prometheus.scrapeInterval") && c.Prometheus.StaleAfter < 2*c.Prometheus.ScrapeInterval {
		r.problem("prometheus.staleAfter: %s must be at least twice prometheus.scrapeInterval, which is %s", c.Prometheus.StaleAfter, c.Prometheus.ScrapeInterval)
	}
	if good("scaleOut.step", "scaleOut.share", "scaleOut.interval") && c.ScaleOut.Interval == 0 && (c.ScaleOut.Step > 0 || c.ScaleOut.Share > 0) {
		r.problem("scaleOut.interval: 0s must be more than 0s where scaleOut.step or scaleOut.share is")
	}
	if good("scaleIn.step", "scaleIn.share", "scaleIn.interval") && c.ScaleIn.Interval == 0 && (c.ScaleIn.Step > 0 || c.ScaleIn.Share > 0) {
		r.problem("scaleIn.interval: 0s must be more than 0s where scaleIn.step or scaleIn.share is")
	}
	if good("fallback.replicas", "replicas.max") && c.Fallback.Replicas > c.Replicas.Max {
		r.problem("fallback.replicas: %d is more than replicas.max, which is %d", c.Fallback.Replicas, c.Replicas.Max)
	}
	if good("fallback.replicas", "fallback.after") && c.Fallback.Replicas > 0 && c.Fallback.After == 0 {
		r.problem("fallback.replicas: %d has no effect while fallback.after is 0s, must be 0", c.Fallback.Replicas)
	}
	c.checkProcesses(r, good)
	c.checkFreshness(r, good)
	c.checkSchedules(r, good)
}

// checkFreshness refuses somebody's own query next to our selector: the age of
// our series says nothing about theirs.
func (c *Config) checkFreshness(r *reader, good func(...string) bool) {
	defaults := defaultSignals()
	for _, pair := range []struct {
		query, freshness string
		changed          bool
	}{
		{"signals.arrivals", "signals.freshness.arrivals", c.Signals.Arrivals != defaults.Arrivals},
		{"signals.serviceMean", "signals.freshness.service", c.Signals.ServiceMean != defaults.ServiceMean},
	} {
		if good(pair.query) && pair.changed && !r.seen[pair.freshness] {
			r.problem("%s: missing, must be given where %s is", pair.freshness, pair.query)
		}
	}
}

func (c *Config) checkSchedules(r *reader, good func(...string) bool) {
	first := map[string]int{}
	for i, s := range c.Schedules {
		if floor := item("schedules", i) + "floor"; good(floor, "replicas.max") && s.Floor > c.Replicas.Max {
			r.problem("%s: %d is more than replicas.max, which is %d", floor, s.Floor, c.Replicas.Max)
		}
		if s.Name == "" {
			continue // is missing or bad, which was said
		}
		if before, taken := first[s.Name]; taken {
			r.problem("%sname: %s is the name of schedules[%d] too", item("schedules", i), s.Name, before)
			continue
		}
		first[s.Name] = i
	}
}
