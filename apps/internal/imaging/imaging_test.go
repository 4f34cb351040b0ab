package imaging_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/libjpeg"
)

var limits = imaging.Limits{Pixels: 25_000_000, Time: 10 * time.Second}

func stretch(width, height int) imaging.Geometry {
	return imaging.Geometry{Width: width, Height: height, Resize: imaging.Stretch}
}

// newDecoder makes a decoder of pictures that will be as large as they come.
func newDecoder(t testing.TB, geometry imaging.Geometry, limits imaging.Limits) *imaging.Decoder {
	t.Helper()
	d, err := imaging.NewDecoder(geometry, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// scaled scales a picture by geometry.
func scaled(t testing.TB, scaler *imaging.Scaler, picture imaging.Picture) []uint8 {
	t.Helper()
	pixels, err := scaler.Scale(t.Context(), picture)
	if err != nil {
		t.Fatal(err)
	}
	return pixels
}

func upright(picture image.Image) imaging.Picture { return imaging.Picture{Image: picture} }

// webpRed is a lossless WebP of 1×1 pixel of pure red: RIFF and VP8L headers,
// then one-symbol prefix codes for green 0, red 255, blue 0, alpha 255.
var webpRed = vp8l(1, 1, []bits{{0, 1}, {0, 1}, {0, 1}, // no transform, no colour cache, no meta codes
	{1, 1}, {0, 1}, {0, 1}, {0, 1}, // green: a simple code of one symbol of one bit: 0
	{1, 1}, {0, 1}, {1, 1}, {255, 8}, // red: one symbol of eight bits
	{1, 1}, {0, 1}, {0, 1}, {0, 1}, // blue
	{1, 1}, {0, 1}, {1, 1}, {255, 8}, // alpha
	{1, 1}, {0, 1}, {0, 1}, {0, 1}, // distance
})

// bits are n bits of v, the lowest first.
type bits struct{ v, n uint32 }

func vp8l(width, height uint32, data []bits) []byte {
	stream := append([]bits{{0x2f, 8}, {width - 1, 14}, {height - 1, 14}, {0, 1}, {0, 3}}, data...)
	var packed []byte
	n := 0
	for _, b := range stream {
		for i := range b.n {
			if n%8 == 0 {
				packed = append(packed, 0)
			}
			packed[n/8] |= byte(b.v>>i&1) << (n % 8)
			n++
		}
	}
	size := uint32(len(packed))
	if len(packed)%2 == 1 {
		packed = append(packed, 0)
	}
	file := []byte("RIFF")
	file = binary.LittleEndian.AppendUint32(file, uint32(len(packed))+12)
	file = append(file, "WEBPVP8L"...)
	file = binary.LittleEndian.AppendUint32(file, size)
	return append(file, packed...)
}

func solid(width, height int, c color.Color) *image.RGBA {
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	return picture
}

func encoded(t testing.TB, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeKnowsTheFormats(t *testing.T) {
	red := solid(3, 2, color.RGBA{R: 255, A: 255})
	palette := image.NewPaletted(red.Bounds(), color.Palette{color.RGBA{R: 255, A: 255}, color.Black})
	second := image.NewPaletted(red.Bounds(), color.Palette{color.RGBA{B: 255, A: 255}, color.Black})
	tests := map[string][]byte{
		"JPEG": encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, red, &jpeg.Options{Quality: 100}) }),
		"PNG":  encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, red) }),
		"BMP":  encoded(t, func(b *bytes.Buffer) error { return bmp.Encode(b, red) }),
		"WebP": webpRed,
		"the first frame of a GIF": encoded(t, func(b *bytes.Buffer) error {
			return gif.EncodeAll(b, &gif.GIF{Image: []*image.Paletted{palette, second}, Delay: []int{1, 1}})
		}),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			picture, err := newDecoder(t, stretch(64, 64), limits).Decode(t.Context(), body)
			if err != nil {
				t.Fatal(err)
			}
			pixels := scaled(t, imaging.NewScaler(stretch(1, 1)), picture)
			if pixels[0] < 253 || pixels[1] > 2 || pixels[2] > 2 {
				t.Errorf("red came out as %v", pixels)
			}
		})
	}
}

// pngBomb announces width×height pixels and holds none.
func pngBomb(width, height uint32) []byte {
	header := []byte("IHDR")
	header = binary.BigEndian.AppendUint32(header, width)
	header = binary.BigEndian.AppendUint32(header, height)
	header = append(header, 8, 2, 0, 0, 0)
	file := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d")
	file = append(file, header...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(header))
}

// gifBomb is 34 bytes that ask for 65535×65535 pixels (golang/go#79063).
var gifBomb = []byte("GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02L\x01\x00")

func TestDecodeRefuses(t *testing.T) {
	photo := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, solid(64, 64, color.White), nil) })
	tests := []struct {
		name     string
		body     []byte
		tooLarge bool
		message  string
	}{
		{"text", []byte("hello"), false, "the body is not a picture in a known format; allowed: JPEG, PNG, GIF, WebP, BMP"},
		{"a JPEG that is cut off in its header", photo[:20], false, either("the jpeg picture can't be decoded: Premature end of JPEG file", "the picture can't be decoded: unexpected EOF")},
		{"a JPEG that is cut off in its data", photo[:len(photo)-20], false, either("the jpeg picture can't be decoded: Corrupt JPEG data: premature end of data segment",
			"the jpeg picture can't be decoded: invalid JPEG format: short Huffman data")},
		{"a PNG bomb", pngBomb(50_000, 50_000), true, "the png picture has 50000×50000 pixels; at most 25000000 in all and 65535 a side are accepted"},
		{"a PNG whose pixels overflow 64 bits when multiplied carelessly", pngBomb(1<<31-1, 1<<31-1), false, "the picture can't be decoded: png: unsupported feature: dimension overflow"},
		{"a GIF bomb of 34 bytes", gifBomb, true, "the gif picture has 65535×65535 pixels; at most 25000000 in all and 65535 a side are accepted"},
		{"a WebP bomb", vp8l(16384, 16384, nil), true, "the webp picture has 16384×16384 pixels; at most 25000000 in all and 65535 a side are accepted"},
		{"a side too long", pngBomb(65536, 1), true, "the png picture has 65536×1 pixels; at most 25000000 in all and 65535 a side are accepted"},
		{"one pixel too many", pngBomb(5001, 5000), true, "the png picture has 5001×5000 pixels; at most 25000000 in all and 65535 a side are accepted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := newDecoder(t, stretch(64, 64), limits).Decode(t.Context(), test.body)
			var bad *imaging.Error
			if !errors.As(err, &bad) || bad.TooLarge != test.tooLarge || bad.Message != test.message {
				t.Errorf("got %#v, want %q, too large %v", err, test.message, test.tooLarge)
			}
		})
	}
}

// either is what a build with libjpeg-turbo says, or one without.
func either(with, without string) string {
	if libjpeg.Available {
		return with
	}
	return without
}

// turned is a JPEG, stored with EXIF's orientation.
func turned(t testing.TB, orientation int) []byte {
	t.Helper()
	body, err := os.ReadFile(fmt.Sprintf("testdata/golden/exif-%d.jpg", orientation))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A picture that takes too long is refused for that, whatever decodes it.
func TestDecodeTakesNoLongerThanItMay(t *testing.T) {
	tests := map[string][]byte{
		"jpeg": encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, noise(2000, 1500), nil) }),
		"png":  encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, noise(2000, 1500)) }),
	}
	for format, body := range tests {
		t.Run(format, func(t *testing.T) {
			decoder := newDecoder(t, stretch(64, 64), imaging.Limits{Pixels: limits.Pixels, Time: time.Millisecond})
			_, err := decoder.Decode(t.Context(), body)
			var bad *imaging.Error
			want := "the " + format + " picture takes longer to decode than 1ms, the most that is accepted"
			if !errors.As(err, &bad) || !bad.TooLarge || bad.Message != want {
				t.Errorf("got %v, want %s", err, want)
			}
			// The decoder is of use afterwards.
			small := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, solid(8, 8, color.White), nil) })
			if _, err := newDecoder(t, stretch(64, 64), limits).Decode(t.Context(), small); err != nil {
				t.Error(err)
			}
		})
	}
}

// Pictures that are decoded at the same time share the memory that there is for
// it; one that needs more than all of it is refused, whatever its pixels.
func TestMemoryToDecodeIsShared(t *testing.T) {
	const given = 1 << 20
	shared := imaging.Limits{Pixels: limits.Pixels, Time: limits.Time, Memory: imaging.NewBudget(given)}
	deep := image.NewNRGBA64(image.Rect(0, 0, 300, 300)) // of 16 bytes a pixel
	large := encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, deep) })
	var bad *imaging.Error
	const want = "the png picture takes about 1440000 bytes of memory to decode; at most 1048576 are given"
	if _, err := newDecoder(t, stretch(64, 64), shared).Decode(t.Context(), large); !errors.As(err, &bad) || !bad.TooLarge || bad.Message != want {
		t.Errorf("got %v", err)
	}

	// Two of 720,000 bytes don't go together.
	half := encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, noise(300, 300)) })
	first, second := newDecoder(t, stretch(64, 64), shared), newDecoder(t, stretch(64, 64), shared)
	if _, err := first.Decode(t.Context(), half); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := second.Decode(ctx, half); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second at the same time: %v", err)
	}
	// A picture that can't be decoded gives back what it took, and so does a
	// decoder that is told to.
	if _, err := first.Decode(t.Context(), half[:len(half)/2]); err == nil {
		t.Error("half a picture was decoded")
	}
	if _, err := second.Decode(t.Context(), half); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	second.Release()
	if _, err := first.Decode(t.Context(), half); err != nil {
		t.Errorf("after its release: %v", err)
	}
}

func TestScaleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := imaging.NewScaler(stretch(8, 8)).Scale(ctx, upright(solid(100, 100, color.White))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A photograph of which only the end marker is missing has every pixel.
func TestAJPEGWithoutItsEndMarkerIsWhole(t *testing.T) {
	body := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, noise(64, 48), nil) })
	decoder := newDecoder(t, stretch(64, 48), limits)
	picture, err := decoder.Decode(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(scaled(t, imaging.NewScaler(stretch(64, 48)), picture))
	picture, err = decoder.Decode(t.Context(), body[:len(body)-2])
	if !libjpeg.Available {
		t.Skipf("the standard library's decoder wants the marker: %v", err)
	}
	if err != nil || !slices.Equal(scaled(t, imaging.NewScaler(stretch(64, 48)), picture), want) {
		t.Errorf("got %v, or other pixels", err)
	}
}

// A context that ends while libjpeg-turbo works ends that work.
func TestDecodeEndsWithItsContext(t *testing.T) {
	body := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, noise(4000, 3000), &jpeg.Options{Quality: 95}) })
	decoder := newDecoder(t, stretch(64, 64), limits)
	begin := time.Now()
	if _, err := decoder.Decode(t.Context(), body); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begin)
	ctx, cancel := context.WithTimeout(t.Context(), whole/10)
	defer cancel()
	begin = time.Now()
	if _, err := decoder.Decode(ctx, body); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > whole/2 {
		t.Errorf("it took %v after a tenth of the %v that the whole picture takes", took, whole)
	}
}

// What a JPEG is reduced to while it is decoded must never be less than twice
// what the result needs, for any proportions, resize mode and orientation.
func TestReducedDecodingLeavesEnoughPixels(t *testing.T) {
	if !libjpeg.Available {
		t.Skip("this build has no libjpeg-turbo")
	}
	tests := []struct {
		name          string
		geometry      imaging.Geometry
		body          []byte
		width, height int
	}{
		{"240×160 stretched to 15×15: 16 and 10.7 to 1, so a quarter", stretch(15, 15), turned(t, 1), 60, 40},
		{"on its side, 160×240 are seen: 10.7 and 16 to 1", stretch(15, 15), turned(t, 6), 60, 40},
		{"on its side to 10×30: 16 and 8 to 1", stretch(10, 30), turned(t, 6), 60, 40},
		{"upright to 10×30: 24 and 5.3 to 1", stretch(10, 30), turned(t, 1), 120, 80},
		{"letterbox to 15×15: the width counts, 16 to 1", imaging.Geometry{Width: 15, Height: 15, Resize: imaging.Letterbox}, turned(t, 1), 30, 20},
		{"crop to 15×15: the height counts, 10.7 to 1", imaging.Geometry{Width: 15, Height: 15, Resize: imaging.Crop}, turned(t, 1), 60, 40},
		{"crop after 41 for the shorter side: 3.9 to 1", imaging.Geometry{Width: 15, Height: 15, Resize: imaging.Crop, ShorterSide: 41}, turned(t, 1), 240, 160},
		{"a larger result", stretch(300, 300), turned(t, 1), 240, 160},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			picture, err := newDecoder(t, test.geometry, limits).Decode(t.Context(), test.body)
			if err != nil {
				t.Fatal(err)
			}
			if got := picture.Bounds().Size(); got != image.Pt(test.width, test.height) {
				t.Errorf("decoded to %v, want %d×%d", got, test.width, test.height)
			}
		})
	}
}

// What a JPEG that is reduced while it is decoded becomes differs little from
// what it becomes when it is decoded whole. PICTURE names another picture than
// the one that is made up.
func TestReducedDecodingChangesLittle(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 1000, 563))
	random := rand.New(rand.NewPCG(7, 8))
	for y := range 563 {
		for x := range 1000 {
			grain := random.IntN(16)
			c := color.RGBA{R: uint8(x/5 + grain), G: uint8(y/3 + grain), B: uint8(90 + grain), A: 255}
			if (x/70+y/50)%3 == 0 { // edges
				c.R, c.B = uint8(230-grain), uint8(20+grain)
			}
			picture.SetRGBA(x, y, c)
		}
	}
	body := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, picture, &jpeg.Options{Quality: 90}) })
	if path := os.Getenv("PICTURE"); path != "" {
		var err error
		if body, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	geometry := stretch(112, 112)
	whole, err := newDecoder(t, stretch(10_000, 10_000), limits).Decode(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(scaled(t, imaging.NewScaler(geometry), whole))
	reduced, err := newDecoder(t, geometry, limits).Decode(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	got := scaled(t, imaging.NewScaler(geometry), reduced)
	sum, far := 0, 0
	for i := range got {
		difference := max(got[i], want[i]) - min(got[i], want[i])
		sum += int(difference)
		if difference > 16 {
			far++
		}
	}
	mean, share := float64(sum)/float64(len(got)), float64(far)/float64(len(got))
	t.Logf("decoded to %v; off by %.2f of 256 on average, by more than 16 in %.2f%%", reduced.Bounds().Size(), mean, 100*share)
	if mean > 2 || share > 0.02 {
		t.Errorf("off by %.2f of 256 on average, by more than 16 in %.2f%%", mean, 100*share)
	}
}

func TestDecodeStopsWhenNobodyWaits(t *testing.T) {
	body := encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, noise(300, 300)) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newDecoder(t, stretch(64, 64), limits).Decode(ctx, body); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func noise(width, height int) *image.NRGBA {
	random := rand.New(rand.NewPCG(1, 2))
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range picture.Pix {
		picture.Pix[i] = uint8(random.IntN(256))
		if i%4 == 3 {
			picture.Pix[i] = 255
		}
	}
	return picture
}

// x/image/draw's BiLinear is the independent computation.
func TestStretchIsWhatXImageComputes(t *testing.T) {
	photo := noise(97, 61)
	ycbcr := func(ratio image.YCbCrSubsampleRatio) image.Image {
		random := rand.New(rand.NewPCG(3, 4))
		picture := image.NewYCbCr(image.Rect(5, 3, 102, 64), ratio)
		for _, plane := range [][]uint8{picture.Y, picture.Cb, picture.Cr} {
			for i := range plane {
				plane[i] = uint8(random.IntN(256))
			}
		}
		return picture
	}
	gray := image.NewGray(photo.Bounds())
	draw.Draw(gray, gray.Bounds(), photo, image.Point{}, draw.Src)
	rgba := image.NewRGBA(photo.Bounds())
	draw.Draw(rgba, rgba.Bounds(), photo, image.Point{}, draw.Src)
	deep := image.NewRGBA64(photo.Bounds())
	draw.Draw(deep, deep.Bounds(), photo, image.Point{}, draw.Src)
	deepStraight := image.NewNRGBA64(photo.Bounds())
	draw.Draw(deepStraight, deepStraight.Bounds(), photo, image.Point{}, draw.Src)
	deepGray := image.NewGray16(photo.Bounds())
	draw.Draw(deepGray, deepGray.Bounds(), photo, image.Point{}, draw.Src)
	sources := map[string]image.Image{
		"NRGBA": photo, "RGBA": rgba, "RGBA64": deep, "NRGBA64": deepStraight, "Gray16": deepGray, "Gray": gray, "a part of RGBA": rgba.SubImage(image.Rect(10, 10, 60, 50)),
		"YCbCr 4:4:4": ycbcr(image.YCbCrSubsampleRatio444), "YCbCr 4:2:2": ycbcr(image.YCbCrSubsampleRatio422),
		"YCbCr 4:2:0": ycbcr(image.YCbCrSubsampleRatio420), "YCbCr 4:4:0": ycbcr(image.YCbCrSubsampleRatio440),
		"YCbCr 4:1:1": ycbcr(image.YCbCrSubsampleRatio411), "YCbCr 4:1:0": ycbcr(image.YCbCrSubsampleRatio410),
	}
	for name, source := range sources {
		for _, size := range []image.Point{{224, 224}, {32, 24}, {97, 10}, {1, 1}, {300, 7}} {
			t.Run(fmt.Sprint(name, " to ", size), func(t *testing.T) {
				want := image.NewRGBA(image.Rectangle{Max: size})
				draw.BiLinear.Scale(want, want.Bounds(), source, source.Bounds(), draw.Src, nil)
				got := scaled(t, imaging.NewScaler(stretch(size.X, size.Y)), upright(source))
				for i := range size.X * size.Y {
					for c := range 3 {
						if g, w := int(got[3*i+c]), int(want.Pix[4*i+c]); g-w > 1 || w-g > 1 {
							t.Fatalf("pixel %d,%d channel %d is %d, want %d", i%size.X, i/size.X, c, g, w)
						}
					}
				}
			})
		}
	}
}

// columns is a picture of 1-pixel columns of the given greys.
func columns(height int, greys ...uint8) image.Image {
	picture := image.NewGray(image.Rect(0, 0, len(greys), height))
	for y := range height {
		copy(picture.Pix[y*picture.Stride:], greys)
	}
	return picture
}

func greys(pixels []uint8) []uint8 {
	var result []uint8
	for i := 0; i < len(pixels); i += 3 {
		result = append(result, pixels[i])
	}
	return result
}

func TestGeometry(t *testing.T) {
	tests := []struct {
		name          string
		resize        imaging.Resize
		width, height int
		shorter       int
		pad           uint8
		picture       image.Image
		want          []uint8
	}{
		// The centres of the 2 targets lie at 1 and 3 of 4 source pixels, 2 wide: weights ⅛·(1,3,3,1) where all 4 are there,
		// and (3,3,1)/7 at the edge: (3·0+3·40+1·80)/7 = 28.6, (1·40+3·80+3·120)/7 = 91.4.
		{"stretch: 4 columns to 2", imaging.Stretch, 2, 1, 0, 0, columns(1, 0, 40, 80, 120), []uint8{29, 91}},
		// Twice as large: the centres lie at ¼, ¾, 1¼, 1¾: 0, (3·0+80)/4, (0+3·80)/4, 80.
		{"stretch: 2 columns to 4", imaging.Stretch, 4, 1, 0, 0, columns(1, 0, 80), []uint8{0, 20, 60, 80}},
		// 6×2 covers 2×2 at factor 1; the centre is columns 2 and 3.
		{"crop takes the centre", imaging.Crop, 2, 2, 0, 0, columns(2, 10, 20, 30, 40, 50, 60), []uint8{30, 40, 30, 40}},
		// 5 columns to 2 of a height that fits: offset 1½, so a target lies between two columns.
		{"crop between columns", imaging.Crop, 2, 1, 0, 0, columns(1, 10, 20, 30, 40, 50), []uint8{25, 35}},
		// 4×2 fits into 4×4 at factor 1; a black row above and below.
		{"letterbox puts black around", imaging.Letterbox, 4, 4, 0, 0, columns(2, 10, 20, 30, 40), []uint8{
			0, 0, 0, 0, 10, 20, 30, 40, 10, 20, 30, 40, 0, 0, 0, 0,
		}},
		{"letterbox of a tall picture", imaging.Letterbox, 3, 3, 0, 0, columns(3, 70), []uint8{0, 70, 0, 0, 70, 0, 0, 70, 0}},
		// 8×8, the shorter side to 4, the middle 2: the centres lie at 3 and 5 of 8 source pixels, with the weights ⅛·(1,3,3,1):
		// (1·0+3·10+3·30+1·50)/8 = 21.3, (1·30+3·50+3·70+1·0)/8 = 48.8.
		{"crop with a shorter side", imaging.Crop, 2, 2, 4, 0, columns(8, 0, 0, 10, 30, 50, 70, 0, 0), []uint8{21, 49, 21, 49}},
		{"letterbox with grey around", imaging.Letterbox, 4, 4, 0, 114, columns(2, 10, 20, 30, 40), []uint8{
			114, 114, 114, 114, 10, 20, 30, 40, 10, 20, 30, 40, 114, 114, 114, 114,
		}},
		// 1×1000 into 2×2: the width is 1 pixel at least.
		{"letterbox of a line", imaging.Letterbox, 2, 2, 0, 0, columns(1000, 70), []uint8{70, 0, 70, 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			scaler := imaging.NewScaler(imaging.Geometry{
				Width: test.width, Height: test.height, Resize: test.resize, ShorterSide: test.shorter, Pad: test.pad,
			})
			// What an earlier picture left behind must not show.
			scaled(t, scaler, upright(solid(test.width, test.height, color.White)))
			if got := greys(scaled(t, scaler, upright(test.picture))); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestTransparencyIsPutOnWhite(t *testing.T) {
	translucent := color.NRGBA{R: 100, G: 0, B: 255, A: 51} // a fifth: 0.2·c + 0.8·255
	want := []uint8{224, 204, 255}
	nrgba := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	nrgba.Set(0, 0, translucent)
	rgba := image.NewRGBA(nrgba.Bounds())
	rgba.Set(0, 0, translucent)
	deep := image.NewNRGBA64(nrgba.Bounds())
	deep.Set(0, 0, translucent)
	for name, picture := range map[string]image.Image{
		"NRGBA": nrgba, "RGBA": rgba, "NRGBA64": deep, "Paletted": image.NewPaletted(nrgba.Bounds(), color.Palette{translucent}),
	} {
		if got := scaled(t, imaging.NewScaler(stretch(1, 1)), upright(picture)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// A picture of extreme proportions must not take memory by its longer side.
func TestMemoryIsBoundedForAnyProportions(t *testing.T) {
	scaler := imaging.NewScaler(stretch(224, 224))
	tall := image.NewGray(image.Rect(0, 0, 1, imaging.MaxSide))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	scaled(t, scaler, upright(tall))
	runtime.ReadMemStats(&after)
	// The taps hold about two float32 a source row; a whole intermediate picture would be 470 MB.
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("%d bytes for one picture", got)
	}
}

func TestPack(t *testing.T) {
	// Two pixels: (0, 100, 200) and (50, 150, 250).
	rgb := []uint8{0, 100, 200, 50, 150, 250}
	same := func(v float32) float32 { return v }
	plain := imaging.NewTables(1, []float64{0, 0, 0}, []float64{1, 1, 1}, same)
	// Channel c: (p·0.5 − mean[c]) / std[c].
	normal := imaging.NewTables(0.5, []float64{10, 20, 30}, []float64{1, 2, 4}, same)
	tests := []struct {
		name   string
		tables imaging.Tables[float32]
		layout imaging.Layout
		color  imaging.Color
		want   []float32
	}{
		{"NCHW RGB", plain, imaging.NCHW, imaging.RGB24, []float32{0, 50, 100, 150, 200, 250}},
		{"NCHW BGR", plain, imaging.NCHW, imaging.BGR24, []float32{200, 250, 100, 150, 0, 50}},
		{"NHWC RGB", plain, imaging.NHWC, imaging.RGB24, []float32{0, 100, 200, 50, 150, 250}},
		{"NHWC BGR", plain, imaging.NHWC, imaging.BGR24, []float32{200, 100, 0, 250, 150, 50}},
		// 0.587·100 + 0.114·200 = 81.5 and 0.299·50 + 0.587·150 + 0.114·250 = 131.5, rounded.
		{"one channel", plain[:1], imaging.NCHW, imaging.Gray, []float32{82, 132}},
		{"scale, mean and deviation", normal, imaging.NCHW, imaging.RGB24, []float32{-10, 15, 15, 27.5, 17.5, 23.75}},
		{"mean and deviation are in the tensor's order", normal, imaging.NCHW, imaging.BGR24, []float32{90, 115, 15, 27.5, -7.5, -1.25}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := make([]float32, len(test.want))
			imaging.Pack(got, rgb, test.tables, test.layout, test.color)
			if !slices.EqualFunc(got, test.want, func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-5 }) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	red := solid(9, 7, color.RGBA{R: 255, A: 255})
	f.Add(encoded(f, func(b *bytes.Buffer) error { return jpeg.Encode(b, red, nil) }))
	f.Add(encoded(f, func(b *bytes.Buffer) error { return png.Encode(b, red) }))
	f.Add(encoded(f, func(b *bytes.Buffer) error { return gif.Encode(b, red, nil) }))
	f.Add(encoded(f, func(b *bytes.Buffer) error { return bmp.Encode(b, red) }))
	f.Add(turned(f, 6))
	f.Add(webpRed)
	f.Add(gifBomb)
	decoder := newDecoder(f, stretch(8, 8), imaging.Limits{Pixels: 1 << 16, Time: time.Second})
	f.Fuzz(func(t *testing.T, body []byte) {
		picture, err := decoder.Decode(t.Context(), body)
		if err == nil {
			for _, resize := range []imaging.Resize{imaging.Stretch, imaging.Crop, imaging.Letterbox} {
				scaled(t, imaging.NewScaler(imaging.Geometry{Width: 8, Height: 8, Resize: resize}), picture)
			}
			return
		}
		var bad *imaging.Error
		if !errors.As(err, &bad) || bad.Message == "" || strings.Contains(bad.Message, "runtime error") {
			t.Errorf("got %v, want an *imaging.Error that is no decoder's crash", err)
		}
	})
}
