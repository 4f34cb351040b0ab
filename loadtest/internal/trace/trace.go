// Package trace reads recorded demand: requests per second, one value a second.
package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxRate is the highest rate that a trace may hold, in requests per second.
	MaxRate = 1_000_000
	// MaxSeconds is the most values that a trace may hold: one week.
	MaxSeconds = 7 * 24 * 3600

	maxLineBytes  = 16 << 20
	shownTokenLen = 40
)

// Trace is a demand over time.
type Trace struct {
	// Name says where the trace came from: the file's name without its folder.
	Name string
	// Rates holds requests per second, one value for every second from the start.
	Rates []float64
}

// Load reads the trace in the file at path. Errors name the file and the line.
func Load(path string) (Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return Trace{}, fmt.Errorf("trace: %w", err)
	}
	defer func() { _ = f.Close() }()
	rates, err := Read(f, path)
	if err != nil {
		return Trace{}, err
	}
	return Trace{Name: filepath.Base(path), Rates: rates}, nil
}

// Read parses a trace: decimal numbers from 0 to MaxRate, separated by spaces
// or newlines; the rest of a line after '#' is a comment. name is used in
// errors, which read "name:line: …".
func Read(r io.Reader, name string) ([]float64, error) {
	var rates []float64
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	line := 0
	for scanner.Scan() {
		line++
		text, _, _ := strings.Cut(scanner.Text(), "#")
		for token := range strings.FieldsSeq(text) {
			rate, err := parseRate(token)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, line, err)
			}
			if len(rates) == MaxSeconds {
				return nil, fmt.Errorf("%s:%d: more than %d values; allowed is one week, one value a second", name, line, MaxSeconds)
			}
			rates = append(rates, rate)
		}
	}
	if err := scanner.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("%s:%d: line longer than %d bytes; allowed are shorter lines", name, line+1, maxLineBytes)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rates) == 0 {
		return nil, fmt.Errorf("%s:%d: no values; needed is at least one number of requests per second", name, max(line, 1))
	}
	return rates, nil
}

// parseRate takes digits with at most one point. strconv.ParseFloat alone would
// also take "NaN", "inf", "1e9" and "0x1p4".
func parseRate(token string) (float64, error) {
	rate, err := strconv.ParseFloat(token, 64)
	if err != nil || strings.Trim(token, "0123456789.") != "" || rate > MaxRate {
		shown := token
		if len(shown) > shownTokenLen {
			shown = shown[:shownTokenLen] + "…"
		}
		return 0, fmt.Errorf("%q is not a rate; allowed are numbers from 0 to %d such as 7 or 7.5 (requests per second, one a second, separated by spaces or newlines)", shown, MaxRate)
	}
	return rate, nil
}

// Cut returns the part of the trace that starts at start and lasts length.
// Both are whole seconds of the trace; a length of 0 means up to its end.
func (t Trace) Cut(start, length time.Duration) (Trace, error) {
	total := time.Duration(len(t.Rates)) * time.Second
	if start < 0 || start%time.Second != 0 || start >= total {
		return Trace{}, fmt.Errorf("start %v: allowed are whole seconds from 0s to below %v, the length of %s", start, total, t.Name)
	}
	if length < 0 || length%time.Second != 0 {
		return Trace{}, fmt.Errorf("length %v: allowed are whole seconds from 1s, or 0s for all of %s", length, t.Name)
	}
	rates := t.Rates[start/time.Second:]
	if n := int(length / time.Second); n > 0 && n < len(rates) {
		rates = rates[:n]
	}
	return Trace{Name: t.Name, Rates: rates}, nil
}
