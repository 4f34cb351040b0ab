package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// stackFile reads a committed stack's file as the engine hands it over.
func stackFile(t *testing.T, name string) Source {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../..", name))
	require.NoError(t, err)
	var file struct{ Config map[string]any }
	require.NoError(t, yaml.Unmarshal(content, &file))
	source := Source{Values: map[string]string{}}
	for key, value := range file.Config {
		text, isText := value.(string)
		if !isText {
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			text = string(encoded)
		}
		source.Values[key] = text
	}
	return source
}

// The committed stacks are without a mistake.
func TestCommittedStacks(t *testing.T) {
	files, err := filepath.Glob("../../../Pulumi.*.yaml")
	require.NoError(t, err)
	stacks := map[string]Config{}
	for _, path := range files {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "Pulumi.e2e") {
			continue // a run's own, ignored by git
		}
		cfg, err := Load(stackFile(t, name), project())
		require.NoError(t, err, name)
		stacks[name] = cfg
	}

	dev := stacks["Pulumi.dev.yaml"]
	require.True(t, dev.MetricsServer)
	require.Equal(t, ScalerCustom, dev.Scaler)

	prod := stacks["Pulumi.prod.yaml"]
	require.True(t, prod.RequireDigests)
	require.Equal(t, 3, prod.DispatcherReplicas)
	require.Equal(t, 1, prod.Redis.Replicas)
	require.NotEmpty(t, prod.Redis.Storage)
	require.NotEmpty(t, prod.Monitoring.Storage)
	require.NotEqual(t, Defaults().PrometheusRetention, prod.PrometheusRetention)
	require.True(t, prod.Availability.DisruptionBudgets)
	require.True(t, prod.Availability.Quota.Set())
	require.Equal(t, SpreadRequired, prod.Availability.AntiAffinity)
	require.NotEqual(t, SpreadNone, prod.Availability.TopologySpread)
	require.Equal(t, ExposureIngress, prod.Exposure.Kind)
	require.True(t, prod.Exposure.TLS)
	require.NotEmpty(t, prod.Exposure.IngressTLSSecret)
	require.True(t, prod.NetworkPolicyEgress)

	existing := stacks["Pulumi.existing-monitoring.yaml"]
	require.False(t, existing.Monitoring.Own())
	require.Equal(t, ExposureGateway, existing.Exposure.Kind)
}

// Nobody deploys the example's images by mistake: no registry has them.
func TestTheExamplesDigestsAreNobodys(t *testing.T) {
	digest := regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
	var pinned int
	for key, value := range stackFile(t, "Pulumi.prod.yaml").Values {
		if strings.HasSuffix(key, "Image") {
			pinned++
			require.Equal(t, "@sha256:"+strings.Repeat("0", 64), digest.FindString(value), key)
		}
	}
	require.Equal(t, 6, pinned)
}
