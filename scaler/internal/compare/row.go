package compare

import (
	"time"

	"headroom.dev/scaler/internal/sim"
)

// Row is what a policy came to in a scenario.
type Row struct {
	Policy string `json:"policy"`
	// Note says how a search came to it.
	Note string `json:"note,omitempty"`
	// Lost says why there is no result, or why it isn't what it should be: it then
	// counts in nothing.
	Lost string `json:"lost,omitempty"`

	Requests       int64   `json:"requests"`
	Violations     int64   `json:"violations"`
	ViolationShare float64 `json:"violationShare"`
	// Avoidable are the violations by requests whose own work is within the SLO.
	Avoidable      int64   `json:"avoidable"`
	AvoidableShare float64 `json:"avoidableShare"`

	LatencyP50 float64 `json:"latencyP50"` // seconds, of what was answered
	LatencyP99 float64 `json:"latencyP99"`

	ReplicaSeconds  float64 `json:"replicaSeconds"`
	CPULimitSeconds float64 `json:"cpuLimitSeconds"`
	CPUSeconds      float64 `json:"cpuSeconds"`
	// OverClairvoyant is the replica-seconds by the clairvoyant's, nil where that
	// was not played or not found.
	OverClairvoyant *float64 `json:"overClairvoyant,omitempty"`

	ScaleOuts      int      `json:"scaleOuts"`
	ScaleIns       int      `json:"scaleIns"`
	ChangesPerHour float64  `json:"changesPerHour"`
	Flaps          int      `json:"flaps"`
	Reaction       *float64 `json:"reaction,omitempty"` // seconds

	// Timeline is kept where Settings.Timelines says so.
	Timeline []sim.Point `json:"-"`
}

func rowOf(p Policy, o outcome, lasted time.Duration) Row {
	r := o.result
	row := Row{
		Policy: p.Name, Note: o.note, Lost: o.lost,
		Requests: r.Requests, Violations: r.Violations, ViolationShare: r.ViolationShare,
		Avoidable:  max(r.Violations-r.Unavoidable, 0),
		LatencyP50: r.LatencyP50, LatencyP99: r.LatencyP99,
		ReplicaSeconds: r.ReplicaSeconds, CPULimitSeconds: r.CPULimitSeconds, CPUSeconds: r.CPUSeconds,
		ScaleOuts: r.ScaleOuts, ScaleIns: r.ScaleIns, Flaps: r.Flaps, Reaction: r.Reaction,
		ChangesPerHour: float64(r.ScaleOuts+r.ScaleIns) / lasted.Hours(),
		Timeline:       r.Timeline,
	}
	if r.Requests > 0 {
		row.AvoidableShare = float64(row.Avoidable) / float64(r.Requests)
	}
	return row
}

// Case is a scenario and what every policy came to in it.
type Case struct {
	// Scenario is without its arrivals.
	Scenario sim.Scenario `json:"scenario"`
	Rows     []Row        `json:"rows"`
}

// Row finds a policy's row; false where it was not played or has no result.
func (c *Case) Row(policy string) (Row, bool) {
	for _, r := range c.Rows {
		if r.Policy == policy {
			return r, r.Lost == ""
		}
	}
	return Row{}, false
}

// overClairvoyant fills in what the rows cost beside the clairvoyant's.
func (c *Case) overClairvoyant() {
	for i := range c.Rows {
		c.Rows[i].over(c)
	}
}

// over fills in what a row costs beside the clairvoyant's of a case.
func (r *Row) over(c *Case) {
	best, ok := c.Row(Clairvoyant)
	if !ok || best.ReplicaSeconds <= 0 || r.Lost != "" {
		return
	}
	over := r.ReplicaSeconds / best.ReplicaSeconds
	r.OverClairvoyant = &over
}
