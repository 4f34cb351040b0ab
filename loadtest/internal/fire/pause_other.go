//go:build !linux

package fire

import "time"

// Pause sleeps for d.
func Pause(d time.Duration) { time.Sleep(d) }
