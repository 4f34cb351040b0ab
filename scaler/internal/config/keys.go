package config

import "time"

// keys are the keys that a file may have outside of lists, each with where its
// value goes and what is allowed.
func (c *Config) keys() map[string]key {
	keys := map[string]key{
		"target.namespace":          {name(&c.Target.Namespace), true},
		"target.apiVersion":         {apiVersion(&c.Target.APIVersion), false},
		"target.kind":               {kind(&c.Target.Kind), false},
		"target.resource":           {orNothing(&c.Target.Resource, name), false},
		"target.name":               {name(&c.Target.Name), true},
		"target.container":          {orNothing(&c.Target.Container, name), false},
		"mode":                      {oneOf(&c.Mode, Active, DryRun), false},
		"prometheus.url":            {webURL(&c.Prometheus.URL), true},
		"prometheus.timeout":        {duration(&c.Prometheus.Timeout, 10*time.Millisecond, time.Minute), false},
		"prometheus.scrapeInterval": {duration(&c.Prometheus.ScrapeInterval, time.Second, 15*time.Second), false},
		"prometheus.staleAfter":     {duration(&c.Prometheus.StaleAfter, 2*time.Second, 5*time.Minute), false},
		"slo.latency":               {duration(&c.SLO.Latency, time.Millisecond, time.Minute), false},
		"slo.quantile":              {number(&c.SLO.Quantile, 0.5, 0.9999), false},
		"replicas.min":              {integer(&c.Replicas.Min, 0, maxReplicas), false},
		"replicas.max":              {integer(&c.Replicas.Max, 1, maxReplicas), false},
		"replicas.idleAfter":        {duration(&c.Replicas.IdleAfter, time.Second, 24*time.Hour), false},
		"tick":                      {duration(&c.Tick, 100*time.Millisecond, time.Minute), false},
		"leadTime":                  {duration(&c.LeadTime, 100*time.Millisecond, time.Hour), false},
		"scaleOut.utilization":      {number(&c.ScaleOut.Utilization, 0.05, 0.99), false},
		"scaleOut.step":             {integer(&c.ScaleOut.Step, 0, maxReplicas), false},
		"scaleOut.share":            {number(&c.ScaleOut.Share, 0, 1), false},
		"scaleOut.interval":         {duration(&c.ScaleOut.Interval, 0, time.Hour), false},
		"scaleIn.tolerance":         {number(&c.ScaleIn.Tolerance, 0, 1), false},
		"scaleIn.stabilization":     {duration(&c.ScaleIn.Stabilization, 0, time.Hour), false},
		"scaleIn.step":              {integer(&c.ScaleIn.Step, 0, maxReplicas), false},
		"scaleIn.share":             {number(&c.ScaleIn.Share, 0, 1), false},
		"scaleIn.interval":          {duration(&c.ScaleIn.Interval, 0, time.Hour), false},
		"fallback.after":            {duration(&c.Fallback.After, 0, 24*time.Hour), false},
		"fallback.replicas":         {integer(&c.Fallback.Replicas, 0, maxReplicas), false},
		"bridge.ceiling":            {number(&c.Bridge.Ceiling, 1, 16), false},
		"lease.enabled":             {boolean(&c.Lease.Enabled), false},
		"lease.namespace":           {name(&c.Lease.Namespace), false},
		"lease.name":                {name(&c.Lease.Name), false},
		"state.configMap":           {name(&c.State.ConfigMap), false},
		"listen":                    {address(&c.Listen), false},
	}
	for k, field := range c.Signals.keys() {
		keys["signals."+k] = field
	}
	return keys
}

// maxReplicas is beyond what a queueing model is asked about, and what a typing
// error easily gets to.
const maxReplicas = 10_000
