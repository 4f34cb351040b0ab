package promqltest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	for query, want := range map[string][]string{
		`sum by (le, x) (rate(a_bucket{le="0.5", y=~"b|c"}[5m]))`: {"a_bucket"},
		`max(a or b{x="and c"}) > 0.8 and on (instance) (d == 1)`: {"a", "b", "d"},
		`a:b / (c > 0)`:       {"a:b", "c"},
		`absent(up{job="x"})`: {"up"},
		`vector(1)`:           nil,
		`1e3 * inf`:           nil,
	} {
		require.Equal(t, want, Names(query), query)
	}
}
