package compare

import (
	"fmt"
	"slices"
	"strings"
)

// Aim is one of the things that headroom is to reach, and whether it does.
type Aim struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	// Judged is false where a policy that it needs was not played.
	Judged bool `json:"judged"`
	Pass   bool `json:"pass"`
	// Numbers are what it was judged by, in words.
	Numbers string `json:"numbers"`
	// Met and Of are in how many workloads it holds, of those that it is about; both
	// 0 for what is about their sum.
	Met int `json:"met,omitempty"`
	Of  int `json:"of,omitempty"`
	// Misses are the names of the workloads where it does not hold.
	Misses []string `json:"misses,omitempty"`
}

// String is the aim in one line.
func (a Aim) String() string {
	verdict := "PASS"
	switch {
	case !a.Judged:
		verdict = "NONE"
	case !a.Pass:
		verdict = "MISS"
	}
	return fmt.Sprintf("%s (%s) %s: %s", verdict, a.ID, a.Text, a.Numbers)
}

const (
	// tolerable is the share of avoidable violations that is no matter, and
	// bad the one above which another policy is to be beaten, tenfold.
	tolerable = 0.02
	bad       = 0.02
	tenfold   = 10
	// beside is how much worse than the oracle headroom may be.
	beside = 1.25
	// dearer is how much more than the clairvoyant it may cost, in the median.
	dearer = 1.35
	// restless is how many changes an hour of a flat load are too many.
	restless = 2
)

// rivals are the policies that headroom is to beat.
func rivals() []string { return []string{"hpa70", "hpa90", "kpa"} }

// Judge tells of each aim whether the cases and the runs with faults meet it.
func Judge(cases []Case, faults []FaultRun) []Aim {
	return []Aim{besideTheOracle(cases), tenTimesFewer(cases), noDearer(cases), nearTheClairvoyant(cases), noFlapping(cases), noWrongWay(faults)}
}

// tick counts a case that the aim is about.
func (a *Aim) tick(c *Case, met bool) {
	a.Of++
	if met {
		a.Met++
	} else {
		a.Misses = append(a.Misses, c.Scenario.Name)
	}
}

func (a *Aim) conclude(numbers string) Aim {
	a.Judged, a.Pass = a.Of > 0, a.Met == a.Of
	a.Numbers = fmt.Sprintf("%d of %d workloads", a.Met, a.Of)
	if a.Of == 0 {
		a.Numbers = "no workload to judge it by"
	} else if numbers != "" {
		a.Numbers += "; " + numbers
	}
	return *a
}

func besideTheOracle(cases []Case) Aim {
	a := Aim{ID: "a", Text: "avoidable violations at most 2 %, or 1.25 times the reactive oracle's at the same replica-seconds"}
	worst, unaffordable := 0.0, 0
	for i := range cases {
		ours, ok := cases[i].Row(Headroom)
		if !ok {
			continue
		}
		allowed := tolerable
		best, ok := cases[i].Row(Oracle)
		switch {
		case ok:
			allowed = max(allowed, beside*best.AvoidableShare)
		case best.Policy == "":
			continue
		default:
			unaffordable++
		}
		worst = max(worst, ours.AvoidableShare/allowed)
		a.tick(&cases[i], ours.AvoidableShare <= allowed)
	}
	numbers := fmt.Sprintf("the worst at %.2f of what is allowed", worst)
	if unaffordable > 0 {
		numbers += fmt.Sprintf("; in %d no oracle is as cheap, which leaves the 2 %%", unaffordable)
	}
	return a.conclude(numbers)
}

func tenTimesFewer(cases []Case) Aim {
	a := Aim{ID: "b", Text: "ten times fewer avoidable violations than " + strings.Join(rivals(), ", ") + ", wherever they exceed 2 % and the oracle does not"}
	beaten, of := map[string]int{}, map[string]int{}
	for i := range cases {
		ours, ok := cases[i].Row(Headroom)
		best, known := cases[i].Row(Oracle)
		if !ok || !known || best.AvoidableShare > bad {
			continue
		}
		met, asked := true, false
		for _, name := range rivals() {
			theirs, ok := cases[i].Row(name)
			if !ok || theirs.AvoidableShare <= bad {
				continue
			}
			asked = true
			of[name]++
			if ours.Avoidable*tenfold <= theirs.Avoidable {
				beaten[name]++
			} else {
				met = false
			}
		}
		if asked {
			a.tick(&cases[i], met)
		}
	}
	var each []string
	for _, name := range rivals() {
		each = append(each, fmt.Sprintf("%s %d of %d", name, beaten[name], of[name]))
	}
	return a.conclude(strings.Join(each, ", "))
}

func noDearer(cases []Case) Aim {
	a := Aim{ID: "c", Text: "no more replica-seconds than hpa70 in total"}
	ours, theirs := 0.0, 0.0
	for i := range cases {
		h, ok := cases[i].Row(Headroom)
		o, known := cases[i].Row("hpa70")
		if ok && known {
			ours, theirs = ours+h.ReplicaSeconds, theirs+o.ReplicaSeconds
		}
	}
	if theirs == 0 {
		a.Numbers = "no workload to judge it by"
		return a
	}
	a.Judged, a.Pass = true, ours <= theirs
	a.Numbers = fmt.Sprintf("%.0f and %.0f, which is %.3f", ours, theirs, ours/theirs)
	return a
}

func nearTheClairvoyant(cases []Case) Aim {
	a := Aim{ID: "d", Text: "at most 1.35 times the clairvoyant's replica-seconds in the median"}
	var over []float64
	for i := range cases {
		if h, ok := cases[i].Row(Headroom); ok && h.OverClairvoyant != nil {
			over = append(over, *h.OverClairvoyant)
		}
	}
	if len(over) == 0 {
		a.Numbers = "no workload to judge it by"
		return a
	}
	slices.Sort(over)
	median := Quantile(over, 0.5)
	a.Judged, a.Pass = true, median <= dearer
	a.Numbers = fmt.Sprintf("%.3f; the best %.3f, the worst %.3f; %d of %d workloads have a clairvoyant", median, over[0], over[len(over)-1], len(over), len(cases))
	return a
}

func noFlapping(cases []Case) Aim {
	a := Aim{ID: "e", Text: "at most 2 changes an hour of a flat load"}
	worst := 0.0
	for i := range cases {
		if h, ok := cases[i].Row(Headroom); ok && Shape(cases[i].Scenario.Name) == "flat" {
			worst = max(worst, h.ChangesPerHour)
			a.tick(&cases[i], h.ChangesPerHour <= restless)
		}
	}
	return a.conclude(fmt.Sprintf("%.1f at most", worst))
}

func noWrongWay(faults []FaultRun) Aim {
	a := Aim{ID: "f", Text: "no order the wrong way while metrics are broken"}
	if len(faults) == 0 {
		a.Numbers = "no run to judge it by"
		return a
	}
	ins, beyond, runs := 0, 0, 0
	for _, f := range faults {
		ins, beyond = ins+f.ScaleIns, beyond+f.Beyond
		if f.WrongWay() > 0 {
			runs++
			a.Misses = append(a.Misses, fmt.Sprintf("%s of %s: %s", f.Kind, f.Signals, f.Scenario))
		}
	}
	a.Judged, a.Pass = true, runs == 0
	a.Numbers = fmt.Sprintf("%d scale-ins and %d scale-outs beyond what was ordered without the fault, in %d of %d runs", ins, beyond, runs, len(faults))
	return a
}

// Shape is the kind of a synthetic workload, the first word of its name.
func Shape(name string) string {
	shape, _, _ := strings.Cut(name, " ")
	return shape
}

// Quantile is the p-quantile of sorted values, interpolated; 0 of none.
func Quantile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := p * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
