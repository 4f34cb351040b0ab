package imaging

// Layout is the order of a tensor's axes.
type Layout string

// The layouts that models use.
const (
	NCHW Layout = "NCHW"
	NHWC Layout = "NHWC"
)

// Color is the order of a tensor's channels.
type Color string

// The orders that models use.
const (
	RGB Color = "RGB"
	BGR Color = "BGR"
)

// Element is a tensor's element: float32, or the bits of an IEEE 754 half.
type Element interface{ float32 | uint16 }

// Tables holds, for each of the tensor's channels in its order, the element
// that each of the 256 pixel values becomes.
type Tables[T Element] [3][256]T

// NewTables computes (pixel·scale − mean[c]) / std[c] for every channel c and
// pixel value; element converts the result.
func NewTables[T Element](scale float64, mean, std [3]float64, element func(float32) T) *Tables[T] {
	var tables Tables[T]
	for c := range tables {
		for pixel := range tables[c] {
			tables[c][pixel] = element(float32((float64(pixel)*scale - mean[c]) / std[c]))
		}
	}
	return &tables
}

// Pack writes R, G, B bytes into a tensor with one picture; dst and rgb have
// the same length.
func Pack[T Element](dst []T, rgb []uint8, tables *Tables[T], layout Layout, color Color) {
	for c := range tables {
		table := &tables[c]
		source := rgb[c:]
		if color == BGR {
			source = rgb[2-c:]
		}
		n := len(rgb) / 3
		if layout == NCHW {
			plane := dst[c*n:][:n]
			for i := range plane {
				plane[i] = table[source[3*i]]
			}
			continue
		}
		for i := range n {
			dst[3*i+c] = table[source[3*i]]
		}
	}
}
