package stack

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// rights are what a Role allows, as "verb group/resource name"; every rule names
// what can be named.
func rights(t *testing.T, role registered) []string {
	t.Helper()
	var found []string
	for _, rule := range objects(role.body["rules"]) {
		names := texts(rule["resourceNames"])
		if len(names) == 0 {
			names = []string{"*"}
		}
		for _, group := range texts(rule["apiGroups"]) {
			for _, resource := range texts(rule["resources"]) {
				for _, verb := range texts(rule["verbs"]) {
					for _, name := range names {
						found = append(found, verb+" "+group+"/"+resource+" "+name)
					}
				}
			}
		}
	}
	return found
}

func TestScalerHasTheLeastRights(t *testing.T) {
	reading := []string{
		"get apps/deployments model-server",
		"get apps/deployments/scale model-server",
		"list /pods *", "watch /pods *",
		"get /configmaps headroom-scaler-state",
		"create coordination.k8s.io/leases *",
		"get coordination.k8s.io/leases headroom-scaler", "update coordination.k8s.io/leases headroom-scaler",
	}
	writing := slices.Concat(reading, []string{
		"update apps/deployments/scale model-server",
		"patch /pods *",
		"create /configmaps *", "patch /configmaps headroom-scaler-state",
		"create /events *", "patch /events *",
	})
	for _, test := range []struct {
		settings []string
		want     []string
	}{
		{nil, writing},
		{[]string{"bridgeCeiling=1.5"}, slices.Concat(writing, []string{"patch /pods/resize *"})},
		{[]string{"scalerMode=dry-run", "bridgeCeiling=1.5"}, reading},
	} {
		b := build(t, test.settings...)
		require.ElementsMatch(t, test.want, rights(t, b.one(t, roles, "scaler")), "%v", test.settings)
	}
}

// scalerConfig is the scaler's config file.
func scalerConfig(t *testing.T, settings ...string) object {
	t.Helper()
	text, _ := at(build(t, settings...).one(t, configMaps, "scaler").body, "data", "scaler.yaml").(string)
	return fromYAML(t, []byte(text))
}

func contractsExample(t *testing.T) object {
	t.Helper()
	content, err := os.ReadFile("../../../contract/scaler-config.example.yaml")
	require.NoError(t, err)
	return fromYAML(t, content)
}

func fromYAML(t *testing.T, content []byte) object {
	t.Helper()
	var o object
	require.NoError(t, yaml.Unmarshal(content, &o))
	require.NotEmpty(t, o)
	return o
}

// The scaler's config has exactly the keys of the contract's example, and the
// values of the stack's configuration.
func TestScalerConfigHasTheKeysOfTheContract(t *testing.T) {
	written := scalerConfig(t, "namespace=elsewhere", "minReplicas=0", "maxReplicas=7", "sloLatency=250ms",
		"scalerMode=dry-run", "bridgeCeiling=2.5", "idleAfter=20s", "scaleInStabilization=15s", "fallbackAfter=10m", "fallbackReplicas=3",
		"prometheusScrapeInterval=5s", `schedules=[{"name":"daily","cron":"0 8 * * *","duration":"90m","floor":4}]`)
	require.ElementsMatch(t, keys("", contractsExample(t)), keys("", written))
	for _, want := range []struct {
		value any
		path  []string
	}{
		{"elsewhere", []string{"target", "namespace"}},
		{"model-server", []string{"target", "name"}},
		{"dry-run", []string{"mode"}},
		{"http://prometheus.elsewhere.svc:9090", []string{"prometheus", "url"}},
		{"5s", []string{"prometheus", "scrapeInterval"}},
		{"15s", []string{"prometheus", "staleAfter"}},
		{"250ms", []string{"slo", "latency"}},
		{0, []string{"replicas", "min"}},
		{7, []string{"replicas", "max"}},
		{"20s", []string{"replicas", "idleAfter"}},
		{"15s", []string{"scaleIn", "stabilization"}},
		{"10m0s", []string{"fallback", "after"}},
		{3, []string{"fallback", "replicas"}},
		{2.5, []string{"bridge", "ceiling"}},
		{[]any{object{"name": "daily", "cron": "0 8 * * *", "timezone": "UTC", "duration": "1h30m0s", "floor": 4}}, []string{"schedules"}},
		{"elsewhere", []string{"lease", "namespace"}},
	} {
		require.Equal(t, want.value, at(written, want.path...), "%v", want.path)
	}
}

func TestWithDefaultsTheScalerConfigIsTheContractsExample(t *testing.T) {
	example := contractsExample(t)
	// The pod's first container may be one that somebody injects.
	example["target"].(object)["container"] = "model-server"
	require.Equal(t, normal(example), normal(scalerConfig(t)))
}

// The container that may be lent CPU is the one that the config names.
func TestScalerConfigNamesTheContainer(t *testing.T) {
	b := build(t)
	require.Equal(t, at(scalerConfig(t), "target", "container"), b.one(t, deployments, "model-server").containers()[0]["name"])
}

func TestFromZeroTheDispatcherHoldsRequestsAndWakesTheScaler(t *testing.T) {
	args := func(settings ...string) []string {
		return texts(build(t, settings...).one(t, deployments, "dispatcher").containers()[0]["args"])
	}
	require.NotContains(t, args(), "--wake")
	require.NotContains(t, args(), "--cold-start-allowance")
	zero := args("minReplicas=0", "coldStartAllowance=45s")
	require.Equal(t, []string{"--cold-start-allowance", "45s", "--wake", "http://scaler:8002/wake"}, zero[len(args()):])

	service := build(t, "minReplicas=0").one(t, services, "scaler")
	require.EqualValues(t, 8002, objects(at(service.body, "spec", "ports"))[0]["port"])
}

func TestTwoScalersByDefault(t *testing.T) {
	require.EqualValues(t, 2, at(build(t).one(t, deployments, "scaler").body, "spec", "replicas"))
	require.EqualValues(t, 1, at(build(t, "scalerReplicas=1").one(t, deployments, "scaler").body, "spec", "replicas"))
}
