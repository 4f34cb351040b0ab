package stack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// settingsOf are those of a committed stack, as build takes them.
func settingsOf(t *testing.T, name string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../..", name))
	require.NoError(t, err)
	var file struct{ Config map[string]any }
	require.NoError(t, yaml.Unmarshal(content, &file))
	var settings []string
	for full, value := range file.Config {
		key := strings.TrimPrefix(full, "headroom:")
		text, isText := value.(string)
		if !isText {
			text = asJSON(t, value)
		}
		if key == "imagesFile" {
			continue // build has its own
		}
		settings = append(settings, key+"="+text)
	}
	return settings
}

// amount is a quantity in thousandths.
func amount(t *testing.T, text string) int64 {
	t.Helper()
	for suffix, unit := range map[string]int64{"m": 1, "Ki": 1000 << 10, "Mi": 1000 << 20, "Gi": 1000 << 30} {
		if number, found := strings.CutSuffix(text, suffix); found {
			n, err := strconv.ParseInt(number, 10, 64)
			require.NoError(t, err, text)
			return n * unit
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err, text)
	return int64(n * 1000)
}

// The example's quota holds all that it can come to: as many model servers as
// the scaler may order, and every component in a rollout at once.
func TestProdFitsIntoItsQuota(t *testing.T) {
	b := build(t, append(settingsOf(t, "Pulumi.prod.yaml"), "imagesFile=")...)
	need := map[string]int64{}
	for _, r := range b.pods() {
		pods, fixed := at(r.body, "spec", "replicas").(float64)
		if !fixed {
			require.Equal(t, "model-server", r.name)
			pods = 20
		}
		if at(r.body, "spec", "strategy", "type") == "RollingUpdate" {
			surge, _ := at(r.body, "spec", "strategy", "rollingUpdate", "maxSurge").(float64)
			require.Positive(t, surge, r.name)
			pods += surge
		}
		need["pods"] += int64(pods) * 1000
		for _, c := range r.containers() {
			for _, bound := range []string{"requests", "limits"} {
				for _, resource := range []string{"cpu", "memory"} {
					text, _ := at(c, "resources", bound, resource).(string)
					need[bound+"."+resource] += int64(pods) * amount(t, text)
				}
			}
		}
	}
	hard, _ := at(b.one(t, quotas, "headroom").body, "spec", "hard").(object)
	require.Len(t, hard, len(need))
	for name, bound := range hard {
		have := amount(t, bound.(string))
		require.GreaterOrEqual(t, have, need[name], "%s: %s, and %d thousandths are needed", name, bound, need[name])
		require.LessOrEqual(t, have, need[name]*3/2, "%s: %s is no bound, as %d thousandths are needed", name, bound, need[name])
	}
}

func TestProdRunsPinnedImagesOnly(t *testing.T) {
	b := build(t, append(settingsOf(t, "Pulumi.prod.yaml"), "imagesFile=")...)
	for _, pods := range b.pods() {
		for _, c := range pods.containers() {
			require.Contains(t, c["image"], "@sha256:", pods.name)
		}
	}
	require.Equal(t, "https://headroom.example.com", b.outputs["dispatcherUrl"])
}

func TestExistingMonitoringRunsNoPrometheus(t *testing.T) {
	b := build(t, settingsOf(t, "Pulumi.existing-monitoring.yaml")...)
	for _, pods := range b.pods() {
		require.NotEqual(t, "prometheus", pods.name)
	}
	var scaler struct {
		Prometheus struct{ URL string }
	}
	text, _ := at(b.one(t, configMaps, "scaler").body, "data", "scaler.yaml").(string)
	require.NoError(t, yaml.Unmarshal([]byte(text), &scaler))
	require.Equal(t, "http://kube-prometheus-stack-prometheus.monitoring.svc:9090", scaler.Prometheus.URL)
	require.Equal(t, "https://headroom.example.com", b.outputs["dispatcherUrl"])
}
