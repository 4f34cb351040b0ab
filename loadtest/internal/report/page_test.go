package report_test

import (
	"strings"
	"testing"

	"headroom.dev/loadtest/internal/page"
	"headroom.dev/loadtest/internal/record"
	"headroom.dev/loadtest/internal/report"
	"headroom.dev/loadtest/internal/timeline"
)

func TestPageOfARun(t *testing.T) {
	dir, scheduled := small(t)
	if err := report.WriteTimeline(dir, smallTimeline()); err != nil {
		t.Fatal(err)
	}
	interrupted := run("one")
	interrupted.Interrupted = true
	if _, err := report.Make(dir, plan(interrupted, scheduled)); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir, "report.html")
	for _, part := range []string{
		"<h1>Load test one</h1>", "14 March 2026, 15:09:26 UTC",
		"This run does not count. What it showed: Interrupted after 0:03. Up to there: Promise missed: 50% of the requests had a prediction within 500 ms",
		`data-figure="latency_server_s.p99"><b>450 ms</b>`, `data-figure="latency_client_s.p99"><b>600 ms</b>`,
		`data-figure="slo_violations"><b>3 (50%)</b>`, `data-figure="replicas"><b>1.40 / 3</b>`,
		"overloaded", "in_flight_cap",
		"Do not use these figures.", "1 of 6 requests were not sent when their time came",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("report.html does not contain %q", part)
		}
	}
}

func TestThresholdsAreShownInTheirUnits(t *testing.T) {
	dir, scheduled := small(t)
	limited := plan(run("one"), scheduled)
	for _, text := range []string{"client_p99=700ms", "violations=1%", "violations=3", "p99=1s"} {
		limit, err := report.ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		limited.Limits = append(limited.Limits, limit)
	}
	if _, err := report.Make(dir, limited); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir, "report.html")
	for _, row := range []string{
		`client_p99=700ms</th><td class="number ">600 ms</td><td class="number ">700 ms</td><td class="good">passed`,
		`violations=1%</th><td class="number ">50%</td><td class="number ">1%</td><td class="bad">missed`,
		`violations=3</th><td class="number ">3</td><td class="number ">3</td><td class="good">passed`,
		`p99=1s</th><td class="number ">–</td><td class="number ">1000 ms</td><td class="bad">missed`, // Prometheus was not asked
	} {
		if !strings.Contains(got, row) {
			t.Errorf("report.html does not contain %q", row)
		}
	}
}

// Names come from people, codes from servers: none of it may become markup.
func TestNothingFromOutsideBecomesMarkup(t *testing.T) {
	const hostile = `</script><img src=x onerror=alert(1)><script>alert("2")</script><!--`
	dir := t.TempDir()
	writeRecords(t, dir, []record.Record{
		answered(0, 100*ms),
		{Intended: 10 * ms, Lag: ms, Latency: ms, Status: 500, Outcome: record.Failed, Code: hostile},
	})
	measured := smallTimeline()
	measured.Decisions = []timeline.Decision{{AtS: 1, From: 1, To: 2, Reason: hostile}}
	measured.ModelServers.Model = hostile
	if err := report.WriteTimeline(dir, measured); err != nil {
		t.Fatal(err)
	}
	r := run(hostile)
	r.Trace, r.Scaler, r.Target, r.Arrivals = hostile, hostile, hostile, hostile
	if _, err := report.Make(dir, plan(r, 2)); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir, "report.html")
	for _, part := range []string{"<img", "alert(1)>", `alert("2")`, "<!--"} {
		if strings.Contains(got, part) {
			t.Errorf("report.html contains %q: %s", part, got[max(0, strings.Index(got, part)-80):strings.Index(got, part)+80])
		}
	}
	if n := strings.Count(got, "<script"); n != 2 {
		t.Errorf("%d scripts, want 2: the data and the program", n)
	}
}

func TestConclude(t *testing.T) {
	// A run of 20 s: what is not said here is as it should be.
	flat := func(x float64) timeline.Values {
		values := make(timeline.Values, 20)
		for i := range values {
			values[i] = x
		}
		return values
	}
	at := func(values timeline.Values, x float64, seconds ...int) timeline.Values {
		for _, i := range seconds {
			values[i] = x
		}
		return values
	}
	number := func(x float64) *float64 { return &x }
	tests := map[string]struct {
		change func(*report.Summary, *report.Seconds)
		want   []string
		not    []string
	}{
		"a good run": {
			func(*report.Summary, *report.Seconds) {},
			[]string{"✓ Server-side p99 of the answered requests is 200 ms, within the promise of 500 ms.", "✓ No violation:", "CPU: 40% of what the replicas may use was used."},
			[]string{"✗", "≈"},
		},
		"too few replicas while more were starting": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Violations = report.Violations{Count: 12, Share: 0.06}
				at(sec.Violations, 4, 5, 6, 7)
				at(sec.Unanswered, 1, 6)
				at(sec.Measured.Signals[timeline.Starting], 2, 5, 6, 7)
				at(sec.Measured.Signals[timeline.QueueSize], 9, 6)
			},
			[]string{"✗ 12 violations: 6% of the requests, in 1 stretch:", "From 0:05 to 0:07, 12: too few replicas: up to 2 were ready and more were starting for 3 s of it; demand had risen before they could serve, and up to 9 requests waited. 1 of them were not answered at all, the others late."},
			[]string{"load tester itself"},
		},
		"a scaler that asked for no more": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Violations = report.Violations{Count: 4, Share: 0.02}
				at(sec.Violations, 4, 5)
				at(sec.Unanswered, 4, 5)
				at(sec.Measured.Signals[timeline.QueueSize], 9, 5)
			},
			[]string{"At 0:05, 4: too few replicas: 2 ready and none on its way, and up to 9 requests waited; the scaler asked for no more. None of them was answered"},
			nil,
		},
		"the load tester's own lateness": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Violations = report.Violations{Count: 4, Share: 0.02}
				at(sec.Violations, 4, 5)
				at(sec.SendLag, 0.3, 3, 4, 5)
				at(sec.Measured.Signals[timeline.Starting], 2, 5)
			},
			[]string{"At 0:05, 4: the load tester itself sent up to 300 ms late."},
			[]string{"too few replicas"},
		},
		"no CPU left": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Violations = report.Violations{Count: 4, Share: 0.02}
				at(sec.Violations, 4, 5)
				at(sec.Measured.Signals[timeline.CPU], 0.99, 3, 4)
			},
			[]string{"At 0:05, 4: too little CPU: the 2 replicas used all of their limit"},
			nil,
		},
		"slow answers without a queue": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Violations = report.Violations{Count: 1, Share: 0.002}
				at(sec.Violations, 1, 5)
			},
			[]string{"✓ One violation: 0.20% of the requests", "At 0:05, 1: not for want of replicas", "All were answered, but late."},
			nil,
		},
		"stretches apart, the worst three told": {
			func(s *report.Summary, sec *report.Seconds) {
				sec.Violations = append(sec.Violations, make(timeline.Values, 80)...)
				for i, n := range []float64{1, 5, 2, 4} {
					sec.Violations[i*20] = n
				}
				s.Violations = report.Violations{Count: 12, Share: 0.06}
			},
			[]string{"in 4 stretches; 11 of the violations in the worst 3:", "At 0:20, 5:", "At 1:00, 4:", "At 0:40, 2:"},
			[]string{"At 0:00"},
		},
		"Prometheus knew nothing of it": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Violations = report.Violations{Count: 1, Share: 0.002}
				at(sec.Violations, 1, 5)
				at(sec.Measured.Signals[timeline.Ready], nan, 2, 3, 4, 5)
			},
			[]string{"At 0:05, 1: Prometheus has no data for it, so the cause is unknown.", "≈ Gaps: Prometheus knew nothing of the replicas for 4 of 20 s."},
			nil,
		},
		"Prometheus was not asked": {
			func(s *report.Summary, sec *report.Seconds) {
				s.Server, s.Cost, s.Scaling, sec.Measured = nil, nil, nil, nil
				s.Violations = report.Violations{Count: 1, Share: 0.002}
				at(sec.Violations, 1, 5)
			},
			[]string{"≈ Server-side latency was not measured, so", "Prometheus has no data for it", "≈ Replicas, queue and CPU were not measured:"},
			[]string{"Gaps"},
		},
		"a promise that was missed on the server": {
			func(s *report.Summary, _ *report.Seconds) { s.Server.P99, s.Client.P99 = number(0.8), number(0.81) },
			[]string{"✗ Server-side p99 of the answered requests is 800 ms, above the promise of 500 ms."},
			[]string{"The clients saw more"},
		},
		"time lost on the way": {
			func(s *report.Summary, _ *report.Seconds) { s.Client.P99 = number(0.45) },
			[]string{"≈ The clients saw more: their p99 is 250 ms above the server's; it is spent on the way"},
			[]string{"own lateness"},
		},
		"time lost in the load tester": {
			func(s *report.Summary, _ *report.Seconds) { s.Client.P99, s.SendLag.P99 = number(0.45), number(0.2) },
			[]string{"much of it is the load tester's own lateness, at p99 200 ms"},
			nil,
		},
		"an invalid run": {
			func(s *report.Summary, _ *report.Seconds) {
				s.Validity = report.Validity{Reasons: []string{"send lag p99 is 40 ms, above the bound of 10 ms"}, LagP99BoundS: 0.01}
			},
			[]string{"✗ The run is invalid: send lag p99 is 40 ms, above the bound of 10 ms. It says nothing about the service"},
			nil,
		},
		"an interrupted run": {
			func(s *report.Summary, _ *report.Seconds) { s.Run.Interrupted, s.Requests.Sent = true, 150 },
			[]string{"≈ The run was interrupted after 0:20, with 150 of 200 requests sent"},
			nil,
		},
		"how fast the scaler was": {
			func(s *report.Summary, _ *report.Seconds) {
				s.Scaling = &report.Scaling{Outs: 3, Ins: 1, Flaps: 1, ReactionS: number(9), Reactions: []report.Reaction{
					{AtS: 5, FromPerS: 7, ToPerS: 9},
					{AtS: 10, FromPerS: 7, ToPerS: 20, OrderedS: number(3), ReadyS: number(9)},
					{AtS: 70, FromPerS: 20, ToPerS: 36, OrderedS: number(4)},
					{AtS: 130, FromPerS: 7, ToPerS: 10},
				}}
			},
			[]string{
				"At 0:10 demand rose from 7 to 20 requests per second: the first added replica was ordered after 3 s and ready after 9 s.",
				"At 1:10 demand rose from 20 to 36 requests per second: a replica was ordered after 4 s, but none became ready for it.",
				"At 2:10 demand rose from 7 to 10 requests per second: no replica was added for it",
				"≈ Scaling: 3 times out, 1 in; 1 of these went back on the one before though demand did not.",
			},
			[]string{"At 0:05"}, // the smallest of four
		},
		"thresholds that were missed": {
			func(s *report.Summary, _ *report.Seconds) {
				s.Thresholds = []report.Threshold{{Text: "p99=100ms"}, {Text: "violations=1%", OK: true}}
			},
			[]string{"✗ Thresholds missed: p99=100ms."},
			[]string{"violations=1%"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := report.Summary{
				Run: run("one"), SLO: report.SLO{LatencyS: 0.5, Quantile: 0.99}, Requests: report.Requests{Scheduled: 200, Sent: 200, Answered: 200},
				Server: &report.Latency{P99: number(0.2)}, Client: report.Latency{P99: number(0.21)}, SendLag: report.Lag{P99: number(0.001)},
				Cost:     &report.Cost{ReplicaSeconds: 40, CPULimitSeconds: number(20), CPUSeconds: number(8)},
				Validity: report.Validity{Valid: true, LagP99BoundS: 0.01},
			}
			s.Run.DurationS = 20
			sec := report.Seconds{
				Start: started, Count: 20, LoadEnds: 20, Offered: flat(10), Violations: flat(0), Unanswered: flat(0), Answered: flat(10), SendLag: flat(0.001),
				Measured: &timeline.Timeline{Start: started, Seconds: 20, Signals: map[timeline.Signal]timeline.Values{
					timeline.Ready: flat(2), timeline.Starting: flat(0), timeline.QueueSize: flat(0), timeline.CPU: flat(0.4), timeline.CPULimit: flat(1),
				}},
			}
			tt.change(&s, &sec)
			var said []string
			for _, r := range report.Conclude(s, sec) {
				said = append(said, words(r))
			}
			all := strings.Join(said, "\n")
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("%q is not said in:\n%s", want, all)
				}
			}
			for _, unwanted := range tt.not {
				if strings.Contains(all, unwanted) {
					t.Errorf("%q is said in:\n%s", unwanted, all)
				}
			}
		})
	}
}

// words is a remark as it is read.
func words(r page.Remark) string {
	return strings.TrimSpace(strings.TrimSpace(r.Tone.Sign()+" "+r.Term) + " " + r.Text)
}
