package dispatch

import "time"

const (
	avoidFirst = 250 * time.Millisecond
	avoidMost  = 4 * time.Second

	// erredInRow and slowInRow are the failures in a row of which a replica is
	// an outlier. One may be the request's fault. lateInRow is the same for
	// attempts that had little time: it may have been too little.
	erredInRow, slowInRow, lateInRow = 3, 2, 4
	// pauseLeast and pauseMost bound for how long a busy replica is spared.
	pauseLeast, pauseMost = 5 * time.Millisecond, 100 * time.Millisecond
)

// Little says whether an attempt that was Slow had little time to begin with: no
// more than replicas often take.
func Little(took time.Duration, service Estimate) bool { return took < 2*service.Likely() }

// Eject is for how long r, whose last attempt ended with o, is left alone; 0 for
// not at all. little says that it was Slow and had Little time. r.Failures counts
// the failed attempts in a row, this one included, from 1 on; ready counts the
// replicas that are, avoided those of them that are left alone after failures.
//
// A replica that can't be reached, or breaks connections, is left alone at once:
// having nothing in flight, it would draw every request until the cluster
// notices. One that fails or hangs has to do so repeatedly, and only up to half
// of the replicas are left alone for it: where more fail than that, the requests
// or something they share is the reason. The time doubles with every failure.
func Eject(r Replica, o Outcome, little bool, ready, avoided int) time.Duration {
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
		most := slowInRow
		if little {
			most = lateInRow
		}
		if r.Failures >= most && 2*(avoided+1) <= ready {
			return doubled(r.Failures - most + 1)
		}
	case Answered, Rejected, Abandoned:
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
