package dispatchbench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// evenly are the instants of a stretch of time at which requests are due, rate
// of them a second, the first one at its beginning.
func evenly(rate float64, stretch time.Duration) []time.Duration {
	due := make([]time.Duration, count(rate, stretch))
	for i := range due {
		due[i] = time.Duration(float64(i) / rate * float64(time.Second))
	}
	return due
}

// poisson are instants that know nothing of each other: those of a Poisson
// process of which it is known that it has rate times stretch of them. So what
// is offered is the same in every round, whatever the seed.
func poisson(rate float64, stretch time.Duration, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, math.Float64bits(rate)))
	due := make([]time.Duration, count(rate, stretch))
	for i := range due {
		due[i] = time.Duration(random.Float64() * float64(stretch))
	}
	slices.Sort(due)
	return due
}

func count(rate float64, stretch time.Duration) int {
	return int(math.Round(rate * stretch.Seconds()))
}

// alarm wakes a goroutine at an instant. A Go timer is up to a millisecond
// late where nothing else happens, which is more than what is measured here.
type alarm struct {
	// fd is file's: os.File.Fd would make it block a thread.
	fd   int
	file *os.File
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a timer: %w", err)
	}
	return &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timer")}, nil
}

// until sleeps until an instant.
func (a *alarm) until(instant time.Time) error {
	left := time.Until(instant)
	if left <= 0 {
		return nil
	}
	setting := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	if err := unix.TimerfdSettime(a.fd, 0, &setting, nil); err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	var expirations [8]byte
	if _, err := a.file.Read(expirations[:]); err != nil {
		return fmt.Errorf("waiting for a timer: %w", err)
	}
	return nil
}

func (a *alarm) close() { _ = a.file.Close() }
