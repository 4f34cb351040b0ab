package report_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/report"
)

func TestThresholds(t *testing.T) {
	dir, scheduled := small(t)
	if err := report.WriteTimeline(dir, smallTimeline()); err != nil {
		t.Fatal(err)
	}
	// The figures are those that TestFiguresWorkedOutByHand has.
	tests := []struct {
		text     string
		limit    float64
		measured float64
		ok       bool
		says     string
	}{
		{"p99=450ms", 0.45, 0.45, true, "p99=450ms: is 450 ms"},
		{"p99=449ms", 0.449, 0.45, false, "p99=449ms: is 450 ms"},
		{"server_p50=1s", 1, 0.09, true, "server_p50=1s: is 90 ms"},
		{"p999=1s", 1, 0.495, true, "p999=1s: is 495 ms"},
		{"client_p99=500ms", 0.5, 0.6, false, "client_p99=500ms: is 600 ms"},
		{"lag_p99=1ms", 0.001, 0.002, false, "lag_p99=1ms: is 2.0 ms"},
		{"violations=50%", 0.5, 0.5, true, "violations=50%: is 50%"},
		{"violations=49.9%", 0.499, 0.5, false, "violations=49.9%: is 50%"},
		{"violations=2", 2, 3, false, "violations=2: is 3"},
		{"refused=20%", 0.2, 0.2, true, "refused=20%: is 20%"}, // one of the five sent
		{"failed=0", 0, 0, true, "failed=0: is 0"},
		{"unsent=49%", 0.49, 0.5, false, "unsent=49%: is 50%"}, // five of the ten scheduled
		{"replica_seconds=5.5", 5.5, 5.5, true, "replica_seconds=5.5: is 5.5"},
		{"cpu_limit_seconds=3", 3, 3.25, false, "cpu_limit_seconds=3: is 3.25"},
		{"cpu_seconds=1.25", 1.25, 1.25, true, "cpu_seconds=1.25: is 1.25"},
		{"mean_replicas=1.4", 1.4, 1.4, true, "mean_replicas=1.4: is 1.4"},
		{"peak_replicas=2", 2, 3, false, "peak_replicas=2: is 3"},
		{"flaps=0", 0, 0, true, "flaps=0: is 0"},
		{"reaction=10s", 10, nan, false, "reaction=10s: was not measured"},
	}
	given := plan(run("limited"), scheduled)
	for _, tt := range tests {
		limit, err := report.ParseLimit(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		given.Limits = append(given.Limits, limit)
	}
	if _, err := report.Make(dir, given); err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
	again, err := report.Remake(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Thresholds) != len(tests) {
		t.Fatalf("%d thresholds after the results were made again, want %d", len(again.Thresholds), len(tests))
	}
	for i, tt := range tests {
		got := again.Thresholds[i]
		figure, _, _ := strings.Cut(tt.text, "=")
		if got.Text != tt.text || got.Figure != figure || got.Limit != tt.limit || got.OK != tt.ok || got.String() != tt.says {
			t.Errorf("%s: got %+v, %q; want limit %v, ok %t, %q", tt.text, got, got, tt.limit, tt.ok, tt.says)
		}
		if measured := got.Measured; (measured == nil) != (tt.measured != tt.measured) || measured != nil && *measured != tt.measured {
			t.Errorf("%s: measured %v, want %v", tt.text, measured, tt.measured)
		}
	}
}

func TestWhatWasNotMeasuredMissesItsThreshold(t *testing.T) {
	dir, scheduled := small(t)
	blind := plan(run("blind"), scheduled)
	for _, text := range []string{"p99=1h", "replica_seconds=1000000", "peak_replicas=1000", "flaps=1000", "client_p99=1h"} {
		limit, err := report.ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		blind.Limits = append(blind.Limits, limit)
	}
	summary, err := report.Make(dir, blind)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
	for _, got := range summary.Thresholds {
		if client := got.Figure == "client_p99"; got.OK != client || (got.Measured != nil) != client {
			t.Errorf("without Prometheus %s is %+v", got.Text, got)
		}
	}
}

func TestLimitsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"p99":                   `"p99": allowed is NAME=LIMIT, such as p99=500ms`,
		"":                      "allowed is NAME=LIMIT",
		"p98=1s":                `figure "p98": allowed are p50, p90, p99, p999, server_p50,`,
		"P99=1s":                `figure "P99"`,
		"p99=500":               `"p99=500": limit "500": allowed are durations from 0s, such as 500ms`,
		"p99=-1s":               `limit "-1s": allowed are durations from 0s`,
		"lag_p99=1%":            `limit "1%": allowed are durations`,
		"violations=101%":       `limit "101%": allowed are numbers of requests from 0, and percentages from 0% to 100%`,
		"failed=-1":             "allowed are numbers of requests from 0",
		"failed=NaN":            "allowed are numbers of requests from 0",
		"failed=few":            "allowed are numbers of requests from 0",
		"replica_seconds=10%":   `limit "10%": allowed are numbers from 0`,
		"replica_seconds=1h":    `limit "1h": allowed are numbers from 0`,
		"peak_replicas=+Inf":    "allowed are numbers from 0",
		"replica_seconds=":      `limit "": allowed are numbers from 0`,
		"violations=1%=2":       `limit "1%=2": allowed are numbers of requests`,
		"client_p99=5000000000": "allowed are durations",
	} {
		if _, err := report.ParseLimit(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want one line with %q", text, err, want)
		}
	}
}

func TestARunThatDoesNotCount(t *testing.T) {
	sent := func(lags ...time.Duration) []record.Record {
		var all []record.Record
		for _, lag := range lags {
			r := answered(0, 100*ms)
			r.Lag = lag
			all = append(all, r)
		}
		return all
	}
	for _, tt := range []struct {
		name      string
		records   []record.Record
		scheduled int
		reasons   []string
	}{
		{"a lag p99 at its bound", sent(ms, 10*ms), 2, nil},
		{"a lag p99 above it", sent(ms, 10*ms+100*time.Microsecond), 2, []string{"send lag p99 is 10.1 ms, above the bound of 10 ms"}},
		{"one that was late among two hundred", append(sent(slices.Repeat([]time.Duration{ms}, 199)...), sent(time.Second)...), 200, nil},
		{
			"one that was not sent", append(sent(ms), record.Record{Outcome: record.Unsent, Code: "in_flight_cap"}), 2,
			[]string{"1 of 2 requests were not sent when their time came"},
		},
		{"those that were not due when it was interrupted", sent(ms), 10, nil},
		{"nothing was sent", nil, 10, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeRecords(t, dir, tt.records)
			summary, err := report.Make(dir, plan(run("late"), tt.scheduled))
			if err != nil {
				t.Fatal(err)
			}
			validate(t, dir)
			if v := summary.Validity; v.Valid != (len(tt.reasons) == 0) || !slices.Equal(v.Reasons, tt.reasons) || v.LagP99BoundS != 0.01 {
				t.Errorf("got %+v, want the reasons %q", v, tt.reasons)
			}
		})
	}
}
