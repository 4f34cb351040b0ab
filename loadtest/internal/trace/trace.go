// Package trace reads demand: recorded as rates, as counts a minute or as the
// instants of arrivals, or given by a formula.
package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// MaxRate is the highest rate that a trace may hold, in requests per second.
	MaxRate = 1_000_000
	// MaxSeconds is the longest that a trace may be: one week.
	MaxSeconds = 7 * 24 * 3600
	// MaxArrivals is the most instants that a trace may hold.
	MaxArrivals = 20_000_000
	// MaxFileBytes is the most that a trace's file may hold.
	MaxFileBytes = 1 << 30

	maxLineBytes  = 16 << 20
	shownTokenLen = 40
)

// Format says what the values of a trace are.
type Format string

// The formats.
const (
	// Auto is to be told from the file, where it can be told for certain.
	Auto Format = "auto"
	// PerSecond is one rate a second, in requests per second.
	PerSecond Format = "per-second"
	// PerMinute is one count of requests a minute.
	PerMinute Format = "per-minute"
	// Arrivals is an instant for each request.
	Arrivals Format = "arrivals"
)

// Trace is a demand over time.
type Trace struct {
	// Name says where the trace came from: the file's name without its folder,
	// or the formula.
	Name string
	// Rates holds requests per second, one value for every second from the
	// start; nil in a trace of arrivals.
	Rates []float64
	// Arrivals holds the instant of each request, sorted, counted from the
	// first; nil in a trace of rates.
	Arrivals []time.Duration
}

// Options say how a trace is read.
type Options struct {
	// Format is what the values are; empty is Auto.
	Format Format
	// Column is the one of a CSV file that is read, by its name in the header or
	// by its number from 1; empty is the only one that it can be.
	Column string
}

// Load returns what is given by text: a formula such as "constant:rate=20,length=60s",
// or the path of a file. Errors name the formula, or the file and the line.
func Load(text string, o Options) (Trace, error) {
	if name, settings, ok := asFormula(text); ok {
		if o.Column != "" || (o.Format != "" && o.Format != Auto) {
			return Trace{}, fmt.Errorf("trace %q is a formula: it has no format and no column to choose", shown(text))
		}
		rates, err := evaluate(name, settings)
		if err != nil {
			return Trace{}, fmt.Errorf("trace %q: %w", shown(text), err)
		}
		return Trace{Name: text, Rates: rates}, nil
	}
	f, err := os.Open(text)
	if err != nil {
		return Trace{}, fmt.Errorf("trace: %w", err)
	}
	defer func() { _ = f.Close() }()
	t, err := Read(f, text, o)
	t.Name = filepath.Base(text)
	return t, err
}

// Read parses a trace. name is used in errors, which read "name:line: …".
//
// Rates and counts are decimal numbers from 0, separated by spaces or newlines;
// the rest of a line after '#' is a comment. Or they are a column of a CSV file,
// one row a second or minute. Arrivals are a column of a CSV file, with or
// without a header: seconds as numbers, or dates with a time (RFC 3339, also
// with a space in the middle or without a zone, which is UTC then), in any order.
func Read(r io.Reader, name string, o Options) (Trace, error) {
	buffered := bufio.NewReaderSize(&limited{Reader: r, left: MaxFileBytes}, 64<<10)
	if start, err := buffered.Peek(len(byteOrderMark)); err == nil && string(start) == byteOrderMark {
		_, _ = buffered.Discard(len(byteOrderMark))
	}
	form, err := detect(buffered, o)
	if err != nil {
		return Trace{}, fmt.Errorf("%s:%w", name, err)
	}
	var t Trace
	switch {
	case form.format == Arrivals:
		t.Arrivals, err = readArrivals(buffered, o.Column)
	case form.table:
		t.Rates, err = readRateColumn(buffered, form.format, o.Column)
	default:
		t.Rates, err = readRates(buffered, form)
	}
	if err != nil {
		return Trace{}, fmt.Errorf("%s:%w", name, err)
	}
	return t, nil
}

const byteOrderMark = "\ufeff"

var errTooLarge = fmt.Errorf("more than %d MiB; allowed are smaller files", MaxFileBytes>>20)

// limited ends a file that is too large with an error.
type limited struct {
	io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.Reader.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// form is how a file is written.
type form struct {
	format Format
	// table is a CSV file with columns or a header.
	table bool
	// guessed is true where no format was asked for.
	guessed bool
}

// detect looks at the first line that is no comment. Errors begin with its number.
func detect(r *bufio.Reader, o Options) (form, error) {
	line, number, err := firstLine(r)
	if err != nil {
		return form{}, err
	}
	cells := strings.Split(line, ",")
	for i, cell := range cells {
		cells[i] = strings.Trim(strings.TrimSpace(cell), `"`)
	}
	header := isHeader(cells, o.Column)
	table := len(cells) > 1 || header || o.Column != ""
	switch o.Format {
	case PerSecond, PerMinute, Arrivals:
		return form{format: o.Format, table: table}, nil
	case Auto, "":
	default:
		return form{}, fmt.Errorf("%d: trace format %q: allowed are %s, %s, %s and %s", number, o.Format, Auto, PerSecond, PerMinute, Arrivals)
	}
	switch {
	case isDate(cells[0]):
		return form{format: Arrivals, table: true, guessed: true}, nil
	case header:
		told := toldBy(cells)
		if len(told) == 1 {
			return form{format: told[0], table: true, guessed: true}, nil
		}
		if len(cells) == 1 {
			// Most likely a word in a file of rates.
			return form{format: PerSecond, guessed: true}, nil
		}
		return form{}, fmt.Errorf("%d: the header %q does not tell for certain what the columns are; say it with --trace-format: %s, %s or %s", number, shown(line), PerSecond, PerMinute, Arrivals)
	case len(cells) > 1:
		return form{}, fmt.Errorf("%d: %q has columns and no header; say what they are with --trace-format: %s, %s or %s", number, shown(line), PerSecond, PerMinute, Arrivals)
	}
	return form{format: PerSecond, table: o.Column != "", guessed: true}, nil
}

// firstLine returns the first line that is neither blank nor a comment, without
// taking it out of r, and its number; where there is none, that of the last.
func firstLine(r *bufio.Reader) (string, int, error) {
	const most = 60 << 10
	start, err := r.Peek(most)
	if errors.Is(err, errTooLarge) || (err != nil && !errors.Is(err, io.EOF)) {
		return "", 1, fmt.Errorf("1: %w", err)
	}
	number := 0
	for raw := range bytes.Lines(start) {
		number++
		text, _, _ := strings.Cut(string(raw), "#")
		if text = strings.TrimSpace(text); text != "" {
			return text, number, nil
		}
	}
	if len(start) == most {
		return "", number, fmt.Errorf("%d: comments of more than %d bytes before the first value; allowed are fewer", number, most)
	}
	return "", number, fmt.Errorf("%d: no values; needed is at least one", max(number, 1))
}

// toldBy returns the formats that the names of columns stand for.
func toldBy(header []string) []Format {
	var told []Format
	if arrivalColumn(header) >= 0 {
		told = append(told, Arrivals)
	}
	if format, ok := indexColumns[strings.ToLower(header[0])]; ok {
		told = append(told, format)
	}
	return told
}

// shown is text as an error shows it.
func shown(text string) string {
	if len(text) > shownTokenLen {
		return strings.ToValidUTF8(text[:shownTokenLen], "") + "…"
	}
	return text
}

// Length is how long the trace lasts, in whole seconds.
func (t Trace) Length() time.Duration {
	if t.Arrivals == nil {
		return time.Duration(len(t.Rates)) * time.Second
	}
	return t.Arrivals[len(t.Arrivals)-1].Truncate(time.Second) + time.Second
}

// Cut returns the part of the trace that starts at start and lasts length.
// Both are whole seconds of the trace; a length of 0 means up to its end.
func (t Trace) Cut(start, length time.Duration) (Trace, error) {
	total := t.Length()
	if start < 0 || start%time.Second != 0 || start >= total {
		return Trace{}, fmt.Errorf("start %v: allowed are whole seconds from 0s to below %v, the length of %s", start, total, t.Name)
	}
	if length < 0 || length%time.Second != 0 {
		return Trace{}, fmt.Errorf("length %v: allowed are whole seconds from 1s, or 0s for all of %s", length, t.Name)
	}
	end := total
	if length > 0 && length < total-start {
		end = start + length
	}
	if t.Arrivals == nil {
		return Trace{Name: t.Name, Rates: t.Rates[start/time.Second : end/time.Second]}, nil
	}
	part := Trace{Name: t.Name, Arrivals: []time.Duration{}}
	for _, arrival := range t.Arrivals {
		if arrival >= start && arrival < end {
			part.Arrivals = append(part.Arrivals, arrival-start)
		}
	}
	return part, nil
}
