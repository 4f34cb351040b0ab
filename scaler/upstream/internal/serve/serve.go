// Package serve holds the sessions of one process, one after the other.
package serve

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"headroom.dev/scaler/upstream/internal/hpa"
	"headroom.dev/scaler/upstream/internal/kpa"
	"headroom.dev/scaler/upstream/internal/protocol"
)

// Serve answers the lines of in on out until in ends. A line that can't be
// served is answered with what is wrong, and Serve returns that as an error.
// Bubbles of virtual time want t.
func Serve(t *testing.T, in io.Reader, out io.Writer) error {
	c := newConversation(in, out)
	err := c.sessions(t)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *conversation) sessions(t *testing.T) error {
	for {
		request, err := c.next()
		if err != nil {
			return err
		}
		switch start := request.Start; {
		case start == nil:
			err = c.refuse(errors.New("observe or end outside a session: only start is allowed"))
		case start.HPA != nil:
			// Waiting for a line keeps the bubble from being durably blocked, and
			// so its time stands still until the simulator moves it.
			synctest.Test(t, func(*testing.T) {
				s := hpa.Start(*start.HPA)
				defer s.Stop()
				err = c.session(start.HPA.Replicas, s.Observe)
			})
		default:
			err = c.session(start.KPA.Replicas, kpa.Start(*start.KPA).Observe)
		}
		if err != nil {
			return err
		}
	}
}

// session runs from the answer to start to the one to end.
func (c *conversation) session(replicas int32, observe func(protocol.Observation) int) error {
	answer := protocol.Answer{Replicas: int(replicas)}
	at := -1.0
	for {
		if err := c.answer(answer); err != nil {
			return err
		}
		request, err := c.next()
		switch {
		case err != nil:
			return err
		case request.End != nil:
			return c.answer(answer)
		case request.Start != nil:
			return c.refuse(errors.New("start within a session: only observe and end are allowed"))
		case request.Observe.At <= at:
			return c.refuse(notRising(request.Observe.At, at))
		}
		at = request.Observe.At
		answer.Replicas = observe(*request.Observe)
	}
}
