package processes

import (
	"math"
	"testing"
	"time"
)

// A busy process gets its share, and another one when that is changed.
func TestABusyProcessIsHeldToItsQuota(t *testing.T) {
	cmd := burning(t)
	done := make(chan struct{})
	held := make(chan error, 1)
	var q quota
	q.set(0.15)
	go func() { held <- q.hold(cmd.Process, done) }()
	for _, cores := range []float64{0.15, 0.3} {
		q.set(cores)
		time.Sleep(2 * period) // what was left of the quota before is used up
		began, before := time.Now(), clock(t, cmd.Process.Pid)
		time.Sleep(20 * period)
		share := (clock(t, cmd.Process.Pid) - before).Seconds() / time.Since(began).Seconds()
		if math.Abs(share-cores) > 0.1*cores {
			t.Errorf("a busy process has used %.3f cores of the %.2f that it may", share, cores)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if used, err := cpuTime(cmd.Process.Pid); err == nil {
		t.Errorf("a process that has ended has used %s", used)
	}
	close(done)
	if err := <-held; err != nil {
		t.Error(err)
	}
}

func clock(t *testing.T, pid int) time.Duration {
	t.Helper()
	used, err := cpuTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func TestAProcessWithoutAQuotaIsLeftAlone(t *testing.T) {
	cmd := burning(t)
	var q quota
	if err := q.hold(cmd.Process, make(chan struct{})); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// The budget of a process with 0.2 cores on 2, of which each period gives 20 ms.
func TestTheBudget(t *testing.T) {
	type look struct {
		at, used time.Duration
		runs     bool
		wait     time.Duration
	}
	const ms = time.Millisecond
	for name, looks := range map[string][]look{
		"an idle process may run, and is looked at before two cores could use it up": {{0, 0, true, 10 * ms}, {10 * ms, 0, true, 10 * ms}},
		"the nearer the end of the quota, the sooner":                                {{0, 0, true, 10 * ms}, {10 * ms, 16 * ms, true, 2 * ms}, {12 * ms, 19 * ms, true, 2 * ms}},
		"one that has used it up waits for the next period":                          {{0, 0, true, 10 * ms}, {10 * ms, 20 * ms, false, 90 * ms}, {100 * ms, 20 * ms, true, 10 * ms}},
		"what was too much is taken off the next":                                    {{0, 0, true, 10 * ms}, {10 * ms, 26 * ms, false, 90 * ms}, {100 * ms, 26 * ms, true, 7 * ms}},
		"much too much off several":                                                  {{0, 0, true, 10 * ms}, {10 * ms, 50 * ms, false, 90 * ms}, {100 * ms, 50 * ms, false, 100 * ms}, {200 * ms, 50 * ms, true, 5 * ms}},
		"what was not used is not saved":                                             {{0, 0, true, 10 * ms}, {350 * ms, 0, true, 10 * ms}, {360 * ms, 20 * ms, false, 40 * ms}},
		"periods that a late look has missed count":                                  {{0, 0, true, 10 * ms}, {310 * ms, 75 * ms, true, 2500 * time.Microsecond}},
		"no look later than the next period":                                         {{0, 0, true, 10 * ms}, {95 * ms, 0, true, 5 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			b := budget{machine: 2, next: start}
			for _, l := range looks {
				if runs, wait := b.take(start.Add(l.at), l.used, 0.2); runs != l.runs || wait != l.wait {
					t.Errorf("after %s, with %s used: runs %t, look again in %s; want %t and %s", l.at, l.used, runs, wait, l.runs, l.wait)
				}
			}
		})
	}
}
