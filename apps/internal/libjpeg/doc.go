// Package libjpeg decodes JPEG pictures with libjpeg-turbo, also at a half, a
// quarter or an eighth of their size, which costs a fraction of decoding them
// whole. It is there in builds with the tag libjpeg, which need cgo and
// libjpeg-turbo's headers and static library; in others Available is false.
package libjpeg

import "errors"

// ErrTimeout is a picture that takes longer to decode than it may.
var ErrTimeout = errors.New("decoding takes too long")

// Header is what a picture says of itself.
type Header struct {
	// Width and Height are in pixels.
	Width, Height int
	// Components are 1 for grey, 3 for colour and 4 for print colours.
	Components int
	// Progressive pictures are kept in memory whole while they are decoded, as
	// coefficients.
	Progressive bool
}

// Reduced is the size in pixels that the picture has when it is decoded at
// 1/denominator.
func (h Header) Reduced(denominator int) (width, height int) {
	return (h.Width + denominator - 1) / denominator, (h.Height + denominator - 1) / denominator
}

// Room is how many bytes of pixels it takes to decode the picture at
// 1/denominator.
func (h Header) Room(denominator int) int {
	width, height := h.Reduced(denominator)
	return max(h.Components, 3) * width * height
}
