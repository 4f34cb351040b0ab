package imaging_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"testing"

	"golang.org/x/image/draw"

	"headroom.dev/apps/internal/imaging"
)

// BenchmarkPreprocess times a JPEG of about 1000×563 pixels becoming an input
// of 224×224, beside what the standard library and x/image/draw take for it.
// PICTURE names another file.
func BenchmarkPreprocess(b *testing.B) {
	body := encoded(b, func(buffer *bytes.Buffer) error { return jpeg.Encode(buffer, noise(1000, 563), nil) })
	if path := os.Getenv("PICTURE"); path != "" {
		var err error
		if body, err = os.ReadFile(path); err != nil {
			b.Fatal(err)
		}
	}
	geometry := stretch(224, 224)
	tables := imaging.NewTables(1, []float64{0, 0, 0}, []float64{1, 1, 1}, func(v float32) float32 { return v })
	tensor := make([]float32, 3*224*224)
	decoder, scaler := newDecoder(b, geometry, limits), imaging.NewScaler(geometry)
	picture, err := decoder.Decode(b.Context(), body)
	if err != nil {
		b.Fatal(err)
	}
	pixels := scaled(b, scaler, picture)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decoder.Decode(b.Context(), body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scale", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			scaled(b, scaler, picture)
		}
	})
	b.Run("pack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			imaging.Pack(tensor, pixels, tables, imaging.NCHW, imaging.RGB24)
		}
	})
	b.Run("standard library", func(b *testing.B) {
		for b.Loop() {
			picture, err := jpeg.Decode(bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			scaled := image.NewRGBA(image.Rect(0, 0, 224, 224))
			draw.BiLinear.Scale(scaled, scaled.Bounds(), picture, picture.Bounds(), draw.Src, nil)
		}
	})
}
