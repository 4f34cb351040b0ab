package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Parse reads one line, fills in defaults and checks every value. The error
// names the key, its value and what is allowed.
func Parse(line []byte) (Request, error) {
	var r Request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("not a request: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, errors.New("not a request: one line holds more than one JSON value")
	}
	keys := 0
	for _, set := range []bool{r.Start != nil, r.Observe != nil, r.End != nil} {
		if set {
			keys++
		}
	}
	if keys != 1 {
		return Request{}, fmt.Errorf("a request has %d of the keys start, observe and end: exactly one is allowed", keys)
	}
	switch {
	case r.Start != nil:
		return r, r.Start.complete()
	case r.Observe != nil:
		return r, r.Observe.check()
	}
	return r, nil
}

func (s *Start) complete() error {
	switch {
	case s.HPA != nil && s.KPA == nil:
		return s.HPA.complete()
	case s.KPA != nil && s.HPA == nil:
		return s.KPA.complete()
	}
	return errors.New("start has none or both of the keys hpa and kpa: exactly one is allowed")
}
