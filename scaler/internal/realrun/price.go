package realrun

import (
	"fmt"
	"math"
)

// Price is what the model servers' CPU goes to: Request for each request, in
// CPU-seconds, and Upkeep for each replica that is there, in cores.
type Price struct{ Request, Upkeep float64 }

// price splits the CPU that was used by least squares: cores = Upkeep · replicas +
// Request · rate, over the seconds of the run. A negative upkeep is none.
func (r Run) price() (Price, error) {
	var nn, nr, rr, nc, rc float64
	for _, s := range r.Seconds {
		nn += s.Replicas * s.Replicas
		nr += s.Replicas * s.Rate
		rr += s.Rate * s.Rate
		nc += s.Replicas * s.CPU
		rc += s.Rate * s.CPU
	}
	var p Price
	if determinant := nn*rr - nr*nr; determinant > 1e-9*nn*rr {
		p = Price{Request: (nn*rc - nr*nc) / determinant, Upkeep: (rr*nc - nr*rc) / determinant}
	}
	if rr > 0 && (p.Upkeep <= 0 || p.Request <= 0) {
		p = Price{Request: rc / rr}
	}
	if !(p.Request > 0) || math.IsInf(p.Request, 0) || p.Upkeep >= r.CPULimit/2 {
		return Price{}, fmt.Errorf("the CPU that was used does not tell what a request costs: %.4f s each and %.3f cores for each replica come out of %d seconds", p.Request, p.Upkeep, len(r.Seconds))
	}
	return p, nil
}
