package onnx_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/onnxtest"
)

func open(t testing.TB, network onnxtest.Network) *onnx.Session {
	t.Helper()
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	onnxtest.Write(t, path, network)
	inputs, outputs, err := onnx.Describe(path)
	if err != nil {
		t.Fatal(err)
	}
	session, err := onnx.Open(path, inputs[0].Single(), outputs[0].Single())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
	return session
}

func newRun(t testing.TB, session *onnx.Session) *onnx.Run {
	t.Helper()
	run, err := session.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestDescribe(t *testing.T) {
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name          string
		network       onnxtest.Network
		input, output string
	}{
		{"float32, fixed batch", onnxtest.Network{Height: 4, Width: 6}, "float32 [1,3,4,6]", "float32 [1,3,1,1]"},
		{"float32, open batch", onnxtest.Network{Height: 4, Width: 6, Open: true, Flat: true}, "float32 [?,3,4,6]", "float32 [?,3]"},
		{"float16, channels last", onnxtest.Network{Height: 4, Width: 6, NHWC: true, Type: onnxtest.Float16}, "float16 [1,4,6,3]", "float16 [1,1,1,3]"},
		{"another type", onnxtest.Network{Height: 4, Width: 6, Type: onnxtest.Int64}, "int64 [1,3,4,6]", "int64 [1,3,1,1]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.onnx")
			onnxtest.Write(t, path, test.network)
			inputs, outputs, err := onnx.Describe(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := inputs[0].String(); got != test.input || inputs[0].Name != "input" {
				t.Errorf("input is %q %s, want %s", inputs[0].Name, got, test.input)
			}
			if got := outputs[0].String(); got != test.output || outputs[0].Name != "output" {
				t.Errorf("output is %q %s, want %s", outputs[0].Name, got, test.output)
			}
		})
	}
}

func TestDescribeRefusesWhatIsNoNetwork(t *testing.T) {
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "missing.onnx")
	_, _, err := onnx.Describe(path)
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names %s", err, path)
	}
}

func TestRunAnswersWithTheChannelsMeans(t *testing.T) {
	t.Run("float32", func(t *testing.T) {
		session := open(t, onnxtest.Network{Height: 2, Width: 2, Open: true, Flat: true})
		run := newRun(t, session)
		defer run.Close()
		copy(run.Singles(), []float32{1, 2, 3, 6, 10, 10, 10, 10, -1, 0, 0, 0})
		got, err := run.Do()
		if err != nil {
			t.Fatal(err)
		}
		if want := []float32{3, 10, -0.25}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("float16", func(t *testing.T) {
		session := open(t, onnxtest.Network{Height: 1, Width: 2, Type: onnxtest.Float16})
		run := newRun(t, session)
		defer run.Close()
		for i, v := range []float32{1, 2, 8, 8, -4, 0} {
			run.Halves()[i] = onnx.Half(v)
		}
		got, err := run.Do()
		if err != nil {
			t.Fatal(err)
		}
		if want := []float32{1.5, 8, -2}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// Runs of one session at the same time must not see each other's tensors.
func TestRunsAtTheSameTime(t *testing.T) {
	session := open(t, onnxtest.Network{Height: 32, Width: 32, Flat: true})
	const runs, rounds = 8, 200
	var group sync.WaitGroup
	for i := range runs {
		run := newRun(t, session)
		defer run.Close()
		group.Go(func() {
			for round := range rounds {
				value := float32(i*rounds + round)
				input := run.Singles()
				for j := range input {
					input[j] = value
				}
				got, err := run.Do()
				if err != nil {
					t.Error(err)
					return
				}
				for _, v := range got {
					if math.Abs(float64(v-value)) > 1e-3*float64(value) {
						t.Errorf("run %d, round %d: got %v, want %v", i, round, got, value)
						return
					}
				}
			}
		})
	}
	group.Wait()
}

func TestStartNamesAMissingLibrary(t *testing.T) {
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
	if err := onnx.Start("/nowhere/lib.so"); err == nil || !strings.Contains(err.Error(), "already loaded") {
		t.Errorf("a second library was not refused: %v", err)
	}
	_, err := onnx.FindLibrary("/nowhere", "/nor/here")
	const want = "ONNX Runtime not found: no libonnxruntime.so.1 or libonnxruntime.so in /nowhere, /nor/here"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
