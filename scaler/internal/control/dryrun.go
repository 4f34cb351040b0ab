package control

import "headroom.dev/scaler/internal/policy"

// would remembers what a dry run would have done. The target never gets there, so
// the policy says the same again every tick, and that is told once.
type would struct {
	from, to int
	scaled   bool
}

// scales tells whether a decision is one more scaling that would have been done.
func (w *would) scales(spec int, d policy.Decision) bool {
	switch {
	case d.Replicas != spec:
		is := would{from: spec, to: d.Replicas, scaled: true}
		fresh := is != *w
		*w = is
		return fresh
	case d.Limiter != policy.ByRate: // for which the same comes again
		*w = would{}
	}
	return false
}
