package sim

import (
	"time"

	"headroom.dev/scaler/internal/peers"
)

// Autoscaler is one run of a real autoscaler; [peers.Session] is one.
type Autoscaler interface {
	Observe(o peers.Observation) (replicas int, err error)
}

// PeerLag is how late a [Peer] sees things.
type PeerLag bool

const (
	// RealLag is that of metrics-server and Prometheus: CPU over the time between
	// the last two looks, MetricsResolution apart, and the queue of the last scrape.
	RealLag PeerLag = false
	// ZeroLag is none: the last second's CPU, and the queue as it is.
	ZeroLag PeerLag = true
)

// Peer is a real autoscaler. It observes every second, so what it wants is
// ordered up to a second late. The session must have been told Scenario.Initial
// as its replicas. When it fails, everything stays as it is and [Run] returns why.
func Peer(session Autoscaler, lag PeerLag) Scaler { return &peer{session: session, lag: lag} }

type peer struct {
	session Autoscaler
	lag     PeerLag
	err     error
}

func (p *peer) Every() time.Duration { return time.Second }
func (p *peer) zeroLag() bool        { return bool(p.lag) }
func (p *peer) failure() error       { return p.err }

func (p *peer) Decide(at time.Duration, w *World) Order {
	if p.err != nil {
		return Order{Replicas: w.Spec()}
	}
	o := peers.Observation{
		At: at.Seconds(), Queue: w.Queue(), Concurrency: w.Concurrency(),
		MetricsAt: w.podsAt.Seconds(), MetricsWindow: w.podsEvery().Seconds(),
	}
	if p.lag == ZeroLag {
		o.Queue = w.engine.gauges(at).backlog
	}
	for _, g := range w.Pods() {
		o.Replicas += g.Count
		o.Pods = append(o.Pods, peers.Pods{
			Count: g.Count, CPU: g.CPU, Metrics: g.Metrics, Ready: g.Ready,
			Created: g.Created.Seconds(), ReadyAt: g.ReadyAt.Seconds(),
		})
	}
	n, err := p.session.Observe(o)
	if err != nil {
		p.err, n = err, w.Spec()
	}
	return Order{Replicas: n}
}
