package trace

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, name, text string, o Options) (Trace, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if o.Scale == 0 {
		o.Scale = 1
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	return Load(path, o)
}

func minute(rate float64) []float64 {
	out := make([]float64, 60)
	for i := range out {
		out[i] = rate
	}
	return out
}

func TestATraceIsReadAs(t *testing.T) {
	times := []time.Duration{0, 250 * time.Millisecond, 2 * time.Second}
	tests := []struct {
		name, file, text string
		options          Options
		rates            []float64
		times            []time.Duration
	}{
		{name: "integers over several lines with comments", file: "t.txt", text: "# head\n1 2 # two\n\n3\r\n", rates: []float64{1, 2, 3}},
		{name: "commas between integers", file: "t.txt", text: "1,2, 3\n", rates: []float64{1, 2, 3}},
		{name: "decimals in a text file, which are rates", file: "t.txt", text: "0.5\n.5 3.\n", rates: []float64{0.5, 0.5, 3}},
		{name: "integers in a csv without a name, which are rates", file: "t.csv", text: "4\n5\n", rates: []float64{4, 5}},
		{name: "a csv of arrivals by its name", file: "t.csv", text: "arrival\n0\n0.25\n2\n", times: times},
		{name: "a csv of arrivals by its decimals", file: "t.csv", text: "0.0\n0.25\n2\n", times: times},
		{name: "arrivals by the unit", file: "t.txt", text: "0 0.25 2", options: Options{Unit: Arrivals}, times: times},
		{name: "a csv of rates by the unit", file: "t.csv", text: "rate\n0.5\n", options: Options{Unit: Second}, rates: []float64{0.5}},
		{name: "requests a minute, by a column's name", file: "t.csv", text: "minute,app,count\n0,a,60\n1,a,120\n", options: Options{Unit: Minute, Column: "count"}, rates: append(minute(1), minute(2)...)},
		{name: "requests a minute, by a column's number", file: "t.csv", text: "0,60\n1,120\n", options: Options{Unit: Minute, Column: "2"}, rates: append(minute(1), minute(2)...)},
		{name: "a scale", file: "t.txt", text: "1 2", options: Options{Scale: 3}, rates: []float64{3, 6}},
		{name: "a speed keeps the requests", file: "t.txt", text: "1 3 5 7 2", options: Options{Speed: 2}, rates: []float64{4, 12, 2}},
		{name: "a slow speed keeps the requests", file: "t.txt", text: "1 3", options: Options{Speed: 0.5}, rates: []float64{0.5, 0.5, 1.5, 1.5}},
		{name: "arrivals at a speed", file: "t.csv", text: "0\n0.5\n4\n", options: Options{Unit: Arrivals, Speed: 2}, times: times},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := load(t, tt.file, tt.text, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Trace{Name: tt.file, Rates: tt.rates, Times: tt.times}); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestATraceIsRefusedFor(t *testing.T) {
	tests := []struct {
		name, file, text string
		options          Options
		parts            []string
	}{
		{"a letter", "t.txt", "7 8\n9 x 7", Options{}, []string{"t.txt:2:", `"x"`, "from 0 to 1000000"}},
		{"a negative number", "t.txt", "7\n-1", Options{}, []string{"t.txt:2:", `"-1"`}},
		{"a negative number at the start", "t.txt", "-1\n7", Options{}, []string{"t.txt:1:", `"-1"`}},
		{"NaN", "t.txt", "NaN", Options{}, []string{"t.txt:1:", `"NaN"`}},
		{"infinity", "t.txt", "1 2\n\n+Inf", Options{}, []string{"t.txt:3:", `"+Inf"`}},
		{"an exponent", "t.txt", "1e3", Options{}, []string{`"1e3"`}},
		{"hexadecimal", "t.txt", "0x10", Options{}, []string{`"0x10"`}},
		{"two points", "t.txt", "1.2.3", Options{}, []string{`"1.2.3"`}},
		{"more than any machine sends", "t.txt", "1000001", Options{}, []string{`"1000001"`, "from 0 to 1000000"}},
		{"a scale that makes it more than that", "t.txt", "1000", Options{Scale: 2000}, []string{"2e+06", "scale 2000"}},
		{"a long word, shortened", "t.txt", "1 " + strings.Repeat("a", 500), Options{}, []string{`aaa…"`}},
		{"an empty file", "t.txt", "", Options{}, []string{"t.txt:1:", "no values"}},
		{"comments only", "t.txt", "# nothing\n# here\n", Options{}, []string{"t.txt:2:", "no values"}},
		{"more than a week", "t.txt", strings.Repeat("1 ", MaxSeconds+1), Options{}, []string{"604801 values", "one week"}},
		{"more than a week of minutes", "t.txt", strings.Repeat("1 ", MaxSeconds/60+1), Options{Unit: Minute}, []string{"10081 values", "10080"}},
		{"arrivals out of order", "t.csv", "at\n1.5\n1\n", Options{}, []string{"t.csv:3:", `"1"`, "in order"}},
		{"arrivals on the calendar's clock", "t.csv", "at\n1700000000\n", Options{}, []string{"t.csv:2:", "from the trace's start"}},
		{"arrivals with a scale", "t.csv", "at\n1\n", Options{Scale: 2}, []string{"scale: 2 must be 1"}},
		{"a column that isn't there", "t.csv", "a,b\n1,2\n", Options{Column: "c"}, []string{"t.csv:1:", `"c"`, "1 to 2 or one of a, b"}},
		{"a line that is too short", "t.csv", "a,b\n1,2\n1\n", Options{Column: "b"}, []string{"t.csv:3:", "needed is column 2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.file, tt.text, tt.options)
			if err == nil {
				t.Fatal("accepted")
			}
			message := err.Error()
			for _, part := range tt.parts {
				if !strings.Contains(message, part) {
					t.Errorf("%q does not contain %q", message, part)
				}
			}
			if strings.Contains(message, "\n") || len(message) > 500 {
				t.Errorf("not one short line: %q", message)
			}
		})
	}
}

func TestTheRepositorysTracesAreRead(t *testing.T) {
	for name, seconds := range map[string]int{"demo": 180, "workload": 630, "workload_heavy": 60} {
		got, err := Load(filepath.Join("..", "..", "..", "..", "loadtest", "traces", name+".txt"), Options{Scale: 1, Speed: 1})
		if err != nil || len(got.Rates) != seconds {
			t.Errorf("%s: %d seconds, %v; want %d", name, len(got.Rates), err, seconds)
		}
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	if _, err := Load("/nowhere/absent.txt", Options{}); err == nil || !strings.Contains(err.Error(), "absent.txt") {
		t.Errorf("got %v", err)
	}
}
