package simreport

// box is the place that a label takes.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// labels places texts beside dots so that they hide neither dots nor each other.
type labels struct{ taken []box }

// The size of a letter and of a dot, in pixels.
const (
	letterWidth  = 6.4
	letterHeight = 13.0
	dotRadius    = 5.0
)

func (l *labels) dot(x, y float64) {
	l.taken = append(l.taken, box{x - dotRadius, y - dotRadius, x + dotRadius, y + dotRadius})
}

// place finds where a text beside a dot begins, on its base line; false where
// there is no room for it, and the dot goes without.
func (l *labels) place(x, y float64, text string) (float64, float64, bool) {
	wide := letterWidth * float64(len([]rune(text)))
	for _, at := range [][2]float64{{7, -5}, {7, 15}, {-wide - 5, -5}, {-wide - 5, 15}, {-wide / 2, -10}, {-wide / 2, 20}, {9, 4}, {-wide - 9, 4}} {
		b := box{x + at[0], y + at[1] - letterHeight + 3, x + at[0] + wide, y + at[1] + 1}
		if b.x0 < left || b.x1 > width || l.meets(b) {
			continue
		}
		l.taken = append(l.taken, b)
		return x + at[0], y + at[1], true
	}
	return 0, 0, false
}

func (l *labels) meets(b box) bool {
	for _, o := range l.taken {
		if b.meets(o) {
			return true
		}
	}
	return false
}
