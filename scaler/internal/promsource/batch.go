package promsource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// answer is what came back for one question: any number of samples, or an error.
type answer struct {
	samples []*model.Sample
	err     error
}

// aloneFor is how long a question is kept from the others that has spoilt their
// common query.
const aloneFor = time.Minute

// nameLabel carries a question's name through Prometheus.
const nameLabel = "signal"

// ask has all questions answered, within the timeout. They are one query, so that
// all are answered for the same moment and cost one round trip. Where Prometheus
// refuses that query each is asked by itself: one that can't be answered doesn't
// keep the others from it. It is then left out of the common query for a while.
func (s *Source) ask(ctx context.Context) map[string]answer {
	ctx, cancel := context.WithTimeout(ctx, s.options.Prometheus.Timeout)
	defer cancel()
	var together, alone []question
	s.mu.Lock()
	for _, q := range s.asked {
		if s.now().Before(s.alone[q.name]) {
			alone = append(alone, q)
		} else {
			together = append(together, q)
		}
	}
	s.mu.Unlock()

	var separate map[string]answer
	var wg sync.WaitGroup
	wg.Go(func() { separate = s.askEach(ctx, alone) })
	answers, err := s.query(ctx, together)
	if refused(err) && len(together) > 1 {
		answers = s.askEach(ctx, together)
		s.setApart(together, answers)
	}
	wg.Wait()
	maps.Copy(answers, separate)
	return answers
}

// setApart keeps those that failed out of the common query, or all where none
// fails by itself.
func (s *Source) setApart(together []question, answers map[string]answer) {
	var culprits []question
	for _, q := range together {
		if refused(answers[q.name].err) {
			culprits = append(culprits, q)
		}
	}
	if len(culprits) == 0 {
		culprits = together
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range culprits {
		s.alone[q.name] = s.now().Add(aloneFor)
	}
}

func (s *Source) askEach(ctx context.Context, questions []question) map[string]answer {
	each := make([]answer, len(questions))
	var wg sync.WaitGroup
	for i, q := range questions {
		wg.Go(func() {
			answers, _ := s.query(ctx, []question{q})
			each[i] = answers[q.name]
		})
	}
	wg.Wait()
	answers := make(map[string]answer, len(questions))
	for i, q := range questions {
		answers[q.name] = each[i]
	}
	return answers
}

// query asks some questions in one query, at Prometheus' own present, so that its
// clock and ours needn't agree. Its error is that of every question.
func (s *Source) query(ctx context.Context, questions []question) (map[string]answer, error) {
	answers := make(map[string]answer, len(questions))
	if len(questions) == 0 {
		return answers, nil
	}
	vector, err := s.vector(ctx, common(questions))
	for _, q := range questions {
		answers[q.name] = answer{err: err}
	}
	for _, sample := range vector {
		name := string(sample.Metric[nameLabel])
		a := answers[name]
		a.samples = append(a.samples, sample)
		answers[name] = a
	}
	for _, q := range questions {
		if n := len(answers[q.name].samples); n > 1 && !q.many {
			answers[q.name] = answer{err: fmt.Errorf("the answer has %d values, not one", n)}
		}
	}
	return answers, err
}

func (s *Source) vector(ctx context.Context, query string) (model.Vector, error) {
	timeout := s.options.Prometheus.Timeout
	result, _, _, err := s.api.Query(ctx, query, time.Time{}, promapi.WithTimeout(timeout))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %s: %w", timeout, err)
	case err != nil:
		return nil, err
	}
	vector, ok := result.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("the answer is a %s, not a vector", result.Type())
	}
	return vector, nil
}

// common is one query for all questions: each sample of the answer says in a
// label which of them it answers, so that none hides another's. The new lines
// keep a comment at an expression's end from going on.
func common(questions []question) string {
	var parts []string
	for _, q := range questions {
		parts = append(parts, fmt.Sprintf("label_replace((\n%s\n), %q, %q, \"\", \"\")", q.expression, nameLabel, q.name))
	}
	return strings.Join(parts, "\nor\n")
}

// refused tells whether it was the query that Prometheus didn't like, or that it
// answered at too great length, as against a Prometheus that can't be reached, is
// too slow or isn't one: then asking again is no use.
func refused(err error) bool {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return true
	}
	var said *promapi.Error
	return errors.As(err, &said) && (said.Type == promapi.ErrBadData || said.Type == promapi.ErrExec)
}
