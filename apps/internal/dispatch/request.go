// Package dispatch holds the dispatcher's decisions: whether a request is let
// in, when it is too late for it, which replica gets it and how many at a time,
// whether a failed attempt is made again, and when a replica is left alone. They
// are pure: what they need to know, the time and chance included, is an argument.
package dispatch

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Mode says how a caller waits.
type Mode string

const (
	// Sync is a caller that holds its connection open for the answer.
	Sync Mode = "sync"
	// Async is a caller that fetches the answer later.
	Async Mode = "async"
)

// Priority says what goes first where requests wait, before their deadlines
// count.
type Priority int

const (
	// Low goes last.
	Low Priority = iota
	// Normal is what callers who wait get unless they ask otherwise.
	Normal
	// High goes first.
	High
)

// Priorities are all priorities, from the one that goes first.
var Priorities = [...]Priority{High, Normal, Low}

var priorityNames = [...]string{Low: "low", Normal: "normal", High: "high"}

func (p Priority) String() string { return priorityNames[p] }

// ParsePriority reads low, normal or high, in any case.
func ParsePriority(text string) (Priority, error) {
	for p, name := range priorityNames {
		if strings.EqualFold(text, name) {
			return Priority(p), nil
		}
	}
	return Normal, fmt.Errorf("%q is none of low, normal and high", text)
}

// Request is what waits in the queue.
type Request struct {
	// ID is the caller's name for it, or a generated one. A caller may use
	// one twice.
	ID string
	// Deadline is when nobody wants the answer any more; whole milliseconds.
	Deadline time.Time
	// Priority is what it waits behind.
	Priority Priority
	// Mode says how the caller waits.
	Mode Mode
	// Waiter names the dispatcher that holds a Sync caller's connection.
	Waiter string
	// Ticket names the caller at its waiter; unique there.
	Ticket string
	// ResultID is where an Async request's result is kept.
	ResultID string
	// Fingerprint tells an Async request's picture from others.
	Fingerprint string
	// ContentType is what the caller said of the picture; may be empty.
	ContentType string
	// Picture is the picture as it was sent.
	Picture []byte
	// TraceParent is the W3C traceparent of the trace that the request
	// belongs to; empty for none. One from a queue may be malformed.
	TraceParent string
}

// Expired says whether nobody waits for r's answer any more.
func Expired(r Request, now time.Time) bool {
	return !now.Before(r.Deadline)
}

// Hopeless says whether r can't be answered before its deadline any more, even
// by a replica that begins at once and is as fast as replicas often are. Work
// on it would only make others late.
func Hopeless(r Request, service Estimate, now time.Time) bool {
	service = service.Recent(now)
	return r.Deadline.Sub(now) <= max(0, service.Mean-service.Deviation)
}

// Urgency orders requests: a higher priority first, then an earlier deadline. It
// is negative when a goes before b.
func Urgency(a, b Request) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Deadline.Compare(b.Deadline))
}

// Result is the answer to a request: a status and a JSON body of the contract.
type Result struct {
	// Status is the HTTP status.
	Status int `json:"status"`
	// Body is the JSON body.
	Body []byte `json:"body"`
}
