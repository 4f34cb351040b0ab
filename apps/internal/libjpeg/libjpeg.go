//go:build libjpeg

package libjpeg

// libjpeg-turbo is linked statically: the program then needs no library beside
// it, and its version is that of the machine that built it.

// #cgo LDFLAGS: -l:libjpeg.a
// #include "decoder.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"headroom.dev/apps/internal/interrupt"
)

// Available says whether this build has libjpeg-turbo.
const Available = true

// Decoder decodes one picture at a time.
type Decoder struct {
	c *C.headroom_jpeg
	// header is what was read last. It lies here so that a call needs no memory.
	header struct{ width, height, components, progressive C.int }
	guard  *interrupt.Guard
}

// New makes a Decoder.
func New() (*Decoder, error) {
	c := C.headroom_jpeg_new()
	if c == nil {
		return nil, errors.New("making a JPEG decoder: out of memory")
	}
	return &Decoder{c: c, guard: interrupt.New(func() { C.headroom_jpeg_stop(c) })}, nil
}

// Close frees the decoder.
func (d *Decoder) Close() { C.headroom_jpeg_free(d.c) }

// Header reads what a picture says of itself.
func (d *Decoder) Header(picture []byte) (Header, error) {
	if len(picture) == 0 {
		return Header{}, errors.New("empty input")
	}
	h := &d.header
	result := C.headroom_jpeg_header(d.c, (*C.uint8_t)(unsafe.Pointer(&picture[0])), C.size_t(len(picture)),
		&h.width, &h.height, &h.components, &h.progressive)
	if err := d.failure(result); err != nil {
		return Header{}, err
	}
	return Header{Width: int(h.width), Height: int(h.height), Components: int(h.components), Progressive: h.progressive != 0}, nil
}

// Decode decodes a picture at 1/denominator of its size, which is 1, 2, 4 or
// 8, into pixels: R, G, B bytes, row by row. pixels must have header's Room for
// the denominator. It ends early with ctx's error
// when ctx is done, and with ErrTimeout when it has taken limit.
func (d *Decoder) Decode(ctx context.Context, limit time.Duration, picture []byte, header Header, denominator int, pixels []byte) error {
	width, height := header.Reduced(denominator)
	if room := header.Room(denominator); len(picture) == 0 || room < 1 || len(pixels) < room {
		return fmt.Errorf("%d bytes of input and %d bytes of room for %d", len(picture), len(pixels), room)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	C.headroom_jpeg_arm(d.c)
	d.guard.Begin(ctx, limit)
	result := C.headroom_jpeg_decode(d.c, (*C.uint8_t)(unsafe.Pointer(&picture[0])), C.size_t(len(picture)),
		C.int(denominator), C.int(width), C.int(height), (*C.uint8_t)(unsafe.Pointer(&pixels[0])))
	_, late := d.guard.End()
	if result != C.HEADROOM_JPEG_STOPPED {
		return d.failure(result)
	}
	if late {
		return ErrTimeout
	}
	return ctx.Err()
}

func (d *Decoder) failure(result C.int) error {
	if result == C.HEADROOM_JPEG_OK {
		return nil
	}
	return errors.New(C.GoString(C.headroom_jpeg_message(d.c)))
}
