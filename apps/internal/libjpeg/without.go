//go:build !libjpeg

package libjpeg

import (
	"context"
	"errors"
	"time"
)

// Available says whether this build has libjpeg-turbo.
const Available = false

var errNotBuilt = errors.New("this build has no libjpeg-turbo")

// Decoder is never made in this build.
type Decoder struct{}

// New fails in this build.
func New() (*Decoder, error) { return nil, errNotBuilt }

// Close does nothing in this build.
func (d *Decoder) Close() {}

// Header fails in this build.
func (d *Decoder) Header([]byte) (Header, error) { return Header{}, errNotBuilt }

// Decode fails in this build.
func (d *Decoder) Decode(context.Context, time.Duration, []byte, Header, int, []byte) error {
	return errNotBuilt
}
