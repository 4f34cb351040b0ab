package imaging

import (
	"image"
	"math"
)

// Resize says how a picture of another shape is brought to a model's shape.
type Resize string

// The ways of bringing a picture to a model's shape.
const (
	// Stretch scales width and height independently.
	Stretch Resize = "stretch"
	// Crop scales until the picture covers the model's shape and takes the
	// centre.
	Crop Resize = "crop"
	// Letterbox scales until the picture fits into the model's shape, puts it
	// in the centre and leaves the rest black.
	Letterbox Resize = "letterbox"
)

// Scaler scales pictures to one size. It keeps its buffers between calls and
// is not for concurrent use.
//
// The filter is the triangle, widened by the factor when a picture is made
// smaller, so that every source pixel counts: what Pillow and
// golang.org/x/image/draw call bilinear. Rows are scaled as they are read, so
// that memory is bounded by the target's size and one source row, whatever
// the picture's proportions.
type Scaler struct {
	width, height int
	resize        Resize

	pixels []uint8
	sums   []float32
	scaled []float32
	row    []uint8
}

// keptRow is the longest row buffer, in bytes, that is kept between calls.
const keptRow = 3 * 16384

// NewScaler makes a Scaler to width×height pixels, both at least 1.
func NewScaler(width, height int, resize Resize) *Scaler {
	n := 3 * width * height
	return &Scaler{
		width: width, height: height, resize: resize,
		pixels: make([]uint8, n), sums: make([]float32, n), scaled: make([]float32, 3*width),
	}
}

// Scale returns the scaled picture as R, G, B bytes, row by row. They are
// valid until the next call.
func (s *Scaler) Scale(picture image.Image) []uint8 {
	from := picture.Bounds()
	target := image.Rect(0, 0, s.width, s.height)
	factorX := float64(from.Dx()) / float64(s.width)
	factorY := float64(from.Dy()) / float64(s.height)
	offsetX, offsetY := 0.0, 0.0
	switch s.resize {
	case Crop:
		factor := min(factorX, factorY)
		factorX, factorY = factor, factor
		offsetX = (float64(from.Dx()) - factor*float64(s.width)) / 2
		offsetY = (float64(from.Dy()) - factor*float64(s.height)) / 2
	case Letterbox:
		factor := max(factorX, factorY)
		width := min(s.width, max(1, int(math.Round(float64(from.Dx())/factor))))
		height := min(s.height, max(1, int(math.Round(float64(from.Dy())/factor))))
		target = image.Rect(0, 0, width, height).Add(image.Pt((s.width-width)/2, (s.height-height)/2))
		factorX = float64(from.Dx()) / float64(width)
		factorY = float64(from.Dy()) / float64(height)
	}

	if target != image.Rect(0, 0, s.width, s.height) {
		clear(s.pixels)
	}
	clear(s.sums)
	columns := taps(target.Dx(), from.Dx(), factorX, offsetX)
	rows := taps(target.Dy(), from.Dy(), factorY, offsetY)
	row := s.rowBuffer(from.Dx())
	scaled := s.scaled[:3*target.Dx()]
	read := rowReader(picture)

	first := 0
	for y := rows[0].start; y < rows[len(rows)-1].end(); y++ {
		for first < len(rows) && rows[first].end() <= y {
			first++
		}
		read(y, row)
		scaleRow(scaled, row, columns)
		for i := first; i < len(rows) && rows[i].start <= y; i++ {
			weight := rows[i].weights[y-rows[i].start]
			sums := s.sums[i*len(scaled):][:len(scaled)]
			for j, v := range scaled {
				sums[j] += weight * v
			}
		}
	}

	for y := range target.Dy() {
		sums := s.sums[y*len(scaled):][:len(scaled)]
		pixels := s.pixels[3*((target.Min.Y+y)*s.width+target.Min.X):][:len(scaled)]
		for j, v := range sums {
			pixels[j] = uint8(min(max(v+0.5, 0), 255))
		}
	}
	return s.pixels
}

func (s *Scaler) rowBuffer(width int) []uint8 {
	if 3*width > keptRow {
		return make([]uint8, 3*width)
	}
	if s.row == nil {
		s.row = make([]uint8, keptRow)
	}
	return s.row[:3*width]
}

// tap is what one target pixel takes along one axis: source pixels from start
// on, by weight. The weights add up to 1.
type tap struct {
	start   int
	weights []float32
}

func (t tap) end() int { return t.start + len(t.weights) }

// taps computes the n target pixels of an axis from size source pixels.
// Target pixel i is centred on offset + (i + ½)·factor in the source.
func taps(n, size int, factor, offset float64) []tap {
	reach := max(factor, 1)
	result := make([]tap, n)
	weights := make([]float32, 0, n*(int(2*reach)+2))
	for i := range result {
		centre := offset + (float64(i)+0.5)*factor
		start := max(0, int(math.Floor(centre-reach)))
		end := min(size, int(math.Ceil(centre+reach)))
		start, end = min(start, size-1), max(end, 1)

		from := len(weights)
		total := 0.0
		for j := start; j < end; j++ {
			weight := max(0, 1-math.Abs(float64(j)+0.5-centre)/reach)
			total += weight
			weights = append(weights, float32(weight))
		}
		own := weights[from:len(weights):len(weights)]
		for j := range own {
			own[j] /= float32(total)
		}
		result[i] = tap{start: start, weights: own}
	}
	return result
}

func scaleRow(dst []float32, row []uint8, columns []tap) {
	for i, column := range columns {
		pixels := row[3*column.start:][:3*len(column.weights)]
		var r, g, b float32
		for j, weight := range column.weights {
			r += weight * float32(pixels[3*j])
			g += weight * float32(pixels[3*j+1])
			b += weight * float32(pixels[3*j+2])
		}
		dst[3*i], dst[3*i+1], dst[3*i+2] = r, g, b
	}
}
