// Package imaging turns the bytes of a picture into the numbers that a model
// reads: decode, scale, arrange.
package imaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // the formats that Decode knows
	_ "image/jpeg"
	_ "image/png"
	"time"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"

	"headroom.dev/apps/internal/libjpeg"
)

// Error is a picture that can't be used.
type Error struct {
	// TooLarge tells a picture that asks for more than is given to one from a
	// body that is no picture.
	TooLarge bool
	// Message is for people.
	Message string
}

func (e *Error) Error() string { return e.Message }

// MaxSide is the largest width and height of a picture, in pixels: JPEG's own
// limit. Scaling does work for every row that does not depend on the row's
// length, so the number of pixels alone does not bound it.
const MaxSide = 65535

// Limits bound what one picture may cost.
type Limits struct {
	// Pixels is the most pixels that a picture may have.
	Pixels int64
	// Memory is what all pictures share that are decoded at the same time; nil
	// for as much as they take.
	Memory *Budget
	// Time is the longest that decoding may take.
	Time time.Duration
}

// Picture is a decoded picture.
type Picture struct {
	image.Image
	// Orientation is how it is to be turned before it is seen.
	Orientation Orientation
}

// Decoder decodes one picture at a time. It keeps its buffers between calls.
type Decoder struct {
	geometry Geometry
	limits   Limits
	jpeg     *libjpeg.Decoder // nil in builds without libjpeg-turbo
	rgb      RGB
	reserved int64 // of the limits' memory
}

// keptPixels is the largest buffer of pixels, in bytes, that is kept between
// calls: a picture of 1280×1024. Larger ones, which only pictures of extreme
// proportions need where libjpeg-turbo reduces them, are given back.
const keptPixels = 4 << 20

// NewDecoder makes a Decoder of pictures that will be scaled as geometry says:
// where a format can be decoded at a reduced size, it is decoded no larger than
// that needs.
func NewDecoder(geometry Geometry, limits Limits) (*Decoder, error) {
	d := &Decoder{geometry: geometry, limits: limits}
	if libjpeg.Available {
		jpeg, err := libjpeg.New()
		if err != nil {
			return nil, err
		}
		d.jpeg = jpeg
	}
	return d, nil
}

// Close frees the decoder.
func (d *Decoder) Close() {
	d.Release()
	if d.jpeg != nil {
		d.jpeg.Close()
	}
}

// Release gives the memory of the picture back that was decoded last; it must
// not be used any more.
func (d *Decoder) Release() {
	d.limits.Memory.release(d.reserved)
	d.reserved = 0
}

// reserve takes n bytes of the memory that all pictures share, and waits for
// them where others have them.
func (d *Decoder) reserve(ctx context.Context, format string, n int64) error {
	if most := d.limits.Memory.size(); n > most {
		return &Error{
			TooLarge: true,
			Message:  fmt.Sprintf("the %s picture takes about %d bytes of memory to decode; at most %d are given", format, n, most),
		}
	}
	if err := d.limits.Memory.acquire(ctx, n); err != nil {
		return err
	}
	d.reserved = n
	return nil
}

// Decode reads a JPEG, PNG, GIF (its first frame), WebP or BMP. A picture that
// announces more pixels than the limit, a side above MaxSide, or so many pixels
// that they need more memory than there is, is refused before any is taken for
// them. Decoding ends early when ctx does, with ctx's error, and when it has
// taken too long: a small file can ask for very much work. Other errors are
// *Error. The picture is valid until the next call or Release.
func (d *Decoder) Decode(ctx context.Context, body []byte) (picture Picture, err error) {
	d.Release()
	defer func() {
		if err != nil {
			d.Release()
		}
	}()
	picture.Orientation = orientation(body)
	if d.jpeg != nil && bytes.HasPrefix(body, []byte("\xff\xd8")) {
		picture.Image, err = d.decodeJPEG(ctx, body, picture.Orientation)
	} else {
		picture.Image, err = d.decode(ctx, body)
	}
	return picture, err
}

func (d *Decoder) decodeJPEG(ctx context.Context, body []byte, turn Orientation) (image.Image, error) {
	broken := func(err error) error {
		return &Error{Message: fmt.Sprintf("the jpeg picture can't be decoded: %v", err)}
	}
	header, err := d.jpeg.Header(body)
	if err != nil {
		return nil, broken(err)
	}
	if err := d.checkSize("jpeg", header.Width, header.Height); err != nil {
		return nil, err
	}
	denominator := d.geometry.reducible(header.Width, header.Height, turn)
	d.rgb.Width, d.rgb.Height = header.Reduced(denominator)
	room := header.Room(denominator)
	memory := int64(room)
	if header.Progressive {
		const coefficient = 2 // bytes
		memory += coefficient * int64(header.Components) * int64(header.Width) * int64(header.Height)
	}
	if err := d.reserve(ctx, "jpeg", memory); err != nil {
		return nil, err
	}
	if cap(d.rgb.Pix) < room || cap(d.rgb.Pix) > keptPixels {
		d.rgb.Pix = make([]uint8, room)
	}
	d.rgb.Pix = d.rgb.Pix[:room]

	err = d.jpeg.Decode(ctx, d.limits.Time, body, header, denominator, d.rgb.Pix)
	switch {
	case err == nil:
		return &d.rgb, nil
	case errors.Is(err, libjpeg.ErrTimeout):
		return nil, d.tooSlow("jpeg")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, broken(err)
}

func (d *Decoder) decode(ctx context.Context, body []byte) (picture image.Image, err error) {
	defer func() {
		// The bytes come from outside and the decoders index into slices: a
		// decoder's bug must cost one request, not the server.
		if p := recover(); p != nil {
			picture, err = nil, &Error{Message: fmt.Sprintf("the picture can't be decoded: %v", p)}
		}
	}()

	config, format, err := image.DecodeConfig(bytes.NewReader(body))
	if errors.Is(err, image.ErrFormat) {
		return nil, &Error{Message: "the body is not a picture in a known format; allowed: JPEG, PNG, GIF, WebP, BMP"}
	}
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("the picture can't be decoded: %v", err)}
	}
	if err := d.checkSize(format, config.Width, config.Height); err != nil {
		return nil, err
	}
	if err := d.reserve(ctx, format, bytesPerPixel(format, config.ColorModel)*int64(config.Width)*int64(config.Height)); err != nil {
		return nil, err
	}

	source := &reader{ctx: ctx, end: time.Now().Add(d.limits.Time), bytes: bytes.NewReader(body)}
	picture, _, err = image.Decode(source)
	switch {
	case source.late || time.Now().After(source.end):
		return nil, d.tooSlow(format)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &Error{Message: fmt.Sprintf("the %s picture can't be decoded: %v", format, err)}
	case picture.Bounds().Empty():
		return nil, &Error{Message: fmt.Sprintf("the %s picture has no pixels", format)}
	case format == "webp":
		return studioRange(picture), nil
	}
	return picture, nil
}

// bytesPerPixel is about what the Go decoders take for a pixel at most.
func bytesPerPixel(format string, model color.Model) int64 {
	switch format {
	case "jpeg": // a progressive one has coefficients of 4 bytes, and planes
		if model == color.CMYKModel {
			return 24
		}
		return 15
	case "png": // an interlaced one is put together from another
		if model == color.RGBA64Model || model == color.NRGBA64Model {
			return 16
		}
		return 8
	case "webp": // one without loss is transformed from copy to copy
		return 12
	}
	return 5
}

func (d *Decoder) checkSize(format string, width, height int) error {
	if width <= 0 || height <= 0 {
		return &Error{Message: fmt.Sprintf("the %s picture has %d×%d pixels", format, width, height)}
	}
	if width > MaxSide || height > MaxSide || int64(width)*int64(height) > d.limits.Pixels {
		return &Error{
			TooLarge: true,
			Message: fmt.Sprintf("the %s picture has %d×%d pixels; at most %d in all and %d a side are accepted",
				format, width, height, d.limits.Pixels, MaxSide),
		}
	}
	return nil
}

func (d *Decoder) tooSlow(format string) error {
	return &Error{
		TooLarge: true,
		Message:  fmt.Sprintf("the %s picture takes longer to decode than %v, the most that is accepted", format, d.limits.Time),
	}
}

// reader fails once its context is done or its time is over.
type reader struct {
	ctx   context.Context
	end   time.Time
	late  bool
	bytes *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if time.Now().After(r.end) {
		r.late = true
		return 0, errors.New("out of time")
	}
	return r.bytes.Read(p)
}
