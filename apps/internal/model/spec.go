// Package model loads a model folder, checks what it says against the network
// itself, and classifies pictures with it.
package model

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
)

// SpecFile is the name of the file that describes a model folder.
const SpecFile = "model.yaml"

// The largest files that are read into memory, in bytes.
const (
	maxSpecSize   = 64 << 10
	maxLabelsSize = 4 << 20
)

// maxInputSide is the longest side of a network's input, in pixels.
const maxInputSide = 4096

// Spec is what model.yaml says.
type Spec struct {
	// Name is the model's name in replies: 1 to 128 printable characters.
	Name string
	// Version is for people; it may be empty.
	Version string
	// File is the network's file and Labels that of its labels, below the
	// folder. Labels may be empty.
	File, Labels string
	Input        Input
	Output       Output
}

// Input says how a picture becomes what the network reads. What is empty or 0
// and can be read from the network is: see Load.
type Input struct {
	// Name is the tensor's name.
	Name   string
	Type   onnx.DataType
	Layout imaging.Layout
	// Width and Height are in pixels, 1 to 4096.
	Width, Height int
	Color         imaging.Color
	Resize        imaging.Resize
	// ShorterSide is for the resize mode crop: the pixels to which the
	// picture's shorter side is scaled, 1 to 8192; 0 for no more than needed.
	ShorterSide int
	// Pad is for the resize mode letterbox: the grey around the picture, 0
	// (black) to 255 (white).
	Pad int
	// Orientation says whether EXIF's is applied.
	Orientation Orientation
	// A pixel value p (0..255) of channel c becomes (p·Scale − Mean[c]) /
	// Std[c]; c counts in the tensor's order. Empty for 0 and for 1.
	Scale     float64
	Mean, Std []float64
}

// Orientation says what becomes of the orientation that a camera wrote.
type Orientation string

// The ways to treat it.
const (
	// EXIF turns the picture as EXIF says.
	EXIF Orientation = "exif"
	// Stored takes the picture as it is stored.
	Stored Orientation = "stored"
)

// Kind says what the network's output numbers are.
type Kind string

// The kinds of output.
const (
	// Logits become probabilities by a softmax here.
	Logits Kind = "logits"
	// Softmax outputs are probabilities already.
	Softmax Kind = "softmax"
)

// Output is what the network answers.
type Output struct {
	// Name is the tensor's name; it may be empty where there is one output.
	Name string
	Kind Kind
	// A number q of a uint8 output means (q − ZeroPoint)·Scale. 0 for no scale
	// given, which is 1/255.
	Scale     float64
	ZeroPoint int
}

// ReadSpec reads model.yaml from folder. The error names the file and, for
// what is wrong inside, every key with its value and what is allowed.
func ReadSpec(folder string) (Spec, error) {
	path := filepath.Join(folder, SpecFile)
	data, err := readFile(path, maxSpecSize)
	if err != nil {
		return Spec{}, err
	}
	spec, problems := parseSpec(data)
	if len(problems) > 0 {
		return Spec{}, fmt.Errorf("%s: %s", path, strings.Join(problems, "; "))
	}
	return spec, nil
}

func parseSpec(data []byte) (Spec, []string) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return Spec{}, []string{"the file is empty"}
	}
	if err != nil {
		return Spec{}, []string{strings.Join(strings.Fields(err.Error()), " ")}
	}
	if !errors.Is(decoder.Decode(new(yaml.Node)), io.EOF) {
		return Spec{}, []string{"the file holds more than one YAML document"}
	}

	s := Spec{
		File:  "model.onnx",
		Input: Input{Resize: imaging.Stretch, Orientation: EXIF, Scale: 1},
	}
	input := []field{
		{"name", false, text(&s.Input.Name, isName)},
		{"dtype", false, text(&s.Input.Type, oneOf(onnx.Float32, onnx.Float16, onnx.Uint8))},
		{"layout", false, text(&s.Input.Layout, oneOf(imaging.NCHW, imaging.NHWC))},
		{"width", false, integer(&s.Input.Width, 1, maxInputSide)},
		{"height", false, integer(&s.Input.Height, 1, maxInputSide)},
		{"color", false, text(&s.Input.Color, oneOf(imaging.RGB24, imaging.BGR24, imaging.Gray))},
		{"resize", false, text(&s.Input.Resize, oneOf(imaging.Stretch, imaging.Crop, imaging.Letterbox))},
		{"shorter_side", false, integer(&s.Input.ShorterSide, 1, 2*maxInputSide)},
		{"pad", false, integer(&s.Input.Pad, 0, 255)},
		{"orientation", false, text(&s.Input.Orientation, oneOf(EXIF, Stored))},
		{"scale", false, number(&s.Input.Scale)},
		{"mean", false, perChannel(&s.Input.Mean, math.Inf(-1), "a list of 1 or 3 finite numbers, one a channel")},
		{"std", false, perChannel(&s.Input.Std, 0, "a list of 1 or 3 finite numbers above 0, one a channel")},
	}
	output := []field{
		{"name", false, text(&s.Output.Name, isName)},
		{"kind", true, text(&s.Output.Kind, oneOf(Logits, Softmax))},
		{"scale", false, number(&s.Output.Scale)},
		{"zero_point", false, integer(&s.Output.ZeroPoint, 0, 255)},
	}
	problems := readMapping("", document.Content[0], []field{
		{"name", true, text(&s.Name, isName)},
		{"version", false, text(&s.Version, func(string) string { return "" })},
		{"file", false, text(&s.File, isLocal)},
		{"labels", false, text(&s.Labels, isLocal)},
		{"input", false, func(path string, node *yaml.Node) []string { return readMapping(path, node, input) }},
		{"output", true, func(path string, node *yaml.Node) []string { return readMapping(path, node, output) }},
	})
	if s.Input.ShorterSide != 0 && s.Input.Resize != imaging.Crop {
		problems = append(problems, fmt.Sprintf("input.shorter_side: is for resize: %s; resize is %s", imaging.Crop, s.Input.Resize))
	}
	if s.Input.Pad != 0 && s.Input.Resize != imaging.Letterbox {
		problems = append(problems, fmt.Sprintf("input.pad: is for resize: %s; resize is %s", imaging.Letterbox, s.Input.Resize))
	}
	return s, problems
}

func isName(s string) string {
	if s == "" || utf8.RuneCountInString(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "1 to 128 printable characters"
	}
	return ""
}

func isLocal(s string) string {
	if !filepath.IsLocal(s) {
		return "a path inside the model's folder"
	}
	return ""
}

// ReadLabels reads the folder's labels, one a line, or none where the model
// has none.
func (s Spec) ReadLabels(folder string) ([]string, error) {
	if s.Labels == "" {
		return nil, nil
	}
	path := filepath.Join(folder, s.Labels)
	data, err := readFile(path, maxLabelsSize)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: is not UTF-8 text", path)
	}
	var labels []string
	for line := range strings.Lines(string(data)) {
		label := strings.TrimSpace(line)
		if label == "" {
			return nil, fmt.Errorf("%s:%d: the line is empty; a label is expected", path, len(labels)+1)
		}
		labels = append(labels, label)
	}
	if len(labels) == 0 {
		return nil, fmt.Errorf("%s: the file is empty; one label a line is expected", path)
	}
	return labels, nil
}

// readFile reads a regular file of at most limit bytes. Its errors name path.
func readFile(path string, limit int64) ([]byte, error) {
	// Opening a pipe would wait for somebody to write into it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, limit)
	}
	return data, nil
}
