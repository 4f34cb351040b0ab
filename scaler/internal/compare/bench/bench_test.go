package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFiguresAreSavedBesideThoseOfOthers(t *testing.T) {
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
		SchemaVersion int               `json:"schema_version"`
		Figures       map[string]Figure `json:"figures"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.SchemaVersion != 1 || got.Figures["a"].Value != 1 || got.Figures["b"].Value != 3 {
		t.Errorf("the file has %+v", got)
	}
	if err := os.WriteFile(path, []byte("no JSON"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that is no JSON: %v", err)
	}
}

func TestTheMedian(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("of three it is %v, want 2", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("of four it is %v, want 2.5", got)
	}
}
