package stack

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	budgetObjects = "policy/v1:PodDisruptionBudget"
	quotas        = "core/v1:ResourceQuota"
	limitRanges   = "core/v1:LimitRange"
)

// pods are the Deployments and StatefulSets of the stack's own namespace.
func (b built) pods() []registered {
	var found []registered
	for _, r := range append(b.all(deployments), b.all("apps/v1:StatefulSet")...) {
		if r.name != "metrics-server" {
			found = append(found, r)
		}
	}
	return found
}

// several tells whether a component may have more than one pod.
func several(r registered) bool {
	replicas, fixed := at(r.body, "spec", "replicas").(float64)
	return !fixed || replicas > 1 || r.name == "model-server"
}

// A drain takes pods of what has several, one at a time, and no budget can ever
// keep a node.
func TestDisruptionBudgets(t *testing.T) {
	for _, settings := range [][]string{
		nil,
		{"dispatcherReplicas=3", "scalerReplicas=1"},
		{"scaler=hpa", "dispatcherReplicas=2"},
		{"scaler=none", "replicas=1"},
		{"redisReplicas=2"},
	} {
		b := build(t, settings...)
		bounded := map[string]bool{}
		for _, budget := range b.all(budgetObjects) {
			bounded[budget.name] = true
			require.JSONEq(t, `{
				"selector": {"matchLabels": {"app.kubernetes.io/name": "`+budget.name+`", "app.kubernetes.io/part-of": "headroom"}},
				"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"
			}`, asJSON(t, budget.body["spec"]), "%v", settings)
		}
		for _, pods := range b.pods() {
			require.Equal(t, several(pods), bounded[pods.name], "%v %s", settings, pods.name)
			delete(bounded, pods.name)
		}
		require.Empty(t, bounded, "%v: each budget is of something", settings)
	}
	share := build(t, "modelServerMaxUnavailable=25%").one(t, budgetObjects, "model-server")
	require.Equal(t, "25%", at(share.body, "spec", "maxUnavailable"))
	require.Empty(t, build(t, "podDisruptionBudgets=false").all(budgetObjects))
}

// Pods keep apart where there are several; only pods of one revision are
// compared, or a rollout would wait for places that the old ones have.
func TestPlacement(t *testing.T) {
	for _, spread := range []string{"none", "preferred", "required"} {
		b := build(t, "topologySpread="+spread, "antiAffinity="+spread, "dispatcherReplicas=3", "redisReplicas=2", "priorityClass=serving")
		for _, pods := range b.pods() {
			require.Equal(t, "serving", pods.podSpec()["priorityClassName"], pods.name)
			constraints := objects(pods.podSpec()["topologySpreadConstraints"])
			anti, _ := at(pods.podSpec(), "affinity", "podAntiAffinity").(object)
			if spread == "none" || !several(pods) {
				require.Empty(t, constraints, "%s %s", spread, pods.name)
				require.Empty(t, anti, "%s %s", spread, pods.name)
				continue
			}
			revision := "pod-template-hash"
			if pods.typ == "kubernetes:apps/v1:StatefulSet" {
				revision = "controller-revision-hash"
			}
			compared := `"labelSelector": {"matchLabels": ` + asJSON(t, at(pods.body, "spec", "selector", "matchLabels")) + `}, "matchLabelKeys": ["` + revision + `"]`
			unsatisfiable := map[string]string{"preferred": "ScheduleAnyway", "required": "DoNotSchedule"}[spread]
			constraint := func(label string) string {
				return `{"topologyKey": "` + label + `", "maxSkew": 1, "nodeTaintsPolicy": "Honor", "whenUnsatisfiable": "` + unsatisfiable + `", ` + compared + `}`
			}
			require.JSONEq(t, "["+constraint("topology.kubernetes.io/zone")+","+constraint("kubernetes.io/hostname")+"]",
				asJSON(t, constraints), "%s %s", spread, pods.name)

			term := `{"topologyKey": "kubernetes.io/hostname", ` + compared + `}`
			want := `{"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": ` + term + `}]}`
			if spread == "required" && pods.name != "model-server" { // of which there may be more than nodes
				want = `{"requiredDuringSchedulingIgnoredDuringExecution": [` + term + `]}`
			}
			require.JSONEq(t, want, asJSON(t, anti), "%s %s", spread, pods.name)
		}
	}
}

func TestModelServersRunOnNodesOfTheirOwn(t *testing.T) {
	b := build(t, `modelServerNodeSelector={"example.com/pool":"inference"}`,
		`modelServerTolerations=[{"key":"dedicated","value":"inference","effect":"NoSchedule"},{"operator":"Exists"}]`)
	for _, pods := range b.pods() {
		if pods.name == "model-server" {
			require.JSONEq(t, `{"example.com/pool":"inference"}`, asJSON(t, pods.podSpec()["nodeSelector"]))
			require.JSONEq(t, `[{"key":"dedicated","operator":"Equal","value":"inference","effect":"NoSchedule"},{"operator":"Exists"}]`,
				asJSON(t, pods.podSpec()["tolerations"]))
			continue
		}
		require.Nil(t, pods.podSpec()["nodeSelector"], pods.name)
		require.Nil(t, pods.podSpec()["tolerations"], pods.name)
	}
}

func TestQuotaAndLimitRange(t *testing.T) {
	b := build(t)
	require.Empty(t, b.all(quotas))
	require.Empty(t, b.all(limitRanges))

	b = build(t, "quotaCpuRequests=40", "quotaMemoryLimits=64Gi", "quotaPods=100", "limitRange=true")
	require.JSONEq(t, `{"hard": {"requests.cpu": "40", "limits.memory": "64Gi", "pods": "100"}}`,
		asJSON(t, b.one(t, quotas, "headroom").body["spec"]))
	require.JSONEq(t, `{"limits": [{"type": "Container",
		"defaultRequest": {"cpu": "50m", "memory": "64Mi"}, "default": {"cpu": "500m", "memory": "256Mi"}}]}`,
		asJSON(t, b.one(t, limitRanges, "headroom").body["spec"]))
	require.Empty(t, build(t, "limitRange=true").all(quotas))
	require.Empty(t, build(t, "quotaPods=100").all(limitRanges))
}

func TestHPABehavior(t *testing.T) {
	behavior := func(settings ...string) any {
		return at(build(t, append(settings, "scaler=hpa")...).one(t, hpas, "model-server").body, "spec", "behavior")
	}
	require.Nil(t, behavior(), "what Kubernetes does by itself is not asked for: people's autoscalers don't either")
	require.Nil(t, behavior("hpaScaleDownStabilization=300s", "hpaScaleUpPods=4"))
	require.JSONEq(t, `{
		"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
			{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
		"scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [
			{"type": "Percent", "value": 100, "periodSeconds": 15}]}
	}`, asJSON(t, behavior("hpaScaleDownStabilization=1m")), "the rest stays what it was")
	require.JSONEq(t, `{
		"scaleUp": {"stabilizationWindowSeconds": 30, "selectPolicy": "Min", "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]},
		"scaleDown": {"stabilizationWindowSeconds": 300, "selectPolicy": "Disabled", "policies": [
			{"type": "Pods", "value": 1, "periodSeconds": 120}, {"type": "Percent", "value": 10, "periodSeconds": 120}]}
	}`, asJSON(t, behavior("hpaScaleUpStabilization=30s", "hpaScaleUpSelect=Min", "hpaScaleUpPods=0", "hpaScaleUpPercent=50", "hpaScaleUpPeriod=1m",
		"hpaScaleDownSelect=Disabled", "hpaScaleDownPods=1", "hpaScaleDownPercent=10", "hpaScaleDownPeriod=2m")))
}
