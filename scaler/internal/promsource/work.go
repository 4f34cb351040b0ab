package promsource

import (
	"net"
	"net/url"
	"strings"

	"github.com/prometheus/common/model"

	"headroom.dev/scaler/internal/policy"
)

// workByHost adds up the requests of each replica. A series that names no
// replica, or whose value is no count, tells nothing.
func workByHost(samples []*model.Sample) map[string]float64 {
	work := map[string]float64{}
	for _, s := range samples {
		replica := s.Metric["replica"]
		if replica == "" {
			replica = s.Metric[model.InstanceLabel]
		}
		if h, v := host(string(replica)), float64(s.Value); h != "" && policy.Value(v).OK() {
			work[h] += v
		}
	}
	return work
}

// host is the host of a replica that is named by a URL, as our dispatcher does,
// by host and port, as Prometheus does, or by its host alone.
func host(replica string) string {
	if strings.Contains(replica, "://") {
		u, err := url.Parse(replica)
		if err != nil {
			return ""
		}
		return u.Hostname()
	}
	if h, _, err := net.SplitHostPort(replica); err == nil {
		return h
	}
	return strings.Trim(replica, "[]")
}
