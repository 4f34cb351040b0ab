package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

const secondsPerMinute = 60

// rates gathers the values of a trace of rates.
type rates struct {
	format Format
	values []float64
}

// add takes one value of the file: a rate, or a minute's count, which becomes
// sixty seconds at a sixtieth of it.
func (r *rates) add(token string) (float64, error) {
	times, highest := 1, float64(MaxRate)
	if r.format == PerMinute {
		times, highest = secondsPerMinute, MaxRate*secondsPerMinute
	}
	// strconv.ParseFloat alone would also take "NaN", "inf", "1e9" and "0x1p4".
	value, err := strconv.ParseFloat(token, 64)
	if err != nil || strings.Trim(token, "0123456789.") != "" || value > highest {
		what := "rate; allowed are numbers from 0 to %.0f such as 7 or 7.5 (requests per second, one a second, separated by spaces or newlines)"
		if r.format == PerMinute {
			what = "count; allowed are numbers from 0 to %.0f (requests in a minute, one a minute, separated by spaces or newlines)"
		}
		return 0, fmt.Errorf("%q is not a "+what, shown(token), highest)
	}
	if len(r.values)+times > MaxSeconds {
		return 0, fmt.Errorf("more than %d values; allowed is one week, one value a %s", MaxSeconds/times, strings.TrimPrefix(string(r.format), "per-"))
	}
	for range times {
		r.values = append(r.values, value/float64(times))
	}
	return value, nil
}

// readRates reads numbers that are separated by spaces or newlines.
func readRates(r io.Reader, f form) ([]float64, error) {
	found := rates{format: f.format}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	line := 0
	clock := clockLike{alone: true}
	for scanner.Scan() {
		line++
		text, _, _ := strings.Cut(scanner.Text(), "#")
		tokens := 0
		for token := range strings.FieldsSeq(text) {
			value, err := found.add(token)
			if err != nil {
				return nil, fmt.Errorf("%d: %w", line, err)
			}
			tokens++
			clock.see(value, tokens)
		}
	}
	if err := scanner.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line longer than %d bytes; allowed are shorter lines", maxLineBytes)
		}
		return nil, fmt.Errorf("%d: %w", line+1, err)
	}
	if f.guessed && clock.isOne() {
		return nil, fmt.Errorf("%d: the values never fall, as instants do, so they may be rates or arrivals; say it with --trace-format: %s or %s", line, PerSecond, Arrivals)
	}
	return found.values, nil
}

// clockLike watches whether values could be instants as well as rates: each on
// a line of its own, not all whole, rising and never falling.
type clockLike struct {
	alone, fallen, fractions bool
	count                    int
	first, last              float64
}

func (c *clockLike) see(value float64, token int) {
	if c.count == 0 {
		c.first, c.last = value, value
	}
	c.alone = c.alone && token == 1
	c.fallen = c.fallen || value < c.last
	c.fractions = c.fractions || value != math.Trunc(value)
	c.count, c.last = c.count+1, value
}

func (c *clockLike) isOne() bool {
	return c.count >= 3 && c.alone && !c.fallen && c.fractions && c.last > c.first
}
