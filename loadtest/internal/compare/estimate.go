package compare

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"headroom.dev/loadtest/internal/report"
)

// confidence is how often an interval holds what it is about.
const confidence = 0.95

// Estimate is the mean of a figure over runs, with its 95% confidence interval.
type Estimate struct {
	Mean float64 `json:"mean"`
	// HalfWidth is half the interval, from Student's t over the runs; nil where
	// one run gives none.
	HalfWidth *float64 `json:"half_width_95"`
	// Values are of the single runs.
	Values []float64 `json:"values"`
}

// estimate returns nil when there is no value or one of them is not known.
func estimate(values []*float64) *Estimate {
	e := &Estimate{}
	for _, x := range values {
		if x == nil {
			return nil
		}
		e.Values = append(e.Values, *x)
	}
	if len(e.Values) == 0 {
		return nil
	}
	mean, deviation := stat.MeanStdDev(e.Values, nil)
	e.Mean = mean
	if n := float64(len(e.Values)); n > 1 {
		half := student(n-1) * deviation / math.Sqrt(n)
		e.HalfWidth = &half
	}
	return e
}

// student is the quantile of Student's t that an interval on both sides needs.
func student(degrees float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: degrees}.Quantile((1 + confidence) / 2)
}

// Sign says how one figure is to another.
type Sign string

// The signs; without an interval Less and More are only what was seen.
const (
	Less    Sign = "less"
	More    Sign = "more"
	Noise   Sign = "inside the noise"
	Unknown Sign = "not measured"
)

// Difference is one label's figure minus another's.
type Difference struct {
	Mean float64 `json:"mean"`
	// HalfWidth is half the 95% confidence interval; nil where there is none.
	HalfWidth *float64 `json:"half_width_95"`
	// Relative is Mean as a share of the other's figure; nil where that is 0.
	Relative *float64 `json:"relative"`
	Sign     Sign     `json:"sign"`
	// Paired tells that the runs of the same seed were compared with each other,
	// which takes out what the seeds have in common.
	Paired bool `json:"paired"`
}

// differ compares figure by figure. Where each run of a has its own seed and b
// has the same, the interval is of the differences seed by seed (paired t); else
// it is Welch's, for samples of unequal variance.
func differ(a, b *Estimate, seedsA, seedsB []int64) Difference {
	if a == nil || b == nil {
		return Difference{Sign: Unknown}
	}
	d := Difference{Mean: a.Mean - b.Mean}
	if pairs := pair(a.Values, b.Values, seedsA, seedsB); len(pairs) > 1 {
		of := estimate(pairs)
		d.Mean, d.HalfWidth, d.Paired = of.Mean, of.HalfWidth, true
	} else if na, nb := float64(len(a.Values)), float64(len(b.Values)); na > 1 && nb > 1 {
		va, vb := stat.Variance(a.Values, nil)/na, stat.Variance(b.Values, nil)/nb
		half := 0.0
		if va+vb > 0 {
			half = student((va+vb)*(va+vb)/(va*va/(na-1)+vb*vb/(nb-1))) * math.Sqrt(va+vb)
		}
		d.HalfWidth = &half
	}
	if b.Mean != 0 {
		relative := d.Mean / b.Mean
		d.Relative = &relative
	}
	noise := 0.0
	if d.HalfWidth != nil {
		noise = *d.HalfWidth
	}
	switch {
	case d.Mean < -noise:
		d.Sign = Less
	case d.Mean > noise:
		d.Sign = More
	default:
		d.Sign = Noise
	}
	return d
}

// pair returns the differences by seed; nil where a seed is missing or there twice.
func pair(a, b []float64, seedsA, seedsB []int64) []*float64 {
	bySeed := map[int64]float64{}
	for i, seed := range seedsB {
		bySeed[seed] = b[i]
	}
	if len(bySeed) != len(b) || len(a) != len(b) {
		return nil
	}
	var pairs []*float64
	for i, seed := range seedsA {
		other, ok := bySeed[seed]
		if !ok {
			return nil
		}
		delete(bySeed, seed)
		difference := a[i] - other
		pairs = append(pairs, &difference)
	}
	return pairs
}

// Figure is one figure of a run.
type Figure struct {
	// ID names it in comparison.json, Name in tables, with its unit where it has one.
	ID, Name, Unit string
	of             func(report.Summary) *float64
	text           func(float64) string
}

// Heading is the figure's name with its unit.
func (f Figure) Heading() string {
	if f.Unit == "" {
		return f.Name
	}
	return f.Name + " (" + f.Unit + ")"
}

func count(n int) *float64 {
	x := float64(n)
	return &x
}

// of makes a figure of a part of the summary that may not have been measured.
func of[T any](part func(report.Summary) *T, figure func(T) *float64) func(report.Summary) *float64 {
	return func(s report.Summary) *float64 {
		if p := part(s); p != nil {
			return figure(*p)
		}
		return nil
	}
}

func server(s report.Summary) *report.Latency    { return s.Server }
func cost(s report.Summary) *report.Cost         { return s.Cost }
func replicas(s report.Summary) *report.Replicas { return s.Replicas }
func scaling(s report.Summary) *report.Scaling   { return s.Scaling }

// Figures are what labels are compared by, in the order of the table.
var Figures = []Figure{
	{"violation_share", "SLO violations", "%", func(s report.Summary) *float64 { return &s.Violations.Share }, percent},
	{"server_p99_s", "Server p99", "ms", of(server, func(l report.Latency) *float64 { return l.P99 }), inMilliseconds},
	{"client_p99_s", "Client p99", "ms", func(s report.Summary) *float64 { return s.Client.P99 }, inMilliseconds},
	{"replica_seconds", "Replica-seconds", "", of(cost, func(c report.Cost) *float64 { return &c.ReplicaSeconds }), whole},
	{"cpu_limit_seconds", "CPU-limit-seconds", "", of(cost, func(c report.Cost) *float64 { return c.CPULimitSeconds }), whole},
	{"replicas_mean", "Replicas, mean", "", of(replicas, func(r report.Replicas) *float64 { return &r.Mean }), decimals(2)},
	{"replicas_peak", "Replicas, peak", "", of(replicas, func(r report.Replicas) *float64 { return count(r.Peak) }), decimals(1)},
	{"reaction_s", "Reaction", "s", of(scaling, func(c report.Scaling) *float64 { return c.ReactionS }), decimals(1)},
	{"flaps", "Flaps", "", of(scaling, func(c report.Scaling) *float64 { return count(c.Flaps) }), decimals(1)},
	{"refused", "Refused", "", func(s report.Summary) *float64 { return count(s.Requests.Refused) }, whole},
}

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 2, 64) }

func inMilliseconds(seconds float64) string { return strconv.FormatFloat(seconds*1000, 'f', 0, 64) }

func whole(x float64) string {
	text := strconv.FormatFloat(math.Abs(x), 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if x < 0 && text != "0" {
		return "-" + text
	}
	return text
}

func decimals(n int) func(float64) string {
	return func(x float64) string {
		rounded := strconv.FormatFloat(x, 'f', n, 64)
		if short := strconv.FormatFloat(x, 'f', -1, 64); len(short) < len(rounded) {
			return short
		}
		return rounded
	}
}

const notMeasured = "–"

// cell prints an estimate of the figure with its interval, where it has one.
func (f Figure) cell(e *Estimate) string {
	if e == nil {
		return notMeasured
	}
	if e.HalfWidth == nil {
		return f.text(e.Mean)
	}
	return fmt.Sprintf("%s ± %s", f.text(e.Mean), f.text(*e.HalfWidth))
}

func (f Figure) estimate(g Group) *Estimate {
	var values []*float64
	for _, r := range g.Counted {
		values = append(values, f.of(r.Summary))
	}
	return estimate(values)
}

func figureOf(id string) Figure {
	return Figures[slices.IndexFunc(Figures, func(f Figure) bool { return f.ID == id })]
}
