package imaging_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/x448/float16"

	"headroom.dev/apps/internal/imaging"
)

// golden is one picture and what Pillow and numpy make of it; testdata/golden
// holds the program that wrote it.
type golden struct {
	Name, Picture, Resize, Layout, Color, Dtype string
	Width, Height                               int
	ShorterSide                                 int `json:"shorter_side"`
	Pad                                         uint8
	Scale                                       float64
	Mean, Std                                   []float64
	Tensor                                      []float64
}

// tensor is the same computed here.
func (g golden) tensor(t *testing.T) []float64 {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata/golden", g.Picture))
	if err != nil {
		t.Fatal(err)
	}
	geometry := imaging.Geometry{
		Width: g.Width, Height: g.Height, Resize: imaging.Resize(g.Resize), ShorterSide: g.ShorterSide, Pad: g.Pad,
	}
	picture, err := newDecoder(t, geometry, limits).Decode(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	pixels := scaled(t, imaging.NewScaler(geometry), picture)
	layout, color := imaging.Layout(g.Layout), imaging.Color(g.Color)
	n := g.Width * g.Height * color.Channels()
	result := make([]float64, n)
	switch g.Dtype {
	case "float32":
		packed := packed(g, n, pixels, layout, color, func(v float32) float32 { return v })
		for i, v := range packed {
			result[i] = float64(v)
		}
	case "float16":
		packed := packed(g, n, pixels, layout, color, func(v float32) uint16 { return float16.Fromfloat32(v).Bits() })
		for i, v := range packed {
			result[i] = float64(float16.Frombits(v).Float32())
		}
	case "uint8":
		packed := packed(g, n, pixels, layout, color, func(v float32) uint8 { return uint8(v) })
		for i, v := range packed {
			result[i] = float64(v)
		}
	default:
		t.Fatalf("dtype %q", g.Dtype)
	}
	return result
}

func packed[T imaging.Element](g golden, n int, pixels []uint8, layout imaging.Layout, color imaging.Color, element func(float32) T) []T {
	result := make([]T, n)
	imaging.Pack(result, pixels, imaging.NewTables(g.Scale, g.Mean, g.Std, element), layout, color)
	return result
}

// The tolerances, in pixel values of 256: Pillow rounds between its two passes
// where Scale does not; decoders of formats with loss may differ in how they
// interpolate colour, and a JPEG that is made smaller is here reduced while it
// is decoded.
func tolerance(picture string) float64 {
	switch {
	case strings.HasSuffix(picture, ".jpg"), picture == "lossy.webp":
		return 4
	}
	return 1
}

func TestPreprocessingIsWhatPillowAndNumpyCompute(t *testing.T) {
	data, err := os.ReadFile("testdata/golden/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, test := range cases {
		t.Run(test.Name, func(t *testing.T) {
			got := test.tensor(t)
			if len(got) != len(test.Tensor) {
				t.Fatalf("%d elements, want %d", len(got), len(test.Tensor))
			}
			// From the tensor's unit to pixel values.
			unit := test.Std[0] / test.Scale
			worst, at, sum := 0.0, 0, 0.0
			for i := range got {
				difference := math.Abs(got[i]-test.Tensor[i]) * unit
				sum += difference
				if difference > worst {
					worst, at = difference, i
				}
			}
			if limit := tolerance(test.Picture) + 0.1; worst > limit || sum/float64(len(got)) > limit/2 {
				t.Errorf("element %d is %v, want %v: off by %.2f pixel values, on average by %.2f", at, got[at], test.Tensor[at], worst, sum/float64(len(got)))
			}
		})
	}
}
