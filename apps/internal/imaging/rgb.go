package imaging

import (
	"image"
	"image/color"
)

// RGB is a picture of R, G, B bytes, row by row without gaps.
type RGB struct {
	Pix           []uint8
	Width, Height int
}

// ColorModel is RGBA's: RGB has no model of its own.
func (p *RGB) ColorModel() color.Model { return color.RGBAModel }

// Bounds begin at 0, 0.
func (p *RGB) Bounds() image.Rectangle { return image.Rect(0, 0, p.Width, p.Height) }

// At is the opaque pixel at x, y; outside of the bounds it is transparent.
func (p *RGB) At(x, y int) color.Color {
	if !(image.Point{X: x, Y: y}).In(p.Bounds()) {
		return color.RGBA{}
	}
	pixel := p.Pix[3*(y*p.Width+x):]
	return color.RGBA{R: pixel[0], G: pixel[1], B: pixel[2], A: 255}
}
