package compare

import (
	"context"
	"fmt"
	"slices"
	"time"

	"headroom.dev/scaler/internal/sim"
)

// Curve is one policy with one setting varied: what each value costs and violates.
type Curve struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is one value of the setting.
type Point struct {
	Label string `json:"label"`
	Row   Row    `json:"row"`
}

// member is a point that is yet to be played.
type member struct {
	label  string
	policy Policy
}

type family struct {
	name    string
	members []member
}

func families(reference float64) []family {
	ours := family{name: "headroom, by utilization"}
	for _, share := range []float64{0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95} {
		ours.members = append(ours.members, member{fmt.Sprintf("%.0f %%", 100*share), utilization(share)})
	}
	patient := family{name: "headroom, by stabilization"}
	for _, d := range []time.Duration{0, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute} {
		patient.members = append(patient.members, member{fmt.Sprintf("%.0f s", d.Seconds()), stabilization(d)})
	}
	hpa := family{name: "HPA, by CPU target"}
	for n := 30; n <= 90; n += 10 {
		p, _ := parse(fmt.Sprintf("hpa%d", n))
		hpa.members = append(hpa.members, member{fmt.Sprintf("%d %%", n), p})
	}
	knative := family{name: "KPA, by target"}
	for n := 30; n <= 90; n += 10 {
		p, _ := parse(fmt.Sprintf("kpa%d", n))
		knative.members = append(knative.members, member{fmt.Sprintf("%d %%", n), p})
	}
	reactive := family{name: "reactive oracle"}
	for _, over := range []float64{1, 1.1, 1.2, 1.3, 1.5, 1.75, 2, 2.5, 3} {
		reactive.members = append(reactive.members, member{fmt.Sprintf("%.2f×", over), Policy{Name: Oracle, kind: oracle, number: over * reference}})
	}
	return []family{ours, patient, hpa, knative, reactive}
}

// Tradeoff plays one scenario with the settings of each policy varied. costs is
// the case that was compared before, of which the clairvoyant (or, without it,
// headroom) says what the oracles may cost.
func Tradeoff(ctx context.Context, scenario sim.Scenario, compared *Case, s Settings) ([]Curve, error) {
	reference, ok := compared.Row(Clairvoyant)
	if !ok {
		if reference, ok = compared.Row(Headroom); !ok {
			return nil, fmt.Errorf("the trade-off needs headroom or clairvoyant among the policies")
		}
	}
	s.Timelines = false
	var curves []Curve
	var tasks []task
	for _, f := range families(reference.ReplicaSeconds) {
		points := make([]Point, len(f.members))
		for i, m := range f.members {
			tasks = append(tasks, func(p *player) error {
				row, err := p.row(scenario, m.policy, 0)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", scenario.Name, m.policy.Name, err)
				}
				points[i] = Point{Label: m.label, Row: row}
				return nil
			})
		}
		curves = append(curves, Curve{Name: f.name, Points: points})
	}
	if err := work(ctx, s, tasks); err != nil {
		return nil, err
	}
	for i := range curves {
		curves[i].Points = slices.DeleteFunc(curves[i].Points, func(p Point) bool { return p.Row.Lost != "" })
		for j := range curves[i].Points {
			curves[i].Points[j].Row.over(compared)
		}
	}
	return curves, nil
}
