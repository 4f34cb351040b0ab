// Package imaging turns the bytes of a picture into the numbers that a model
// reads: decode, scale, arrange.
package imaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
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
	if d.jpeg != nil {
		d.jpeg.Close()
	}
}

// Decode reads a JPEG, PNG, GIF (its first frame), WebP or BMP. A picture that
// announces more pixels than the limit, or a side above MaxSide, is refused
// before any memory is taken for them. Decoding ends early when ctx does, with
// ctx's error, and when it has taken too long: a small file can ask for very
// much work. Other errors are *Error. The picture is valid until the next call.
func (d *Decoder) Decode(ctx context.Context, body []byte) (Picture, error) {
	turn := orientation(body)
	if d.jpeg != nil && bytes.HasPrefix(body, []byte("\xff\xd8")) {
		picture, err := d.decodeJPEG(ctx, body, turn)
		if !errors.Is(err, libjpeg.ErrUnsupported) {
			return picture, err
		}
	}
	decoded, err := d.decode(ctx, body)
	return Picture{decoded, turn}, err
}

func (d *Decoder) decodeJPEG(ctx context.Context, body []byte, turn Orientation) (Picture, error) {
	width, height, err := d.jpeg.Header(body)
	if errors.Is(err, libjpeg.ErrUnsupported) {
		return Picture{}, err
	}
	if err != nil {
		return Picture{}, &Error{Message: fmt.Sprintf("the jpeg picture can't be decoded: %v", err)}
	}
	if err := d.checkSize("jpeg", width, height); err != nil {
		return Picture{}, err
	}
	denominator := d.geometry.reducible(width, height, turn)
	width, height = (width+denominator-1)/denominator, (height+denominator-1)/denominator
	d.rgb.Width, d.rgb.Height = width, height
	n := 3 * width * height
	if cap(d.rgb.Pix) < n || cap(d.rgb.Pix) > keptPixels {
		d.rgb.Pix = make([]uint8, n)
	}
	d.rgb.Pix = d.rgb.Pix[:n]

	err = d.jpeg.Decode(ctx, d.limits.Time, body, denominator, width, height, d.rgb.Pix)
	switch {
	case err == nil:
		return Picture{&d.rgb, turn}, nil
	case errors.Is(err, libjpeg.ErrTimeout):
		return Picture{}, d.tooSlow("jpeg")
	case ctx.Err() != nil:
		return Picture{}, ctx.Err()
	}
	return Picture{}, &Error{Message: fmt.Sprintf("the jpeg picture can't be decoded: %v", err)}
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

	source := &reader{ctx: ctx, end: time.Now().Add(d.limits.Time), bytes: bytes.NewReader(body)}
	picture, _, err = image.Decode(source)
	switch {
	case source.late:
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
