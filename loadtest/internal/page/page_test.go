package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var nan = math.NaN()

func TestExtremesAreKept(t *testing.T) {
	same := func(a, b []float64) bool {
		return slices.EqualFunc(a, b, func(x, y float64) bool { return x == y || math.IsNaN(x) && math.IsNaN(y) })
	}
	for name, tt := range map[string]struct {
		values []float64
		every  int
		want   []float64
	}{
		"every value":                     {[]float64{1, nan, 3}, 1, []float64{1, nan, 3}},
		"low before high":                 {[]float64{5, 1, 9, 5}, 4, []float64{1, 9}},
		"high before low":                 {[]float64{5, 9, 1, 5}, 4, []float64{9, 1}},
		"a peak of one second":            {[]float64{1, 1, 1, 1, 1, 80, 1, 1}, 4, []float64{1, 1, 1, 80}},
		"a gap":                           {[]float64{1, 1, nan, nan, 2, 2}, 2, []float64{1, 1, nan, nan, 2, 2}},
		"a gap shorter than a point":      {[]float64{nan, 4, 6, nan}, 4, []float64{4, 6}},
		"an end shorter than the stretch": {[]float64{1, 2, 3, 4, 7}, 4, []float64{1, 4, 7, 7}},
	} {
		if got := extremes(tt.values, tt.every); !same(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func lines(n, seconds int) []Line {
	all := make([]Line, n)
	for i := range all {
		all[i] = Line{Name: "l", Colour: 1, Values: make([]float64, seconds)}
	}
	return all
}

func TestALongRunHasFewerPoints(t *testing.T) {
	for name, tt := range map[string]struct {
		seconds, lines, every int
	}{
		"ten minutes":                    {630, 20, 1},
		"an hour":                        {3600, 20, 1},
		"two hours":                      {7200, 20, 4},
		"a day":                          {86400, 20, 44},
		"ten minutes of very many":       {660, 1000, 3},
		"an hour, many lines of it":      {3600, 100, 4},
		"no line":                        {100, 0, 1},
		"less than what is always drawn": {600, 5000, 1},
	} {
		chart := Timeline{Seconds: tt.seconds, Charts: []Chart{{Lines: lines(tt.lines, 1)}}}
		if got := chart.Every(); got != tt.every {
			t.Errorf("%s: a point every %d s, want %d", name, got, tt.every)
		}
		data := chart.data()
		for _, l := range data.Charts[0].Lines {
			if len(l.Values) != data.Points || data.Points > mostPoints+2 {
				t.Fatalf("%s: %d values for %d points, at most %d are wanted", name, len(l.Values), data.Points, mostPoints)
			}
		}
		if end := float64(data.Points) * data.Step; end < float64(tt.seconds) || end >= float64(tt.seconds+tt.every) {
			t.Errorf("%s: the axis ends at %v s, want %d", name, end, tt.seconds)
		}
	}
}

func TestNumbers(t *testing.T) {
	text, err := json.Marshal(numbers{0, 1.5, nan, math.Inf(1), 123456.789, -0.000012345678})
	if want := `[0,1.5,null,null,1.2346e+05,-1.2346e-05]`; err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
	log := Line{Values: []float64{0, -1, 2}}.part(4, 1, true).Values
	if text, _ := json.Marshal(log); string(text) != "[null,null,2,null]" {
		t.Errorf("on a logarithmic axis %s, want only what is above 0", text)
	}
}

func TestScatterInItsPicture(t *testing.T) {
	d := newDrawing(Scatter{
		Points: []Dot{{Name: "left", X: 0, Y: 0, XOff: nan}, {Name: "a name at the right end", X: 95, Y: 4, XOff: 3, YOff: 9}},
		Level:  &Level{Value: 5},
	})
	// 95 + 3 and 4 + 9, with 5% to spare, are marked every 50 and every 5.
	if last := d.XTicks[len(d.XTicks)-1]; last.Label != "150" || last.At != d.Right {
		t.Errorf("the horizontal axis ends with %+v", last)
	}
	if last := d.YTicks[len(d.YTicks)-1]; last.Label != "15" || last.At != d.Top {
		t.Errorf("the vertical axis ends with %+v", last)
	}
	left, right := d.Dots[0], d.Dots[1]
	if left.CX != d.Left || left.CY != d.Bottom || left.Whiskers || left.Anchor != "start" {
		t.Errorf("the point at the origin: %+v", left)
	}
	if !right.Whiskers || right.Anchor != "end" || right.Y1 != d.Bottom || !(right.Y2 < right.CY) || !(right.X1 < right.CX && right.CX < right.X2) {
		t.Errorf("the point with an interval that goes below 0: %+v", right)
	}
	if want := round(d.Bottom - (d.Bottom-d.Top)/3); d.LevelY != want {
		t.Errorf("the level is at %v, want %v", d.LevelY, want)
	}
}

// A browser runs the script and takes the style only if their hashes are in the policy.
func TestThePolicyAllowsWhatThePageCarries(t *testing.T) {
	var w bytes.Buffer
	if err := Write(&w, Document{Title: "t", Sections: []Section{{Timeline: &Timeline{Seconds: 3}}}}); err != nil {
		t.Fatal(err)
	}
	policy := html.UnescapeString(regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(w.String())[1])
	for name, pattern := range map[string]string{"style-src": `(?s)<style>(.*?)</style>`, "script-src": `(?s)<script>(.*?)</script>`} {
		part := regexp.MustCompile(pattern).FindStringSubmatch(w.String())[1]
		sum := sha256.Sum256([]byte(part))
		if want := name + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("the policy %q does not allow %s", policy, want)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("the policy %q allows more", policy)
	}
	if !strings.Contains(w.String(), "Permission is hereby granted") {
		t.Error("the library's license is not in the page")
	}
}

func TestOneTimelineAPage(t *testing.T) {
	d := Document{Title: "t", Sections: []Section{{Timeline: &Timeline{}}, {Timeline: &Timeline{}}}}
	if err := Write(&bytes.Buffer{}, d); err == nil || !strings.Contains(err.Error(), "two sections have a timeline") {
		t.Errorf("%v, want an error", err)
	}
}
