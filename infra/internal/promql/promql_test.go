package promql

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScopeNarrowsEverySelector(t *testing.T) {
	for query, want := range map[string]string{
		`max(dispatcher_queue_size)`:                                                  `max(dispatcher_queue_size{namespace="shop"})`,
		`rate(dispatcher_requests_total[$window])`:                                    `rate(dispatcher_requests_total{namespace="shop"}[$window])`,
		`up{job="dispatcher"} == 0`:                                                   `up{namespace="shop",job="dispatcher"} == 0`,
		`headroom:slo_violations:ratio1h > 14.4*0.01`:                                 `headroom:slo_violations:ratio1h{namespace="shop"} > 14.4*0.01`,
		`a{x="1"} and on (instance) (headroom_scaler_leader == 1)`:                    `a{x="1"} and on (instance) (headroom_scaler_leader{namespace="shop"} == 1)`,
		`sum by (instance) (rate(process_cpu_seconds_total{job="model-server"}[1m]))`: `sum by (instance) (rate(process_cpu_seconds_total{namespace="shop",job="model-server"}[1m]))`,
		`(max by (instance) (modelserver_ready offset $window) == 1)`:                 `(max by (instance) (modelserver_ready{namespace="shop"} offset $window) == 1)`,
		`sum by (job, outcome) (vector(1))`:                                           `sum by (job, outcome) (vector(1))`,
	} {
		require.Equal(t, want, Scope(query, "shop"))
		require.Equal(t, query, Scope(query, ""))
	}
}
