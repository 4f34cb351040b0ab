package faulttest

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// noiseProbe is the time that each measurement of the machine's noise should
// take.
const noiseProbe = 10 * time.Millisecond

// noise is how late this machine makes things while a test runs: a timer in
// this process, and a request that another process answers after a timer, which
// is all that a dispatcher has to do at a deadline. Neither touches what is
// tested.
type noise struct {
	mu      sync.Mutex
	samples []noiseSample
}

type noiseSample struct {
	from, to time.Time
	late     time.Duration
}

// measureNoise measures until the test ends. The requests have a body like
// those of the test.
func measureNoise(t testing.TB, body []byte) *noise {
	n := &noise{}
	null := startReplica(t, "noise", "")
	url := "http://" + null.address + "/null"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	ended := make(chan struct{})
	var probes sync.WaitGroup
	for _, probe := range []func(){
		func() { time.Sleep(noiseProbe) },
		func() {
			response, err := client.Post(url, "", bytes.NewReader(body))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		},
	} {
		probes.Go(func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(noiseProbe / 2):
				}
				from := time.Now()
				probe()
				n.add(from, time.Now())
			}
		})
	}
	t.Cleanup(func() {
		close(ended)
		probes.Wait()
	})
	return n
}

func (n *noise) add(from, to time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.samples = append(n.samples, noiseSample{from, to, max(0, to.Sub(from)-noiseProbe)})
}

// worst is the worst lateness of what was measured between two instants, if
// only in part.
func (n *noise) worst(from, to time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var worst time.Duration
	for _, s := range n.samples {
		if s.to.After(from) && s.from.Before(to) {
			worst = max(worst, s.late)
		}
	}
	return worst
}
