package dispatchbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"headroom.dev/apps/internal/reply"
)

// StubConfig is how stubs of model servers behave.
type StubConfig struct {
	// Listen are the addresses of the servers, one each.
	Listen []string
	// Service is how long a request holds a slot; with 0 there are no slots and
	// nothing is refused.
	Service time.Duration
	// Slots is how many requests each server works on at a time, Waiting how
	// many more it lets wait.
	Slots, Waiting int
}

// Stub serves until ctx ends.
func Stub(ctx context.Context, config StubConfig) error {
	failed := make(chan error, len(config.Listen))
	for _, address := range config.Listen {
		handler, err := newStub(config)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listening for requests: %w", err)
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		defer func() { _ = server.Close() }()
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// stub is a model server that only takes time.
type stub struct {
	service time.Duration
	slots   chan *alarm // those that are free; nil for no limit
	most    int64       // requests at a time
	present atomic.Int64
}

func newStub(config StubConfig) (http.Handler, error) {
	s := &stub{service: config.Service}
	if config.Service > 0 {
		s.slots = make(chan *alarm, config.Slots)
		s.most = int64(config.Slots + config.Waiting)
		for range config.Slots {
			slot, err := newAlarm()
			if err != nil {
				return nil, err
			}
			s.slots <- slot
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("POST /{$}", s.classify)
	return mux, nil
}

func (s *stub) classify(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(reply.IDHeader)
	if s.slots != nil {
		defer s.present.Add(-1)
		if s.present.Add(1) > s.most {
			refuse(w, id)
			return
		}
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the caller is gone
	}
	if s.slots != nil {
		if err := s.hold(r.Context()); err != nil {
			return // the caller is gone
		}
	}
	answer := reply.Reply{ID: id, Model: "stub", Predictions: []reply.Prediction{{Class: 3, Label: "fire engine", Probability: 1}}}
	write(w, http.StatusOK, answer.Append(nil))
}

// hold takes a slot for as long as a request needs it.
func (s *stub) hold(ctx context.Context) error {
	select {
	case slot := <-s.slots:
		defer func() { s.slots <- slot }()
		return slot.until(time.Now().Add(s.service))
	case <-ctx.Done():
		return ctx.Err()
	}
}

func refuse(w http.ResponseWriter, id string) {
	text, err := json.Marshal(reply.Failure{ID: id, Error: reply.Detail{Code: reply.Overloaded, Message: "too many requests wait"}})
	if err != nil {
		panic(errors.Join(errors.New("a refusal has no JSON"), err)) // strings have
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(reply.RetryAfter/time.Second)))
	write(w, http.StatusServiceUnavailable, text)
}

func write(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", reply.ContentType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // where the caller is gone, nobody reads it
}
