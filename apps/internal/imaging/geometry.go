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
	// Crop scales the shorter side to a length and takes the centre.
	Crop Resize = "crop"
	// Letterbox scales until the picture fits into the model's shape, puts it
	// in the centre and fills the rest.
	Letterbox Resize = "letterbox"
)

// Geometry is where a picture's pixels go.
type Geometry struct {
	// Width and Height are the result's, in pixels, at least 1.
	Width, Height int
	Resize        Resize
	// ShorterSide is for Crop: the length in pixels to which the picture's
	// shorter side is scaled before the centre is taken, at least the longer
	// of Width and Height. 0 scales no further down than the result needs.
	ShorterSide int
	// Pad is for Letterbox: the value of the pixels around the picture, in all
	// three channels.
	Pad uint8
}

// placement is how one picture gets into the result. Target pixel i of an axis
// is centred on offset + (i + ½)·factor in the picture.
type placement struct {
	// target is what the picture covers of the result.
	target           image.Rectangle
	factorX, factorY float64
	offsetX, offsetY float64
}

// place places a picture of width×height pixels, as a viewer sees it.
func (g Geometry) place(width, height int) placement {
	w, h := float64(width), float64(height)
	p := placement{
		target:  image.Rect(0, 0, g.Width, g.Height),
		factorX: w / float64(g.Width), factorY: h / float64(g.Height),
	}
	switch g.Resize {
	case Crop:
		factor := min(p.factorX, p.factorY)
		if g.ShorterSide > 0 {
			factor = min(w, h) / float64(g.ShorterSide)
		}
		p.factorX, p.factorY = factor, factor
		p.offsetX = (w - factor*float64(g.Width)) / 2
		p.offsetY = (h - factor*float64(g.Height)) / 2
	case Letterbox:
		factor := max(p.factorX, p.factorY)
		fitW := min(g.Width, max(1, int(math.Round(w/factor))))
		fitH := min(g.Height, max(1, int(math.Round(h/factor))))
		p.target = image.Rect(0, 0, fitW, fitH).Add(image.Pt((g.Width-fitW)/2, (g.Height-fitH)/2))
		p.factorX, p.factorY = w/float64(fitW), h/float64(fitH)
	}
	return p
}

// turned is the placement of the same picture as it is stored, when that is
// on its side. Only the size of target is of use then.
func (p placement) turned() placement {
	return placement{
		target:  image.Rect(0, 0, p.target.Dy(), p.target.Dx()),
		factorX: p.factorY, factorY: p.factorX,
		offsetX: p.offsetY, offsetY: p.offsetX,
	}
}

// leftToScale is by how much a picture that was reduced while it was decoded is
// still to be made smaller, at least. The decoder's reduction keeps more of what
// is finer than the result's pixels than the filter of Scale does; with a factor
// of 2 left that hardly shows (libvips leaves the same).
const leftToScale = 2

// reducible is by how much a picture of width×height stored pixels may be
// reduced while it is decoded: 1, 2, 4 or 8.
func (g Geometry) reducible(width, height int, orientation Orientation) int {
	if orientation.sideways() {
		width, height = height, width
	}
	p := g.place(width, height)
	factor := min(p.factorX, p.factorY)
	for _, denominator := range []int{8, 4, 2} {
		if factor >= float64(leftToScale*denominator) {
			return denominator
		}
	}
	return 1
}
