package loadbench_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/loadbench"
)

// The load and the server that it is measured beside understand one another.
func TestFireAtTheStub(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- loadbench.Serve(listener) }()
	picture := filepath.Join(t.TempDir(), "a.jpg")
	if err := os.WriteFile(picture, make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	load := loadbench.Load{Target: "http://" + listener.Addr().String(), Picture: picture, Rate: 50, Stretch: time.Second}
	got, err := loadbench.Fire(t.Context(), load)
	if err != nil {
		t.Fatal(err)
	}
	if got.Requests != 50 || got.Sent != 50 || got.Answered != 50 || got.LagP50 <= 0 || got.LagMax < got.LagP99 {
		t.Errorf("got %+v, want 50 of 50 answered", got)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Errorf("serving ended with %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		rounds []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 3}, 3}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := loadbench.Median("ms", "", tt.rounds, nil).Value; got != tt.want {
			t.Errorf("of %v: got %v, want %v", tt.rounds, got, tt.want)
		}
	}
}

func TestSaveKeepsWhatOthersWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results", "bench.json")
	first, second := loadbench.Median("ms", "first", []float64{1, 2, 3}, nil), loadbench.Median("ratio", "second", []float64{0.5}, nil)
	for name, figure := range map[string]loadbench.Figure{"a": first, "b": second} {
		if err := loadbench.Save(path, map[string]loadbench.Figure{name: figure}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Machine struct{ Cores int }
		Figures map[string]loadbench.Figure
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(file.Figures, map[string]loadbench.Figure{"a": first, "b": second}) || file.Machine.Cores < 1 {
		t.Errorf("got %s", text)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := loadbench.Save(path, nil); err == nil {
		t.Error("a file that is broken was written over")
	}
}
