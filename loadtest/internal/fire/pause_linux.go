package fire

import (
	"time"

	"golang.org/x/sys/unix"
)

// Pause sleeps for d, which is exact to about a tenth of a millisecond: the
// kernel is asked directly, as a timer of Go's runtime may be a millisecond
// late on an idle machine (it waits in epoll, in whole milliseconds).
func Pause(d time.Duration) {
	remaining := unix.NsecToTimespec(int64(d))
	// A signal interrupts the sleep; Go sends some to its own threads.
	for unix.Nanosleep(&remaining, &remaining) == unix.EINTR {
	}
}
