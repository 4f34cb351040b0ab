package timeline

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func hpaLog(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hpa.log")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStatusOfAnHPA(t *testing.T) {
	log, err := ReadHPALog(hpaLog(t, "985 2 2 20\n990 2 1 20\n\n998.5 - - -\n1001 1 1 65\n1003 1 3 210.5\n1005.25 3 3 -\n1030 3 2 30\n1032 2 1 10\n"))
	if err != nil {
		t.Fatal(err)
	}
	line := &Timeline{Start: time.Unix(1000, 0).UTC(), Seconds: 32, Signals: map[Signal]Values{}, Decisions: []Decision{{1, 8, 9, "demand"}}}
	line.AddHPA(log)
	// Second by second; the line of 1005.25 stands for the 15 s after it, and no longer.
	want := map[int]string{
		0: "NaN NaN", 1: "1 65", 2: "1 65", 3: "3 210.5", 5: "3 210.5", 6: "3 NaN", 20: "3 NaN", 21: "NaN NaN", 29: "NaN NaN", 30: "2 30", 31: "2 30",
	}
	for second, want := range want {
		if got := fmt.Sprint(line.Signals[HPADesired][second], line.Signals[HPACPU][second]); got != want {
			t.Errorf("second %d: desired and CPU are %s, want %s", second, got, want)
		}
	}
	// What it wanted before the run is where it starts from; what came after the timeline is no part of it.
	if want := []Decision{{3, 1, 3, "hpa"}, {30, 3, 2, "hpa"}}; !slices.Equal(line.Decisions, want) {
		t.Errorf("decisions %+v, want %+v", line.Decisions, want)
	}
	if err := line.Validate(); err != nil {
		t.Error(err)
	}
}

func TestAnHPAThatStartsInTheRun(t *testing.T) {
	line := &Timeline{Start: time.Unix(1000, 0).UTC(), Seconds: 10, Signals: map[Signal]Values{}}
	line.AddHPA([]HPAStatus{{At: time.Unix(1002, 0), Current: 2, Desired: 5, CPUPercent: nan}})
	if want := []Decision{{2, 2, 5, "hpa"}}; !slices.Equal(line.Decisions, want) {
		t.Errorf("decisions %+v, want %+v: from the count that it found", line.Decisions, want)
	}
}

func TestAnHPAThatNeverSaidWhatItWants(t *testing.T) {
	before := []Decision{{1, 1, 2, ""}}
	line := &Timeline{Start: time.Unix(1000, 0).UTC(), Seconds: 10, Signals: map[Signal]Values{}, Decisions: before}
	line.AddHPA([]HPAStatus{{At: time.Unix(1002, 0), Current: nan, Desired: nan, CPUPercent: nan}})
	if !slices.Equal(line.Decisions, before) {
		t.Errorf("decisions %+v, want those that there were", line.Decisions)
	}
}

func TestHPALogsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a field is missing", "1000 1 1 20\n1001 1 1\n", `:2: 3 fields; allowed are the four "unix_seconds current desired cpu_percent"`},
		{"a time that is none", "noon 1 1 20\n", `:1: unix_seconds "noon": allowed are seconds since 1970`},
		{"an unknown time", "- 1 1 20\n", `:1: unix_seconds "-": allowed are seconds since 1970`},
		{"milliseconds", "1700000000000 1 1 20\n", `:1: unix_seconds "1700000000000": allowed are seconds since 1970`},
		{"half a replica", "1000 1 1.5 20\n", `:1: desired "1.5": allowed are whole numbers from 0, or "-"`},
		{"fewer than none", "1000 -1 1 20\n", `:1: current "-1": allowed are whole numbers`},
		{"no CPU but a word", "1000 1 1 <unknown>\n", `:1: cpu_percent "<unknown>": allowed are numbers from 0, or "-"`},
		{"not a number", "1000 1 1 NaN\n", `:1: cpu_percent "NaN"`},
		{"back in time", "1000 1 1 20\n999 1 1 20\n", ":2: it is older than the line before"},
		{"a line without an end", strings.Repeat("1", 1<<17), ":1: bufio.Scanner: token too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := hpaLog(t, tt.text)
			if _, err := ReadHPALog(path); err == nil || !strings.Contains(err.Error(), path+tt.want) {
				t.Errorf("got %v, want %q after the file's name", err, tt.want)
			}
		})
	}
	if _, err := ReadHPALog(filepath.Join(t.TempDir(), "absent")); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzHPALog(f *testing.F) {
	f.Add("1000 1 1 20\n1001 - - -\n")
	f.Fuzz(func(t *testing.T, text string) {
		log, err := parseHPALog("log", strings.NewReader(text))
		if err != nil {
			return
		}
		line := &Timeline{Start: time.Unix(1000, 0), Seconds: 5, Signals: map[Signal]Values{}}
		line.AddHPA(log)
		if line.Validate() != nil || len(line.Decisions) > len(log) {
			t.Errorf("%d lines gave %+v", len(log), line)
		}
	})
}
