package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/promqltest"
	"headroom.dev/infra/internal/rules"
)

// Where each process exports all that the contract says, no panel is empty: each
// query finds its series and matches what it matches. Whether the values make
// sense only a real stack shows.
func TestNoPanelIsEmptyWhereEverySeriesIsThere(t *testing.T) {
	args := everything()
	file, err := rules.File(rules.Groups(rules.Args{SLOLatency: args.SLOLatency, Lookback: args.Lookback, Scaler: true}))
	require.NoError(t, err)
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "rules.yml"), []byte(file), 0o600))

	type test map[string]any
	var found []test
	for _, q := range Queries(args) {
		found = append(found, test{
			"expr": "count(" + q.Filled(time.Minute, 10*time.Minute) + ") > bool 0", "eval_time": "15m",
			"exp_samples": []test{{"labels": "{}", "value": 1}},
		})
	}
	content, err := yaml.Marshal(test{
		"rule_files": []string{"rules.yml"}, "evaluation_interval": "30s",
		"tests": []test{{"interval": "15s", "input_series": exported(t), "promql_expr_test": found}},
	})
	require.NoError(t, err)
	path := filepath.Join(folder, "test.yml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	out, err := promqltest.Promtool(t, "test", "rules", path)
	require.NoError(t, err, out)
}

// exported are the series of one process of each component, each with one value
// for every label.
func exported(t *testing.T) []map[string]string {
	t.Helper()
	content, err := os.ReadFile("../../../contract/metrics.json")
	require.NoError(t, err)
	var contract map[string]struct {
		Job     string
		Metrics []struct {
			Name, Type string
			Labels     []string
		}
	}
	require.NoError(t, json.Unmarshal(content, &contract))
	values := map[string]string{"outcome": "answered", "limiter": "max", "kind": "mean"}
	var all []map[string]string
	add := func(name, job, labels string) {
		all = append(all, map[string]string{
			"series": fmt.Sprintf(`%s{job="%s",instance="%s:1"%s}`, name, job, job, labels), "values": "1+1x100",
		})
	}
	for _, component := range contract {
		for _, metric := range component.Metrics {
			var labels strings.Builder
			for _, label := range metric.Labels {
				value := values[label]
				if value == "" {
					value = "some"
				}
				fmt.Fprintf(&labels, `,%s="%s"`, label, value)
			}
			if metric.Type != "histogram" {
				add(metric.Name, component.Job, labels.String())
				continue
			}
			add(metric.Name+"_count", component.Job, labels.String())
			add(metric.Name+"_sum", component.Job, labels.String())
			for _, le := range []string{"0.5", "+Inf"} {
				add(metric.Name+"_bucket", component.Job, labels.String()+fmt.Sprintf(`,le="%s"`, le))
			}
		}
	}
	for _, series := range all {
		if strings.HasPrefix(series["series"], "headroom_scaler_leader{") {
			series["values"] = "1x100"
		}
	}
	add("redis_memory_used_bytes", "redis", "")
	add("redis_memory_max_bytes", "redis", "")
	return all
}
