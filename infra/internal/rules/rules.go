// Package rules is what Prometheus works out of headroom's metrics, and of what
// it alerts. docs/monitoring.md has a section for each alert.
package rules

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/promql"
)

// How bad what an alert tells of is: the values of its label severity.
const (
	Critical = "critical" // somebody has to act now: page
	Warning  = "warning"  // somebody has to act within days: ticket
)

// Args say what the rules are to hold for.
type Args struct {
	SLOLatency time.Duration // the promise: 99% of the requests are answered within it
	Lookback   time.Duration // how long Prometheus keeps its data, at least 1h; 0: longer than any rule looks back

	// Scaler tells whether there are rules about headroom's own scaler. ScalerRuns is
	// PromQL that has a value while there should be one; empty: always.
	Scaler     bool
	ScalerRuns string

	RedisExporter bool   // Redis' memory is known
	Self          bool   // Prometheus' own metrics are there too
	Namespace     string // the series' label namespace; empty: they have none
	Runbooks      string // URL of docs/monitoring.md, to which #alert is added
}

// Group is a group of rules, as a rule file has it.
type Group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []Rule `yaml:"rules"`
}

// Rule is a series that is recorded, or an alert.
type Rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// Groups are all rules.
func Groups(args Args) []Group {
	groups := []Group{
		{Name: "headroom-slo", Interval: sloInterval.String(), Rules: slo(args)},
		{Name: "headroom-service", Interval: alertInterval.String(), Rules: service(args)},
	}
	if args.Scaler {
		groups = append(groups, Group{Name: "headroom-scaler", Interval: alertInterval.String(), Rules: scaler()})
	}
	groups = append(groups, Group{Name: "headroom-targets", Interval: alertInterval.String(), Rules: targets(args)})
	for _, group := range groups {
		for i := range group.Rules {
			finish(&group.Rules[i], args)
		}
	}
	return groups
}

// alertInterval is the time between two looks at what alerts are about.
const alertInterval = 15 * time.Second

// finish gives a rule what all have in common.
func finish(rule *Rule, args Args) {
	rule.Expr = promql.Scope(rule.Expr, args.Namespace)
	if rule.Alert != "" {
		rule.Annotations["runbook_url"] = args.Runbooks + "#" + strings.ToLower(rule.Alert)
	}
	if args.Namespace == "" {
		return
	}
	if rule.Labels == nil {
		rule.Labels = map[string]string{}
	}
	rule.Labels["namespace"] = args.Namespace
}

// File is the rule file with the groups.
func File(groups []Group) (string, error) {
	content, err := yaml.Marshal(map[string][]Group{"groups": groups})
	if err != nil {
		return "", fmt.Errorf("writing Prometheus' rules: %w", err)
	}
	return string(content), nil
}

// alert is an alert that fires when the expression has had a value for as long
// as wait, a duration as Prometheus writes it; empty: at once.
func alert(name, severity, expr, wait, summary, description string) Rule {
	return Rule{
		Alert: name, Expr: expr, For: wait,
		Labels:      map[string]string{"severity": severity},
		Annotations: map[string]string{"summary": summary, "description": description},
	}
}
