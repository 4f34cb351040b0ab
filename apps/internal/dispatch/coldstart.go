package dispatch

import "time"

// wakeEvery is the least time between two calls to whoever starts replicas.
const wakeEvery = time.Second

// Held is the deadline of a request of a caller who waits, which comes now: while
// no replica is ready, one that starts is waited for at least as long as allowance,
// 0 for no longer than otherwise. A deadline that the caller has chosen stays.
func Held(deadline time.Time, chosen bool, allowance time.Duration, ready int, now time.Time) time.Time {
	if ready > 0 || chosen || allowance <= 0 {
		return deadline
	}
	if least := now.Add(allowance); least.After(deadline) {
		return least
	}
	return deadline
}

// Wake says whether to ask for a replica, the last time having been last (zero for
// never): while requests are held and none is ready, at once and then every second.
func Wake(held, ready int, last, now time.Time) bool {
	return held > 0 && ready == 0 && now.Sub(last) >= wakeEvery
}
