package onnx_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/onnxtest"
)

func open(t testing.TB, network onnxtest.Network) *place {
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
	session, err := onnx.Open(path, inputs[0].Name, outputs[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
	return &place{Session: session, input: inputs[0], output: outputs[0]}
}

// place is a session and what is needed to run it.
type place struct {
	*onnx.Session
	input, output onnx.Tensor
}

// buffers are an input and an output of n rows.
func (p *place) buffers(t testing.TB, n int) (input, output *onnx.Buffer) {
	t.Helper()
	var result [2]*onnx.Buffer
	for i, tensor := range []onnx.Tensor{p.input, p.output} {
		buffer, err := onnx.NewRows(tensor, n)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(buffer.Close)
		result[i] = buffer
	}
	return result[0], result[1]
}

func (p *place) runner(t testing.TB) *onnx.Runner {
	t.Helper()
	runner, err := p.NewRunner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runner.Close)
	return runner
}

func floats(b *onnx.Buffer) []float32 {
	result := make([]float32, b.Len())
	b.Floats(result)
	return result
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
		{"uint8, one channel", onnxtest.Network{Height: 4, Width: 6, Type: onnxtest.Uint8, Channels: 1}, "uint8 [1,1,4,6]", "uint8 [1,1,1,1]"},
		{"open size, a batch of 8", onnxtest.Network{Batch: 8, OpenSize: true, Flat: true}, "float32 [8,3,?,?]", "float32 [8,3]"},
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
	tests := []struct {
		name    string
		network onnxtest.Network
		fill    func(input *onnx.Buffer)
		want    []float32
	}{
		{"float32", onnxtest.Network{Height: 2, Width: 2, Open: true, Flat: true}, func(input *onnx.Buffer) {
			copy(input.Singles(), []float32{1, 2, 3, 6, 10, 10, 10, 10, -1, 0, 0, 0})
		}, []float32{3, 10, -0.25}},
		{"float16", onnxtest.Network{Height: 1, Width: 2, Type: onnxtest.Float16}, func(input *onnx.Buffer) {
			for i, v := range []float32{1, 2, 8, 8, -4, 0} {
				input.Halves()[i] = onnx.Half(v)
			}
		}, []float32{1.5, 8, -2}},
		{"uint8", onnxtest.Network{Height: 1, Width: 2, Type: onnxtest.Uint8}, func(input *onnx.Buffer) {
			copy(input.Bytes(), []uint8{1, 3, 200, 200, 0, 254})
		}, []float32{2, 200, 127}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := open(t, test.network)
			input, output := p.buffers(t, 1)
			test.fill(input)
			if err := p.runner(t).Run(t.Context(), input, output); err != nil {
				t.Fatal(err)
			}
			if got := floats(output); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// A buffer of three rows runs as one, two or three pictures.
func TestRowsOfABuffer(t *testing.T) {
	p := open(t, onnxtest.Network{Height: 1, Width: 1, Open: true, Flat: true})
	input, output := p.buffers(t, 3)
	single, _ := p.buffers(t, 1)
	runner := p.runner(t)
	for i := range 3 {
		copy(single.Singles(), []float32{float32(i), 10, 20})
		if err := input.CopyRow(i, single, 0); err != nil {
			t.Fatal(err)
		}
	}
	want := []float32{0, 10, 20, 1, 10, 20, 2, 10, 20}
	for n := 1; n <= 3; n++ {
		clear(output.Singles())
		if err := runner.Run(t.Context(), input.Rows(n), output.Rows(n)); err != nil {
			t.Fatal(err)
		}
		if got := floats(output.Rows(n)); !slices.Equal(got, want[:3*n]) {
			t.Errorf("%d rows: got %v", n, got)
		}
		if rest := output.Singles()[3*n:]; slices.ContainsFunc(rest, func(v float32) bool { return v != 0 }) {
			t.Errorf("%d rows: also wrote %v", n, rest)
		}
	}
	if err := input.CopyRow(0, output, 0); err != nil {
		t.Errorf("rows of the same size: %v", err)
	}
	other, _ := open(t, onnxtest.Network{Height: 2, Width: 1, Flat: true}).buffers(t, 1)
	if err := input.CopyRow(0, other, 0); err == nil {
		t.Error("a row of another size was copied")
	}
}

// A run whose context ends is terminated, and the runner works afterwards.
func TestRunEndsWithItsContext(t *testing.T) {
	slow := open(t, onnxtest.Network{Height: 600, Width: 600, Flat: true, Work: 300})
	input, output := slow.buffers(t, 1)
	runner := slow.runner(t)
	begin := time.Now()
	if err := runner.Run(t.Context(), input, output); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begin)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), whole/10)
		begin = time.Now()
		err := runner.Run(ctx, input, output)
		took := time.Since(begin)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took > whole/2 {
			t.Errorf("it took %v after a tenth of the %v of a whole run", took, whole)
		}
	}
	if err := runner.Run(t.Context(), input, output); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Runners of one session at the same time must not see each other's tensors.
func TestRunnersAtTheSameTime(t *testing.T) {
	p := open(t, onnxtest.Network{Height: 32, Width: 32, Flat: true})
	const runners, rounds = 8, 200
	var group sync.WaitGroup
	for i := range runners {
		input, output := p.buffers(t, 1)
		runner := p.runner(t)
		group.Go(func() {
			for round := range rounds {
				value := float32(i*rounds + round)
				pixels := input.Singles()
				for j := range pixels {
					pixels[j] = value
				}
				if err := runner.Run(t.Context(), input, output); err != nil {
					t.Error(err)
					return
				}
				for _, v := range floats(output) {
					if math.Abs(float64(v-value)) > 1e-3*float64(value) {
						t.Errorf("runner %d, round %d: got %v, want %v", i, round, v, value)
						return
					}
				}
			}
		})
	}
	group.Wait()
}

// The binding takes 32 bytes for every run, four pointers; nothing else may take
// memory.
func BenchmarkRun(b *testing.B) {
	p := open(b, onnxtest.Network{Height: 8, Width: 8, Flat: true})
	input, output := p.buffers(b, 1)
	runner := p.runner(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := runner.Run(b.Context(), input, output); err != nil {
			b.Fatal(err)
		}
	}
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
