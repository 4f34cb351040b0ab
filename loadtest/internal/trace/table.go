package trace

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// indexColumns are the names of a first column that counts the rows, and what
// the other columns are then.
var indexColumns = map[string]Format{"second": PerSecond, "minute": PerMinute}

// arrivalColumns are names of a column of instants, the most telling first.
var arrivalColumns = []string{"timestamp", "arrival", "arrival_time", "arrived_at", "offset_s", "start_time", "time"}

// arrivalColumn returns the place of the column of instants, -1 where none is
// called so.
func arrivalColumn(header []string) int {
	for _, name := range arrivalColumns {
		if i := slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(h, name) }); i >= 0 {
			return i
		}
	}
	return -1
}

// table reads a CSV file row by row.
type table struct {
	csv    *csv.Reader
	header []string
	// ahead is the first row where it is no header.
	ahead []string
}

// openTable reads the first row, which is a header where the column that is
// wanted has no value in it.
func openTable(r io.Reader, wanted string) (*table, error) {
	t := &table{csv: csv.NewReader(r)}
	t.csv.Comment, t.csv.TrimLeadingSpace, t.csv.ReuseRecord = '#', true, true
	row, err := t.next()
	if err != nil {
		return nil, err
	}
	row = slices.Clone(row)
	if isHeader(row, wanted) {
		t.header = row
	} else {
		t.ahead = row
	}
	return t, nil
}

// next returns the next row, which is good until the one after it; io.EOF where
// there is none. Errors begin with the line.
func (t *table) next() ([]string, error) {
	if row := t.ahead; row != nil {
		t.ahead = nil
		return row, nil
	}
	row, err := t.csv.Read()
	var bad *csv.ParseError
	switch {
	case errors.As(err, &bad):
		return nil, fmt.Errorf("%d: %w", bad.Line, bad.Err)
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		line, _ := t.csv.FieldPos(0)
		return nil, fmt.Errorf("%d: %w", line+1, err)
	}
	for i, cell := range row {
		row[i] = strings.TrimSpace(cell)
	}
	return row, nil
}

// isHeader tells a row of names from one of values by the cell of the column
// that is wanted, or by the first.
func isHeader(row []string, wanted string) bool {
	if looksLikeName(row[0]) && slices.Contains(row, wanted) {
		return true
	}
	if number, err := strconv.Atoi(wanted); err == nil && number >= 1 && number <= len(row) {
		return looksLikeName(row[number-1])
	}
	return looksLikeName(row[0])
}

// looksLikeName is false also for what begins like a number and for the words
// that are numbers to some, so that a broken number is not taken for a name.
func looksLikeName(cell string) bool {
	if cell == "" {
		return false
	}
	switch strings.ToLower(strings.TrimLeft(cell, "+-")) {
	case "nan", "inf", "infinity":
		return false
	}
	return !strings.ContainsRune("0123456789+-.", rune(cell[0]))
}

// line is that of the row that was read last.
func (t *table) line() int {
	line, _ := t.csv.FieldPos(0)
	return line
}

// width is the number of columns.
func (t *table) width() int { return max(len(t.header), len(t.ahead)) }

// column finds a column by its name, or by its number from 1.
func (t *table) column(wanted string) (int, error) {
	if i := slices.Index(t.header, wanted); i >= 0 {
		return i, nil
	}
	if number, err := strconv.Atoi(wanted); err == nil && number >= 1 && number <= t.width() {
		return number - 1, nil
	}
	allowed := fmt.Sprintf("numbers from 1 to %d", t.width())
	if t.header != nil {
		allowed = shownNames(t.header) + ", or " + allowed
	}
	return 0, fmt.Errorf("%d: trace column %q: allowed are %s", t.line(), shown(wanted), allowed)
}

// shownNames lists the first few.
func shownNames(names []string) string {
	const most = 12
	var list []string
	for _, name := range names[:min(len(names), most)] {
		list = append(list, shown(name))
	}
	if len(names) > most {
		list = append(list, "…")
	}
	return strings.Join(list, ", ")
}

// readRateColumn reads rates or counts from a column of a CSV file. A first
// column called second or minute must count the rows without a gap.
func readRateColumn(r io.Reader, format Format, wanted string) ([]float64, error) {
	t, err := openTable(r, wanted)
	if err != nil {
		return nil, err
	}
	indexed := t.header != nil && t.width() > 1 && indexColumns[strings.ToLower(t.header[0])] != ""
	column := 0
	switch {
	case wanted != "":
		column, err = t.column(wanted)
	case indexed && t.width() == 2:
		column = 1
	case t.width() > 1:
		names := fmt.Sprintf("1 to %d", t.width())
		if t.header != nil {
			names = shownNames(t.header)
		}
		err = fmt.Errorf("%d: which column holds the values is not certain; choose one with --trace-column: %s", t.line(), names)
	}
	if err != nil {
		return nil, err
	}

	found := rates{format: format}
	next := 0
	for row, err := t.next(); !errors.Is(err, io.EOF); row, err = t.next() {
		if err != nil {
			return nil, err
		}
		if indexed && column != 0 {
			index, err := strconv.Atoi(row[0])
			if err != nil || (len(found.values) > 0 && index != next) {
				return nil, fmt.Errorf("%d: %s %q: allowed are whole numbers that rise by one from row to row", t.line(), t.header[0], shown(row[0]))
			}
			next = index + 1
		}
		if _, err := found.add(row[column]); err != nil {
			return nil, fmt.Errorf("%d: %w", t.line(), err)
		}
	}
	if len(found.values) == 0 {
		return nil, fmt.Errorf("%d: no values; needed is at least one", t.line())
	}
	return found.values, nil
}
