package classifier_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/classifier"
	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/onnxtest"
	"headroom.dev/apps/internal/reply"
)

// observed counts what a classifier tells.
type observed struct {
	mu      sync.Mutex
	stages  map[classifier.Stage]int
	batches []int
}

func (o *observed) Observe(stage classifier.Stage, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if took >= 0 {
		o.stages[stage]++
	}
}

func (o *observed) Batch(pictures int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batches = append(o.batches, pictures)
}

func defaults() (classifier.Config, *observed) {
	o := &observed{stages: map[classifier.Stage]int{}}
	return classifier.Config{
		Slots: 2, Waiting: 8, MaxBatch: 1,
		Limits: imaging.Limits{Pixels: 25_000_000, Time: 10 * time.Second}, Observer: o,
	}, o
}

func folderOf(t testing.TB, network onnxtest.Network, spec string) string {
	t.Helper()
	folder := t.TempDir()
	onnxtest.Write(t, filepath.Join(folder, "model.onnx"), network)
	if err := os.WriteFile(filepath.Join(folder, model.SpecFile), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func load(t testing.TB, folder string, config classifier.Config) (*classifier.Classifier, error) {
	t.Helper()
	if err := onnx.Start(onnxtest.Library(t)); err != nil {
		t.Fatal(err)
	}
	spec, err := model.ReadSpec(folder)
	if err != nil {
		t.Fatal(err)
	}
	labels, err := spec.ReadLabels(folder)
	if err != nil {
		t.Fatal(err)
	}
	return classifier.Load(t.Context(), folder, spec, labels, config)
}

// start loads a network of the channels' means.
func start(t testing.TB, network onnxtest.Network, config classifier.Config) *classifier.Classifier {
	t.Helper()
	c, err := load(t, folderOf(t, network, "name: means\ninput: {layout: NCHW}\noutput: {kind: logits}\n"), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var colors = []color.RGBA{{R: 255, A: 255}, {G: 255, A: 255}, {B: 255, A: 255}}

func pictureOf(t testing.TB, class int) []byte {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 40, 30))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(colors[class]), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestClassify(t *testing.T) {
	config, o := defaults()
	c := start(t, onnxtest.Network{Width: 8, Height: 6, Flat: true}, config)
	for class := range colors {
		got, err := c.Classify(t.Context(), inference.Normal, pictureOf(t, class), 1, []reply.Prediction{{Class: 9}})
		if err != nil || len(got.Predictions) != 2 || got.Predictions[0].Class != 9 || got.Predictions[1].Class != class {
			t.Errorf("class %d: got %+v, %v", class, got, err)
		}
		if got.Waited < 0 || time.Since(got.Ran) > time.Minute {
			t.Errorf("waited %v, ran at %v", got.Waited, got.Ran)
		}
	}
	// Encoding is observed by the caller.
	for _, stage := range []classifier.Stage{classifier.Queue, classifier.Decode, classifier.Preprocess, classifier.Run} {
		if o.stages[stage] != len(colors) {
			t.Errorf("%s was observed %d times", stage, o.stages[stage])
		}
	}
	if !slices.Equal(o.batches, []int{1, 1, 1}) {
		t.Errorf("runs of %v", o.batches)
	}
	var bad *imaging.Error
	if _, err := c.Classify(t.Context(), inference.Normal, []byte("no picture"), 1, nil); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := c.Classify(ctx, inference.Normal, pictureOf(t, 0), 1, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if report := c.Report(); report.Load <= 0 || report.WarmUp <= 0 || report.Batch != 1 || report.Costs != nil {
		t.Errorf("report %+v", report)
	}
}

// rows is an input of 1×1 pixels for each class.
func rows(classes ...int) []byte {
	var input []byte
	for _, class := range classes {
		for channel := range 3 {
			v := float32(0)
			if channel == class {
				v = 1
			}
			input = binary.LittleEndian.AppendUint32(input, math.Float32bits(v))
		}
	}
	return input
}

// A network that takes one picture at a time answers any number of rows.
func TestInfer(t *testing.T) {
	config, _ := defaults()
	for name, network := range map[string]onnxtest.Network{
		"one at a time":    {Width: 1, Height: 1, Flat: true},
		"an open batch":    {Width: 1, Height: 1, Flat: true, Open: true},
		"a batch of three": {Width: 1, Height: 1, Flat: true, Batch: 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, network, config)
			input := rows(2, 0, 1, 1, 2)
			got, err := c.Infer(t.Context(), inference.Normal, 5, input)
			if err != nil || !bytes.Equal(got, input) { // a pixel's mean is itself
				t.Errorf("got %v, %v", got, err)
			}
			if _, err := c.Infer(t.Context(), inference.Normal, 2, rows(0, 1, 2)); err == nil || !strings.Contains(err.Error(), "takes 12 bytes for one picture; got 18") {
				t.Errorf("got %v", err)
			}
			if _, err := c.Infer(t.Context(), inference.Normal, 0, nil); err == nil {
				t.Error("no rows were accepted")
			}
		})
	}
}

// Many requests at the same time, of pictures and of tensors, in batches and
// not, are all answered rightly.
func TestManyAtTheSameTime(t *testing.T) {
	for name, batch := range map[string]int{"one at a time": 1, "in batches": 4} {
		t.Run(name, func(t *testing.T) {
			config, o := defaults()
			config.Waiting, config.MaxBatch = 1000, batch
			c := start(t, onnxtest.Network{Width: 1, Height: 1, Flat: true, Open: true}, config)
			var group sync.WaitGroup
			for i := range 120 {
				class := i % 3
				group.Go(func() {
					got, err := c.Classify(t.Context(), inference.Normal, pictureOf(t, class), 1, nil)
					if err != nil || got.Predictions[0].Class != class {
						t.Errorf("picture of %d: got %+v, %v", class, got, err)
					}
				})
				group.Go(func() {
					input := rows(class, (class+1)%3)
					got, err := c.Infer(t.Context(), inference.Normal, 2, input)
					if err != nil || !bytes.Equal(got, input) {
						t.Errorf("rows of %d: got %v, %v", class, got, err)
					}
				})
			}
			group.Wait()
			together := slices.ContainsFunc(o.batches, func(n int) bool { return n > 1 })
			if together != (batch > 1) {
				t.Errorf("runs of %v", o.batches)
			}
		})
	}
}

func TestBatchIsWhatIsConfiguredOrMeasured(t *testing.T) {
	tests := []struct {
		name        string
		network     onnxtest.Network
		max         int
		calibration time.Duration
		want        []int // any of these
		measured    bool
	}{
		{"off", onnxtest.Network{Open: true}, 1, time.Second, []int{1}, false},
		{"forced", onnxtest.Network{Open: true}, 4, time.Second, []int{4}, false},
		{"the network's own", onnxtest.Network{Batch: 3}, 8, time.Second, []int{3}, false},
		{"no time to measure", onnxtest.Network{Open: true}, 0, 0, []int{1}, false},
		{"too little time to measure", onnxtest.Network{Open: true}, 0, time.Microsecond, []int{1}, false},
		{"a network that takes one", onnxtest.Network{}, 0, time.Second, []int{1}, false},
		{"measured", onnxtest.Network{Open: true}, 0, 30 * time.Second, []int{1, 2, 4, 8}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.network.Width, test.network.Height, test.network.Flat = 8, 8, true
			config, _ := defaults()
			config.MaxBatch, config.Calibration = test.max, test.calibration
			report := start(t, test.network, config).Report()
			if !slices.Contains(test.want, report.Batch) || (len(report.Costs) > 0) != test.measured {
				t.Errorf("got %+v", report)
			}
			if test.measured {
				if len(report.Costs) != 4 || slices.ContainsFunc(report.Costs, func(c inference.BatchCost) bool { return c.Cost <= 0 }) {
					t.Errorf("measured %+v", report.Costs)
				}
				if want := inference.BestBatch(report.Costs); report.Batch != want {
					t.Errorf("a batch of %d, want %d by %+v", report.Batch, want, report.Costs)
				}
			}
		})
	}
}

// A model that does not work is found out while it is loaded, and what was made
// for it is freed.
func TestAModelThatDoesNotWorkIsNotLoaded(t *testing.T) {
	config, _ := defaults()
	_, err := load(t, folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true}, "name: means\noutput: {kind: softmax}\n"), config)
	if err == nil || !strings.Contains(err.Error(), "is output.kind in model.yaml logits?") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	folder := folderOf(t, onnxtest.Network{Width: 8, Height: 6, Flat: true}, "name: means\noutput: {kind: logits}\n")
	spec, err := model.ReadSpec(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := classifier.Load(ctx, folder, spec, nil, config); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A network that outlasts a request's deadline is ended with it, and the slot
// is free for the next.
func TestADeadlineEndsTheRun(t *testing.T) {
	config, _ := defaults()
	config.Slots = 1
	c := start(t, onnxtest.Network{Width: 500, Height: 500, Flat: true, Work: 1000}, config)
	began := time.Now()
	if _, err := c.Classify(t.Context(), inference.Normal, pictureOf(t, 0), 1, nil); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	// A caller that leaves, as no deadline says that it will.
	ctx, leave := context.WithCancel(t.Context())
	time.AfterFunc(whole/4, leave)
	began = time.Now()
	if _, err := c.Classify(ctx, inference.Normal, pictureOf(t, 0), 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > whole*3/4 {
		t.Errorf("it took %v of the %v of a whole request", took, whole)
	}
	if _, err := c.Classify(t.Context(), inference.Normal, pictureOf(t, 0), 1, nil); err != nil {
		t.Error(err)
	}
}

// What a request takes of memory once all is warm: 32 bytes of the binding to
// ONNX Runtime, and with libjpeg-turbo nothing else.
func BenchmarkClassify(b *testing.B) {
	config, _ := defaults()
	config.Observer = silent{}
	c := start(b, onnxtest.Network{Width: 32, Height: 32, Flat: true}, config)
	var body bytes.Buffer
	if err := jpeg.Encode(&body, image.NewGray(image.Rect(0, 0, 64, 64)), nil); err != nil {
		b.Fatal(err)
	}
	var predictions []reply.Prediction
	b.ReportAllocs()
	for b.Loop() {
		got, err := c.Classify(b.Context(), inference.Normal, body.Bytes(), 5, predictions[:0])
		if err != nil {
			b.Fatal(err)
		}
		predictions = got.Predictions
	}
}

type silent struct{}

func (silent) Observe(classifier.Stage, time.Duration) {}
func (silent) Batch(int)                               {}
