package dispatchtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"headroom.dev/apps/internal/reply"
)

// Replica is a model server that does as it is told.
type Replica struct {
	*httptest.Server

	mu       sync.Mutex
	answer   http.HandlerFunc
	served   []Served
	inFlight int
	most     int
}

// Served is a request that a replica got.
type Served struct {
	// ID, Deadline and ContentType are its headers.
	ID, Deadline, ContentType string
	// Picture is its body.
	Picture []byte
}

// StartReplica starts a replica that is ready and answers with answer; nil
// stands for Predict. It ends with the test.
func StartReplica(t testing.TB, answer http.HandlerFunc) *Replica {
	t.Helper()
	r := &Replica{answer: answer}
	if answer == nil {
		r.answer = Predict
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /{$}", r.serve)
	r.Server = httptest.NewServer(mux)
	t.Cleanup(r.Close)
	return r
}

func (r *Replica) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.inFlight++
	r.most = max(r.most, r.inFlight)
	r.served = append(r.served, Served{
		ID: request.Header.Get("X-Request-Id"), Deadline: request.Header.Get("Headroom-Deadline"),
		ContentType: request.Header.Get("Content-Type"), Picture: body,
	})
	answer := r.answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.inFlight--
		r.mu.Unlock()
	}()
	answer(w, request)
}

// Answer changes how it answers.
func (r *Replica) Answer(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// Served is what it got so far.
func (r *Replica) Served() []Served {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Served(nil), r.served...)
}

// InFlight is the number of requests that it works on.
func (r *Replica) InFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inFlight
}

// MostInFlight is the most that it worked on at a time.
func (r *Replica) MostInFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// Predict answers with a prediction.
func Predict(w http.ResponseWriter, r *http.Request) {
	write(w, http.StatusOK, reply.Reply{
		ID: r.Header.Get("X-Request-Id"), Model: "stub",
		Predictions: []reply.Prediction{{Class: 3, Label: "fire engine", Probability: .75}, {Class: 1, Probability: .25}},
	})
}

// Refuse answers with a failure of the contract.
func Refuse(status int, code reply.Code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		write(w, status, reply.Failure{ID: r.Header.Get("X-Request-Id"), Error: reply.Detail{Code: code, Message: message}})
	}
}

// Hold answers with next when gate is closed, or not at all where the caller
// goes first.
func Hold(gate <-chan struct{}, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			next(w, r)
		case <-r.Context().Done():
		}
	}
}

// Die breaks the connection without an answer.
func Die(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("take the connection over: %v", err))
	}
	_ = connection.Close()
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
