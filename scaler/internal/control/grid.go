package control

import "time"

// grid is the fixed times at which turns are due. However late one comes, the
// next is due when it always was.
type grid struct {
	start time.Time
	tick  time.Duration
	taken int64 // number of the last point that a turn was made for
}

// nearest is the number of the point next to now.
func (g *grid) nearest(now time.Time) int64 {
	return int64((now.Sub(g.start) + g.tick/2) / g.tick)
}

func (g *grid) at(point int64) time.Time { return g.start.Add(time.Duration(point) * g.tick) }

// due is the next point. Those that are missed by more than half a tick are left
// out; one that is missed by less is past, so its turn comes late.
func (g *grid) due(now time.Time) int64 { return max(g.taken+1, g.nearest(now)) }

// end is when a turn that begins now is cut off: at the next point that leaves it
// at least half a tick.
func (g *grid) end(now time.Time) time.Time { return g.at(g.nearest(now) + 1) }
