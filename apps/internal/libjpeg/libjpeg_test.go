//go:build libjpeg

package libjpeg

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func newDecoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func (d *Decoder) whole(ctx context.Context, picture []byte) ([]byte, error) {
	header, err := d.Header(picture)
	if err != nil {
		return nil, err
	}
	pixels := make([]byte, header.Room(1))
	err = d.Decode(ctx, time.Minute, picture, header, 1, pixels)
	return pixels[:3*header.Width*header.Height], err
}

func photo(t testing.TB, width, height, quality int) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(quality)))
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range picture.Pix {
		picture.Pix[i] = uint8(random.IntN(256))
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// without is the picture without its segments of a kind.
func without(picture []byte, marker byte) []byte {
	result := slices.Clone(picture[:2])
	for rest := picture[2:]; ; {
		length := 2 + int(binary.BigEndian.Uint16(rest[2:]))
		if rest[1] == 0xda { // start of scan
			return append(result, rest...)
		}
		if rest[1] != marker {
			result = append(result, rest[:length]...)
		}
		rest = rest[length:]
	}
}

// What a picture becomes must not depend on the pictures before it: a decoder
// that is used again forgets their tables.
func TestAPictureIsDecodedByItsOwnTablesAlone(t *testing.T) {
	const quantization, huffman = 0xdb, 0xc4
	first, second := photo(t, 40, 30, 90), photo(t, 40, 30, 20)
	progressive, err := os.ReadFile("../imaging/testdata/golden/progressive.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for name, picture := range map[string][]byte{
		"whole": first, "without quantization tables": without(first, quantization), "without Huffman tables": without(first, huffman),
	} {
		want, wantErr := newDecoder(t).whole(t.Context(), picture)
		used := newDecoder(t)
		for _, before := range [][]byte{second, progressive, second[:200]} {
			_, _ = used.whole(t.Context(), before)
			got, err := used.whole(t.Context(), picture)
			if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
				t.Errorf("%s: after other pictures %v, on its own %v; the same pixels: %v", name, err, wantErr, bytes.Equal(got, want))
			}
		}
	}
	if _, err := newDecoder(t).whole(t.Context(), without(first, quantization)); err == nil || !strings.Contains(err.Error(), "Quantization table") {
		t.Errorf("without quantization tables: %v", err)
	}
}

func TestDecodeIsStopped(t *testing.T) {
	picture := photo(t, 3000, 2000, 90)
	d := newDecoder(t)
	header, err := d.Header(picture)
	if err != nil || header != (Header{Width: 3000, Height: 2000, Components: 3}) {
		t.Fatalf("got %+v, %v", header, err)
	}
	pixels := make([]byte, header.Room(1))
	if err := d.Decode(t.Context(), time.Millisecond, picture, header, 1, pixels); !errors.Is(err, ErrTimeout) {
		t.Errorf("after its time: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := d.Decode(ctx, time.Minute, picture, header, 1, pixels); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its context: %v", err)
	}
	if err := d.Decode(ctx, time.Minute, picture, header, 1, pixels); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if err := d.Decode(t.Context(), time.Minute, picture, header, 1, pixels); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := d.Decode(t.Context(), time.Minute, picture, header, 1, pixels[1:]); err == nil {
		t.Error("pixels were written where there is no room")
	}
	if err := d.Decode(t.Context(), time.Minute, picture, Header{Width: 30, Height: 20, Components: 3}, 1, pixels); err == nil || !strings.Contains(err.Error(), "decodes to 3000x2000 pixels, expected 30x20") {
		t.Errorf("with another picture's header: %v", err)
	}
}

// Each scan of a progressive picture is a pass over the whole of it.
func TestScansAreBounded(t *testing.T) {
	picture, err := os.ReadFile("../imaging/testdata/golden/progressive.jpg")
	if err != nil {
		t.Fatal(err)
	}
	// The last scan, once more for each that is too many. It refines by nothing
	// new, but has to be read.
	last := bytes.LastIndex(picture, []byte("\xff\xda"))
	end := len(picture) - 2
	many := slices.Concat(picture[:end], bytes.Repeat(picture[last:end], 120), picture[end:])
	if _, err := newDecoder(t).whole(t.Context(), picture); err != nil {
		t.Fatal(err)
	}
	if _, err := newDecoder(t).whole(t.Context(), many); err == nil {
		t.Error("130 scans were decoded")
	}
}

func TestDecodeTakesNoMemoryOfGo(t *testing.T) {
	picture := photo(t, 64, 64, 80)
	d := newDecoder(t)
	header, err := d.Header(picture)
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]byte, header.Room(1))
	ctx := t.Context()
	n := testing.AllocsPerRun(50, func() {
		if _, err := d.Header(picture); err != nil {
			t.Error(err)
		}
		if err := d.Decode(ctx, time.Minute, picture, header, 1, pixels); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
