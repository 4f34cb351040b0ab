// Package controls reads what people order of the scaler by annotations on its
// target: a pause, a floor, a ceiling, each with an end if they like.
package controls

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// The annotations. A time is RFC 3339, such as 2026-01-31T18:00:00Z; what it ends
// no longer holds from that time on.
const (
	// Pause forbids scaling: "all", "in" or "out".
	Pause      = prefix + "pause"
	PauseUntil = prefix + "pause-until"
	// Floor and Ceiling are whole numbers from 0 to the most replicas allowed.
	Floor        = prefix + "floor"
	FloorUntil   = prefix + "floor-until"
	Ceiling      = prefix + "ceiling"
	CeilingUntil = prefix + "ceiling-until"
)

const prefix = "headroom.dev/"

// Orders are what the annotations say at a time.
type Orders struct {
	Controls policy.Controls
	// Next is the next time that one of them ends, zero where none does.
	Next time.Time
	// Problems are the annotations that could not be followed, by key.
	Problems []Problem
}

// Problem is an annotation that was ignored.
type Problem struct {
	Key, Value, Allowed string
}

// String is the problem in one line.
func (p Problem) String() string {
	return fmt.Sprintf("annotation %s: %s is not allowed, must be %s", p.Key, shown(p.Value), p.Allowed)
}

// Parse reads the annotations of a target that may have at most most replicas,
// as they hold at the time now. What can't be read is ignored and told as a
// problem. So a bad …-until ends nothing: what it should have ended goes on until
// somebody corrects it, which is the safe side of a pause.
func Parse(annotations map[string]string, most int, now time.Time) Orders {
	r := reader{annotations: annotations, now: now}
	what, given := annotations[Pause]
	if given && !slices.Contains([]string{"all", "in", "out"}, what) {
		r.problem(Pause, "all, in or out")
		what = ""
	}
	if r.holds(Pause, PauseUntil) {
		r.orders.Controls.PauseIn = what == "all" || what == "in"
		r.orders.Controls.PauseOut = what == "all" || what == "out"
	}
	if n, ok := r.count(Floor, most); r.holds(Floor, FloorUntil) && ok {
		r.orders.Controls.Floor = n
	}
	if n, ok := r.count(Ceiling, most); r.holds(Ceiling, CeilingUntil) && ok {
		r.orders.Controls.Ceiling = &n
	}
	r.misspelt()
	slices.SortFunc(r.orders.Problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
	return r.orders
}

type reader struct {
	annotations map[string]string
	now         time.Time
	orders      Orders
}

func (r *reader) problem(key, allowed string) {
	r.orders.Problems = append(r.orders.Problems, Problem{Key: key, Value: r.annotations[key], Allowed: allowed})
}

// holds tells whether what key orders has not ended.
func (r *reader) holds(key, untilKey string) bool {
	_, given := r.annotations[key]
	text, ends := r.annotations[untilKey]
	if !ends {
		return given
	}
	until, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	switch {
	case err != nil:
		r.problem(untilKey, "a time such as 2026-01-31T18:00:00Z")
		return given
	case !given:
		r.problem(untilKey, "beside "+key+", which is not there")
		return false
	case !r.now.Before(until):
		return false
	}
	if r.orders.Next.IsZero() || until.Before(r.orders.Next) {
		r.orders.Next = until
	}
	return true
}

func (r *reader) count(key string, most int) (n int, ok bool) {
	text, given := r.annotations[key]
	if !given {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 || n > most {
		r.problem(key, fmt.Sprintf("a whole number from 0 to %d", most))
		return 0, false
	}
	return n, true
}

// misspelt finds keys that look like one of ours and are none: a pause that does
// not pause is worse than one that is refused.
func (r *reader) misspelt() {
	ours := []string{Pause, PauseUntil, Floor, FloorUntil, Ceiling, CeilingUntil}
	for key := range r.annotations {
		like := func(of string) bool { return strings.HasPrefix(key, of) }
		if slices.ContainsFunc([]string{Pause, Floor, Ceiling}, like) && !slices.Contains(ours, key) {
			r.problem(key, "one of the keys "+strings.Join(ours, ", "))
		}
	}
}

// shown quotes a value, which may be of any length.
func shown(value string) string {
	const most = 60
	if len(value) <= most {
		return strconv.Quote(value)
	}
	return strconv.Quote(strings.ToValidUTF8(value[:most], "")) + "…"
}

// Equal tells whether both order the same.
func Equal(a, b policy.Controls) bool {
	sameCeiling := a.Ceiling == nil && b.Ceiling == nil || a.Ceiling != nil && b.Ceiling != nil && *a.Ceiling == *b.Ceiling
	return a.PauseIn == b.PauseIn && a.PauseOut == b.PauseOut && a.Floor == b.Floor && sameCeiling
}

// Describe is what is ordered, in words; "none" for nothing.
func Describe(c policy.Controls) string {
	var parts []string
	switch {
	case c.PauseIn && c.PauseOut:
		parts = append(parts, "paused in both directions")
	case c.PauseIn:
		parts = append(parts, "scaling in is paused")
	case c.PauseOut:
		parts = append(parts, "scaling out is paused")
	}
	if c.Floor > 0 {
		parts = append(parts, fmt.Sprintf("at least %d", c.Floor))
	}
	if c.Ceiling != nil {
		parts = append(parts, fmt.Sprintf("at most %d", *c.Ceiling))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
