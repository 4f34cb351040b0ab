// Package kpa runs Knative's autoscaler, its decider and its averages over time,
// on the clock of a simulator.
package kpa

import (
	"context"
	"math"
	"time"

	"go.uber.org/zap"
	"knative.dev/serving/pkg/autoscaler/scaling"

	"headroom.dev/scaler/upstream/internal/protocol"
)

const (
	// tick is how often Knative decides; scrape is how often it takes a sample.
	tick   = 2 * time.Second
	scrape = time.Second
)

// epoch is second 0 of each session: a whole second, as the averages' buckets
// are.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Session is one run of the autoscaler.
type Session struct {
	options  protocol.KPA
	scaler   scaling.UniScaler
	logger   *zap.SugaredLogger
	averages *averages
	pods     *readyPods
	wanted   int32

	// All four are since the epoch.
	now, sampleAt, tickAt time.Duration
	// sum is concurrency times time since the last sample.
	sum float64
}

// Start starts an autoscaler at second 0.
func Start(o protocol.KPA) *Session {
	s := &Session{
		options:  o,
		logger:   zap.NewNop().Sugar(),
		averages: newAverages(o),
		// With more than one pod ready Knative starts in panic, of which it takes
		// the time from the machine's clock and not from ours.
		pods:     &readyPods{count: 0},
		wanted:   o.Replicas,
		sampleAt: scrape,
		tickAt:   seconds(o.Offset),
	}
	s.scaler = scaling.New(context.Background(), namespace, revision, s.averages, s.pods, &scaling.DeciderSpec{
		TargetValue:      o.Target,
		TotalValue:       o.Target,
		PanicThreshold:   o.PanicThreshold,
		StableWindow:     time.Duration(o.StableWindowSeconds) * time.Second,
		MaxScaleUpRate:   o.MaxScaleUpRate,
		MaxScaleDownRate: o.MaxScaleDownRate,
		ScaleDownDelay:   time.Duration(o.ScaleDownDelaySeconds) * time.Second,
		InitialScale:     o.Replicas,
		Reachable:        true,
	})
	s.pods.count = int(o.Replicas)
	return s
}

// Observe lets time pass until o.At, sampling o.Concurrency and deciding over
// the pods as they were, puts the new pods in place and returns what the
// autoscaler wanted last.
func (s *Session) Observe(o protocol.Observation) int {
	for until := seconds(o.At); s.now < until; {
		next := min(until, s.sampleAt, s.tickAt)
		s.sum += o.Concurrency * (next - s.now).Seconds()
		s.now = next
		if s.now == s.sampleAt {
			s.averages.record(epoch.Add(s.now), s.sum/scrape.Seconds())
			s.sum = 0
			s.sampleAt += scrape
		}
		if s.now == s.tickAt {
			s.decide()
			s.tickAt += tick
		}
	}
	s.pods.observe(o.Pods)
	return int(s.wanted)
}

// decide clamps as the reconciler around the decider does.
func (s *Session) decide() {
	result := s.scaler.Scale(s.logger, epoch.Add(s.now))
	if result.ScaleValid {
		s.wanted = min(max(result.DesiredPodCount, s.options.Min), s.options.Max)
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s * float64(time.Second)))
}
