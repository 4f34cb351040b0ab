package dispatch

import "time"

const (
	avoidFirst = 250 * time.Millisecond
	avoidMost  = 4 * time.Second

	// erredInRow and slowInRow are the failures in a row of which a replica is
	// an outlier. One may be the request's fault.
	erredInRow, slowInRow = 3, 2
	// pauseLeast and pauseMost bound for how long a busy replica is spared.
	pauseLeast, pauseMost = 5 * time.Millisecond, 100 * time.Millisecond
)

// Eject is for how long r, whose last attempt ended with o, is left alone; 0 for
// not at all. r.Failures counts the failed attempts in a row, this one included,
// from 1 on; ready and avoided count the replicas, r being in ready only.
//
// A replica that can't be reached, or breaks connections, is left alone at once:
// having nothing in flight, it would draw every request until the cluster
// notices. One that fails or hangs has to do so repeatedly, and only up to half
// of the replicas are left alone for it: where more fail than that, the requests
// or something they share is the reason. The time doubles with every failure.
func Eject(r Replica, o Outcome, ready, avoided int) time.Duration {
	switch o {
	case Busy:
		return min(max(r.Latency.Mean, pauseLeast), pauseMost)
	case Unreachable, Broken:
		return doubled(r.Failures)
	case Erred:
		if r.Failures >= erredInRow && 2*(avoided+1) <= ready {
			return doubled(r.Failures - erredInRow + 1)
		}
	case Slow:
		if r.Failures >= slowInRow && 2*(avoided+1) <= ready {
			return doubled(r.Failures - slowInRow + 1)
		}
	case Answered, Abandoned:
	}
	return 0
}

func doubled(failures int) time.Duration {
	d := avoidFirst
	for range failures - 1 {
		d *= 2
		if d >= avoidMost {
			return avoidMost
		}
	}
	return d
}
