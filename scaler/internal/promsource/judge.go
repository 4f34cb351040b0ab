package promsource

import (
	"math"

	"headroom.dev/scaler/internal/policy"
)

// age is how old a group's newest sample is.
type age struct {
	seconds float64
	known   bool
}

// ageOf takes a sample from the future, of a target whose clock is ahead, for one of now.
func ageOf(a answer) age {
	seconds, ok := a.number()
	if !ok || math.IsNaN(seconds) {
		return age{}
	}
	return age{max(0, seconds), true}
}

func (s *Source) fresh(a age) bool {
	return a.known && a.seconds <= s.options.Prometheus.StaleAfter.Seconds()
}

// judge says whether a value can be relied on. What can't be told is taken for
// the worst: a value of unknown age is stale, one without an answer about
// restarts is reset. A value that is no number is invalid before it is reset: a
// ratio of nothing is NaN after a restart too, and means no traffic.
func (s *Source) judge(q signal, answers map[string]answer, a age) policy.Signal {
	number, ok := answers[q.name].number()
	if !ok {
		return policy.Signal{}
	}
	value := policy.Value(number)
	switch {
	case !s.fresh(a):
		value.State = policy.Stale
	case value.State == policy.OK && q.window > 0 && restarted(answers[restartQuestion(q.group, q.window)]):
		value.State = policy.Reset
	}
	return value
}

func restarted(a answer) bool {
	count, ok := a.number()
	return a.err != nil || ok && count > 0
}

// number is the one number of an answer. Not ok is an answer without any, which
// is not the same as zero, and a question that failed.
func (a answer) number() (number float64, ok bool) {
	if a.err != nil || len(a.samples) != 1 {
		return 0, false
	}
	return float64(a.samples[0].Value), true
}
