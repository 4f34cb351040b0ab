package timeline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// hpaHold is how long a line of the log stands for what comes after it: a
// HorizontalPodAutoscaler looks every 15 s, so whoever writes the log does too.
const hpaHold = 15 * time.Second

// HPAStatus is what a HorizontalPodAutoscaler said of itself at an instant; NaN
// is unknown.
type HPAStatus struct {
	At time.Time
	// Current and Desired count replicas.
	Current, Desired float64
	// CPUPercent is the CPU used as a percentage of what is requested.
	CPUPercent float64
}

const hpaFields = "unix_seconds current desired cpu_percent"

// ReadHPALog reads a log of a HorizontalPodAutoscaler's status from the file at
// path: a line for each look, in the order of time, with four fields
// "unix_seconds current desired cpu_percent", of which the last three may be
// "-" for unknown. Empty lines are passed over. Errors name the file and the line.
func ReadHPALog(path string) ([]HPAStatus, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("HPA log: %w", err)
	}
	defer func() { _ = file.Close() }()
	return parseHPALog(path, file)
}

func parseHPALog(path string, r io.Reader) ([]HPAStatus, error) {
	var all []HPAStatus
	lines := bufio.NewScanner(r)
	number := 0
	for lines.Scan() {
		number++
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		status, err := parseHPAStatus(lines.Text())
		if err == nil && len(all) > 0 && status.At.Before(all[len(all)-1].At) {
			err = errors.New("it is older than the line before; allowed are lines in the order of time")
		}
		if err != nil {
			return nil, fmt.Errorf("HPA log %s:%d: %w", path, number, err)
		}
		all = append(all, status)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("HPA log %s:%d: %w", path, number+1, err)
	}
	return all, nil
}

func parseHPAStatus(line string) (HPAStatus, error) {
	fields := strings.Fields(line)
	if len(fields) != 4 {
		return HPAStatus{}, fmt.Errorf("%d fields; allowed are the four %q", len(fields), hpaFields)
	}
	names := strings.Fields(hpaFields)
	var values [4]float64
	for i, field := range fields {
		if field == "-" && i > 0 {
			values[i] = math.NaN()
			continue
		}
		value, err := strconv.ParseFloat(field, 64)
		whole := i == 1 || i == 2
		switch {
		case err != nil, math.IsNaN(value), value < 0, value > maxUnixSeconds, whole && value != math.Trunc(value):
			return HPAStatus{}, fmt.Errorf("%s %q: %s", names[i], field, hpaAllowed[i])
		}
		values[i] = value
	}
	return HPAStatus{
		At:      time.UnixMilli(int64(math.Round(values[0] * 1000))),
		Current: values[1], Desired: values[2], CPUPercent: values[3],
	}, nil
}

// maxUnixSeconds is in the year 2286: more digits are milliseconds by mistake.
const maxUnixSeconds = 9_999_999_999

var hpaAllowed = [4]string{
	"allowed are seconds since 1970",
	`allowed are whole numbers from 0, or "-"`,
	`allowed are whole numbers from 0, or "-"`,
	`allowed are numbers from 0, or "-"`,
}

// AddHPA adds what a HorizontalPodAutoscaler said, in the order of time. Its
// decisions take the place of those that there were, unless it never said
// what it wants.
func (t *Timeline) AddHPA(log []HPAStatus) {
	desired, cpu := unknown(t.Seconds), unknown(t.Seconds)
	next := 0
	for i := range t.Seconds {
		at := t.Start.Add(time.Duration(i) * step)
		for next < len(log) && !log[next].At.After(at) {
			next++
		}
		if next > 0 && at.Sub(log[next-1].At) <= hpaHold {
			desired[i], cpu[i] = log[next-1].Desired, log[next-1].CPUPercent
		}
	}
	t.Signals[HPADesired], t.Signals[HPACPU] = desired, cpu

	var decisions []Decision
	last := math.NaN()
	end := t.Start.Add(time.Duration(t.Seconds) * step)
	for _, status := range log {
		if math.IsNaN(status.Desired) || !status.At.Before(end) {
			continue
		}
		if status.At.Before(t.Start) {
			last = status.Desired
			continue
		}
		if decisions == nil {
			decisions = []Decision{}
		}
		if math.IsNaN(last) {
			last = status.Current
		}
		if !math.IsNaN(last) && status.Desired != last {
			decisions = append(decisions, Decision{
				AtS: status.At.Sub(t.Start).Seconds(), From: int(last), To: int(status.Desired), Reason: "hpa",
			})
		}
		last = status.Desired
	}
	if decisions != nil {
		t.Decisions = decisions
	}
}
