package servebench

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	values := make([]time.Duration, 200)
	for i := range values {
		values[i] = time.Duration(i + 1)
	}
	// Of 200, 198 are at most 198: that is 99%.
	for q, want := range map[float64]time.Duration{0.5: 100, 0.99: 198, 0.991: 199, 1: 200, 0.001: 1} {
		if got := Quantile(values, q); got != want {
			t.Errorf("%v: got %d, want %d", q, got, want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

// At a rate, latency counts from when a call was due: with one worker and calls
// of 30 ms every 10 ms, the n-th ends at 30·(n+1) and was due at 10·n.
func TestRunCountsFromWhenACallWasDue(t *testing.T) {
	p, err := run(1, 100*time.Millisecond, 100, func(int, int) error {
		time.Sleep(30 * time.Millisecond)
		return nil
	})
	if err != nil || p.Failed != 0 {
		t.Fatal(err, p)
	}
	// How many were begun depends on the machine; the last of n waited longest.
	if want := 0.030 + 0.020*float64(p.Requests-1); p.P99 < want*0.9 || p.P99 < p.P50 {
		t.Errorf("%d calls: p99 is %v s, want at least about %v s", p.Requests, p.P99, want)
	}
}

func TestRunSaysWhyNothingWasAnswered(t *testing.T) {
	_, err := run(2, 10*time.Millisecond, 0, func(int, int) error {
		time.Sleep(time.Millisecond)
		return errors.New("refused")
	})
	if err == nil || !strings.Contains(err.Error(), "was answered: refused") {
		t.Errorf("got %v", err)
	}
}

func TestMedian(t *testing.T) {
	if f := Median("ms", "", []float64{3, 1, 2}, nil); f.Value != 2 {
		t.Errorf("of three: %v", f.Value)
	}
	if f := Median("ms", "", []float64{4, 1, 2, 3}, nil); f.Value != 2.5 {
		t.Errorf("of four: %v", f.Value)
	}
}

// Programs that write into the same file leave each other's figures alone.
func TestSaveKeepsTheFiguresOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results", "bench.json")
	if err := Save(path, map[string]Figure{"a": {Value: 1, Unit: "s", What: "the first"}, "b": {Value: 2}}); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, map[string]Figure{"b": {Value: 3}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		SchemaVersion int `json:"schema_version"`
		Machine       machine
		Figures       map[string]Figure
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]Figure{"a": {Value: 1, Unit: "s", What: "the first"}, "b": {Value: 3}}
	if got.SchemaVersion != 1 || got.Machine.Cores < 1 || !reflect.DeepEqual(got.Figures, want) {
		t.Errorf("got %+v", got)
	}
	if err := os.WriteFile(path, []byte("not JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, want); err == nil || !strings.HasPrefix(err.Error(), "reading "+path) {
		t.Errorf("got %v", err)
	}
}

func TestPrint(t *testing.T) {
	var b bytes.Buffer
	Print(&b, map[string]Figure{"long_name": {Value: 0.9712, Unit: "ratio", Rounds: []float64{0.96, 0.9712, 0.98}}, "b": {Value: 7, Unit: "s"}})
	want := "b                   7 s       \nlong_name      0.9712 ratio     (0.96 to 0.98)\n"
	if b.String() != want {
		t.Errorf("got\n%q, want\n%q", b.String(), want)
	}
}

// The photograph is one that both ways can preprocess, and the two agree on how
// it is done: they take some time and no error.
func TestPreprocessTimesBothWays(t *testing.T) {
	photo, err := Photo(320, 240)
	if err != nil {
		t.Fatal(err)
	}
	ours, standard, err := Preprocess(t.Context(), photo, 2, time.Millisecond)
	if err != nil || len(ours) != 2 || len(standard) != 2 || ours[0] <= 0 || standard[0] <= 0 {
		t.Errorf("got %v, %v, %v", ours, standard, err)
	}
	if _, _, err := Preprocess(t.Context(), []byte("no picture"), 1, time.Millisecond); err == nil {
		t.Error("no picture was preprocessed")
	}
}
