package dispatchbench

import (
	"math"
	"reflect"
	"testing"
	"time"

	"headroom.dev/apps/internal/servebench"
)

func values(figures map[string]servebench.Figure) map[string]float64 {
	all := map[string]float64{}
	for name, figure := range figures {
		all[name] = math.Round(figure.Value*1e6) / 1e6
	}
	return all
}

func wantValues(t *testing.T, figures map[string]servebench.Figure, want map[string]float64) {
	t.Helper()
	if got := values(figures); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestThereAndBack(t *testing.T) {
	all := []string{"a", "b", "c"}
	if got := thereAndBack(all); !reflect.DeepEqual(got, []string{"a", "b", "c", "c", "b", "a"}) {
		t.Errorf("got %v", got)
	}
	if !reflect.DeepEqual(all, []string{"a", "b", "c"}) {
		t.Errorf("changed what it was given into %v", all)
	}
}

// What is taken off is the same round's, and the median is of the differences.
func TestOverheadFigures(t *testing.T) {
	round := func(alone50, alone99, d50, d99 float64) map[string]phase {
		return map[string]phase{alone: {P50: alone50, P99: alone99}, "dispatcher": {P50: d50, P99: d99}}
	}
	figures := overheadFigures("dispatcher", []map[string]phase{
		round(0.001, 0.010, 0.002, 0.011), round(0.002, 0.001, 0.005, 0.003), round(0.003, 0.020, 0.005, 0.025),
	})
	wantValues(t, figures, map[string]float64{"dispatcher_overhead_p50_ms": 2, "dispatcher_overhead_p99_ms": 2})
	if got := figures["dispatcher_overhead_p50_ms"].Rounds; len(got) != 3 || math.Abs(got[1]-3) > 1e-9 {
		t.Errorf("rounds %v", got)
	}
}

// Each round's ratio is against that round's better way, in the same unit, which
// may be another way in another unit.
func TestThroughputFigures(t *testing.T) {
	rounds := []map[string]work{{
		"dispatcher": {Jobs: 1000, Seconds: 2, CPUSeconds: 1},
		rawOne:       {Jobs: 2000, Seconds: 2, CPUSeconds: 2},
		rawMany:      {Jobs: 1500, Seconds: 2, CPUSeconds: 0.5},
		asynqDefault: {Jobs: 200, Seconds: 2, CPUSeconds: 0.5},
		asynqFast:    {Jobs: 100, Seconds: 2, CPUSeconds: 0.1},
		asynqFull:    {Jobs: 400, Seconds: 2, CPUSeconds: 2},
	}}
	wantValues(t, throughputFigures(variant{name: "dispatcher"}, rounds), map[string]float64{
		"dispatcher_max_rps":                         500,
		"dispatcher_vs_raw_redis":                    0.5,
		"dispatcher_vs_asynq":                        2.5,
		"dispatcher_vs_asynq_default":                5,
		"dispatcher_max_rps_per_cpu_second":          1000,
		"dispatcher_vs_raw_redis_per_cpu_second":     0.333333,
		"dispatcher_vs_asynq_per_cpu_second":         1,
		"dispatcher_vs_asynq_default_per_cpu_second": 2.5,
	})
	wantValues(t, limitFigures(rounds), map[string]float64{
		"redis_raw_rps": 1000, "redis_raw_rps_per_cpu_second": 3000, "asynq_max_rps": 200, "asynq_max_rps_per_cpu_second": 1000,
	})
}

func TestPickupFigures(t *testing.T) {
	of := func(seconds ...float64) map[string]pickup {
		return map[string]pickup{"asynq": summarizePickups(seconds)}
	}
	mean, p99 := pickupFigures("", "asynq", []map[string]pickup{of(0.1, 0.3), of(0.5), of(0.2, 0.2, 0.5)})
	wantValues(t, map[string]servebench.Figure{"mean": mean, "p99": p99}, map[string]float64{"mean": 300, "p99": 500})
}

func TestJudge(t *testing.T) {
	at := func(due, took time.Duration, status int) sample { return sample{Due: due, Took: took, Status: status} }
	got := judge([]sample{
		at(999*time.Millisecond, time.Millisecond, 200),    // in the warm-up
		at(time.Second, 100*time.Millisecond, 200),         //
		at(1500*time.Millisecond, promise, 200),            // just in time
		at(1600*time.Millisecond, promise+1, 200),          // too late
		at(1700*time.Millisecond, 2*time.Millisecond, 503), //
		at(1800*time.Millisecond, 7*time.Millisecond, 503), //
		at(1900*time.Millisecond, promise, 504),            //
		at(2000*time.Millisecond, promise, 502),            //
		at(2999*time.Millisecond, promise, 0),              // no answer
		at(3*time.Second, time.Millisecond, 200),           // after it
	}, time.Second, 2*time.Second)
	want := loaded{
		Seconds: 2, Sent: 8, OnTime: 2, Late: 1, Refused: 2, TimedOut: 1, Failed: 2,
		AcceptedP50: 0.5, AcceptedP99: (promise + 1).Seconds(), RefusedP99: 0.007,
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got.goodput() != 1 || got.lateShare() != 1./3 || got.unkept() != 4./6 {
		t.Errorf("goodput %v, late %v, unkept %v", got.goodput(), got.lateShare(), got.unkept())
	}
	if none := judge(nil, 0, time.Second); none.goodput() != 0 || none.lateShare() != 0 || none.unkept() != 0 {
		t.Errorf("of none: %+v", none)
	}
}

func TestOverloadFigures(t *testing.T) {
	wantValues(t, overloadFigures([]overloadRound{{
		Usual: loaded{Seconds: 2, Sent: 380, OnTime: 360},
		Over:  loaded{Seconds: 2, Sent: 800, OnTime: 270, Late: 30, Refused: 400, TimedOut: 100, AcceptedP99: 0.4, RefusedP99: 0.003},
	}}), map[string]float64{
		"dispatcher_goodput_2x": 0.75, "dispatcher_goodput_2x_of_capacity": 0.675, "dispatcher_late_share_2x": 0.1,
		"dispatcher_unkept_share_2x": 0.325, "dispatcher_accepted_p99_2x_ms": 400, "dispatcher_refused_p99_2x_ms": 3,
		"dispatcher_refused_share_2x": 0.5,
	})
}
