package faulttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatchtest"
	"headroom.dev/apps/internal/reply"
)

// theJournal is the environment variable that names the replicas' journal.
const theJournal = "HEADROOM_TEST_JOURNAL"

// inference is how long a replica works on a request.
const inference = 20 * time.Millisecond

// manyTokens is more requests than a test ever holds at a replica.
const manyTokens = 1000

// stub is a model server: it notes in the journal what it works on, and answers
// each time differently, so that a second run of a request shows.
type stub struct {
	address string
	journal *os.File
	runs    atomic.Int64

	mu sync.Mutex
	// gate is nil, or what requests wait for to be closed.
	gate   chan struct{}
	tokens chan struct{}
}

// beReplica is the main function of a replica's process.
func beReplica(address string) int {
	s := &stub{address: address, tokens: make(chan struct{}, manyTokens)}
	if path := os.Getenv(theJournal); path != "" {
		var err error
		if s.journal, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /{$}", s.infer)
	mux.HandleFunc("POST /null", func(_ http.ResponseWriter, r *http.Request) {
		timer := time.After(noiseProbe)
		_, _ = io.Copy(io.Discard, r.Body)
		<-timer
	})
	mux.HandleFunc("POST /hold", func(http.ResponseWriter, *http.Request) { s.hold() })
	mux.HandleFunc("POST /release", func(_ http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		s.release(n)
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(address, mux))
	return 1
}

// hold makes requests wait.
func (s *stub) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate == nil {
		s.gate = make(chan struct{})
	}
}

// release lets n of those that wait go on, or, with 0, all, and those to come.
func (s *stub) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == 0 && s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
	for range n {
		s.tokens <- struct{}{}
	}
}

func (s *stub) infer(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	id := r.Header.Get(reply.IDHeader)
	run := fmt.Sprintf("%d/%d", os.Getpid(), s.runs.Add(1))
	s.note("begin", id, run)
	if !s.work(r) {
		s.note("gone", id, run)
		return
	}
	s.note("end", id, run)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply.Reply{
		ID: id, Model: "stub", Predictions: []reply.Prediction{{Class: 1, Label: run, Probability: .5}},
	})
}

// work says whether somebody still wants the answer.
func (s *stub) work(r *http.Request) bool {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-s.tokens:
		case <-r.Context().Done():
			return false
		}
	}
	select {
	case <-time.After(inference):
		return true
	case <-r.Context().Done():
		return false
	}
}

// note writes a line with one system call, which keeps the lines of several
// processes whole and outlives this one.
func (s *stub) note(what, id, run string) {
	_, _ = fmt.Fprintf(s.journal, "%s %s %s %s\n", what, id, run, s.address)
}

// replica is a stub in a process of its own.
type replica struct {
	*process
	address string
}

func startReplica(t testing.TB, name, journal string) *replica {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{address: fixedAddress(t)}
	r.process = launch(t, name, self, []string{asReplica + "=" + r.address, theJournal + "=" + journal})
	r.awaitReady()
	return r
}

func (r *replica) url() string { return "http://" + r.address }

func (r *replica) awaitReady() {
	r.t.Helper()
	dispatchtest.Eventually(r.t, 10*time.Second, r.name+" is ready", func() bool { return statusOf(r.url()+"/readyz") == http.StatusOK })
}

func (r *replica) startAgain() {
	r.t.Helper()
	r.start()
	r.awaitReady()
}

// hold makes the replica keep what it gets from now on.
func (r *replica) hold() { r.tell("/hold") }

// release lets all go on that the replica holds, and all that it will get.
func (r *replica) release() { r.tell("/release") }

// releaseSome lets n go on that the replica holds.
func (r *replica) releaseSome(n int) { r.tell("/release?n=" + strconv.Itoa(n)) }

func (r *replica) tell(path string) {
	r.t.Helper()
	response, err := http.Post(r.url()+path, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = response.Body.Close()
}

// statusOf is the status of a GET, or 0.
func statusOf(url string) int {
	client := &http.Client{Timeout: 2 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// run is what a replica did about a request, once.
type run struct {
	id, name, replica string
	// ended is empty, "end" for an answer, or "gone" where the dispatcher went
	// first.
	ended string
}

// journal is what all replicas of a test did.
type journal struct {
	t    testing.TB
	path string
}

func newJournal(t testing.TB) *journal {
	t.Helper()
	path := t.TempDir() + "/journal"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return &journal{t, path}
}

// runs are in the order in which they began.
func (j *journal) runs() []run {
	j.t.Helper()
	text, err := os.ReadFile(j.path)
	if err != nil {
		j.t.Fatal(err)
	}
	var runs []run
	index := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			// It is being written.
			break
		}
		words := strings.Fields(line)
		if len(words) != 4 {
			j.t.Fatalf("the journal has the line %q", line)
		}
		if words[0] == "begin" {
			index[words[2]] = len(runs)
			runs = append(runs, run{id: words[1], name: words[2], replica: words[3]})
			continue
		}
		runs[index[words[2]]].ended = words[0]
	}
	return runs
}

// underWay are the runs at a replica that have not ended.
func (j *journal) underWay(r *replica) []run {
	j.t.Helper()
	var list []run
	for _, run := range j.runs() {
		if run.replica == r.address && run.ended == "" {
			list = append(list, run)
		}
	}
	return list
}

// awaitUnderWay waits until a replica works on n requests, or more.
func (j *journal) awaitUnderWay(r *replica, n int) {
	j.t.Helper()
	dispatchtest.Eventually(j.t, 10*time.Second, fmt.Sprintf("%s works on %d requests", r.name, n), func() bool {
		return len(j.underWay(r)) >= n
	})
}

// awaitAtMost waits until a replica works on no more than n requests.
func (j *journal) awaitAtMost(r *replica, n int) {
	j.t.Helper()
	dispatchtest.Eventually(j.t, 10*time.Second, fmt.Sprintf("%s works on %d requests at most", r.name, n), func() bool {
		return len(j.underWay(r)) <= n
	})
}
