//go:build !linux

package fire

import "time"

// newPause returns a sleep, and what ends its use.
func newPause() (sleep func(time.Duration), done func()) { return time.Sleep, func() {} }
