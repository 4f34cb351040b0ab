package simreport

import (
	"encoding/csv"
	"io"
	"strconv"

	"headroom.dev/scaler/internal/sim"
)

func writeCSV(to io.Writer, r *Report) error {
	w := csv.NewWriter(to)
	_ = w.Write([]string{
		"scenario", "policy", "lost", "requests", "violations", "violation_share", "avoidable", "avoidable_share", "p50_s", "p99_s",
		"replica_seconds", "cpu_limit_seconds", "cpu_seconds", "over_clairvoyant",
		"scale_outs", "scale_ins", "changes_per_hour", "flaps", "reaction_s", "note",
	})
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			_ = w.Write([]string{
				c.Scenario.Name, row.Policy, row.Lost, whole(row.Requests), whole(row.Violations), number(row.ViolationShare),
				whole(row.Avoidable), number(row.AvoidableShare), number(row.LatencyP50), number(row.LatencyP99),
				number(row.ReplicaSeconds), number(row.CPULimitSeconds), number(row.CPUSeconds), optional(row.OverClairvoyant),
				whole(int64(row.ScaleOuts)), whole(int64(row.ScaleIns)), number(row.ChangesPerHour), whole(int64(row.Flaps)), optional(row.Reaction), row.Note,
			})
		}
	}
	w.Flush()
	return w.Error()
}

func writeTimeline(to io.Writer, points []sim.Point) error {
	r := sim.Result{Timeline: points}
	return r.WriteCSV(to)
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

// optional is empty for what is not known.
func optional(x *float64) string {
	if x == nil {
		return ""
	}
	return number(*x)
}
