package sim

import "time"

// quota is a replica's CPU under CFS bandwidth control (kernel documentation,
// scheduler/sched-bwc): what of the present period is used up.
type quota struct {
	period int64 // number of the period
	used   time.Duration
}

// leastQuota is the kernel's own least.
const leastQuota = time.Millisecond

// run takes so much CPU time from a time on, of which each period has limit. It
// returns when that is done. One core is the most that it runs on.
func (q *quota) run(from, cpu, period, limit time.Duration) time.Duration {
	limit = min(max(limit, leastQuota), period)
	for {
		if n := int64(from / period); n != q.period {
			q.period, q.used = n, 0
		}
		next := time.Duration(q.period+1) * period
		most := min(limit-q.used, next-from)
		if cpu <= most {
			q.used += cpu
			return from + cpu
		}
		q.used += most
		cpu -= most
		from = next
	}
}
