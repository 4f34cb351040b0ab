package promsource

import (
	"fmt"
	"testing"
	"time"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/promtest"
)

// What Prometheus' own engine makes of the questions about restarts, at times and
// with samples that are exact: a scrape every second, two requests a second and
// process. A series that a scrape doesn't have any more ends with "stale"; "_" is
// no sample, as of a Prometheus that is away.
func TestWindows(t *testing.T) {
	c := config.Defaults()
	o := Options{Prometheus: c.Prometheus, Signals: c.Signals, Quantile: 0.99}
	o.Signals.Freshness = config.Freshness{Arrivals: "hits", Service: "hits"}
	const short, latency, long = 3 * time.Second, 10 * time.Second, 30 * time.Second
	type times struct{ from, to float64 } // seconds
	for _, tc := range []struct {
		name   string
		series map[string]string // instance → values, the first one at 0 s
		rate   float64           // true all the time; 0 is not looked at
		// When windows are surely reset, or too empty for a rate, and when they are
		// surely not. In between either is right.
		reset map[time.Duration]times
		good  map[time.Duration][]times
	}{
		{
			"a process that goes on", map[string]string{"a": "0+2x150"}, 2,
			nil,
			map[time.Duration][]times{short: {{3, 110}}, latency: {{10, 110}}, long: {{30, 110}}},
		}, {
			"a Prometheus that begins to watch", map[string]string{"a": "_x60 5000+2x90"}, 2,
			map[time.Duration]times{short: {60, 61.5}, latency: {60, 68.5}, long: {60, 86.5}},
			map[time.Duration][]times{short: {{63, 110}}, latency: {{70, 110}}, long: {{90, 110}}},
		}, {
			"a process that restarts between two scrapes", map[string]string{"a": "0+2x60 1+2x89"}, 2,
			map[time.Duration]times{short: {61, 64}, latency: {61, 71}, long: {61, 91}},
			map[time.Duration][]times{short: {{30, 60.9}, {66.1, 110}}, latency: {{30, 60.9}, {73.1, 110}}, long: {{30, 60.9}, {93.1, 110}}},
		}, {
			"a process that is away for 5 s and begins anew", map[string]string{"a": "0+2x60 stale _x4 10+2x84"}, 0,
			map[time.Duration]times{short: {61, 67.5}, latency: {61, 74.5}, long: {61, 92}},
			map[time.Duration][]times{short: {{30, 60.9}, {71.1, 110}}, latency: {{30, 60.9}, {78.1, 110}}, long: {{30, 60.9}, {98.1, 110}}},
		}, {
			"a process in the place of another", map[string]string{"a": "0+2x60 stale", "b": "_x61 2+2x89"}, 2,
			map[time.Duration]times{short: {61, 63}, latency: {61, 70}, long: {61, 90}},
			map[time.Duration][]times{short: {{30, 60.9}, {64, 110}}, latency: {{30, 60.9}, {71, 110}}, long: {{30, 60.9}, {91, 110}}},
		}, {
			"one of two processes that restarts", map[string]string{"a": "0+2x60 1+2x89", "b": "500+2x150"}, 4,
			map[time.Duration]times{short: {61, 64}, latency: {61, 71}, long: {61, 91}},
			map[time.Duration][]times{short: {{66.1, 110}}, latency: {{73.1, 110}}, long: {{93.1, 110}}},
		}, {
			"a second process", map[string]string{"a": "0+2x150", "b": "_x61 50+2x89"}, 0,
			map[time.Duration]times{short: {61, 62.5}, latency: {61, 69.5}, long: {61, 87.5}},
			map[time.Duration][]times{short: {{30, 60.9}, {64, 110}}, latency: {{30, 60.9}, {71, 110}}, long: {{30, 60.9}, {91, 110}}},
		}, {
			"a scrape that fails spoils the long window only while it is the newest", map[string]string{"a": "0+2x60 stale 124+2x88"}, 2,
			map[time.Duration]times{short: {61, 61.9}, latency: {61, 61.9}, long: {61, 61.9}},
			map[time.Duration][]times{short: {{30, 60.9}, {64, 110}}, latency: {{30, 60.9}, {62, 69.9}, {72, 110}}, long: {{30, 60.9}, {62, 110}}},
		}, {
			"a Prometheus that is away for a minute and remembers", map[string]string{"a": "0+2x60 _x59 240+2x90"}, 2,
			map[time.Duration]times{short: {63, 121.5}, latency: {62, 128.5}, long: {64, 146.5}},
			map[time.Duration][]times{short: {{30, 60.9}, {123, 160}}, latency: {{30, 60.9}, {130, 160}}, long: {{30, 60.9}, {150, 160}}},
		}, {
			"a process that restarts meanwhile", map[string]string{"a": "0+2x60 _x59 90+2x90"}, 2,
			map[time.Duration]times{short: {63, 121.5}, latency: {62, 128.5}, long: {64, 146.5}},
			map[time.Duration][]times{short: {{30, 60.9}, {123, 160}}, latency: {{30, 60.9}, {130, 160}}, long: {{30, 60.9}, {153, 160}}},
		}, {
			"a Prometheus that is away for 5 s and remembers", map[string]string{"a": "0+2x60 _x5 132+2x84"}, 2,
			map[time.Duration]times{short: {62, 67.5}, latency: {62, 65.9}, long: {64.1, 65.9}},
			map[time.Duration][]times{short: {{30, 60.9}, {70, 110}}, latency: {{30, 60.9}, {66, 70}, {75, 110}}, long: {{30, 60.9}, {66, 90}, {93, 110}}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			engine := promtest.Engine{Interval: time.Second, Series: map[string]string{}}
			for instance, values := range tc.series {
				engine.Series[fmt.Sprintf(`hits{instance=%q}`, instance)] = values
			}
			for window, least := range map[time.Duration]float64{short: 0.65, latency: 0.7, long: 0.8} {
				about := restartsIn(arriving, o, window)
				rate := expand("sum(rate(hits[$window]))", window, 0)
				for at := range moments(tc.reset[window].from, tc.reset[window].to) {
					engine.Something(fmt.Sprintf("vector(1) and on() ((%s) or (vector(1) unless on() %s))", about, rate), at)
				}
				for _, good := range tc.good[window] {
					for at := range moments(good.from, good.to) {
						engine.Nothing(about, at)
					}
				}
				if tc.rate > 0 { // a rate is good, or its window is reset
					wrong := fmt.Sprintf("(%s < %g or %s > %g) unless on() (%s)", rate, tc.rate*least, rate, tc.rate*1.01, about)
					for at := range moments(40, 100) {
						engine.Nothing(wrong, at)
					}
				}
			}
			engine.Run(t)
		})
	}
}

// What arrives at a dispatcher that can't be scraped is missed for as long as it is a
// target, but by the long window only.
func TestADispatcherThatIsNotSeen(t *testing.T) {
	c := config.Defaults()
	o := Options{Prometheus: c.Prometheus, Signals: c.Signals}
	o.Signals.Freshness.Arrivals = "hits"
	engine := promtest.Engine{Interval: time.Second, Series: map[string]string{
		`hits{job="door", instance="a"}`:            "0+2x300",
		`up{job="door", instance="a"}`:              "1x300",
		`hits{job="door", instance="b"}`:            "0+2x60 stale",
		`up{job="door", instance="b"}`:              "1x60 0x139 stale",
		`up{job="door", instance="never answered"}`: "0x300",
		`up{job="another", instance="a"}`:           "0x300",
	}}
	long := restartsIn(arriving, o, 30*time.Second)
	for at := range moments(31, 60.9) {
		engine.Nothing(long, at)
	}
	for at := range moments(61, 200.9) {
		engine.Something(long, at)
	}
	for at := range moments(201, 299) {
		engine.Nothing(long, at)
	}
	for _, window := range []time.Duration{3 * time.Second, 10 * time.Second} {
		for at := range moments(72, 299) {
			engine.Nothing(restartsIn(arriving, o, window), at)
		}
	}
	engine.Run(t)
}

// Replicas come and go: only one that restarts in its place resets what is known
// of service.
func TestWindowsOfService(t *testing.T) {
	c := config.Defaults()
	o := Options{Prometheus: c.Prometheus, Signals: c.Signals}
	o.Signals.Freshness.Service = "hits"
	about := restartsIn(serving, o, 30*time.Second)
	engine := promtest.Engine{Interval: time.Second, Series: map[string]string{
		`hits{instance="restarts at 60 s"}`: "0+2x59 1+2x90",
		`hits{instance="ends"}`:             "0+2x20 stale",
		`hits{instance="begins"}`:           "_x40 1000+2x110",
		`hits{instance="misses a scrape"}`:  "0+2x45 stale 94+2x110",
	}}
	for at := range moments(0, 59.9) {
		engine.Nothing(about, at)
	}
	for at := range moments(60, 89) {
		engine.Something(fmt.Sprintf("vector(1) and on() (%s)", about), at)
	}
	for at := range moments(91, 110) {
		engine.Nothing(about, at)
	}
	engine.Run(t)
}

// The age is of the newest sample, also where the newest scrape has failed.
func TestAges(t *testing.T) {
	c := config.Defaults()
	o := Options{Prometheus: c.Prometheus, Signals: c.Signals}
	o.Signals.Freshness.Arrivals = "hits"
	age := ageIn(arriving, o)
	engine := promtest.Engine{Interval: time.Second, Series: map[string]string{
		`hits{instance="a"}`: "0+2x20 stale",
		`hits{instance="b"}`: "0+2x10 stale",
	}}
	for at, want := range map[float64]float64{5.5: 0.5, 20: 0, 20.5: 0.5, 21: 1, 25: 5, 30: 10} {
		engine.Number(age, seconds(at), want)
	}
	engine.Nothing(age, seconds(31))
	engine.Run(t)
}

func seconds(s float64) time.Duration { return time.Duration(s*1000+0.5) * time.Millisecond }

// moments yields times from one to another, both in seconds, in each tenth of a
// scrape interval; none where both are 0.
func moments(from, to float64) func(func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		if to == 0 {
			return
		}
		for at := seconds(from); at <= seconds(to); at += 300 * time.Millisecond {
			if !yield(at) {
				return
			}
		}
	}
}
