package imaging

// Layout is the order of a tensor's axes.
type Layout string

// The layouts that models use.
const (
	NCHW Layout = "NCHW"
	NHWC Layout = "NHWC"
)

// Color is what a tensor's channels are, in their order.
type Color string

// The channels that models use.
const (
	RGB24 Color = "RGB"
	BGR24 Color = "BGR"
	Gray  Color = "GRAY"
)

// Channels is the number of channels, 1 or 3.
func (c Color) Channels() int {
	if c == Gray {
		return 1
	}
	return 3
}

// Element is a tensor's element: float32, the bits of an IEEE 754 half, or
// uint8.
type Element interface{ float32 | uint16 | uint8 }

// Tables holds, for each of the tensor's channels in its order, the element
// that each of the 256 pixel values becomes.
type Tables[T Element] [][256]T

// NewTables computes (pixel·scale − mean[c]) / std[c] for every channel c and
// pixel value; element converts the result. mean and std have one number a
// channel.
func NewTables[T Element](scale float64, mean, std []float64, element func(float32) T) Tables[T] {
	tables := make(Tables[T], len(mean))
	for c := range tables {
		for pixel := range tables[c] {
			tables[c][pixel] = element(float32((float64(pixel)*scale - mean[c]) / std[c]))
		}
	}
	return tables
}

// Pack writes R, G, B bytes into a tensor with one picture. dst has one element
// a pixel and channel of color.
func Pack[T Element](dst []T, rgb []uint8, tables Tables[T], layout Layout, color Color) {
	n := len(rgb) / 3
	if color == Gray {
		packGray(dst[:n], rgb, &tables[0])
		return
	}
	first, last := 0, 2
	if color == BGR24 {
		first, last = 2, 0
	}
	t0, t1, t2 := &tables[0], &tables[1], &tables[2]
	if layout == NCHW {
		p0, p1, p2 := dst[:n], dst[n:][:n], dst[2*n:][:n]
		for i := range p0 {
			pixel := rgb[3*i:][:3]
			p0[i], p1[i], p2[i] = t0[pixel[first]], t1[pixel[1]], t2[pixel[last]]
		}
		return
	}
	for i := range n {
		pixel, to := rgb[3*i:][:3], dst[3*i:][:3]
		to[0], to[1], to[2] = t0[pixel[first]], t1[pixel[1]], t2[pixel[last]]
	}
}

// packGray weighs the channels as ITU-R BT.601 does, as JPEG and Pillow's mode
// L do: 0.299, 0.587 and 0.114, here in 65536ths.
func packGray[T Element](dst []T, rgb []uint8, table *[256]T) {
	for i := range dst {
		pixel := rgb[3*i:][:3]
		dst[i] = table[(19595*uint32(pixel[0])+38470*uint32(pixel[1])+7471*uint32(pixel[2])+1<<15)>>16]
	}
}
