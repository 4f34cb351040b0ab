package journal

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"headroom.dev/scaler/internal/policy"
)

// Replayed is a decision that was made again.
type Replayed struct {
	Entry Entry
	// Config is what it was made with, Again what it is now.
	Config policy.Config
	Again  policy.Decision
	// Differs names what is not as it was recorded, with both; empty where all is.
	Differs []string
}

// Replay makes every decision of the recording again, oldest first, each from
// what the one before left this time.
func (rec Recording) Replay() iter.Seq[Replayed] {
	return func(yield func(Replayed) bool) {
		config := rec.Config
		var state policy.State
		if rec.State != nil {
			state = *rec.State
		}
		for _, e := range slices.Backward(rec.Decisions) {
			var again policy.Decision
			config, state, again = step(config, state, e)
			if !yield(Replayed{Entry: e, Config: config, Again: again, Differs: differences(e.Decision, again)}) {
				return
			}
		}
	}
}

// step decides again what the entry has, and returns what the next is decided with.
func step(config policy.Config, state policy.State, e Entry) (policy.Config, policy.State, policy.Decision) {
	if e.Config != nil {
		config = *e.Config
	}
	if e.State != nil {
		state = *e.State
	}
	state, d := policy.Decide(config, state, e.Snapshot, e.At)
	return config, state, d
}

// follow is what is left after all entries, which are oldest first.
func follow(config policy.Config, state policy.State, entries []Entry) (policy.Config, policy.State) {
	for _, e := range entries {
		config, state, _ = step(config, state, e)
	}
	return config, state
}

// differences compares decisions by what JSON has of them, which is what a
// recording has.
func differences(recorded, again policy.Decision) []string {
	var out []string
	a, b := fields("", recorded), fields("", again)
	for name, value := range a {
		if b[name] != value {
			out = append(out, fmt.Sprintf("%s was %s and is %s", name, or(value, "absent"), or(b[name], "absent")))
		}
	}
	for name, value := range b {
		if _, both := a[name]; !both {
			out = append(out, fmt.Sprintf("%s was absent and is %s", name, value))
		}
	}
	slices.Sort(out)
	return out
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// fields are the values of a JSON object and of those in it, by their dotted names.
func fields(prefix string, of any) map[string]string {
	out := map[string]string{}
	text, err := json.Marshal(of)
	if err != nil {
		out[prefix] = err.Error()
		return out
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil {
		out[strings.TrimSuffix(prefix, ".")] = string(text)
		return out
	}
	for name, value := range object {
		for inner, v := range fields(prefix+name+".", value) {
			out[inner] = v
		}
	}
	return out
}
