package imaging

import (
	"image"
	"image/color"
)

// rowReader reads a picture's rows as R, G, B bytes. What is transparent is put
// on white.
type rowReader struct {
	rgb   *RGB // nil where the bytes have to be written
	write func(y int, dst []uint8)
}

func newRowReader(picture image.Image) rowReader {
	if p, ok := picture.(*RGB); ok {
		return rowReader{rgb: p}
	}
	return rowReader{write: rowWriter(picture)}
}

// row is row y, from 0; it may be written into buffer.
func (r rowReader) row(y int, buffer []uint8) []uint8 {
	if r.rgb != nil {
		return r.rgb.Pix[3*r.rgb.Width*y:][:3*r.rgb.Width]
	}
	r.write(y, buffer)
	return buffer
}

// rowWriter gives a function that writes row y of picture into dst.
func rowWriter(picture image.Image) func(y int, dst []uint8) {
	bounds := picture.Bounds()
	switch p := picture.(type) {
	case *studio:
		return p.row
	case *image.YCbCr:
		return func(y int, dst []uint8) { ycbcrRow(p, bounds.Min.Y+y, dst) }
	case *image.Gray:
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:bounds.Dx()]
			for x, v := range row {
				dst[3*x], dst[3*x+1], dst[3*x+2] = v, v, v
			}
		}
	case *image.RGBA:
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:4*bounds.Dx()]
			for x := range bounds.Dx() {
				s, d := row[4*x:4*x+4:4*x+4], dst[3*x:3*x+3:3*x+3]
				rest := 255 - s[3]
				d[0], d[1], d[2] = s[0]+rest, s[1]+rest, s[2]+rest
			}
		}
	case *image.NRGBA:
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:4*bounds.Dx()]
			for x := range bounds.Dx() {
				s, d := row[4*x:4*x+4:4*x+4], dst[3*x:3*x+3:3*x+3]
				d[0], d[1], d[2] = overWhite(s[0], s[3]), overWhite(s[1], s[3]), overWhite(s[2], s[3])
			}
		}
	case *image.NRGBA64:
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:8*bounds.Dx()]
			for x := range bounds.Dx() {
				s, d := row[8*x:8*x+8:8*x+8], dst[3*x:3*x+3:3*x+3]
				d[0], d[1], d[2] = overWhite(s[0], s[6]), overWhite(s[2], s[6]), overWhite(s[4], s[6])
			}
		}
	case *image.RGBA64:
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:8*bounds.Dx()]
			for x := range bounds.Dx() {
				s, d := row[8*x:8*x+8:8*x+8], dst[3*x:3*x+3:3*x+3]
				rest := 255 - s[6]
				d[0], d[1], d[2] = s[0]+rest, s[2]+rest, s[4]+rest
			}
		}
	case *image.Gray16:
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:2*bounds.Dx()]
			for x := range bounds.Dx() {
				dst[3*x], dst[3*x+1], dst[3*x+2] = row[2*x], row[2*x], row[2*x]
			}
		}
	case *image.Paletted:
		var palette [256][3]uint8
		for i, c := range p.Palette {
			palette[i] = onWhite(c)
		}
		return func(y int, dst []uint8) {
			row := p.Pix[y*p.Stride:][:bounds.Dx()]
			for x, index := range row {
				copy(dst[3*x:], palette[index][:])
			}
		}
	}
	return func(y int, dst []uint8) {
		for x := range bounds.Dx() {
			pixel := onWhite(picture.At(bounds.Min.X+x, bounds.Min.Y+y))
			copy(dst[3*x:], pixel[:])
		}
	}
}

func ycbcrRow(p *image.YCbCr, y int, dst []uint8) {
	width := p.Rect.Dx()
	luma := p.Y[p.YOffset(p.Rect.Min.X, y):][:width]
	chroma := p.COffset(p.Rect.Min.X, y)
	switch p.SubsampleRatio {
	case image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio440:
		cb, cr := p.Cb[chroma:][:width], p.Cr[chroma:][:width]
		for x := range luma {
			dst[3*x], dst[3*x+1], dst[3*x+2] = color.YCbCrToRGB(luma[x], cb[x], cr[x])
		}
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		minX := p.Rect.Min.X
		for x := range luma {
			c := chroma + (minX+x)/2 - minX/2
			dst[3*x], dst[3*x+1], dst[3*x+2] = color.YCbCrToRGB(luma[x], p.Cb[c], p.Cr[c])
		}
	default:
		for x := range luma {
			c := p.COffset(p.Rect.Min.X+x, y)
			dst[3*x], dst[3*x+1], dst[3*x+2] = color.YCbCrToRGB(luma[x], p.Cb[c], p.Cr[c])
		}
	}
}

func onWhite(c color.Color) [3]uint8 {
	r, g, b, a := c.RGBA()
	rest := 0xffff - a
	return [3]uint8{uint8((r + rest) >> 8), uint8((g + rest) >> 8), uint8((b + rest) >> 8)}
}
