package model

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/onnx"
)

const goodSpec = `
name: vehicles
version: "1"
file: net.onnx
labels: labels.txt
input:
  name: data_0
  dtype: float16
  layout: NHWC
  width: 320
  height: 240
  color: BGR
  resize: letterbox
  pad: 114
  orientation: stored
  scale: 0.5
  mean: [104, 117.5, 0]
  std: [1, 2, 0.225]
output:
  name: softmaxout_1
  kind: softmax
  scale: 0.00390625
  zero_point: 3
`

func TestSpec(t *testing.T) {
	got, problems := parseSpec([]byte(goodSpec))
	want := Spec{
		Name: "vehicles", Version: "1", File: "net.onnx", Labels: "labels.txt",
		Input: Input{
			Name: "data_0", Type: onnx.Float16, Layout: imaging.NHWC, Width: 320, Height: 240, Color: imaging.BGR24, Resize: imaging.Letterbox,
			Pad: 114, Orientation: Stored, Scale: 0.5, Mean: []float64{104, 117.5, 0}, Std: []float64{1, 2, 0.225},
		},
		Output: Output{Name: "softmaxout_1", Kind: Softmax, Scale: 0.00390625, ZeroPoint: 3},
	}
	if len(problems) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %q,\nwant %+v", got, problems, want)
	}
}

func TestSpecDefaults(t *testing.T) {
	got, problems := parseSpec([]byte("name: m\noutput: {kind: logits}\n"))
	want := Spec{
		Name: "m", File: "model.onnx",
		Input:  Input{Resize: imaging.Stretch, Orientation: EXIF, Scale: 1},
		Output: Output{Kind: Logits},
	}
	if len(problems) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %q,\nwant %+v", got, problems, want)
	}
}

// Every file in testdata breaks one rule; its first line says with which
// message.
func TestEveryRuleOfTheSpec(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			folder := t.TempDir()
			path := filepath.Join(folder, SpecFile)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(data), "\n")
			want := path + ": " + strings.TrimPrefix(first, "# ")
			if _, err := ReadSpec(folder); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestSpecFileIsMissingOrNoneOrTooLarge(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, SpecFile)
	if _, err := ReadSpec(folder); err == nil || err.Error() != "open "+path+": no such file or directory" {
		t.Errorf("got %v", err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSpec(folder); err == nil || err.Error() != path+": is not a regular file" {
		t.Errorf("a pipe: got %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, maxSpecSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSpec(folder); err == nil || err.Error() != path+": is larger than 65536 bytes" {
		t.Errorf("got %v", err)
	}
}

func TestLabels(t *testing.T) {
	tests := []struct {
		name, content string
		want          []string
		err           string
	}{
		{"one a line", "bus\nfire engine\n", []string{"bus", "fire engine"}, ""},
		{"no line break at the end, and those of Windows", "bus\r\nfire engine", []string{"bus", "fire engine"}, ""},
		{"an empty line", "bus\n\ncar\n", nil, ":2: the line is empty; a label is expected"},
		{"an empty file", "", nil, ": the file is empty; one label a line is expected"},
		{"no text", "bus\n\xff\xfe\n", nil, ": is not UTF-8 text"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, "labels.txt")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Spec{Labels: "labels.txt"}.ReadLabels(folder)
			message := ""
			if err != nil {
				message = strings.TrimPrefix(err.Error(), path)
			}
			if !reflect.DeepEqual(got, test.want) || message != test.err {
				t.Errorf("got %q, %q, want %q, %q", got, message, test.want, test.err)
			}
		})
	}
	if got, err := (Spec{}).ReadLabels(t.TempDir()); got != nil || err != nil {
		t.Errorf("a model without labels: got %q, %v", got, err)
	}
}

func FuzzSpec(f *testing.F) {
	f.Add([]byte(goodSpec))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, problems := parseSpec(data)
		for _, problem := range problems {
			if strings.Contains(problem, "\n") {
				t.Errorf("a problem of more than one line: %q", problem)
			}
		}
		if len(problems) == 0 && (spec.Name == "" || spec.Input.Width < 0 || spec.Input.Scale == 0 || spec.Output.Kind == "") {
			t.Errorf("accepted %+v", spec)
		}
	})
}
