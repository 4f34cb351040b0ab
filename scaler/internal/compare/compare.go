package compare

import (
	"context"
	"fmt"
	"slices"

	"headroom.dev/scaler/internal/sim"
)

// Compare plays every policy in every scenario and returns the cases in the
// scenarios' order, the same for any number of workers. The error names the
// scenario and the policy.
func Compare(ctx context.Context, scenarios []sim.Scenario, policies []Policy, s Settings) ([]Case, error) {
	cases := make([]Case, len(scenarios))
	budgets := make([]float64, len(scenarios))
	var first, second []task // oracles come second, as they may cost what headroom did
	for i, scenario := range scenarios {
		cases[i] = Case{Scenario: scenario, Rows: make([]Row, len(policies))}
		cases[i].Scenario.Rates, cases[i].Scenario.Times = nil, nil
		add := func(p Policy, keep func(Row)) {
			t := func(player *player) error {
				row, err := player.row(scenario, p, budgets[i])
				if err != nil {
					return fmt.Errorf("%s, %s: %w", scenario.Name, p.Name, err)
				}
				if p.Name == Headroom {
					budgets[i] = row.ReplicaSeconds
				}
				keep(row)
				return nil
			}
			if p.dependent() {
				second = append(second, t)
			} else {
				first = append(first, t)
			}
		}
		for j, p := range policies {
			add(p, func(r Row) { cases[i].Rows[j] = r })
		}
		if slices.ContainsFunc(policies, Policy.dependent) && !slices.ContainsFunc(policies, isHeadroom) {
			add(Policy{Name: Headroom, kind: headroom}, func(Row) {})
		}
	}
	if err := work(ctx, s, first, second); err != nil {
		return nil, err
	}
	for i := range cases {
		cases[i].overClairvoyant()
	}
	return cases, nil
}

// dependent tells whether the policy may cost what headroom did.
func (p Policy) dependent() bool { return p.kind == oracle && p.number == 0 }

func isHeadroom(p Policy) bool { return p.Name == Headroom }

func (p *player) row(s sim.Scenario, which Policy, budget float64) (Row, error) {
	if which.number > 0 && which.kind == oracle {
		budget = which.number
	}
	o, err := p.play(s, which, budget)
	if err != nil {
		return Row{}, err
	}
	if !p.settings.Timelines {
		o.result.Timeline = nil
	}
	return rowOf(which, o, Length(s)), nil
}
