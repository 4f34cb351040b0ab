package trace

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// Shape is a trace made by a formula and a fixed seed, so that the files in
// traces/ can be made again, value for value.
type Shape struct {
	// Name is the file's name in traces/ without ".txt".
	Name string
	// Title says in one line what the trace looks like.
	Title string

	seconds int
	seed    uint64
	rate    func(second int, noise func(deviation float64) float64) float64
}

// Shapes returns the traces that come with the load tester.
func Shapes() []Shape {
	return []Shape{
		{
			Name:    "demo",
			Title:   "three minutes: 6 requests per second, a step to 24, a minute at 32, back to 6",
			seconds: 180, seed: 180, rate: demo,
		},
		{
			Name:    "workload",
			Title:   "630 seconds: about 7 requests per second, from second 250 a minute at 20, then 36 (peak 44) until 420, back to 7 by 480",
			seconds: 630, seed: 630, rate: workload,
		},
		{
			Name:    "workload_heavy",
			Title:   "60 seconds: waves of 42 seconds between 50 and 499 requests per second",
			seconds: 60, seed: 60, rate: heavy,
		},
	}
}

// Rates returns the shape's values in requests per second: whole numbers.
func (s Shape) Rates() []int {
	random := rand.New(rand.NewPCG(s.seed, 0))
	noise := func(deviation float64) float64 { return deviation * random.NormFloat64() }
	rates := make([]int, s.seconds)
	for second := range rates {
		rates[second] = int(math.Round(s.rate(second, noise)))
	}
	return rates
}

// WriteTo writes the shape as a trace file: a comment and twenty values a line.
func (s Shape) WriteTo(w io.Writer) (int64, error) {
	text := fmt.Appendf(nil, "# %s: %s.\n# Requests per second, one a second; written by: loadtest trace %s\n", s.Name, s.Title, s.Name)
	for row := range slices.Chunk(s.Rates(), 20) {
		for i, rate := range row {
			if i > 0 {
				text = append(text, ' ')
			}
			text = strconv.AppendInt(text, int64(rate), 10)
		}
		text = append(text, '\n')
	}
	n, err := w.Write(text)
	return int64(n), err
}

func demo(second int, noise func(float64) float64) float64 {
	switch {
	case second < 30:
		return between(4, 6+noise(0.8), 8)
	case second < 60:
		return between(20, 24+noise(1.5), 28)
	case second < 120:
		return between(28, 32+noise(2), 36)
	case second < 135:
		return ramp(second, 120, 135, 32, 6) + noise(1)
	default:
		return between(4, 6+noise(0.8), 8)
	}
}

func workload(second int, noise func(float64) float64) float64 {
	const base = 7
	switch {
	case second < 250, second >= 480:
		return between(4, base+noise(1.3), 10)
	case second < 310:
		return between(15, 20+noise(1.8), 25)
	case second < 320:
		return ramp(second, 310, 320, 20, 36) + noise(1.8)
	case second < 420:
		// Two slow swells on the plateau, so that one count of replicas is not right for all of it.
		swell := 4 * math.Sin(2*math.Pi*float64(second-320)/50)
		return between(28, 36+swell+noise(1.8), 44)
	default:
		return between(4, ramp(second, 420, 480, 36, base)+noise(1.5), 44)
	}
}

func heavy(second int, _ func(float64) float64) float64 {
	const low, high, period = 50.0, 499.0, 42.0
	return (low+high)/2 - (high-low)/2*math.Cos(2*math.Pi*float64(second)/period)
}

// ramp goes in a straight line from a value at second start to one at second end.
func ramp(second, start, end int, from, to float64) float64 {
	return from + (to-from)*float64(second-start)/float64(end-start)
}

func between(low, x, high float64) float64 {
	return min(max(x, low), high)
}
