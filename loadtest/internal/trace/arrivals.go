package trace

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dateLayouts are how dates may be written; seconds may have a fraction in all.
var dateLayouts = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05"}

// readArrivals reads instants from a column of a CSV file and returns the time
// of each since the first, sorted.
func readArrivals(r io.Reader, wanted string) ([]time.Duration, error) {
	t, err := openTable(r, wanted)
	if err != nil {
		return nil, err
	}
	column := max(arrivalColumn(t.header), 0)
	if wanted != "" {
		if column, err = t.column(wanted); err != nil {
			return nil, err
		}
	}

	var instants []int64 // nanoseconds
	var read func(string) (int64, error)
	var first, last int64
	lastLine := 0
	for row, err := t.next(); !errors.Is(err, io.EOF); row, err = t.next() {
		if err != nil {
			return nil, err
		}
		if read == nil {
			read = seconds
			if isDate(row[column]) {
				read = date
			}
		}
		instant, err := read(row[column])
		if err != nil {
			return nil, fmt.Errorf("%d: %w", t.line(), err)
		}
		if len(instants) == MaxArrivals {
			return nil, fmt.Errorf("%d: more than %d arrivals; allowed are at most that", t.line(), MaxArrivals)
		}
		if len(instants) == 0 {
			first, last = instant, instant
		}
		first = min(first, instant)
		if instant >= last {
			last, lastLine = instant, t.line()
		}
		if last-first >= MaxSeconds*int64(time.Second) {
			return nil, fmt.Errorf("%d: %v after the earliest arrival; allowed is up to one week (numbers are seconds)", lastLine, time.Duration(last-first).Round(time.Second))
		}
		instants = append(instants, instant)
	}
	if len(instants) == 0 {
		return nil, fmt.Errorf("%d: no arrivals; needed is at least one", t.line())
	}
	slices.Sort(instants)
	arrivals := make([]time.Duration, len(instants))
	for i, instant := range instants {
		arrivals[i] = time.Duration(instant - first)
	}
	return arrivals, nil
}

func isDate(cell string) bool {
	_, err := date(cell)
	return err == nil
}

// date reads an instant that is written as a date and a time, in nanoseconds of Unix time.
func date(cell string) (int64, error) {
	// Years that nanoseconds reach; a typing error is the likelier meaning of others.
	const earliest, latest = 1700, 2200
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, cell); err == nil && t.Year() >= earliest && t.Year() <= latest {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("%q is not a time; allowed are 2023-11-16T18:17:03.97Z (RFC 3339) or 2023-11-16 18:17:03.97, as in the rows before", shown(cell))
}

// seconds reads an instant that is written as a number of seconds, to the
// nanosecond: a float would round Unix times.
func seconds(cell string) (int64, error) {
	const wholeDigits, fractionDigits = 9_000_000_000, 9
	whole, fraction, _ := strings.Cut(cell, ".")
	digits := strings.TrimPrefix(whole, "-")
	bad := digits+fraction == "" || strings.Trim(digits+fraction, "0123456789") != ""
	value, err := strconv.ParseInt("0"+digits, 10, 64)
	if bad || err != nil || value > wholeDigits {
		return 0, fmt.Errorf("%q is not an instant; allowed are seconds as numbers such as 12.5, up to %d, or times such as 2023-11-16 18:17:03.97 in all rows", shown(cell), wholeDigits)
	}
	fraction = (fraction + strings.Repeat("0", fractionDigits))[:fractionDigits]
	nanos, err := strconv.ParseInt(fraction, 10, 64)
	if err != nil {
		return 0, err
	}
	value = value*int64(time.Second) + nanos
	if strings.HasPrefix(whole, "-") {
		value = -value
	}
	return value, nil
}
