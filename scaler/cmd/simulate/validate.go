package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/realrun"
	"headroom.dev/scaler/internal/sim"
)

type validateCommand struct {
	Dir string `arg:"" name:"dir" help:"Result folder of a load test that ran with a Prometheus, such as results/latest."`

	policyFlags
	ServiceCV   float64       `name:"service-cv" default:"0.2" help:"Coefficient of variation of what requests cost, 0 to 10. Default: ${default}."`
	ColdStart   time.Duration `default:"0s" help:"Mean time from ordering a replica to its being ready, up to 1h. 0s: the run's own. Default: ${default}."`
	ColdStartCV float64       `name:"cold-start-cv" default:"0.1" help:"Its coefficient of variation, 0 to 10. Default: ${default}."`
	Seed        uint64        `default:"1" help:"Of the service times and cold starts; arrivals are the run's own. Default: ${default}."`
	Upstream    string        `placeholder:"FILE" help:"The program that runs the HPA. Default: upstream beside this program, or .headroom/bin/upstream."`

	CostMargin       float64 `default:"0.2" help:"Share by which replica-seconds and CPU-seconds may differ, above 0 to 10. Default: ${default}."`
	ViolationsMargin float64 `default:"1" help:"By how many percent of all requests violations may differ, above 0 to 100. Default: ${default}."`
	P99Margin        float64 `name:"p99-margin" default:"0.4" help:"By which share of the promise the 99th percentile may differ, above 0 to 10. Default: ${default}."`
}

func (c *validateCommand) check() error {
	for _, r := range []limits{
		{"service-cv", c.ServiceCV, 0, 10, false}, {"cold-start-cv", c.ColdStartCV, 0, 10, false},
		{"cost-margin", c.CostMargin, 0, 10, true}, {"violations-margin", c.ViolationsMargin, 0, 100, true}, {"p99-margin", c.P99Margin, 0, 10, true},
	} {
		if err := r.check(); err != nil {
			return err
		}
	}
	if err := (times{"cold-start", c.ColdStart, 0, time.Hour}).check(); err != nil {
		return err
	}
	return c.policyFlags.check()
}

// Run plays a real run's arrivals in virtual time and fails where the two are
// farther apart than the margin.
func (c *validateCommand) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return command.AsMisuse(err)
	}
	run, err := realrun.Load(c.Dir)
	if err != nil {
		return command.AsMisuse(err)
	}
	name, err := run.PolicyName()
	if err != nil {
		return command.AsMisuse(fmt.Errorf("%s: %w", c.Dir, err))
	}
	policies, err := compare.Parse([]string{name})
	if err != nil {
		return command.AsMisuse(fmt.Errorf("%s: run.scaler %w", c.Dir, err))
	}
	scenario, price, err := run.Scenario(realrun.Assumptions{ServiceCV: c.ServiceCV, ColdStart: c.ColdStart, ColdStartCV: c.ColdStartCV, Seed: c.Seed})
	if err != nil {
		return command.AsMisuse(fmt.Errorf("%s: %w", c.Dir, err))
	}
	settings := compare.Settings{Policy: c.policy(run.SLO), CPURequest: 1, Workers: 1, Timelines: true}
	if compare.NeedsUpstream(policies) {
		if settings.Upstream, err = findUpstream(c.Upstream); err != nil {
			return command.AsMisuse(err)
		}
	}
	cases, err := compare.Compare(ctx, []sim.Scenario{scenario}, policies, settings)
	if err != nil {
		return err
	}
	simulated := realrun.Simulated(cases[0].Rows[0])
	fmt.Fprintf(s.out, "%s, %d requests of %.1f ms of CPU each, replicas of %.3g cores that take %.1f ms of it a second for themselves, ready after %s\n\n",
		name, len(run.Arrivals), 1000*price.Request, run.CPULimit, 1000*price.Upkeep, scenario.ColdStart.Mean.Round(100*time.Millisecond))
	table := tabwriter.NewWriter(s.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\treal\tsimulated\t")
	m := run.Measured
	fmt.Fprintf(table, "p50, ms\t%.0f\t%.0f\t\n", 1000*m.P50, 1000*simulated.P50)
	fmt.Fprintf(table, "p99, ms\t%.0f\t%.0f\t\n", 1000*m.P99, 1000*simulated.P99)
	fmt.Fprintf(table, "violations\t%.2f%%\t%.2f%%\t\n", 100*m.ViolationShare, 100*simulated.ViolationShare)
	fmt.Fprintf(table, "replica-seconds\t%.0f\t%.0f\t\n", m.ReplicaSeconds, simulated.ReplicaSeconds)
	fmt.Fprintf(table, "most replicas\t%.0f\t%.0f\t\n", m.Peak, simulated.Peak)
	fmt.Fprintf(table, "CPU-seconds\t%.0f\t%.0f\t\n", m.CPUSeconds, simulated.CPUSeconds)
	if err := table.Flush(); err != nil {
		return err
	}
	margin := realrun.Margin{Cost: c.CostMargin, Violations: c.ViolationsMargin, P99: c.P99Margin}
	if outside := margin.Outside(m, simulated, run.SLO); len(outside) > 0 {
		return fmt.Errorf("the simulation is not like the run: %s", strings.Join(outside, "; "))
	}
	return nil
}
