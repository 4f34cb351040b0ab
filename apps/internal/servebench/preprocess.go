package servebench

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/image/draw"

	"headroom.dev/apps/internal/imaging"
)

// inputSide is the side of the input that pictures are preprocessed to, in
// pixels: that of most classifiers.
const inputSide = 224

// Photo is a JPEG with smooth areas, edges and grain, as a photograph has them,
// the same for the same size.
func Photo(width, height int) ([]byte, error) {
	random := rand.New(rand.NewPCG(5, 6))
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	radius := float64(min(width, height)) / 3
	for y := range height {
		for x := range width {
			grain := random.IntN(16)
			c := color.RGBA{R: uint8(200*x/width + grain), G: uint8(150*y/height + 40 + grain), B: uint8(90 + grain), A: 255}
			if math.Hypot(float64(x-width/2), float64(y-height/2)) < radius {
				c.R, c.B = uint8(210+grain), uint8(30+grain)
			}
			picture.SetRGBA(x, y, c)
		}
	}
	var buffer bytes.Buffer
	err := jpeg.Encode(&buffer, picture, &jpeg.Options{Quality: 85})
	return buffer.Bytes(), err
}

// preprocessing is two ways from a JPEG to the same input.
type preprocessing struct {
	body    []byte
	decoder *imaging.Decoder
	scaler  *imaging.Scaler
	tables  imaging.Tables[float32]
	tensor  []float32
}

func newPreprocessing(body []byte) (*preprocessing, error) {
	geometry := imaging.Geometry{Width: inputSide, Height: inputSide, Resize: imaging.Stretch}
	decoder, err := imaging.NewDecoder(geometry, limits)
	if err != nil {
		return nil, err
	}
	return &preprocessing{
		body: body, decoder: decoder, scaler: imaging.NewScaler(geometry),
		tables: imaging.NewTables(1.0/255, []float64{0, 0, 0}, []float64{1, 1, 1}, func(v float32) float32 { return v }),
		tensor: make([]float32, 3*inputSide*inputSide),
	}, nil
}

// ours goes all the way to the tensor.
func (p *preprocessing) ours(ctx context.Context) error {
	picture, err := p.decoder.Decode(ctx, p.body)
	if err != nil {
		return err
	}
	pixels, err := p.scaler.Scale(ctx, picture)
	if err != nil {
		return err
	}
	imaging.Pack(p.tensor, pixels, p.tables, imaging.NCHW, imaging.RGB24)
	return nil
}

// standard is the standard library's decoder and x/image/draw's scaling with
// the same filter; the tensor is spared.
func (p *preprocessing) standard(context.Context) error {
	picture, err := jpeg.Decode(bytes.NewReader(p.body))
	if err != nil {
		return err
	}
	scaled := image.NewRGBA(image.Rect(0, 0, inputSide, inputSide))
	draw.BiLinear.Scale(scaled, scaled.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	return nil
}

// Preprocess times both ways in turn, rounds times, each until it has taken
// stretch, and returns the seconds that one picture took of each.
func Preprocess(ctx context.Context, body []byte, rounds int, stretch time.Duration) (ours, standard []float64, err error) {
	p, err := newPreprocessing(body)
	if err != nil {
		return nil, nil, err
	}
	defer p.decoder.Close()
	for range rounds {
		for _, way := range []struct {
			do   func(context.Context) error
			into *[]float64
		}{{p.ours, &ours}, {p.standard, &standard}} {
			if err := way.do(ctx); err != nil { // so that memory and caches are warm
				return nil, nil, fmt.Errorf("preprocessing: %w", err)
			}
			begin, n := time.Now(), 0
			for ; time.Since(begin) < stretch; n++ {
				if err := way.do(ctx); err != nil {
					return nil, nil, fmt.Errorf("preprocessing: %w", err)
				}
			}
			*way.into = append(*way.into, time.Since(begin).Seconds()/float64(n))
		}
	}
	return ours, standard, nil
}
