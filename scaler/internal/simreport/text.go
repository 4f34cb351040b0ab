package simreport

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes what a person wants to know first: a line for each policy, and the aims.
func Print(to io.Writer, r Report) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	if r.single() {
		fmt.Fprintln(w, "policy\tavoidable violations\tshare\tp50 ms\tp99 ms\treplica-seconds\tover clairvoyant\touts\tins\tflaps\t")
		for _, row := range r.Cases[0].Rows {
			if row.Lost != "" {
				fmt.Fprintf(w, "%s\t(%s)\t\n", row.Policy, row.Lost)
				continue
			}
			over := "-"
			if row.OverClairvoyant != nil {
				over = fmt.Sprintf("%.2f", *row.OverClairvoyant)
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%.0f\t%.0f\t%s\t%d\t%d\t%d\t\n", row.Policy, row.Avoidable, percent(row.AvoidableShare),
				1000*row.LatencyP50, 1000*row.LatencyP99, row.ReplicaSeconds, over, row.ScaleOuts, row.ScaleIns, row.Flaps)
		}
	} else {
		fmt.Fprintln(w, "policy\tworkloads\tavoidable\tmedian\tp90\tworst\treplica-seconds\tover clairvoyant: median\tp90\tworst\tflaps\t")
		for _, t := range r.Totals {
			s, o := t.AvoidableShares, t.OverClairvoyants
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%d\t\n", t.Policy, t.Cases, percent(t.AvoidableShare),
				percent(s.Median), percent(s.P90), percent(s.Worst), t.ReplicaSeconds, o.Median, o.P90, o.Worst, t.Flaps)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, a := range r.Aims {
		fmt.Fprintln(to, a)
	}
	return nil
}

// percent is a share with as many digits as say something.
func percent(share float64) string {
	switch {
	case share == 0:
		return "0 %"
	case share < 0.0001:
		return "<0.01 %"
	case share < 0.1:
		return fmt.Sprintf("%.2f %%", 100*share)
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}
