package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/sim"
	"headroom.dev/scaler/internal/simreport"
)

// Run compares, writes the files and prints what matters.
func (c *runCommand) Run(ctx context.Context, s streams) error {
	policies, scenarios, source, err := c.inputs()
	if err != nil {
		return command.AsMisuse(err)
	}
	settings := c.settings()
	if compare.NeedsUpstream(policies) || c.varied() {
		if settings.Upstream, err = findUpstream(c.Upstream); err != nil {
			return command.AsMisuse(err)
		}
	}
	settings.Timelines = c.Trace != ""
	report := simreport.Report{Source: source, Seed: c.Seed, Headroom: settings.Policy, CPURequest: c.CPURequest}
	stage := func(what string) compare.Settings {
		settings.Progress = progress(s.err, what)
		return settings
	}
	if report.Cases, err = compare.Compare(ctx, scenarios, policies, stage("comparing")); err != nil {
		return err
	}
	report.Totals = compare.Totals(report.Cases)
	if c.varied() {
		if report.Tradeoff, err = compare.Tradeoff(ctx, scenarios[0], &report.Cases[0], stage("varying settings")); err != nil {
			return err
		}
	}
	if c.Workloads > 0 {
		faulty := scenarios[:min(c.Faulty, len(scenarios))]
		if report.Faults, err = compare.Faults(ctx, faulty, stage("breaking metrics")); err != nil {
			return err
		}
		report.Aims = compare.Judge(report.Cases, report.Faults)
	}
	if err := simreport.Write(c.Out, report); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "simulate: written to %s\n", filepath.Join(c.Out, "report.html"))
	if c.JSON {
		return simreport.WriteJSON(s.out, report)
	}
	return simreport.Print(s.out, report)
}

// varied tells whether each policy's setting is varied too.
func (c *runCommand) varied() bool { return c.Trace != "" && c.Tradeoff }

func (c *runCommand) inputs() ([]compare.Policy, []sim.Scenario, string, error) {
	if err := c.check(); err != nil {
		return nil, nil, "", err
	}
	policies, err := compare.Parse(compare.Names(c.Policies))
	if err != nil {
		return nil, nil, "", fmt.Errorf("--policies %w", err)
	}
	scenarios, source, err := c.scenarios()
	return policies, scenarios, source, err
}

// findUpstream finds the program that runs the HPA and the KPA.
func findUpstream(given string) (string, error) {
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("--upstream %s: %w", given, err)
		}
		return given, nil
	}
	places := []string{filepath.Join(".headroom", "bin", "upstream")}
	if self, err := os.Executable(); err == nil {
		places = append([]string{filepath.Join(filepath.Dir(self), "upstream")}, places...)
	}
	for _, place := range places {
		if _, err := os.Stat(place); err == nil {
			return place, nil
		}
	}
	return "", fmt.Errorf("--upstream: not found at %s or %s; it is built by: make simulate", places[0], places[len(places)-1])
}
