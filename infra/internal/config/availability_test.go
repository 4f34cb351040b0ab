package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// refused checks that a configuration has exactly the one problem.
func refused(t *testing.T, message string, settings ...string) {
	t.Helper()
	t.Run(strings.Join(settings, ","), func(t *testing.T) {
		t.Helper()
		_, err := Load(written(settings...), project())
		require.EqualError(t, err, message)
	})
}

func TestAvailability(t *testing.T) {
	cfg, err := Load(written(
		"podDisruptionBudgets=false", "modelServerMaxUnavailable=25%", "topologySpread=required", "antiAffinity=none",
		"priorityClass=serving", `modelServerNodeSelector={"example.com/pool":"inference","gpu":true,"generation":3}`,
		`modelServerTolerations=[{"key":"dedicated","value":"inference","effect":"NoSchedule"},{"operator":"Exists"},{"key":"spot","value":true}]`,
		"quotaCpuRequests=40", "quotaCpuLimits=60.5", "quotaMemoryRequests=20Gi", "quotaMemoryLimits=64Gi", "quotaPods=100", "limitRange=true",
	), project())
	require.NoError(t, err)
	require.Equal(t, Availability{
		ModelServerMaxUnavailable: "25%", TopologySpread: SpreadRequired, AntiAffinity: SpreadNone, PriorityClass: "serving",
		ModelServerNodeSelector: map[string]string{"example.com/pool": "inference", "gpu": "true", "generation": "3"},
		ModelServerTolerations: []Toleration{
			{Key: "dedicated", Operator: "Equal", Value: "inference", Effect: "NoSchedule"},
			{Operator: "Exists"},
			{Key: "spot", Operator: "Equal", Value: "true"},
		},
		Quota:      Quota{CPURequests: "40", CPULimits: "60.5", MemoryRequests: "20Gi", MemoryLimits: "64Gi", Pods: 100},
		LimitRange: true,
	}, cfg.Availability)
	require.Equal(t, map[string]string{
		"requests.cpu": "40", "limits.cpu": "60.5", "requests.memory": "20Gi", "limits.memory": "64Gi", "pods": "100",
	}, cfg.Availability.Quota.Hard())
	require.True(t, cfg.Availability.Quota.Set())

	cfg, err = Load(written("quotaPods=20"), project())
	require.NoError(t, err)
	require.Equal(t, map[string]string{"pods": "20"}, cfg.Availability.Quota.Hard())
	cfg, err = Load(written(), project())
	require.NoError(t, err)
	require.False(t, cfg.Availability.Quota.Set())
	require.Empty(t, cfg.Availability.Quota.Hard())
}

func TestBadAvailability(t *testing.T) {
	const label = "must be a key as Kubernetes has them, such as example.com/pool"
	const theirs = " with headroom:createNamespace false: the namespace is somebody else's"
	for _, test := range []struct{ setting, message string }{
		{"podDisruptionBudgets=2", `headroom:podDisruptionBudgets is "2"; must be true or false`},
		{"modelServerMaxUnavailable=0", `headroom:modelServerMaxUnavailable is "0"; must be a whole number from 1 to 1000, or from 1% to 100%`},
		{"modelServerMaxUnavailable=101%", `headroom:modelServerMaxUnavailable is "101%"; must be a whole number from 1 to 1000, or from 1% to 100%`},
		{"topologySpread=even", `headroom:topologySpread is "even"; must be one of none, preferred, required`},
		{"antiAffinity=hard", `headroom:antiAffinity is "hard"; must be one of none, preferred, required`},
		{"priorityClass=High", `headroom:priorityClass is "High"; must be the name of a PriorityClass: lower-case letters, digits, - and .`},
		{"modelServerNodeSelector=gpu", `headroom:modelServerNodeSelector is "gpu"; must be a map of texts: invalid character 'g' looking for beginning of value`},
		{`modelServerNodeSelector={"a":["b"]}`, `headroom:modelServerNodeSelector is "{\"a\":[\"b\"]}"; must be a map of texts: each value must be a text`},
		{`modelServerNodeSelector={"a b":"c"}`, `headroom:modelServerNodeSelector["a b"] is "c"; ` + label},
		{`modelServerNodeSelector={"a":"b/c"}`, `headroom:modelServerNodeSelector["a"] is "b/c"; must be a label's value: at most 63 letters, digits, -, _ and .`},
		{`modelServerTolerations={}`, `headroom:modelServerTolerations is "{}"; must be a list of {key, operator, value, effect}: found a JSON object`},
		{`modelServerTolerations=[{"key":1}]`, `headroom:modelServerTolerations is "[{\"key\":1}]"; must be a list of {key, operator, value, effect}: found a JSON number as Key`},
		{`modelServerTolerations=[{"key":"a/b/c"}]`, `headroom:modelServerTolerations[0].key is "a/b/c"; ` + label},
		{`modelServerTolerations=[{}]`, `headroom:modelServerTolerations[0].key is ""; must be set with operator Equal`},
		{`modelServerTolerations=[{"key":"a","operator":"In"}]`, `headroom:modelServerTolerations[0].operator is "In"; must be one of Equal, Exists`},
		{`modelServerTolerations=[{"key":"a","value":"b c"}]`, `headroom:modelServerTolerations[0].value is "b c"; must be at most 63 letters, digits, -, _ and .`},
		{`modelServerTolerations=[{"key":"a","operator":"Exists","value":"b"}]`, `headroom:modelServerTolerations[0].value is "b"; must be empty with operator Exists`},
		{`modelServerTolerations=[{"key":"a"},{"key":"a","effect":"NoRun"}]`, `headroom:modelServerTolerations[1].effect is "NoRun"; must be one of NoSchedule, PreferNoSchedule, NoExecute`},
		{"quotaCpuRequests=100m", `headroom:quotaCpuRequests is "100m"; must be CPU cores from 1 to 100000, such as 20`},
		{"quotaCpuLimits=10", `headroom:quotaCpuLimits is "10"; must hold 11 model servers of 1 each: headroom:maxReplicas and one more, for a rollout`},
		{"quotaMemoryRequests=32", `headroom:quotaMemoryRequests is "32"; must be memory from 1Gi to 1000000Gi, such as 32Gi`},
		{"quotaMemoryLimits=5Gi", `headroom:quotaMemoryLimits is "5Gi"; must hold 11 model servers of 512Mi each: headroom:maxReplicas and one more, for a rollout`},
		{"quotaPods=10", `headroom:quotaPods is "10"; must hold 11 model servers: headroom:maxReplicas and one more, for a rollout`},
		{"quotaPods=-1", `headroom:quotaPods is "-1"; must be a whole number from 1 to 100000`},
		{"limitRange=small", `headroom:limitRange is "small"; must be true or false`},
	} {
		refused(t, test.message, test.setting)
	}
	refused(t, `headroom:limitRange is "true"; must be false`+theirs, "createNamespace=false", "limitRange=true")
	refused(t, `headroom:quotaPods is "50"; must be 0`+theirs, "createNamespace=false", "quotaPods=50")
	refused(t, `headroom:quotaMemoryLimits is "50Gi"; must be empty`+theirs, "createNamespace=false", "quotaMemoryLimits=50Gi")
	refused(t, `headroom:quotaCpuRequests is "2"; must hold 6 model servers of 500m each: headroom:replicas and one more, for a rollout`,
		"scaler=none", "replicas=5", "quotaCpuRequests=2")
}

func TestRequiredDigests(t *testing.T) {
	const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	pinned := []string{
		"requireDigests=true", "modelServerImage=example/m:1" + digest, "dispatcherImage=example/d" + digest, "scalerImage=example/s:1" + digest,
		"redisImage=redis:7.2.5" + digest, "prometheusImage=prom/prometheus:v2.53.2" + digest,
	}
	_, err := Load(written(pinned...), project())
	require.NoError(t, err, "metrics-server is not run, so its image need not be pinned")
	refused(t, `headroom:redisImage is "redis:7"; must be pinned by its digest, as name:tag@sha256:…, with headroom:requireDigests`,
		append(pinned, "redisImage=redis:7")...)
	refused(t, `headroom:metricsServerImage is "headroom/metrics-server:1"; must be pinned by its digest, as name:tag@sha256:…, with headroom:requireDigests`,
		append(pinned, "metricsServer=true")...)
	refused(t, `headroom:requireDigests is "always"; must be true or false`, "requireDigests=always")
}
