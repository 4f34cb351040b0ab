package imaging

import (
	"context"
	"math"
	"slices"
)

// Scaler scales pictures to one size. It keeps its buffers between calls and
// is not for concurrent use.
//
// The filter is the triangle, widened by the factor when a picture is made
// smaller, so that every source pixel counts: what Pillow and
// golang.org/x/image/draw call bilinear. Rows are scaled as they are read, so
// that memory is bounded by the target's size and one source row, whatever
// the picture's proportions.
//
// A pixel's three channels lie in one word, so that one multiplication weighs
// all of them; see lanes.
type Scaler struct {
	geometry Geometry

	pixels        []uint8
	sums          []lanes
	scaled        []lanes
	bytes         []uint8
	row           []lanes
	columns, rows axis
}

// lanes holds a number for red, green and blue, 21 bits each. A weight has 13
// bits, and those of one target pixel add up to one = 2^13; so a weighted sum of
// bytes is at most 255·2^13, and with the half for rounding stays below 2^21.
type lanes uint64

const (
	weightBits = 13
	one        = 1 << weightBits
	laneBits   = 21
	eachLane   = 1 | 1<<laneBits | 1<<(2*laneBits)
)

func lanesOf(r, g, b uint8) lanes {
	return lanes(r) | lanes(g)<<laneBits | lanes(b)<<(2*laneBits)
}

// rounded makes of three sums of weighted bytes three bytes.
func (l lanes) rounded() lanes {
	return (l + eachLane*(one/2)) >> weightBits & (eachLane * 0xff)
}

func (l lanes) rgb() (r, g, b uint8) {
	return uint8(l), uint8(l >> laneBits), uint8(l >> (2 * laneBits))
}

// rowsBetweenLooks is how many source rows are scaled between two looks at the
// context.
const rowsBetweenLooks = 64

// keptRow is the longest source row, in pixels, for which buffers are kept
// between calls.
const keptRow = 16384

// NewScaler makes a Scaler.
func NewScaler(geometry Geometry) *Scaler {
	n := geometry.Width * geometry.Height
	return &Scaler{
		geometry: geometry,
		pixels:   make([]uint8, 3*n), sums: make([]lanes, n), scaled: make([]lanes, max(geometry.Width, geometry.Height)),
	}
}

// Scale returns the picture, upright and scaled, as R, G, B bytes, row by row.
// They are valid until the next call. The error is ctx's, when that ends first.
func (s *Scaler) Scale(ctx context.Context, picture Picture) ([]uint8, error) {
	width, height := picture.Bounds().Dx(), picture.Bounds().Dy()
	seen := s.geometry.place(width, height)
	stored := seen
	if picture.Orientation.sideways() {
		seen = s.geometry.place(height, width)
		stored = seen.turned()
	}
	size := stored.target.Size()

	clear(s.sums)
	s.columns.compute(size.X, width, stored.factorX, stored.offsetX)
	s.rows.compute(size.Y, height, stored.factorY, stored.offsetY)
	if err := s.sum(ctx, picture, size.X); err != nil {
		return nil, err
	}

	if seen.target.Dx() < s.geometry.Width || seen.target.Dy() < s.geometry.Height {
		for i := range s.pixels {
			s.pixels[i] = s.geometry.Pad
		}
	}
	origin, right, down := picture.Orientation.index(size.X, size.Y, s.geometry.Width)
	origin += seen.target.Min.Y*s.geometry.Width + seen.target.Min.X
	for y := range size.Y {
		to := 3 * (origin + y*down)
		for _, sum := range s.sums[y*size.X:][:size.X] {
			pixel := s.pixels[to:][:3]
			pixel[0], pixel[1], pixel[2] = sum.rounded().rgb()
			to += 3 * right
		}
	}
	return s.pixels, nil
}

// sum adds every row of the picture to the target rows that take from it;
// stride is the length of a target row.
func (s *Scaler) sum(ctx context.Context, picture Picture, stride int) error {
	width := picture.Bounds().Dx()
	if width > cap(s.row) || cap(s.row) > keptRow {
		s.bytes, s.row = make([]uint8, 3*max(width, 1024)), make([]lanes, max(width, 1024))
	}
	bytes, row := s.bytes[:3*width], s.row[:width]
	scaled := s.scaled[:stride]
	read := newRowReader(picture.Image)
	rows := s.rows.taps
	first := 0
	for y := rows[0].start; y < rows[len(rows)-1].end; y++ {
		if y%rowsBetweenLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for first < len(rows) && rows[first].end <= y {
			first++
		}
		widen(row, read.row(y, bytes))
		scaleRow(scaled, row, &s.columns)
		for i := first; i < len(rows) && rows[i].start <= y; i++ {
			weight := lanes(s.rows.weights[rows[i].first+y-rows[i].start])
			sums := s.sums[i*stride:][:len(scaled)]
			for j, v := range scaled {
				sums[j] += weight * v
			}
		}
	}
	return nil
}

func widen(dst []lanes, rgb []uint8) {
	for i := range dst {
		pixel := rgb[3*i:][:3]
		dst[i] = lanesOf(pixel[0], pixel[1], pixel[2])
	}
}

// tap is what one target pixel takes along one axis: the source pixels from
// start to end, with the axis' weights from first on.
type tap struct{ start, end, first int }

// axis holds the taps of one axis.
type axis struct {
	taps    []tap
	weights []uint16
}

// keptWeights is the most weights that are kept between calls.
const keptWeights = 1 << 16

// compute makes the taps of n target pixels from size source pixels. Target
// pixel i is centred on offset + (i + ½)·factor in the source.
func (a *axis) compute(n, size int, factor, offset float64) {
	if cap(a.weights) > keptWeights {
		a.weights = nil
	}
	reach := max(factor, 1)
	a.taps, a.weights = slices.Grow(a.taps[:0], n), slices.Grow(a.weights[:0], n*(int(2*reach)+2))
	for i := range n {
		centre := offset + (float64(i)+0.5)*factor
		start := max(0, int(math.Floor(centre-reach)))
		end := min(size, int(math.Ceil(centre+reach)))
		start, end = min(start, size-1), max(end, 1)
		a.taps = append(a.taps, tap{start, end, len(a.weights)})

		triangle := func(j int) float64 { return max(0, 1-math.Abs(float64(j)+0.5-centre)/reach) }
		total := 0.0
		for j := start; j < end; j++ {
			total += triangle(j)
		}
		// What is rounded is the sum so far: the weights add up to one exactly,
		// and a filter of more taps than one has units takes every so manieth.
		sum, before := 0.0, 0
		for j := start; j < end; j++ {
			sum += triangle(j)
			upTo := int(math.Round(sum / total * one))
			a.weights = append(a.weights, uint16(upTo-before))
			before = upTo
		}
	}
}

func scaleRow(dst, row []lanes, columns *axis) {
	for i, column := range columns.taps {
		weights := columns.weights[column.first:][:column.end-column.start]
		pixels := row[column.start:][:len(weights)]
		var sum lanes
		for j, weight := range weights {
			sum += lanes(weight) * pixels[j]
		}
		dst[i] = sum.rounded()
	}
}
