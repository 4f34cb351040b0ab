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

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"
)

// Error is a picture that can't be used.
type Error struct {
	// TooLarge tells a picture with too many pixels from one that is no
	// picture.
	TooLarge bool
	// Message is for people.
	Message string
}

func (e *Error) Error() string { return e.Message }

// MaxSide is the largest width and height of a picture, in pixels: JPEG's own
// limit. Scaling does work for every row that does not depend on the row's
// length, so the number of pixels alone does not bound it.
const MaxSide = 65535

// Decode reads a JPEG, PNG, GIF (its first frame), WebP or BMP. A picture
// that announces more than maxPixels pixels, or a side above MaxSide, is refused before any memory is
// taken for them. Decoding ends early when ctx does, with ctx's error: a small
// file can ask for very much work. Other errors are *Error.
func Decode(ctx context.Context, body []byte, maxPixels int64) (picture image.Image, err error) {
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
	if config.Width <= 0 || config.Height <= 0 {
		return nil, &Error{Message: fmt.Sprintf("the %s picture has %d×%d pixels", format, config.Width, config.Height)}
	}
	if config.Width > MaxSide || config.Height > MaxSide || int64(config.Width)*int64(config.Height) > maxPixels {
		return nil, &Error{
			TooLarge: true,
			Message:  fmt.Sprintf("the %s picture has %d×%d pixels; at most %d in all and %d a side are accepted", format, config.Width, config.Height, maxPixels, MaxSide),
		}
	}

	picture, _, err = image.Decode(&reader{ctx: ctx, bytes: bytes.NewReader(body)})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("the %s picture can't be decoded: %v", format, err)}
	}
	if picture.Bounds().Empty() {
		return nil, &Error{Message: fmt.Sprintf("the %s picture has no pixels", format)}
	}
	return picture, nil
}

// reader fails once its context is done.
type reader struct {
	ctx   context.Context
	bytes *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.bytes.Read(p)
}
