package model

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
)

// resolved is a Spec with what the network itself tells.
type resolved struct {
	spec          Spec
	input, output onnx.Tensor // with -1 for an open batch, else without an open dimension
	batch         int         // the first dimension of both; 0 where it is open
	classes       int
}

// resolve checks spec against the network in the file at path and fills in
// what spec leaves to the network. Errors are of one line and name the tensor,
// what was found and what was expected.
func resolve(path string, spec Spec, labels int, inputs, outputs []onnx.Tensor) (resolved, error) {
	r := resolved{spec: spec}
	if err := r.resolveInput(path, inputs); err != nil {
		return resolved{}, err
	}
	if err := r.resolveNormalization(path); err != nil {
		return resolved{}, err
	}
	if err := r.resolveOutput(path, outputs, labels); err != nil {
		return resolved{}, err
	}
	return r, nil
}

func (r *resolved) resolveInput(path string, inputs []onnx.Tensor) error {
	if len(inputs) != 1 {
		return fmt.Errorf("%s has %d inputs (%s); expected 1", path, len(inputs), names(inputs))
	}
	found, in := inputs[0], &r.spec.Input
	if in.Name != "" && found.Name != in.Name {
		return fmt.Errorf("%s: the input is called %q; input.name in %s expects %q", path, found.Name, SpecFile, in.Name)
	}
	in.Name = found.Name
	refuse := func(expected string) error {
		return fmt.Errorf("%s: input %q is %v; %s", path, found.Name, found, expected)
	}
	if in.Type == "" {
		in.Type = found.Type
	}
	if in.Type.Size() == 0 {
		return refuse("expected float32, float16 or uint8")
	}
	if len(found.Shape) != 4 {
		return refuse("expected four dimensions: a batch, and channels, height and width in either order")
	}
	if r.batch = int(found.Shape[0]); r.batch == 0 || r.batch > MaxBatch {
		return refuse(fmt.Sprintf("expected a batch from 1 to %d or an open one", MaxBatch))
	}
	r.batch = max(r.batch, 0)

	if in.Layout == "" {
		first, last := isChannels(found.Shape[1]), isChannels(found.Shape[3])
		switch {
		case first && !last:
			in.Layout = imaging.NCHW
		case last && !first:
			in.Layout = imaging.NHWC
		default:
			return refuse(fmt.Sprintf("its channels can't be told from its shape: set input.layout in %s to NCHW or NHWC", SpecFile))
		}
	}
	channels, height, width := found.Shape[1], found.Shape[2], found.Shape[3]
	if in.Layout == imaging.NHWC {
		height, width, channels = found.Shape[1], found.Shape[2], found.Shape[3]
	}
	if in.Color == "" {
		in.Color = imaging.RGB24
		if channels == 1 {
			in.Color = imaging.Gray
		}
	}
	var open []string
	if in.Width == 0 {
		if in.Width = int(width); width < 0 {
			open = append(open, "input.width")
		}
	}
	if in.Height == 0 {
		if in.Height = int(height); height < 0 {
			open = append(open, "input.height")
		}
	}
	if len(open) > 0 {
		return refuse(fmt.Sprintf("set %s in %s, as the network leaves it open", strings.Join(open, " and "), SpecFile))
	}

	expected := onnx.Tensor{Name: in.Name, Type: in.Type, Shape: []int64{1, int64(in.Color.Channels()), int64(in.Height), int64(in.Width)}}
	if in.Layout == imaging.NHWC {
		expected.Shape = []int64{1, int64(in.Height), int64(in.Width), int64(in.Color.Channels())}
	}
	if r.batch > 1 {
		expected.Shape[0] = int64(r.batch)
	}
	if found.Type != expected.Type || !found.Holds(expected.Shape) {
		return refuse(fmt.Sprintf("%s expects %v", SpecFile, expected))
	}
	if in.Width < 1 || in.Height < 1 || in.Width > maxInputSide || in.Height > maxInputSide {
		return refuse(fmt.Sprintf("expected a height and a width from 1 to %d", maxInputSide))
	}
	if longer := max(in.Width, in.Height); in.ShorterSide != 0 && in.ShorterSide < longer {
		return fmt.Errorf("input.shorter_side in %s is %d; allowed: from %d, the longer side of input %q of %s", SpecFile, in.ShorterSide, longer, found.Name, path)
	}
	if r.batch == 0 {
		expected.Shape[0] = -1
	}
	r.input = expected
	return nil
}

func isChannels(dimension int64) bool { return dimension == 1 || dimension == 3 }

func (r *resolved) resolveNormalization(path string) error {
	in, channels := &r.spec.Input, r.spec.Input.Color.Channels()
	if in.Type == onnx.Uint8 && (in.Scale != 1 || in.Mean != nil || in.Std != nil) {
		return fmt.Errorf("%s: input %q is %v, which takes pixels as they are; %s sets input.scale, input.mean or input.std", path, in.Name, r.input, SpecFile)
	}
	for _, list := range []struct {
		key      string
		values   *[]float64
		fallback float64
	}{{"input.mean", &in.Mean, 0}, {"input.std", &in.Std, 1}} {
		if *list.values == nil {
			*list.values = slices.Repeat([]float64{list.fallback}, channels)
		}
		if len(*list.values) != channels {
			return fmt.Errorf("%s: input %q is %v; %s in %s has %d numbers, expected %d, one a channel",
				path, in.Name, r.input, list.key, SpecFile, len(*list.values), channels)
		}
	}
	return nil
}

func (r *resolved) resolveOutput(path string, outputs []onnx.Tensor, labels int) error {
	out := &r.spec.Output
	if out.Name == "" {
		if len(outputs) != 1 {
			return fmt.Errorf("%s has %d outputs (%s): set output.name in %s", path, len(outputs), names(outputs), SpecFile)
		}
		out.Name = outputs[0].Name
	}
	i := slices.IndexFunc(outputs, func(t onnx.Tensor) bool { return t.Name == out.Name })
	if i < 0 {
		return fmt.Errorf("%s: the outputs are called %s; output.name in %s expects %q", path, names(outputs), SpecFile, out.Name)
	}
	found := outputs[i]
	refuse := func(expected string) error {
		return fmt.Errorf("%s: output %q is %v; %s", path, found.Name, found, expected)
	}
	const form = "expected float32, float16 or uint8 with one number a class, such as [1,1000] or [1,1000,1,1]"
	if found.Type.Size() == 0 || len(found.Shape) == 0 {
		return refuse(form)
	}
	r.output = onnx.Tensor{Name: found.Name, Type: found.Type, Shape: slices.Clone(found.Shape)}
	// A network for one picture may answer without a batch: [1000].
	classes := r.output.Shape
	if len(classes) > 1 || r.batch != 1 {
		if batch := classes[0]; batch >= 0 && int(batch) != r.batch || batch < 0 && r.batch > 1 {
			return refuse(fmt.Sprintf("its first dimension is no batch like that of input %q, which is %v", r.input.Name, r.input))
		}
		if r.batch == 1 {
			classes[0] = 1
		}
		classes = classes[1:]
	}
	product, wide, open := int64(1), 0, 0
	for i, d := range classes {
		if d < 0 {
			open++
			d = max(int64(labels), 1)
			classes[i] = d
		}
		if d != 1 {
			wide++
		}
		if d < 1 || d > math.MaxInt32 {
			return refuse(form)
		}
		product *= d
	}
	switch {
	case open > 1 || wide > 1 || len(classes) == 0:
		return refuse(form)
	case open == 1 && labels == 0:
		return refuse(fmt.Sprintf("it leaves the number of classes open, which labels in %s then tell: one line a class", SpecFile))
	}
	r.classes = int(product)

	if found.Type != onnx.Uint8 && (out.Scale != 0 || out.ZeroPoint != 0) {
		return refuse(fmt.Sprintf("output.scale and output.zero_point in %s are for uint8", SpecFile))
	}
	if out.Scale == 0 {
		out.Scale = 1
		if found.Type == onnx.Uint8 {
			out.Scale = 1.0 / 255
		}
	}
	if labels > 0 && labels != r.classes {
		return fmt.Errorf("%s has %d labels; output %q of %s has %d classes",
			filepath.Join(filepath.Dir(path), r.spec.Labels), labels, found.Name, path, r.classes)
	}
	return nil
}

func names(tensors []onnx.Tensor) string {
	result := make([]string, len(tensors))
	for i, t := range tensors {
		result[i] = fmt.Sprintf("%q", t.Name)
	}
	return strings.Join(result, ", ")
}
