package oip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"headroom.dev/apps/internal/reply"
)

// maxDepth is how deep arrays and objects of a request may lie in each other.
const maxDepth = 16

// maxItems is the longest of a request's lists: inputs, outputs, a shape.
const maxItems = 16

// scanner reads JSON text from front to back. It has no representation of
// values in general: a tensor of numbers goes straight into its bytes.
type scanner struct {
	text  []byte
	at    int
	depth int
}

// field is one key of an object and what reads its value.
type field struct {
	key  string
	read func(path string) error
}

// object reads an object of these fields, each at most once. Others are an
// error, or are passed over where ignore is set.
func (s *scanner) object(path string, fields []field, ignore bool) error {
	prefix := ""
	if path != "" {
		prefix = path + "."
	}
	seen := 0
	return s.members(path, func(key string) error {
		for i, f := range fields {
			if f.key != key {
				continue
			}
			if seen&(1<<i) != 0 {
				return bad("%s%s: is given twice", prefix, key)
			}
			seen |= 1 << i
			return f.read(prefix + key)
		}
		if !ignore {
			keys := make([]string, len(fields))
			for i, f := range fields {
				keys[i] = f.key
			}
			return bad("%s: unknown key %s; allowed: %s", where(path), reply.Quote(key), strings.Join(keys, ", "))
		}
		return s.skip()
	})
}

func (s *scanner) members(path string, read func(key string) error) error {
	if s.peek() != '{' {
		return bad("%s: must be an object", where(path))
	}
	return s.each('}', func() error {
		if s.peek() != '"' {
			return s.wrong("a key in double quotes")
		}
		key, err := s.literal()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.wrong("a colon")
		}
		s.at++
		return read(key)
	})
}

// list reads an array of at most maxItems.
func (s *scanner) list(path string, read func(path string) error) error {
	if s.peek() != '[' {
		return bad("%s: must be an array", path)
	}
	i := 0
	return s.each(']', func() error {
		if i == maxItems {
			return bad("%s: has more than %d items, the most that is accepted", path, maxItems)
		}
		i++
		return read(fmt.Sprintf("%s[%d]", path, i-1))
	})
}

// each reads an array or an object, on whose first byte s is, up to its
// closing byte; read reads an item.
func (s *scanner) each(closing byte, read func() error) error {
	if s.depth == maxDepth {
		return bad("the JSON has more than %d arrays and objects in each other at byte %d, the most that is accepted", maxDepth, s.at)
	}
	s.depth++
	s.at++
	for first := true; ; first = false {
		if s.peek() == closing {
			s.at++
			s.depth--
			return nil
		}
		if !first {
			if s.peek() != ',' {
				return s.wrong("a comma or " + string(closing))
			}
			s.at++
		}
		if err := read(); err != nil {
			return err
		}
	}
}

// skipNumbers reads any value, and an array without strings fast: that is only
// known to end where its last bracket does.
func (s *scanner) skipNumbers() error {
	if s.peek() != '[' {
		return s.skip()
	}
	open := 0
	for at := s.at; ; {
		length := bytes.IndexByte(s.text[at:], ']')
		if length < 0 || bytes.IndexByte(s.text[at:at+length], '"') >= 0 {
			return s.skip()
		}
		open += bytes.Count(s.text[at:at+length], []byte{'['}) - 1
		at += length + 1
		if open == 0 {
			s.at = at
			return nil
		}
	}
}

// skip reads any value.
func (s *scanner) skip() error {
	switch s.peek() {
	case '{':
		return s.members("", func(string) error { return s.skip() })
	case '[':
		return s.each(']', s.skip)
	case '"':
		_, err := s.literal()
		return err
	case 't', 'f', 'n':
		for _, word := range []string{"true", "false", "null"} {
			if s.word(word) {
				return nil
			}
		}
	default:
		if s.number(new(number)) {
			return nil
		}
	}
	return s.wrong("a value")
}

func (s *scanner) str(path string) (string, error) {
	if s.peek() != '"' {
		return "", s.notAllowed(path, "a string")
	}
	return s.literal()
}

func (s *scanner) boolean(path string) (bool, error) {
	s.peek()
	switch {
	case s.word("true"):
		return true, nil
	case s.word("false"):
		return false, nil
	}
	return false, s.notAllowed(path, "true or false")
}

// whole reads an integer from low.
func (s *scanner) whole(path string, low int64) (int64, error) {
	s.peek()
	begin := s.at
	if s.number(new(number)) {
		if v, err := strconv.ParseInt(string(s.text[begin:s.at]), 10, 64); err == nil && v >= low {
			return v, nil
		}
		s.at = begin
	}
	return 0, s.notAllowed(path, fmt.Sprintf("a whole number from %d", low))
}

// peek passes over white space and returns the byte that follows, or 0 at the
// end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// word passes over a literal that stands at s.
func (s *scanner) word(word string) bool {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// literal reads a string, on whose opening quote s is.
func (s *scanner) literal() (string, error) {
	begin := s.at
	for i := begin + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			i++
		case '"':
			s.at = i + 1
			var text string
			if err := json.Unmarshal(s.text[begin:s.at], &text); err != nil {
				return "", bad("the JSON has a string at byte %d that can't be read: %v", begin, err)
			}
			return text, nil
		}
	}
	return "", bad("the JSON has a string at byte %d that does not end", begin)
}

// number is a JSON number.
type number struct {
	text     []byte
	negative bool
	// digits and power give the value if few is set.
	digits uint64
	power  int
	few    bool
}

// number reads a number that stands at s into n; false, and s stays, where
// there is none.
func (s *scanner) number(n *number) bool {
	text, i := s.text, s.at
	*n = number{}
	if i < len(text) && text[i] == '-' {
		n.negative = true
		i++
	}
	whole := i
	if i < len(text) && text[i] == '0' {
		i++
	} else {
		i = n.take(text, i)
	}
	if i == whole {
		return false
	}
	if i < len(text) && text[i] == '.' {
		fraction := i + 1
		if i = n.take(text, fraction); i == fraction {
			return false
		}
		n.power = fraction - i
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		negative := i < len(text) && text[i] == '-'
		if negative || i < len(text) && text[i] == '+' {
			i++
		}
		var e number
		first := i
		if i = e.take(text, i); i == first {
			return false
		}
		// Larger ones are out of the range of the fast way all the same.
		exponent := int(min(e.digits, 1<<20))
		if negative {
			exponent = -exponent
		}
		n.power += exponent
	}
	n.few = n.digits < maxDigits && n.power >= -22 && n.power <= 22
	n.text = text[s.at:i]
	s.at = i
	return true
}

// maxDigits is where number.digits ends: one digit more still fits then.
const maxDigits = 1e18

// take reads the digits at text[i:] into n.digits, which stays at maxDigits or
// more where they are too many, and returns where they end.
func (n *number) take(text []byte, i int) int {
	digits := n.digits
	for ; i < len(text); i++ {
		digit := text[i] - '0'
		if digit > 9 {
			break
		}
		if digits < maxDigits {
			digits = digits*10 + uint64(digit)
		}
	}
	n.digits = digits
	return i
}

// powers are the powers of ten that a float64 holds exactly.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// near is the number as a float64, with an error of two units in the last
// place at most, and none of more than half a unit if digits are below 1<<53.
// It is for numbers with few set.
func (n *number) near() float64 {
	v := float64(n.digits)
	if n.power < 0 {
		v /= powers[-n.power]
	} else {
		v *= powers[n.power]
	}
	if n.negative {
		v = -v
	}
	return v
}

// float64 is the nearest float64, infinite beyond the largest.
func (n *number) float64() float64 {
	if n.few && n.digits < 1<<53 {
		return n.near()
	}
	// The error is one of range, which the infinity tells as well.
	v, _ := strconv.ParseFloat(string(n.text), 64)
	return v
}

// float32 is the nearest float32, infinite beyond the largest.
func (n *number) float32() float32 {
	if n.few {
		// Between two float32 the last 29 bits of a float64 are 1<<28. A value
		// farther from that than its error is rounded to the right one of them.
		const middle, margin = 1 << 28, 4
		v := n.near()
		if last := math.Float64bits(v) & (1<<29 - 1); last < middle-margin || last > middle+margin {
			return float32(v)
		}
	}
	v, _ := strconv.ParseFloat(string(n.text), 32)
	return float32(v)
}

// wrong is text that is not JSON.
func (s *scanner) wrong(expected string) error {
	return bad("the JSON has %s at byte %d; expected %s", s.here(), s.at, expected)
}

// notAllowed is a value of another kind, or out of range.
func (s *scanner) notAllowed(path, allowed string) error {
	return bad("%s: %s is not allowed; allowed: %s", path, s.here(), allowed)
}

// here shows the text at s, for messages.
func (s *scanner) here() string {
	rest := s.text[s.at:]
	if len(rest) == 0 {
		return "its end"
	}
	end := 1
	for end < min(len(rest), reply.MaxQuoted) && !strings.ContainsRune(" \t\r\n,:]}", rune(rest[end])) {
		end++
	}
	return strconv.Quote(string(rest[:end]))
}

func where(path string) string {
	if path == "" {
		return "the request"
	}
	return path
}
