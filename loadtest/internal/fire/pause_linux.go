package fire

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// newPause returns a sleep that is exact to about a tenth of a millisecond, and
// what ends its use. A timer of Go's runtime may be a millisecond late on an
// idle machine, as the runtime waits in epoll, in whole milliseconds; but that
// wait is ended by a kernel's timer when it is one of the files waited for. To
// sleep in the kernel directly would hold up the other goroutines, which get
// this one's place (its P) only when the runtime has noticed.
func newPause() (sleep func(time.Duration), done func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return time.Sleep, func() {}
	}
	file := os.NewFile(uintptr(fd), "timerfd")
	done = func() { _ = file.Close() }
	connection, err := file.SyscallConn()
	if err != nil {
		return time.Sleep, done
	}
	return func(d time.Duration) {
		expiry := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
		set := false
		err := connection.Read(func(fd uintptr) bool {
			if set {
				return true // it has expired
			}
			set = true
			return unix.TimerfdSettime(int(fd), 0, &expiry, nil) != nil
		})
		if err != nil {
			time.Sleep(d)
		}
	}, done
}
