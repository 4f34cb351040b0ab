package imaging

import (
	"image"
	"image/color"
)

// studioRange makes of the planes of a WebP with loss what they mean. They hold
// luma from 16 to 235 and chroma from 16 to 240 (ITU-R BT.601, as RFC 6386
// requires of VP8), which golang.org/x/image/webp leaves to its caller; the
// standard library would take them for JPEG's, which use all of 0 to 255.
func studioRange(picture image.Image) image.Image {
	switch p := picture.(type) {
	case *image.YCbCr:
		return &studio{picture: p}
	case *image.NYCbCrA:
		return &studio{picture: &p.YCbCr, alpha: p}
	}
	return picture
}

// studio is a picture with planes of studio range.
type studio struct {
	picture *image.YCbCr
	alpha   *image.NYCbCrA // nil where all is opaque
}

func (p *studio) ColorModel() color.Model { return color.NRGBAModel }

func (p *studio) Bounds() image.Rectangle { return p.picture.Rect }

func (p *studio) At(x, y int) color.Color {
	if !(image.Point{X: x, Y: y}).In(p.picture.Rect) {
		return color.NRGBA{}
	}
	c := p.picture.COffset(x, y)
	r, g, b := studioToRGB(p.picture.Y[p.picture.YOffset(x, y)], p.picture.Cb[c], p.picture.Cr[c])
	a := uint8(255)
	if p.alpha != nil {
		a = p.alpha.A[p.alpha.AOffset(x, y)]
	}
	return color.NRGBA{R: r, G: g, B: b, A: a}
}

// row writes row y, from 0, into dst as R, G, B bytes, on white.
func (p *studio) row(y int, dst []uint8) {
	bounds := p.picture.Rect
	y += bounds.Min.Y
	luma := p.picture.Y[p.picture.YOffset(bounds.Min.X, y):][:bounds.Dx()]
	for x, v := range luma {
		c := p.picture.COffset(bounds.Min.X+x, y)
		r, g, b := studioToRGB(v, p.picture.Cb[c], p.picture.Cr[c])
		if p.alpha != nil {
			a := p.alpha.A[p.alpha.AOffset(bounds.Min.X+x, y)]
			r, g, b = overWhite(r, a), overWhite(g, a), overWhite(b, a)
		}
		pixel := dst[3*x:][:3]
		pixel[0], pixel[1], pixel[2] = r, g, b
	}
}

// studioToRGB is BT.601's matrix in 256ths: 255/219 for luma, and for chroma
// 255/224 of 1.402, 0.344, 0.714 and 1.772.
func studioToRGB(y, cb, cr uint8) (r, g, b uint8) {
	luma := 298*(int32(y)-16) + 128
	u, v := int32(cb)-128, int32(cr)-128
	return clamp((luma + 409*v) >> 8), clamp((luma - 100*u - 208*v) >> 8), clamp((luma + 516*u) >> 8)
}

func clamp(v int32) uint8 { return uint8(min(max(v, 0), 255)) }

// overWhite is v with the opacity a, on white.
func overWhite(v, a uint8) uint8 {
	return uint8((uint32(v)*uint32(a) + 255*(255-uint32(a)) + 127) / 255)
}
