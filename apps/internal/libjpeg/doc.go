// Package libjpeg decodes JPEG pictures with libjpeg-turbo, also at a half, a
// quarter or an eighth of their size, which costs a fraction of decoding them
// whole. It is there in builds with the tag libjpeg, which need cgo and
// libjpeg-turbo's headers and static library; in others Available is false.
package libjpeg

import "errors"

// ErrUnsupported is a picture that is right but that this package can't
// convert to RGB: one with four colour components.
var ErrUnsupported = errors.New("pictures with four colour components are not supported")

// ErrTimeout is a picture that takes longer to decode than it may.
var ErrTimeout = errors.New("decoding takes too long")
