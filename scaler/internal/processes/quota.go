package processes

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// period is the time that a quota is for, the CFS's usual one.
	period = 100 * time.Millisecond
	// finest is the least time between two looks at a process's clock. The CFS, which
	// gives each CPU 5 ms at a time, isn't finer.
	finest = 2 * time.Millisecond
)

// quota is the CPU that a process may use, in cores; 0 is no limit. It may be
// changed while it is held to.
type quota struct{ bits atomic.Uint64 }

func (q *quota) set(cores float64) { q.bits.Store(math.Float64bits(cores)) }
func (q *quota) cores() float64    { return math.Float64frombits(q.bits.Load()) }

// hold stops the process whenever it has used up what a period gives it, and lets
// it go on with the next period, until done is closed: what the kernel does for a
// cgroup with cpu.max, but from outside and without any right to it. Its children
// aren't counted. The error says why the process can't be held, and it isn't.
func (q *quota) hold(p *os.Process, done <-chan struct{}) error {
	if q.cores() == 0 {
		return nil
	}
	used, err := cpuTime(p.Pid)
	if err != nil {
		return fmt.Errorf("its CPU time can't be read: %w", err)
	}
	b := budget{machine: runtime.NumCPU(), used: used, next: time.Now()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	running := true
	for {
		select {
		case <-done:
			return nil
		case <-timer.C:
		}
		if used, err = cpuTime(p.Pid); err != nil {
			return nil // it has ended
		}
		now := time.Now()
		runs, wait := b.take(now, used, q.cores())
		if runs != running {
			signal := syscall.SIGCONT
			if !runs {
				signal = syscall.SIGSTOP
			}
			if err := p.Signal(signal); errors.Is(err, os.ErrProcessDone) {
				return nil
			} else if err != nil {
				return fmt.Errorf("it can't be stopped: %w", err)
			}
			running = runs
		}
		timer.Reset(wait)
	}
}

// budget is what is left of a quota. Nothing is saved up from one period for the
// next, but what was used too much is taken off it, as the CFS has it; so the share
// is right however late the looks come.
type budget struct {
	machine int           // cores
	used    time.Duration // when last looked
	left    time.Duration
	next    time.Time // when the next period begins
}

// take accounts for a process that has used so much CPU in all by now. It returns
// whether it may run, and after how long to look again: not before it can have
// used up what is left.
func (b *budget) take(now time.Time, used time.Duration, cores float64) (runs bool, wait time.Duration) {
	share := time.Duration(cores * float64(period))
	b.left -= used - b.used
	b.used = used
	if late := now.Sub(b.next); late >= 0 {
		begun := 1 + late/period
		b.left = min(b.left+begun*share, share)
		b.next = b.next.Add(begun * period)
	}
	wait = b.next.Sub(now)
	if b.left <= 0 {
		return false, wait
	}
	return true, min(wait, max(b.left/time.Duration(b.machine), finest))
}

// cpuTime is the CPU time that the process has used, user and system, to the
// nanosecond: its clock, as clock_getcpuclockid(3) makes it.
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED: the exact time, of the whole process
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &at); err != nil {
		return 0, err
	}
	return time.Duration(at.Nano()), nil
}
