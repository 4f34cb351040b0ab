package serve

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// peer is the simulator's end of a conversation.
type peer struct {
	t       *testing.T
	in      io.Writer
	answers *bufio.Scanner
}

// talk serves one process's worth of lines to a simulator and returns what
// Serve does.
func talk(t *testing.T, simulate func(*peer)) error {
	t.Helper()
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer inWrite.Close()
		simulate(&peer{t: t, in: inWrite, answers: bufio.NewScanner(outRead)})
	}()
	err := Serve(t, inRead, outWrite)
	inRead.Close()
	outWrite.Close()
	<-done
	return err
}

// ask returns the replicas of the answer to a line.
func (p *peer) ask(line string) int {
	io.WriteString(p.in, line+"\n")
	var answer struct {
		protocol.Answer
		protocol.Failure
	}
	if !p.answers.Scan() {
		p.t.Errorf("no answer to %s", line)
	} else if err := json.Unmarshal(p.answers.Bytes(), &answer); err != nil || answer.Error != "" {
		p.t.Errorf("the answer to %s is %s", line, p.answers.Text())
	}
	return answer.Replicas
}

func (p *peer) observe(o protocol.Observation) int {
	line, err := json.Marshal(protocol.Request{Observe: &o})
	if err != nil {
		p.t.Error(err)
	}
	return p.ask(string(line))
}

// held observes one world each second from 0 to the last and returns the
// answer to the last.
func (p *peer) held(o protocol.Observation, last int) int {
	replicas := 0
	for at := range last + 1 {
		o.At = float64(at)
		replicas = p.observe(o)
	}
	return replicas
}

func number(v float64) *float64 { return &v }

func TestServeRefusesBadLines(t *testing.T) {
	const start = `{"start":{"hpa":{"cpuPercent":70,"min":1,"max":10,"cpuRequest":0.1,"replicas":1}}}` + "\n"
	cases := []struct{ name, in, want string }{
		{"a value out of its range", `{"start":{"kpa":{"target":1,"min":0,"max":2,"replicas":1}}}`, "start.kpa.min is 0"},
		{"an observation outside a session", `{"observe":{"at":1}}`, "only start is allowed"},
		{"an end outside a session", start + `{"end":{}}` + "\n" + `{"end":{}}`, "only start is allowed"},
		{"a start within a session", start + start, "start within a session"},
		{"a time that stands still", start + `{"observe":{"at":1}}` + "\n" + `{"observe":{"at":1}}`, "observe.at is 1: must be above 1"},
		{"nonsense within a session", start + `nonsense`, "not a request"},
		{"a line without an end", strings.Repeat("x", maxLine+1), "a line is longer than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := Serve(t, strings.NewReader(c.in+"\n"), &out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Serve returned %v, want an error with %q", err, c.want)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			var failure protocol.Failure
			if json.Unmarshal([]byte(lines[len(lines)-1]), &failure); failure.Error != err.Error() {
				t.Errorf("the last answer is %s, want the error %v", lines[len(lines)-1], err)
			}
		})
	}
}

func TestServeEndsWithItsInput(t *testing.T) {
	for name, in := range map[string]string{
		"before any session": "",
		"within a session":   `{"start":{"hpa":{"queuePerReplica":5,"min":1,"max":10,"replicas":1}}}` + "\n" + `{"observe":{"at":3}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := Serve(t, strings.NewReader(in), io.Discard); err != nil {
				t.Errorf("Serve returned %v", err)
			}
		})
	}
}
