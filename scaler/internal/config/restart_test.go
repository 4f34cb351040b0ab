package config

import (
	"slices"
	"testing"
)

func TestRestart(t *testing.T) {
	for _, tc := range []struct {
		name string
		text string
		want []string
	}{
		{"the same config needs none", "", nil},
		{"all that the policy goes by can change at any time", "tick: 2s\nmode: dry-run\nreplicas: {max: 20}\nsignals: {work: none}\nbridge: {ceiling: 2}", nil},
		{"what the scaler is in the cluster can't", "lease: {enabled: false, namespace: other, name: other}\nstate: {configMap: other}", []string{"lease.enabled", "lease.namespace", "lease.name", "state.configMap"}},
		{"nor where it listens", "listen: \":9\"", []string{"listen"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			old, _ := Parse([]byte(valid))
			changed, problems := Parse([]byte(valid + tc.text))
			if problems != nil {
				t.Fatal(problems)
			}
			if got := Restart(old, changed); !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	t.Run("nor what is scaled", func(t *testing.T) {
		want := []string{"target.namespace", "target.apiVersion", "target.kind", "target.resource", "target.name", "target.container"}
		if got := Restart(Config{}, Config{Target: Target{"a", "b", "c", "d", "e", "f"}}); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
