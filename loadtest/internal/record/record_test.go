package record_test

import (
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/record"
)

func TestDistribution(t *testing.T) {
	d := record.NewDistribution()
	if !math.IsNaN(d.Quantile(0.5)) || !math.IsNaN(d.Mean()) || !math.IsNaN(d.Max()) {
		t.Error("an empty distribution has figures")
	}
	for i := 1; i <= 1000; i++ {
		d.Add(time.Duration(i) * time.Millisecond)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want*0.001 {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	near("p50 of 1..1000 ms", d.Quantile(0.5), 0.500)
	near("p90", d.Quantile(0.9), 0.900)
	near("p99", d.Quantile(0.99), 0.990)
	near("p99.9", d.Quantile(0.999), 0.999)
	near("mean", d.Mean(), 0.5005)
	near("max", d.Max(), 1)
	d.Add(2 * time.Hour)
	if d.Max() != 7200 || d.Count() != 1001 {
		t.Errorf("after two hours: max %v of %d", d.Max(), d.Count())
	}
}

func TestQuantileIsNeverAboveTheMaximum(t *testing.T) {
	d := record.NewDistribution()
	d.Add(123456789 * time.Microsecond)
	if d.Quantile(1) > d.Max() {
		t.Errorf("p100 %v is above the maximum %v", d.Quantile(1), d.Max())
	}
}

func example() []record.Record {
	return []record.Record{
		{Intended: time.Second, Lag: time.Millisecond, Latency: 100 * time.Millisecond, Status: 200, Outcome: record.Answered, Bytes: 321},
		{Intended: 500 * time.Millisecond, Lag: 2 * time.Millisecond, Latency: 700 * time.Millisecond, Status: 200, Outcome: record.Answered, Bytes: 321},
		{Intended: 2 * time.Second, Latency: 5 * time.Millisecond, Status: 503, Outcome: record.Refused, Code: "overloaded", Bytes: 64},
		{Intended: 2500 * time.Millisecond, Latency: 10 * time.Second, Outcome: record.Failed, Code: "timeout"},
		{Intended: 3 * time.Second, Outcome: record.Unsent, Code: "in_flight_cap"},
		{Intended: 1500 * time.Millisecond, Latency: 500 * time.Millisecond, Status: 200, Outcome: record.Answered, Bytes: 321},
	}
}

func TestTally(t *testing.T) {
	tally := record.NewTally(500 * time.Millisecond)
	for _, r := range example() {
		tally.Add(r)
	}
	// Of six: one answered at 100 ms and one at exactly the SLO are inside it;
	// one at 700 ms, one refused, one timed out and one unsent are not.
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"due", tally.Due(), 6}, {"sent", tally.Sent(), 5}, {"violations", tally.Violations(), 4}, {"late", tally.Late, 1},
		{"answered", tally.Outcomes[record.Answered], 3}, {"refused", tally.Outcomes[record.Refused], 1},
		{"failed", tally.Outcomes[record.Failed], 1}, {"unsent", tally.Outcomes[record.Unsent], 1},
		{"status 200", tally.Statuses[200], 3}, {"status 503", tally.Statuses[503], 1}, {"no answer", tally.Statuses[0], 1},
		{"timeouts", tally.Codes["timeout"], 1}, {"lags", int(tally.Lag.Count()), 5},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, c.got, c.want)
		}
	}
	if tally.First != 500*time.Millisecond || tally.Last != 12500*time.Millisecond {
		t.Errorf("from %v to %v, want 500ms to 12.5s", tally.First, tally.Last)
	}
}

func TestWriterKeepsEveryRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.csv.gz")
	w, err := record.Create(path, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for _, r := range example() {
				w.Add(r)
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat(path); err == nil {
		t.Error("the file has its final name before it is complete")
	}
	tally, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[record.Record]int{}
	if err := record.Load(path, func(r record.Record) { counts[r]++ }); err != nil {
		t.Fatal(err)
	}
	for _, r := range example() {
		if counts[r] != 100 {
			t.Errorf("%+v: %d of 100 came back", r, counts[r])
		}
	}
	if tally.Due() != 600 {
		t.Errorf("%d tallied, want 600", tally.Due())
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || !slices.Equal(left, []string{path}) {
		t.Errorf("files left: %v, %v", left, err)
	}
}

func TestCreateRefusesToOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.csv.gz")
	if _, err := record.Create(path, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Create(path, time.Second); err == nil {
		t.Error("a second writer on the same file was accepted")
	}
}

func TestLoadRefuses(t *testing.T) {
	const head = "intended_s,lag_s,latency_s,status,outcome,code,bytes\n"
	for name, tt := range map[string]struct{ text, want string }{
		"a negative latency":  {head + "0,0,-1,200,answered,,1\n", `latency_s "-1"`},
		"an unknown outcome":  {head + "0,0,1,200,answered,,1\n0,0,1,200,lost,,1\n", `:3: outcome "lost"`},
		"a status in words":   {head + "0,0,1,OK,answered,,1\n", `status "OK"`},
		"a row that is short": {head + "0,0,1\n", "wrong number of fields"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "requests.csv.gz")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			z := gzip.NewWriter(f)
			if _, err := z.Write([]byte(tt.text)); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := record.Load(path, func(record.Record) {}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error with the file and %q", err, tt.want)
			}
		})
	}
	t.Run("a file that is not compressed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "requests.csv.gz")
		if err := os.WriteFile(path, []byte(head), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := record.Load(path, func(record.Record) {}); err == nil {
			t.Error("accepted")
		}
	})
}

func TestRecentLooksBackTenSeconds(t *testing.T) {
	r := record.NewRecent()
	if got := r.Quantiles(0, 0.5); !math.IsNaN(got[0]) {
		t.Errorf("with no answers: got %v, want NaN", got)
	}
	answer := func(latency time.Duration) record.Record {
		return record.Record{Outcome: record.Answered, Latency: latency}
	}
	for range 90 {
		r.Add(answer(100 * time.Millisecond))
	}
	for range 10 {
		r.Add(answer(2 * time.Second))
	}
	r.Add(record.Record{Outcome: record.Failed, Latency: 10 * time.Second})
	near := func(at time.Duration, want ...float64) {
		t.Helper()
		for i, got := range r.Quantiles(at, 0.5, 0.99) {
			if !(math.Abs(got-want[i]) <= want[i]*0.01) && !(math.IsNaN(got) && math.IsNaN(want[i])) {
				t.Errorf("at %v: got %v, want %v", at, got, want[i])
			}
		}
	}
	near(time.Second, 0.1, 2)
	for range 100 {
		r.Add(answer(300 * time.Millisecond))
	}
	r.Add(answer(3 * time.Hour)) // counts as an hour
	near(5*time.Second, 0.3, 2)
	near(9*time.Second, 0.3, 2)
	near(10*time.Second, 0.3, 2)
	// The first ones came between the looks at 0 s and 1 s, the others between 1 s and 5 s.
	near(11*time.Second, 0.3, 0.3)
	near(12*time.Second, math.NaN(), math.NaN())
	r.Add(answer(100 * time.Millisecond))
	near(time.Hour, 0.1, 0.1) // all since the last look
	near(time.Hour, math.NaN(), math.NaN())
}
