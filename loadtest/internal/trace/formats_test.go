package trace_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/trace"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

func minutes(counts ...float64) (rates []float64) {
	for _, count := range counts {
		rates = append(rates, slices.Repeat([]float64{count / 60}, 60)...)
	}
	return rates
}

func TestReadCounts(t *testing.T) {
	perMinute := trace.Options{Format: trace.PerMinute}
	for _, tt := range []struct {
		name, text string
		options    trace.Options
		want       []float64
	}{
		{"a count a minute is sixty seconds at a sixtieth", "60 120", perMinute, minutes(60, 120)},
		{"a first column called minute tells", "minute,requests\n0,60\n1,30\n", trace.Options{}, minutes(60, 30)},
		{"a chosen column, by name", "Minute,a,b\n7,60,1\n8,60,2\n", trace.Options{Column: "b"}, minutes(1, 2)},
		{"a chosen column, by number", "minute,a,b\n0,60,1\n", trace.Options{Column: "2"}, minutes(60)},
		{"a name that is a number goes before the number", "minute,2,1\n0,60,5\n", trace.Options{Column: "1"}, minutes(5)},
		{"a first column called second tells", "second,requests\n0,6\n1,3.5\n", trace.Options{}, []float64{6, 3.5}},
		{"columns without a header, with a format and a column", "9,6\n9,3\n", trace.Options{Format: trace.PerSecond, Column: "2"}, []float64{6, 3}},
		{"a header over a single column, with a format", "requests\n6\n3\n", trace.Options{Format: trace.PerSecond}, []float64{6, 3}},
		{"quotes, comments, blanks, Windows line ends, a byte order mark", "\ufeff# made by hand\r\nminute , \"requests\"\r\n0, \"60\"\r\n# pause\r\n1,30\r\n", trace.Options{}, minutes(60, 30)},
		{"whole numbers that rise are rates", "1\n2\n3\n", trace.Options{}, []float64{1, 2, 3}},
		{"fractions that rise are rates where that was said", "1.5\n2\n3\n", trace.Options{Format: trace.PerSecond}, []float64{1.5, 2, 3}},
		{"fractions that rise on one line are rates", "1.5 2 3", trace.Options{}, []float64{1.5, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := trace.Read(strings.NewReader(tt.text), "t.csv", tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Rates, tt.want) || got.Arrivals != nil {
				t.Errorf("got %v, want the rates %v", got, tt.want)
			}
		})
	}
}

func TestReadArrivals(t *testing.T) {
	arrivals := trace.Options{Format: trace.Arrivals}
	for _, tt := range []struct {
		name, text string
		options    trace.Options
		want       []time.Duration
	}{
		{"seconds under a name that tells", "offset_s\n0.000\n0.052\n1.5\n", trace.Options{}, []time.Duration{0, 52 * ms, 1500 * ms}},
		{"seconds without a header", "5\n5\n7.25\n", arrivals, []time.Duration{0, 0, 2250 * ms}},
		{"one arrival", "3", arrivals, []time.Duration{0}},
		{"Unix times keep their nanoseconds", "1700158623.979960001,a\n1700158623.979960003,b\n", arrivals, []time.Duration{0, 2}},
		{"before zero", "-1.5\n0\n", arrivals, []time.Duration{0, 1500 * ms}},
		{"dates tell by themselves", "2023-11-16T18:17:03Z\n2023-11-16T19:17:04+01:00\n", trace.Options{}, []time.Duration{0, s}},
		{"a logger's columns", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,110,27\n", trace.Options{}, []time.Duration{0, 52 * ms}},
		{"another column that tells", "id,Arrival\n1,10\n2,12\n", trace.Options{}, []time.Duration{0, 2 * s}},
		{"a chosen column beside words, without a header", "web,10\napp,12\n", trace.Options{Format: trace.Arrivals, Column: "2"}, []time.Duration{0, 2 * s}},
		{"a chosen column", "a,b\n10,1\n12,5\n", trace.Options{Format: trace.Arrivals, Column: "b"}, []time.Duration{0, 4 * s}},
		{"no order", "3\n1\n2\n", arrivals, []time.Duration{0, s, 2 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := trace.Read(strings.NewReader(tt.text), "t.csv", tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Arrivals, tt.want) || got.Rates != nil {
				t.Errorf("got %v, want the arrivals %v", got, tt.want)
			}
		})
	}
}

func TestReadRefusesTables(t *testing.T) {
	perMinute, arrivals := trace.Options{Format: trace.PerMinute}, trace.Options{Format: trace.Arrivals}
	for _, tt := range []struct {
		name, text string
		options    trace.Options
		want       []string
	}{
		{"a header that does not tell", "a,b\n1,2\n", trace.Options{}, []string{"t.csv:1:", `"a,b"`, "--trace-format"}},
		{"a header that tells two things", "minute,timestamp\n1,2\n", trace.Options{}, []string{"t.csv:1:", "--trace-format"}},
		{"fractions that rise, one a line", "0.1\n0.5\n0.9\n", trace.Options{}, []string{"t.csv:3:", "never fall", "--trace-format"}},
		{"several columns and none chosen", "minute,job0,job1\n0,1,2\n", trace.Options{}, []string{"t.csv:1:", "job0, job1", "--trace-column"}},
		{"a column that is not there", "minute,job0\n0,1\n", trace.Options{Column: "job9"}, []string{"t.csv:1:", `"job9"`, "minute, job0", "1 to 2"}},
		{"column 0", "1,2\n", trace.Options{Format: trace.PerSecond, Column: "0"}, []string{`"0"`, "1 to 2"}},
		{"a minute that is missing", "minute,n\n0,1\n2,1\n", trace.Options{}, []string{"t.csv:3:", `minute "2"`, "rise by one"}},
		{"a minute that is none", "minute,n\nx,1\n", trace.Options{}, []string{"t.csv:2:", `minute "x"`}},
		{"an empty cell", "minute,n\n0,1\n1,\n", trace.Options{}, []string{"t.csv:3:", `"" is not a count`}},
		{"a short row", "minute,n\n0,1\n1\n", trace.Options{}, []string{"t.csv:3:", "wrong number of fields"}},
		{"a quote that is left open", "minute,n\n0,\"1\n", trace.Options{}, []string{"t.csv:2:", "quote"}},
		{"a count in words", "minute,n\n0,many\n", trace.Options{}, []string{"t.csv:2:", `"many"`, "from 0 to 60000000"}},
		{"a table without rows", "minute,n\n", trace.Options{}, []string{"t.csv:1:", "no values"}},
		{"more than a week of minutes", strings.Repeat("1 ", 10_081), perMinute, []string{"t.csv:1:", "10080 values", "one week"}},
		{"a word for a header and nothing else", "requests\n5\n", trace.Options{}, []string{"t.csv:1:", `"requests"`}},
		{"an unknown format", "1", trace.Options{Format: "daily"}, []string{`"daily"`, "per-second, per-minute and arrivals"}},
		{"an instant in words", "0.5\nsoon\n", arrivals, []string{"t.csv:2:", `"soon"`, "seconds as numbers"}},
		{"an exponent", "0.5\n1e3\n", arrivals, []string{"t.csv:2:", `"1e3"`}},
		{"a point alone", "0.5\n.\n", arrivals, []string{"t.csv:2:", `"."`}},
		{"infinity", "inf\n", arrivals, []string{"t.csv:1:", `"inf"`}},
		{"several instants a line", "0 0.5 1\n", arrivals, []string{"t.csv:1:", `"0 0.5 1"`}},
		{"a number among dates", "2023-11-16T18:17:03Z\n5\n", trace.Options{}, []string{"t.csv:2:", `"5"`, "is not a time"}},
		{"a date among numbers", "5\n2023-11-16T18:17:03Z\n", arrivals, []string{"t.csv:2:", "in all rows"}},
		{"a 30th of February", "2023-02-28T00:00:00Z\n2023-02-30T00:00:00Z\n", trace.Options{}, []string{"t.csv:2:", "is not a time"}},
		{"a time in the year 0001", "timestamp\n0001-01-01T00:00:00Z\n", trace.Options{}, []string{"t.csv:2:", `"0001-01-01T00:00:00Z"`}},
		{"milliseconds since 1970", "1700158623979\n1700158623999\n", arrivals, []string{"t.csv:1:", "up to 9000000000"}},
		{"milliseconds from the start", "0\n700000000\n", arrivals, []string{"t.csv:2:", "one week", "numbers are seconds"}},
		{"a header and no arrivals", "timestamp\n", trace.Options{}, []string{"t.csv:1:", "no arrivals"}},
		{"comments without an end", strings.Repeat("# no\n", 20_000), trace.Options{}, []string{"comments of more than"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := trace.Read(strings.NewReader(tt.text), "t.csv", tt.options)
			if err == nil {
				t.Fatalf("accepted: %v", got)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not contain %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
				t.Errorf("not one short line: %q", err)
			}
		})
	}
}

// endless is a file that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "1\n"[i%2]
	}
	return len(p) &^ 1, nil
}

func TestReadStopsReading(t *testing.T) {
	for _, format := range []trace.Format{trace.PerSecond, trace.PerMinute} {
		if _, err := trace.Read(endless{}, "t.txt", trace.Options{Format: format}); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

func TestFormulas(t *testing.T) {
	for _, tt := range []struct {
		formula string
		want    []float64
	}{
		{"constant:rate=20.5,length=3s", []float64{20.5, 20.5, 20.5}},
		{"step:from=5,to=30,at=2s,length=4s", []float64{5, 5, 30, 30}},
		{"step:length=2s,at=0s,to=30,from=5", []float64{30, 30}},
		{"ramp:from=0,to=4,length=4s", []float64{0.5, 1.5, 2.5, 3.5}},
		{"ramp:from=4,to=0,length=2s", []float64{3, 1}},
		{"spike:base=1,peak=9,at=1s,width=2s,length=5s", []float64{1, 9, 9, 1, 1}},
		{"spike:base=1,peak=9,at=1s,width=10s,length=3s", []float64{1, 9, 9}},
		// sin 45°, 135°, 225°, 315°
		{"sine:mean=10,amplitude=10,period=4s,length=4s", []float64{10 + 5*math.Sqrt2, 10 + 5*math.Sqrt2, 10 - 5*math.Sqrt2, 10 - 5*math.Sqrt2}},
	} {
		got, err := trace.Load(tt.formula, trace.Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.formula, err)
			continue
		}
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
		if !slices.EqualFunc(got.Rates, tt.want, near) || got.Name != tt.formula {
			t.Errorf("%s: got %v, want %v", tt.formula, got, tt.want)
		}
	}
}

func TestFormulasRefuse(t *testing.T) {
	for _, tt := range []struct{ formula, want string }{
		{"constant:", "allowed are rate, length"},
		{"constant:rate=20", "length is missing; needed are rate, length"},
		{"constant:rate=20,length=60s,rate=20", "rate is given twice"},
		{"constant:rate=20,length=60s,colour=red", `"colour=red": allowed are rate, length`},
		{"constant:rate=-1,length=60s", `rate "-1": allowed are requests per second from 0 to 1000000`},
		{"constant:rate=NaN,length=60s", `rate "NaN"`},
		{"constant:rate=1e3,length=60s", `rate "1e3"`},
		{"constant:rate=1000001,length=60s", `rate "1000001"`},
		{"constant:rate=1,length=60", `length "60": allowed are whole seconds from 1s to 168h`},
		{"constant:rate=1,length=0s", `length "0s"`},
		{"constant:rate=1,length=1500ms", `length "1500ms"`},
		{"constant:rate=1,length=169h", `length "169h"`},
		{"step:from=1,to=2,at=60s,length=60s", "at 60s: allowed are whole seconds below the length, 60s"},
		{"sine:mean=1,amplitude=2,period=9s,length=9s", "amplitude 2: allowed are numbers up to the mean, 1"},
		{"sine:mean=1,amplitude=1,period=1s,length=9s", `period "1s"`},
		{"spike:base=1,peak=2,at=0s,width=0s,length=9s", `width "0s"`},
		{"square:rate=1,length=60s", "no such file"},
	} {
		_, err := trace.Load(tt.formula, trace.Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "trace") {
			t.Errorf("%s: got %v, want an error with %q", tt.formula, err, tt.want)
		}
	}
	for _, o := range []trace.Options{{Format: trace.Arrivals}, {Column: "1"}} {
		if _, err := trace.Load("constant:rate=1,length=1s", o); err == nil || !strings.Contains(err.Error(), "is a formula") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestCutArrivals(t *testing.T) {
	whole := trace.Trace{Name: "t.csv", Arrivals: []time.Duration{0, 900 * ms, s, 2500 * ms}}
	for _, tt := range []struct {
		name          string
		start, length time.Duration
		want          []time.Duration
	}{
		{"all", 0, 0, []time.Duration{0, 900 * ms, s, 2500 * ms}},
		{"the first second", 0, s, []time.Duration{0, 900 * ms}},
		{"from second 1", s, 0, []time.Duration{0, 1500 * ms}},
		{"from second 2, longer than there is", 2 * s, time.Hour, []time.Duration{500 * ms}},
	} {
		if got, err := whole.Cut(tt.start, tt.length); err != nil || !slices.Equal(got.Arrivals, tt.want) || got.Rates != nil {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if _, err := whole.Cut(3*s, 0); err == nil || !strings.Contains(err.Error(), "below 3s") {
		t.Errorf("from its end: got %v", err)
	}
	silent := trace.Trace{Name: "t.csv", Arrivals: []time.Duration{0, 5 * s}}
	if got, err := silent.Cut(s, s); err != nil || got.Arrivals == nil || len(got.Arrivals) != 0 {
		t.Errorf("a silent second: got %v, %v, want a trace of no arrivals", got, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"", "1 2 3", "1.5\n# c\n7", "NaN", "-1", "1e9", "0x1p-2", "1_000", "\x00", "9999999999999999999", "minute,a\n0,1\n", "timestamp\n2023-11-16 18:17:03.97\n",
		"0.1\n0.2\n", "a,\"b\n", "-.5,\n", "\ufeff1",
	} {
		for i := range 4 {
			f.Add(seed, uint8(i), "")
			f.Add(seed, uint8(i), "1")
		}
	}
	formats := []trace.Format{trace.Auto, trace.PerSecond, trace.PerMinute, trace.Arrivals}
	f.Fuzz(func(t *testing.T, text string, format uint8, column string) {
		got, err := trace.Read(strings.NewReader(text), "t.txt", trace.Options{Format: formats[int(format)%len(formats)], Column: column})
		if (err == nil) == (len(got.Rates)+len(got.Arrivals) == 0) {
			t.Fatalf("%v with error %v", got, err)
		}
		for _, rate := range got.Rates {
			if !(rate >= 0 && rate <= trace.MaxRate) {
				t.Fatalf("accepted the rate %v", rate)
			}
		}
		if !slices.IsSorted(got.Arrivals) || (len(got.Arrivals) > 0 && (got.Arrivals[0] != 0 || got.Length() > trace.MaxSeconds*s)) {
			t.Fatalf("accepted the arrivals %v", got.Arrivals)
		}
	})
}
