package trace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const shownLength = 40

// value is one number of a file.
type value struct {
	number float64
	text   string // quoted, for errors
	line   int
}

// values reads the numbers of a file: separated by spaces, commas or newlines
// where column is empty, and otherwise those of a CSV's column. The rest of a line
// after '#' is a comment. named tells whether a line of names came first, decimal
// whether a number has a point.
func values(text, name, column string) (out []value, decimal, named bool, err error) {
	pick, line, first := -1, 0, true
	for l := range strings.Lines(text) {
		line++
		l, _, _ = strings.Cut(l, "#")
		if l = strings.TrimSpace(l); l == "" {
			continue
		}
		fields := fieldsOf(l, column != "")
		names := first && isNames(fields, column)
		named, first = named || names, false
		if column != "" && pick < 0 {
			if pick, err = find(fields, column, names); err != nil {
				return nil, false, false, fmt.Errorf("%s:%d: %w", name, line, err)
			}
		}
		if names {
			continue
		}
		if pick >= 0 {
			if pick >= len(fields) {
				return nil, false, false, fmt.Errorf("%s:%d: %d columns; needed is column %d", name, line, len(fields), pick+1)
			}
			fields = fields[pick : pick+1]
		}
		for _, f := range fields {
			number, err := parseNumber(f)
			if err != nil {
				return nil, false, false, fmt.Errorf("%s:%d: %w", name, line, err)
			}
			decimal = decimal || strings.Contains(f, ".")
			out = append(out, value{number, shown(f), line})
		}
	}
	if len(out) == 0 {
		return nil, false, false, fmt.Errorf("%s:%d: no values; needed is at least one number of requests per second", name, max(line, 1))
	}
	return out, decimal, named, nil
}

// fieldsOf splits a line. In a CSV an empty field counts.
func fieldsOf(line string, csv bool) []string {
	if !csv {
		return strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	}
	fields := strings.Split(line, ",")
	for i, f := range fields {
		fields[i] = strings.Trim(strings.TrimSpace(f), `"`)
	}
	return fields
}

// isNames tells whether the first line holds names: of a single column a word, of
// several no number at all.
func isNames(fields []string, column string) bool {
	if column == "" && len(fields) != 1 {
		return false
	}
	return !slices.ContainsFunc(fields, func(f string) bool {
		return !isName(f)
	})
}

func isName(field string) bool {
	_, err := strconv.ParseFloat(field, 64)
	return err != nil && strings.ContainsFunc(field, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }) &&
		!strings.ContainsAny(field[:1], "0123456789+-.")
}

func find(fields []string, column string, names bool) (int, error) {
	if names {
		if i := slices.Index(fields, column); i >= 0 {
			return i, nil
		}
	}
	n, err := strconv.Atoi(column)
	if err != nil || n < 1 || n > len(fields) {
		return 0, fmt.Errorf("column %q; allowed are 1 to %d%s", column, len(fields), oneOf(fields, names))
	}
	return n - 1, nil
}

func oneOf(fields []string, names bool) string {
	if !names {
		return ""
	}
	return " or one of " + strings.Join(fields[:min(len(fields), 10)], ", ")
}

// parseNumber takes digits with at most one point. strconv.ParseFloat alone would
// also take "NaN", "inf", "1e9" and "0x1p4".
func parseNumber(field string) (float64, error) {
	number, err := strconv.ParseFloat(field, 64)
	if err != nil || strings.Trim(field, "0123456789.") != "" {
		return 0, fmt.Errorf("%s is not a rate; allowed are numbers from 0 to %d such as 7 or 7.5 (requests per second, one a second, separated by spaces, commas or newlines)", shown(field), MaxRate)
	}
	return number, nil
}

func shown(field string) string {
	if len(field) > shownLength {
		field = field[:shownLength] + "…"
	}
	return strconv.Quote(field)
}
