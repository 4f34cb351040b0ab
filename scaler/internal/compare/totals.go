package compare

import "slices"

// Total is what a policy came to in all cases in which it has a result.
type Total struct {
	Policy string `json:"policy"`
	// Cases is how many have a result, Lost how many have none.
	Cases int `json:"cases"`
	Lost  int `json:"lost"`

	Requests       int64   `json:"requests"`
	Violations     int64   `json:"violations"`
	ViolationShare float64 `json:"violationShare"`
	Avoidable      int64   `json:"avoidable"`
	AvoidableShare float64 `json:"avoidableShare"`

	ReplicaSeconds  float64 `json:"replicaSeconds"`
	CPULimitSeconds float64 `json:"cpuLimitSeconds"`
	CPUSeconds      float64 `json:"cpuSeconds"`
	ScaleOuts       int     `json:"scaleOuts"`
	ScaleIns        int     `json:"scaleIns"`
	Flaps           int     `json:"flaps"`

	// Of the cases' own numbers.
	AvoidableShares  Spread `json:"avoidableShares"`
	OverClairvoyants Spread `json:"overClairvoyants"`
	LatencyP99s      Spread `json:"latencyP99s"`
	ChangesPerHour   Spread `json:"changesPerHour"`
}

// Spread is where numbers lie.
type Spread struct {
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	Worst  float64 `json:"worst"` // the highest
}

// SpreadOf sorts numbers and tells where they lie.
func SpreadOf(numbers []float64) Spread {
	slices.Sort(numbers)
	return Spread{Quantile(numbers, 0.5), Quantile(numbers, 0.9), Quantile(numbers, 1)}
}

// Totals sums the cases up by policy, in the order of the first case's rows.
func Totals(cases []Case) []Total {
	if len(cases) == 0 {
		return nil
	}
	out := make([]Total, len(cases[0].Rows))
	for j := range out {
		t := &out[j]
		t.Policy = cases[0].Rows[j].Policy
		var shares, over, p99s, changes []float64
		for i := range cases {
			r := cases[i].Rows[j]
			if r.Lost != "" {
				t.Lost++
				continue
			}
			t.Cases++
			t.Requests, t.Violations, t.Avoidable = t.Requests+r.Requests, t.Violations+r.Violations, t.Avoidable+r.Avoidable
			t.ReplicaSeconds, t.CPULimitSeconds, t.CPUSeconds = t.ReplicaSeconds+r.ReplicaSeconds, t.CPULimitSeconds+r.CPULimitSeconds, t.CPUSeconds+r.CPUSeconds
			t.ScaleOuts, t.ScaleIns, t.Flaps = t.ScaleOuts+r.ScaleOuts, t.ScaleIns+r.ScaleIns, t.Flaps+r.Flaps
			shares, p99s, changes = append(shares, r.AvoidableShare), append(p99s, r.LatencyP99), append(changes, r.ChangesPerHour)
			if r.OverClairvoyant != nil {
				over = append(over, *r.OverClairvoyant)
			}
		}
		if t.Requests > 0 {
			t.ViolationShare = float64(t.Violations) / float64(t.Requests)
			t.AvoidableShare = float64(t.Avoidable) / float64(t.Requests)
		}
		t.AvoidableShares, t.OverClairvoyants = SpreadOf(shares), SpreadOf(over)
		t.LatencyP99s, t.ChangesPerHour = SpreadOf(p99s), SpreadOf(changes)
	}
	return out
}
