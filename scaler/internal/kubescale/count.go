package kubescale

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"headroom.dev/scaler/internal/policy"
)

// count returns how many pods are ready, and the others by their age in whole
// seconds, youngest first.
func count(pods []pod, now time.Time) (ready int, starting []policy.Cohort) {
	var ages []time.Duration
	for i := range pods {
		if pods[i].ready {
			ready++
		} else {
			ages = append(ages, now.Sub(pods[i].born))
		}
	}
	return ready, policy.Cohorts(ages, time.Second)
}

// told remembers whose lead time was told, and when the pod was last seen.
type told map[types.UID]time.Time

// rememberFor is how long a pod that isn't seen is remembered: a Rollout may select
// other pods for a while, and then these again.
const rememberFor = time.Hour

// fresh returns the lead times of the pods that have become ready and weren't told
// of yet, to 10 ms; not that of one whose start is unclear.
func (t told) fresh(pods []pod, now time.Time) []policy.Cohort {
	var leads []time.Duration
	for i := range pods {
		p := &pods[i]
		if _, old := t[p.uid]; !old {
			if !p.ready {
				continue
			}
			if !p.unclear {
				leads = append(leads, p.since.Sub(p.born))
			}
		}
		t[p.uid] = now
	}
	for uid, seen := range t {
		if now.Sub(seen) > rememberFor {
			delete(t, uid)
		}
	}
	return policy.Cohorts(leads, 10*time.Millisecond)
}
