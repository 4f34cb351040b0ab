package timeline_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"headroom.dev/loadtest/internal/timeline"
)

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	// 90 values up to 0.1 s, 10 more up to 0.5 s.
	buckets := []timeline.Bucket{{0.1, 90}, {0.5, 100}, {1, 100}, {inf, 100}}
	tests := []struct {
		name    string
		q       float64
		buckets []timeline.Bucket
		want    float64
	}{
		{"half of 100 is value 50 of the 90 that lie between 0 and 0.1", 0.5, buckets, 0.1 * 50 / 90},
		{"value 90 is the end of the first bucket", 0.9, buckets, 0.1},
		{"value 99 is the ninth of the ten between 0.1 and 0.5", 0.99, buckets, 0.1 + 0.4*9/10},
		{"all are at or below 0.5", 1, buckets, 0.5},
		{"an empty bucket before is passed over", 0.5, []timeline.Bucket{{0.1, 0}, {0.2, 10}, {inf, 10}}, 0.15},
		{"above the last bound only the bound is known", 0.99, []timeline.Bucket{{1, 10}, {inf, 20}}, 1},
		{"no values", 0.5, []timeline.Bucket{{1, 0}, {inf, 0}}, math.NaN()},
		{"no buckets", 0.5, nil, math.NaN()},
		{"no bucket without an end", 0.5, []timeline.Bucket{{1, 10}, {2, 20}}, math.NaN()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := timeline.Quantile(tt.q, tt.buckets)
			if math.Abs(got-tt.want) > 1e-12 || math.IsNaN(got) != math.IsNaN(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestIncrease(t *testing.T) {
	start := time.Unix(1000, 0)
	samples := func(pairs ...float64) []timeline.Sample {
		var all []timeline.Sample
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, timeline.Sample{At: start.Add(time.Duration(pairs[i] * float64(time.Second))), Value: pairs[i+1]})
		}
		return all
	}
	tests := []struct {
		name    string
		samples []timeline.Sample
		want    float64
	}{
		{"what was there before the run does not count", samples(-5, 90, -1, 100, 1, 110, 2, 130), 30},
		{"a sample at the start is the baseline", samples(0, 100, 1, 105), 5},
		{"a counter born during the run counts from 0", samples(1, 7, 2, 9), 9},
		{"a restart counts from 0", samples(-1, 100, 1, 110, 2, 4, 3, 6), 16},
		{"a restart before the run does not count", samples(-3, 100, -1, 5, 1, 6), 1},
		{"no samples", nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := timeline.Increase(tt.samples, start); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestUnknownValuesSurviveJSON(t *testing.T) {
	text, err := json.Marshal(timeline.Values{1, math.NaN(), 2.5, math.Inf(1)})
	if err != nil || string(text) != "[1,null,2.5,null]" {
		t.Fatalf("got %s, %v", text, err)
	}
	var back timeline.Values
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != 4 || back[0] != 1 || !math.IsNaN(back[1]) || back[2] != 2.5 || !math.IsNaN(back[3]) {
		t.Errorf("got %v", back)
	}
	if !math.IsNaN(back.At(4)) || !math.IsNaN(back.At(-1)) || back.At(2) != 2.5 {
		t.Error("a value outside the timeline is not unknown")
	}
}

func TestValidate(t *testing.T) {
	wrong := &timeline.Timeline{Seconds: 2, Signals: map[timeline.Signal]timeline.Values{timeline.Ready: {1}}}
	if err := wrong.Validate(); err == nil {
		t.Error("a signal with a value missing was accepted")
	}
}
