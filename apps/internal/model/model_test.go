package model

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/onnxtest"
	"headroom.dev/apps/internal/reply"
)

var limits = imaging.Limits{Pixels: 25_000_000, Time: 10 * time.Second}

var (
	red   = color.RGBA{R: 255, A: 255}
	green = color.RGBA{G: 255, A: 255}
	blue  = color.RGBA{B: 255, A: 255}
)

func startRuntime(t testing.TB) {
	t.Helper()
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
}

func solidPNG(t testing.TB, c color.Color) []byte {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 40, 30))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folderOf writes a model folder and returns it.
func folderOf(t testing.TB, network onnxtest.Network, spec, labels string) string {
	t.Helper()
	folder := t.TempDir()
	onnxtest.Write(t, filepath.Join(folder, "model.onnx"), network)
	for name, text := range map[string]string{SpecFile: spec, "labels.txt": labels} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func loadFolder(folder string) (*Model, error) {
	spec, err := ReadSpec(folder)
	if err != nil {
		return nil, err
	}
	labels, err := spec.ReadLabels(folder)
	if err != nil {
		return nil, err
	}
	return Load(folder, spec, labels)
}

// pipeline is what one picture at a time needs.
type pipeline struct {
	model    *Model
	preparer *Preparer
	lane     *Lane
	runner   *Runner
}

// pipelineOf makes a warm pipeline of a model.
func pipelineOf(t testing.TB, m *Model) (*pipeline, error) {
	t.Helper()
	p := &pipeline{model: m}
	var err error
	if p.preparer, err = m.NewPreparer(limits); err != nil {
		return nil, err
	}
	t.Cleanup(p.preparer.Close)
	if p.lane, err = m.NewLane(); err != nil {
		return nil, err
	}
	t.Cleanup(p.lane.Close)
	if p.runner, err = m.NewRunner(1); err != nil {
		return nil, err
	}
	t.Cleanup(p.runner.Close)
	_, err = p.runner.WarmUp(t.Context(), p.preparer, p.lane, 2)
	return p, err
}

// pipelinesOf loads folder and makes n warm pipelines.
func pipelinesOf(t testing.TB, folder string, n int) []*pipeline {
	t.Helper()
	startRuntime(t)
	m, err := loadFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	result := make([]*pipeline, n)
	for i := range result {
		if result[i], err = pipelineOf(t, m); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

func (p *pipeline) classify(ctx context.Context, picture []byte, k int) ([]reply.Prediction, error) {
	if err := p.preparer.Decode(ctx, picture); err != nil {
		return nil, err
	}
	if err := p.preparer.Fill(ctx, p.lane); err != nil {
		return nil, err
	}
	if err := p.runner.Run(ctx, []*Lane{p.lane}); err != nil {
		return nil, err
	}
	return p.lane.Predictions(nil, k)
}

func colorSpec(dtype onnx.DataType, layout imaging.Layout, order imaging.Color, kind Kind) string {
	return fmt.Sprintf(`
name: colors
labels: labels.txt
input: {name: input, dtype: %s, layout: %s, width: 8, height: 6, color: %s, scale: 0.00392156862745098}
output: {name: output, kind: %s}
`, dtype, layout, order, kind)
}

// The network answers with the channels' means, so a red picture gives (1,0,0)
// in the tensor's order, and a softmax of that e/(e+2) and twice 1/(e+2).
func TestClassifyByColor(t *testing.T) {
	high, low := math.E/(math.E+2), 1/(math.E+2)
	const told = "name: colors\nlabels: labels.txt\ninput: {scale: 0.00392156862745098}\noutput: {kind: logits}\n"
	tests := []struct {
		name    string
		network onnxtest.Network
		spec    string
		labels  string
	}{
		{"all that the network tells is read from it: NCHW", onnxtest.Network{Flat: true}, told, "red\ngreen\nblue\n"},
		{"all that the network tells is read from it: NHWC, halves, open batch", onnxtest.Network{Type: onnxtest.Float16, NHWC: true, Open: true}, told, "red\ngreen\nblue\n"},
		{"the network leaves its size open", onnxtest.Network{Flat: true, OpenSize: true},
			strings.Replace(told, "input: {", "input: {width: 8, height: 6, ", 1), "red\ngreen\nblue\n"},
		{"the network leaves its classes open", onnxtest.Network{Flat: true, OpenClasses: true}, strings.Replace(told, "input: {", "input: {layout: NCHW, ", 1), "red\ngreen\nblue\n"},
		{"a fixed batch of 4", onnxtest.Network{Flat: true, Batch: 4}, told, "red\ngreen\nblue\n"},
		{"float32 NCHW RGB", onnxtest.Network{Flat: true}, colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Logits), "red\ngreen\nblue\n"},
		{"float32 NCHW BGR", onnxtest.Network{Flat: true}, colorSpec(onnx.Float32, imaging.NCHW, imaging.BGR24, Logits), "blue\ngreen\nred\n"},
		{"float32 NHWC RGB, four dimensions", onnxtest.Network{NHWC: true}, colorSpec(onnx.Float32, imaging.NHWC, imaging.RGB24, Logits), "red\ngreen\nblue\n"},
		{"float16 NCHW BGR, four dimensions", onnxtest.Network{Type: onnxtest.Float16}, colorSpec(onnx.Float16, imaging.NCHW, imaging.BGR24, Logits), "blue\ngreen\nred\n"},
		{"float16 NHWC RGB, open batch", onnxtest.Network{Type: onnxtest.Float16, NHWC: true, Open: true}, colorSpec(onnx.Float16, imaging.NHWC, imaging.RGB24, Logits), "red\ngreen\nblue\n"},
		{"a network with its own softmax", onnxtest.Network{Flat: true, Softmax: true}, colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Softmax), "red\ngreen\nblue\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !test.network.OpenSize {
				test.network.Width, test.network.Height = 8, 6
			}
			slot := pipelinesOf(t, folderOf(t, test.network, test.spec, test.labels), 1)[0]
			labels := strings.Fields(test.labels)
			for name, c := range map[string]color.Color{"red": red, "green": green, "blue": blue} {
				got, err := slot.classify(t.Context(), solidPNG(t, c), 5)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != 3 {
					t.Fatalf("%d predictions for 3 classes", len(got))
				}
				if got[0].Label != name || labels[got[0].Class] != name || math.Abs(got[0].Probability-high) > 1e-3 || math.Abs(got[1].Probability-low) > 1e-3 {
					t.Errorf("%s: got %+v, want it first with %.4f, then %.4f", name, got, high, low)
				}
				// What is equally probable comes in the classes' order.
				if got[1].Class > got[2].Class {
					t.Errorf("%s: got %+v", name, got)
				}
			}
		})
	}
}

// One channel has the grey of ITU-R BT.601: red 76, green 150, blue 29 of 255.
func TestClassifyGreyAndUint8(t *testing.T) {
	const spec = "name: grey\noutput: {kind: logits%s}\n"
	network := onnxtest.Network{Type: onnxtest.Uint8, Channels: 1, Width: 8, Height: 6, Flat: true}
	p := pipelinesOf(t, folderOf(t, network, fmt.Sprintf(spec, ", scale: 1"), ""), 1)[0]
	for _, test := range []struct {
		color color.Color
		grey  uint8
	}{{red, 76}, {green, 150}, {blue, 29}} {
		if _, err := p.classify(t.Context(), solidPNG(t, test.color), 1); err != nil {
			t.Fatal(err)
		}
		if got := p.lane.Output(); len(got) != 1 || got[0] != test.grey {
			t.Errorf("%v: the network answers %v, want %d", test.color, got, test.grey)
		}
	}

	// The means of a red picture, 255, 0 and 0 in 255ths, add up to 1.
	network.Channels = 3
	p = pipelineWithoutWarmUp(t, folderOf(t, network, "name: rgb\noutput: {kind: softmax}\n", ""))
	got, err := p.classify(t.Context(), solidPNG(t, red), 2)
	want := []reply.Prediction{{Class: 0, Probability: 1}, {Class: 1, Probability: 0}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// pipelineWithoutWarmUp is for networks for which a grey picture is none of
// their kind.
func pipelineWithoutWarmUp(t *testing.T, folder string) *pipeline {
	t.Helper()
	startRuntime(t)
	m, err := loadFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline{model: m}
	var errs [3]error
	p.preparer, errs[0] = m.NewPreparer(limits)
	p.lane, errs[1] = m.NewLane()
	p.runner, errs[2] = m.NewRunner(1)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.runner.Close()
		p.lane.Close()
		p.preparer.Close()
		_ = m.Close()
	})
	return p
}

// Lanes that run together are answered as if each ran alone.
func TestLanesThatRunTogether(t *testing.T) {
	startRuntime(t)
	tests := []struct {
		name    string
		network onnxtest.Network
		batch   int
		lanes   int
	}{
		{"an open batch", onnxtest.Network{Width: 8, Height: 6, Flat: true, Open: true}, 4, 3},
		{"an open batch, full", onnxtest.Network{Width: 8, Height: 6, Type: onnxtest.Float16, Open: true}, 4, 4},
		{"a fixed batch, partly used", onnxtest.Network{Width: 8, Height: 6, Flat: true, Batch: 4}, 1, 2},
		{"a fixed batch with one picture", onnxtest.Network{Width: 8, Height: 6, Flat: true, Batch: 3}, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := loadFolder(folderOf(t, test.network, "name: m\noutput: {kind: logits}\n", ""))
			if err != nil {
				t.Fatal(err)
			}
			p, err := pipelineOf(t, m)
			if err != nil {
				t.Fatal(err)
			}
			runner, err := m.NewRunner(test.batch)
			if err != nil {
				t.Fatal(err)
			}
			defer runner.Close()
			if want := max(test.batch, int(test.network.Batch)); runner.Batch() != want {
				t.Errorf("takes %d at a time, want %d", runner.Batch(), want)
			}
			var lanes []*Lane
			colors := []color.Color{blue, red, green, blue}
			for _, c := range colors[:test.lanes] {
				lane, err := m.NewLane()
				if err != nil {
					t.Fatal(err)
				}
				defer lane.Close()
				if err := p.preparer.Decode(t.Context(), solidPNG(t, c)); err != nil {
					t.Fatal(err)
				}
				if err := p.preparer.Fill(t.Context(), lane); err != nil {
					t.Fatal(err)
				}
				lanes = append(lanes, lane)
			}
			if err := runner.Run(t.Context(), lanes); err != nil {
				t.Fatal(err)
			}
			for i, want := range []int{2, 0, 1, 2}[:test.lanes] {
				got, err := lanes[i].Predictions(nil, 1)
				if err != nil || got[0].Class != want {
					t.Errorf("lane %d: got %+v, %v, want class %d", i, got, err, want)
				}
			}
		})
	}
}

// What an EXIF orientation turns is turned, unless the model says not to. The
// picture's left half is red, as it is stored; turned by a quarter to the
// right, as orientation 6 says, that is its upper half.
func TestOrientationIsTheModelsChoice(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 16, 16))
	draw.Draw(picture, image.Rect(0, 0, 8, 16), image.NewUniform(red), image.Point{}, draw.Src)
	draw.Draw(picture, image.Rect(8, 0, 16, 16), image.NewUniform(blue), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	exif := "\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
	body := append([]byte("\xff\xd8"+exif), b.Bytes()[2:]...)
	for orientation, wantRed := range map[Orientation][2]bool{EXIF: {true, true}, Stored: {true, false}} {
		spec := fmt.Sprintf("name: m\ninput: {orientation: %s}\noutput: {kind: logits}\n", orientation)
		p := pipelinesOf(t, folderOf(t, onnxtest.Network{Width: 2, Height: 2, Flat: true}, spec, ""), 1)[0]
		if err := p.preparer.Decode(t.Context(), body); err != nil {
			t.Fatal(err)
		}
		if err := p.preparer.Fill(t.Context(), p.lane); err != nil {
			t.Fatal(err)
		}
		reds := p.lane.input.Singles()[:4] // upper left, upper right, lower left, lower right
		if got := [2]bool{reds[0] > 128, reds[1] > 128}; got != wantRed {
			t.Errorf("%s: the upper row's red is %v", orientation, reds)
		}
	}
}

func TestTop(t *testing.T) {
	values := []float32{0.1, 0.3, 0.1, 0.3, 0.2}
	labels := []string{"a", "b", "c", "d", "e"}
	tests := []struct {
		k    int
		want []int
	}{{1, []int{1}}, {3, []int{1, 3, 4}}, {4, []int{1, 3, 4, 0}}, {9, []int{1, 3, 4, 0, 2}}}
	for _, test := range tests {
		got := top(nil, values, labels, test.k)
		var classes []int
		for _, p := range got {
			classes = append(classes, p.Class)
			if p.Label != labels[p.Class] || p.Probability != float64(values[p.Class]) {
				t.Errorf("k = %d: %+v", test.k, p)
			}
		}
		if !slices.Equal(classes, test.want) {
			t.Errorf("k = %d: got %v, want %v", test.k, classes, test.want)
		}
	}
	first := []reply.Prediction{{Class: 7, Probability: 0}}
	if got := top(first, values, nil, 1); len(got) != 2 || got[0].Class != 7 || got[1].Class != 1 {
		t.Errorf("appended to one: %+v", got)
	}
}

func TestClassifyGivesKPredictions(t *testing.T) {
	spec := strings.Replace(colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Logits), "labels: labels.txt\n", "", 1)
	slot := pipelinesOf(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true}, spec, ""), 1)[0]
	got, err := slot.classify(t.Context(), solidPNG(t, green), 1)
	if err != nil || len(got) != 1 || got[0].Class != 1 || got[0].Label != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestClassifySaysWhatIsWrongWithAPicture(t *testing.T) {
	slot := pipelinesOf(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true},
		colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Logits), "red\ngreen\nblue\n"), 1)[0]
	var bad *imaging.Error
	if _, err := slot.classify(t.Context(), []byte("no picture"), 1); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := slot.classify(ctx, solidPNG(t, red), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Slots that work at the same time must not see each other's pictures.
func TestSlotsAtTheSameTime(t *testing.T) {
	slots := pipelinesOf(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true},
		colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Logits), "red\ngreen\nblue\n"), 6)
	pictures := [][]byte{solidPNG(t, red), solidPNG(t, green), solidPNG(t, blue)}
	var group sync.WaitGroup
	for i, slot := range slots {
		group.Go(func() {
			for round := range 100 {
				class := (i + round) % len(pictures)
				got, err := slot.classify(t.Context(), pictures[class], 1)
				if err != nil || got[0].Class != class {
					t.Errorf("slot %d, round %d: got %+v, %v, want class %d", i, round, got, err, class)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestWhatDoesNotFitIsRefusedInOneLine(t *testing.T) {
	startRuntime(t)
	good := colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Logits)
	network := onnxtest.Network{Width: 8, Height: 6, Flat: true}
	tests := []struct {
		name    string
		network onnxtest.Network
		spec    string
		labels  string
		want    string // FOLDER stands for the model's folder
	}{
		{"type", network, colorSpec(onnx.Float16, imaging.NCHW, imaging.RGB24, Logits), "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [1,3,6,8]; model.yaml expects float16 [1,3,6,8]`},
		{"layout", network, colorSpec(onnx.Float32, imaging.NHWC, imaging.RGB24, Logits), "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [1,3,6,8]; model.yaml expects float32 [1,6,8,3]`},
		{"size", onnxtest.Network{Width: 224, Height: 224, Open: true}, good, "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [?,3,224,224]; model.yaml expects float32 [1,3,6,8]`},
		{"the input's name", network, strings.Replace(good, "name: input", "name: data", 1), "a\nb\nc\n",
			`FOLDER/model.onnx: the input is called "input"; input.name in model.yaml expects "data"`},
		{"the output's name", network, strings.Replace(good, "name: output", "name: logits", 1), "a\nb\nc\n",
			`FOLDER/model.onnx: the outputs are called "output"; output.name in model.yaml expects "logits"`},
		{"an open size", onnxtest.Network{Flat: true, OpenSize: true}, "name: m\noutput: {kind: logits}\n", "",
			`FOLDER/model.onnx: input "input" is float32 [1,3,?,?]; set input.width and input.height in model.yaml, as the network leaves it open`},
		{"a shape that may be either layout", onnxtest.Network{Height: 4, Width: 3, Flat: true}, "name: m\noutput: {kind: logits}\n", "",
			`FOLDER/model.onnx: input "input" is float32 [1,3,4,3]; its channels can't be told from its shape: set input.layout in model.yaml to NCHW or NHWC`},
		{"a colour for one channel", onnxtest.Network{Width: 8, Height: 6, Flat: true, Channels: 1}, good, "a\n",
			`FOLDER/model.onnx: input "input" is float32 [1,1,6,8]; model.yaml expects float32 [1,3,6,8]`},
		{"a mean of three for one channel", onnxtest.Network{Width: 8, Height: 6, Flat: true, Channels: 1}, "name: m\ninput: {mean: [1, 2, 3]}\noutput: {kind: logits}\n", "",
			`FOLDER/model.onnx: input "input" is float32 [1,1,6,8]; input.mean in model.yaml has 3 numbers, expected 1, one a channel`},
		{"a type that is not supported", onnxtest.Network{Type: onnxtest.Int64, Width: 8, Height: 6, Flat: true}, "name: m\noutput: {kind: logits}\n", "",
			`FOLDER/model.onnx: input "input" is int64 [1,3,6,8]; expected float32, float16 or uint8`},
		{"a mean for uint8", onnxtest.Network{Type: onnxtest.Uint8, Width: 8, Height: 6, Flat: true}, "name: m\ninput: {scale: 0.5}\noutput: {kind: softmax}\n", "",
			`FOLDER/model.onnx: input "input" is uint8 [1,3,6,8], which takes pixels as they are; model.yaml sets input.scale, input.mean or input.std`},
		{"a scale for an output of float32", network, "name: m\noutput: {kind: logits, scale: 0.5}\n", "",
			`FOLDER/model.onnx: output "output" is float32 [1,3]; output.scale and output.zero_point in model.yaml are for uint8`},
		{"open classes without labels", onnxtest.Network{Width: 8, Height: 6, Flat: true, OpenClasses: true}, "name: m\ninput: {layout: NCHW}\noutput: {kind: logits}\n", "",
			`FOLDER/model.onnx: output "output" is float32 [1,?]; it leaves the number of classes open, which labels in model.yaml then tell: one line a class`},
		{"open classes with too few labels", onnxtest.Network{Width: 8, Height: 6, Flat: true, OpenClasses: true}, good, "a\nb\n", `warming up model colors: running model colors: .*`},
		{"a shorter side below the input's", network, "name: m\ninput: {resize: crop, shorter_side: 7}\noutput: {kind: logits}\n", "",
			`input.shorter_side in model.yaml is 7; allowed: from 8, the longer side of input "input" of FOLDER/model.onnx`},
		{"a batch too large", onnxtest.Network{Width: 8, Height: 6, Flat: true, Batch: 65}, good, "a\nb\nc\n",
			`FOLDER/model.onnx: input "input" is float32 [65,3,6,8]; expected a batch from 1 to 64 or an open one`},
		{"a second input", onnxtest.Network{Width: 8, Height: 6, Flat: true, SecondInput: true}, good, "a\nb\nc\n",
			`FOLDER/model.onnx has 2 inputs ("input", "bias"); expected 1`},
		{"labels", network, good, "a\nb\n",
			`FOLDER/labels.txt has 2 labels; output "output" of FOLDER/model.onnx has 3 classes`},
		{"the network is missing", network, good + "file: other.onnx\n", "a\nb\nc\n",
			`model file missing: stat FOLDER/other.onnx: no such file or directory`},
		{"the network is none", network, good + "file: labels.txt\n", "a\nb\nc\n",
			`FOLDER/labels.txt can't be loaded: .*`},
		// The grey picture of the warm-up has the mean 128/255 in each of 3 channels.
		{"logits that are called probabilities", network, colorSpec(onnx.Float32, imaging.NCHW, imaging.RGB24, Softmax), "a\nb\nc\n",
			`warming up model colors: output "output" of model colors: the classes add up to 1.506, not 1: is output.kind in model.yaml logits?`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := folderOf(t, test.network, test.spec, test.labels)
			m, err := loadFolder(folder)
			if err == nil {
				_, err = pipelineOf(t, m)
				t.Cleanup(func() { _ = m.Close() })
			}
			want := strings.ReplaceAll(test.want, "FOLDER", folder)
			if err == nil || (err.Error() != want && !onlyPattern(want, err.Error())) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// onlyPattern matches a wish that ends in .* against one line.
func onlyPattern(want, got string) bool {
	prefix, isPattern := strings.CutSuffix(want, ".*")
	return isPattern && strings.HasPrefix(got, prefix) && !strings.Contains(got, "\n")
}

func TestProbabilities(t *testing.T) {
	nan := float32(math.NaN())
	tests := []struct {
		name   string
		output []float32
		kind   Kind
		scale  float64
		zero   int
		want   []float64
		err    string
	}{
		{"logits", []float32{0, float32(math.Log(3))}, Logits, 0, 0, []float64{0.25, 0.75}, ""},
		{"logits that would overflow exp", []float32{1000, 1000}, Logits, 0, 0, []float64{0.5, 0.5}, ""},
		{"probabilities of halves, a little off", []float32{1.0005, -0.0002}, Softmax, 0, 0, []float64{1, 0}, ""},
		{"probabilities in 255ths", []float32{204, 51}, Softmax, 1.0 / 255, 0, []float64{0.8, 0.2}, ""},
		// (130 − 120)·ln 3/10 = ln 3, and 0.
		{"logits with a zero point", []float32{120, 130}, Logits, math.Log(3) / 10, 120, []float64{0.25, 0.75}, ""},
		{"an endless number", []float32{1, float32(math.Inf(1))}, Logits, 0, 0, nil, "class 1 is +Inf, which is no finite number"},
		{"no number", []float32{1, nan}, Logits, 0, 0, nil, "class 1 is NaN, which is no finite number"},
		{"logits that are called probabilities", []float32{3, -2}, Softmax, 0, 0, nil, "class 0 is 3, which is no probability: is output.kind in model.yaml logits?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := slices.Clone(test.output)
			err := probabilities(got, Output{Kind: test.kind, Scale: cmp.Or(test.scale, 1), ZeroPoint: test.zero}, sumTolerance)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != test.err {
				t.Fatalf("got %q, want %q", message, test.err)
			}
			for i := range test.want {
				if math.Abs(float64(got[i])-test.want[i]) > 1e-6 {
					t.Errorf("got %v, want %v", got, test.want)
				}
			}
		})
	}
}

const bundled = "../../../models/vehicles"

// The bundled model must know every sample that is bundled with it; a sample's
// name is its label, and a number where there are more.
func TestBundledModelKnowsItsSamples(t *testing.T) {
	slot := pipelinesOf(t, bundled, 1)[0]
	samples, err := filepath.Glob(filepath.Join(bundled, "samples", "*.jpg"))
	if err != nil || len(samples) < slot.model.Classes() {
		t.Fatalf("%d samples for %d classes, %v", len(samples), slot.model.Classes(), err)
	}
	number := regexp.MustCompile(`-\d+$`)
	for _, sample := range samples {
		body, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		name := number.ReplaceAllString(strings.TrimSuffix(filepath.Base(sample), ".jpg"), "")
		got, err := slot.classify(t.Context(), body, 2)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(got[0].Label, " ", "-") != name {
			t.Errorf("%s is taken for %+v", filepath.Base(sample), got)
		}
	}
}

// A real ImageNet model, float16 and BGR, where the machine has one: make
// model NAME=squeezenet-imagenet fetches it. The picture is one of a fire
// engine, class 555 of ImageNet.
func TestImageNetModelKnowsAFireEngine(t *testing.T) {
	folder, picture := os.Getenv("HEADROOM_IMAGENET_MODEL_DIR"), os.Getenv("HEADROOM_IMAGENET_PICTURE")
	if folder == "" || picture == "" {
		t.Skip("HEADROOM_IMAGENET_MODEL_DIR (a model folder) and HEADROOM_IMAGENET_PICTURE (a fire engine) are not set")
	}
	body, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pipelinesOf(t, folder, 1)[0].classify(t.Context(), body, 5)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Class != 555 || !strings.Contains(got[0].Label, "fire engine") || got[0].Probability < 0.9 {
		t.Errorf("got %+v", got)
	}
}

// photo is a JPEG of 320×240 pixels with smooth areas, edges and grain, as a
// photograph has them.
func photo(b *testing.B) []byte {
	b.Helper()
	random := rand.New(rand.NewPCG(5, 6))
	picture := image.NewRGBA(image.Rect(0, 0, 320, 240))
	for y := range 240 {
		for x := range 320 {
			grain := random.IntN(12)
			c := color.RGBA{R: uint8(x/2 + grain), G: uint8(y/2 + 40 + grain), B: uint8((x+y)/4 + grain), A: 255}
			if (x-160)*(x-160)+(y-120)*(y-120) < 70*70 {
				c.R, c.B = uint8(200+grain), uint8(30+grain)
			}
			picture.SetRGBA(x, y, c)
		}
	}
	var buffer bytes.Buffer
	if err := jpeg.Encode(&buffer, picture, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	return buffer.Bytes()
}

// What one request costs, by stage, with the bundled model or that in the
// folder HEADROOM_BENCH_MODEL_DIR. Of what is allocated the binding to ONNX
// Runtime takes 32 bytes a run.
func BenchmarkStages(b *testing.B) {
	p := pipelinesOf(b, cmp.Or(os.Getenv("HEADROOM_BENCH_MODEL_DIR"), bundled), 1)[0]
	body := photo(b)
	lanes := []*Lane{p.lane}
	var predictions []reply.Prediction
	stages := []struct {
		name string
		do   func() error
	}{
		{"decode", func() error { return p.preparer.Decode(b.Context(), body) }},
		{"preprocess", func() error {
			picture := p.preparer.picture
			defer func() { p.preparer.picture = picture }()
			return p.preparer.Fill(b.Context(), p.lane)
		}},
		{"run", func() error { return p.runner.Run(b.Context(), lanes) }},
		{"predictions", func() (err error) {
			predictions, err = p.lane.Predictions(predictions[:0], 5)
			return err
		}},
	}
	steps := stages
	all := func() error {
		for _, stage := range steps {
			if err := stage.do(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := all(); err != nil {
		b.Fatal(err)
	}
	stages = append(stages, struct {
		name string
		do   func() error
	}{"all", all})
	for _, stage := range stages {
		b.Run(stage.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := stage.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
