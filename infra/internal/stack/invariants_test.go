package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/policy"
)

const (
	deployments = "apps/v1:Deployment"
	configMaps  = "core/v1:ConfigMap"
	secrets     = "core/v1:Secret"
	services    = "core/v1:Service"
	roles       = "rbac.authorization.k8s.io/v1:Role"
	hpas        = "autoscaling/v2:HorizontalPodAutoscaler"
	policies    = "networking.k8s.io/v1:NetworkPolicy"
)

func TestWhatHoldsInEveryShape(t *testing.T) {
	everyShape(t, func(t *testing.T, settings map[string]string, b built) {
		checkParentsAndProvider(t, b)
		checkNothingIsMadeTwice(t, b)
		checkPolicy(t, b, settings)
		for _, w := range b.workloads() {
			checkHardening(t, w)
			checkContainers(t, w)
			checkVolumes(t, w)
		}
		checkNames(t, b, settings)
		checkServices(t, b, settings)
		checkScaling(t, b, settings)
		checkAccess(t, b)
		checkNothingSecretIsShown(t, b)
		checkManifests(t, b)
		require.Equal(t, settings["networkPolicies"] == "true", len(b.all(policies)) > 0)
		require.Equal(t, settings["createNamespace"] == "true", len(b.all("core/v1:Namespace")) == 1)
		checkOutputs(t, b, settings)
	})
}

// checkPolicy: what the policy asks of every program holds for this one.
func checkPolicy(t *testing.T, b built, settings map[string]string) {
	t.Helper()
	for _, r := range b.resources {
		asked := policy.Options{AllowNodePorts: settings["serviceType"] == "NodePort"}
		require.Empty(t, policy.Check(policy.Object{Type: r.typ, Name: r.name, Body: r.body}, asked))
	}
}

// checkParentsAndProvider: components below the one that is everything, objects
// below components, and nothing by the default provider, whose cluster nobody named.
func checkParentsAndProvider(t *testing.T, b built) {
	t.Helper()
	for _, r := range b.resources {
		switch {
		case r.typ == "pulumi:providers:kubernetes":
			require.Equal(t, true, r.body["enableConfigMapMutable"])
			require.Equal(t, true, r.body["enableSecretMutable"])
		case r.typ == "headroom:infra:Headroom":
			require.Contains(t, r.parent, "pulumi:pulumi:Stack")
		case !r.custom:
			require.Contains(t, r.parent, "headroom:infra:Headroom", r.name)
		default:
			require.Contains(t, r.parent, "headroom:infra:", "%s %s", r.typ, r.name)
			require.Contains(t, r.provider, "pulumi:providers:kubernetes::kubernetes::", "%s %s", r.typ, r.name)
			require.Equal(t, "headroom", at(r.body, "metadata", "annotations", "pulumi.com/patchFieldManager"),
				"%s %s: made again after an end half-way, it would have two owners", r.typ, r.name)
		}
	}
}

// checkHardening: what no policy would ask of everyone.
func checkHardening(t *testing.T, d registered) {
	t.Helper()
	pod := d.podSpec()
	require.Equal(t, true, at(pod, "securityContext", "runAsNonRoot"), d.name)
	require.Equal(t, "RuntimeDefault", at(pod, "securityContext", "seccompProfile", "type"), d.name)
	require.Equal(t, false, pod["enableServiceLinks"], d.name)
	// A pod has a token exactly when it has an account that something is granted to.
	require.Equal(t, pod["serviceAccountName"] != nil, pod["automountServiceAccountToken"], d.name)
	for _, c := range d.containers() {
		security, _ := c["securityContext"].(object)
		require.Equal(t, true, security["runAsNonRoot"], d.name)
		require.Greater(t, security["runAsUser"], 0.0, d.name)
		require.Greater(t, security["runAsGroup"], 0.0, d.name)
		require.Equal(t, "RuntimeDefault", at(security, "seccompProfile", "type"), d.name)
	}
}

// checkContainers: each has its probes, which ask a port that it has.
func checkContainers(t *testing.T, d registered) {
	t.Helper()
	for _, c := range d.containers() {
		require.Equal(t, "IfNotPresent", c["imagePullPolicy"], d.name)

		ports := map[string]bool{}
		for _, p := range objects(c["ports"]) {
			name, _ := p["name"].(string)
			require.NotEmpty(t, name)
			ports[name] = true
		}
		require.Equal(t, c["name"] == d.name, c["readinessProbe"] != nil, "%s: its pod serves without what is beside it", d.name)
		require.NotNil(t, c["livenessProbe"], d.name)
		for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
			if port, ok := at(c, probe, "httpGet", "port").(string); ok {
				require.True(t, ports[port], "%s: the %s asks port %s", d.name, probe, port)
			}
		}
	}
	labels, _ := at(d.body, "spec", "template", "metadata", "labels").(object)
	selector, _ := at(d.body, "spec", "selector", "matchLabels").(object)
	require.NotEmpty(t, selector, d.name)
	require.Subset(t, labels, selector, d.name)
	for _, label := range []string{"name", "part-of", "managed-by"} {
		require.NotEmpty(t, labels["app.kubernetes.io/"+label], d.name)
		require.NotEmpty(t, at(d.body, "metadata", "labels", "app.kubernetes.io/"+label), d.name)
	}
}

// checkVolumes: every mount has its volume, and none that the pod takes with it
// is without bound.
func checkVolumes(t *testing.T, d registered) {
	t.Helper()
	volumes := map[any]bool{}
	for _, v := range objects(d.podSpec()["volumes"]) {
		if empty, ok := v["emptyDir"].(object); ok {
			require.NotEmpty(t, empty["sizeLimit"], d.name)
		}
		volumes[v["name"]] = true
	}
	for _, claim := range objects(at(d.body, "spec", "volumeClaimTemplates")) {
		volumes[at(claim, "metadata", "name")] = true
	}
	for _, c := range d.containers() {
		for _, m := range objects(c["volumeMounts"]) {
			require.True(t, volumes[m["name"]], "%s mounts %v", d.name, m["name"])
		}
	}
}

// checkNames: fixed names, in the right namespace.
func checkNames(t *testing.T, b built, settings map[string]string) {
	t.Helper()
	queue, copies := settings["redisUrl"] == "", settings["redisReplicas"] != "0"
	want := []string{"dispatcher", "model-server"}
	for name, there := range map[string]bool{
		"scaler":         settings["scaler"] == "custom",
		"metrics-server": settings["metricsServer"] == "true",
		"prometheus":     settings["prometheus"] == "own",
		"grafana":        settings["grafana"] == "true",
		"redis":          queue && !copies,
		"redis-node":     queue && copies,
		"redis-sentinel": queue && copies,
	} {
		if there {
			want = append(want, name)
		}
	}
	var names []string
	for _, w := range b.workloads() {
		names = append(names, w.name)
		require.Equal(t, w.name, at(w.body, "metadata", "name"))
	}
	require.ElementsMatch(t, want, names)
	for _, r := range b.resources {
		if !r.custom || strings.HasPrefix(r.typ, "pulumi:") {
			continue
		}
		require.NotEmpty(t, at(r.body, "metadata", "name"), "%s %s", r.typ, r.name)
		namespace := at(r.body, "metadata", "namespace")
		switch {
		case strings.Contains(r.parent, "headroom:infra:MetricsServer"):
			require.Contains(t, []any{"kube-system", nil}, namespace, "%s %s", r.typ, r.name)
		case r.typ == "kubernetes:core/v1:Namespace":
			require.Equal(t, "restricted", at(r.body, "metadata", "labels", "pod-security.kubernetes.io/enforce"))
		default:
			require.Equal(t, "headroom", namespace, "%s %s", r.typ, r.name)
		}
	}
}

// checkServices: each Service leads to a port that its pods have, and is open to
// the outside only where that is asked for.
func checkServices(t *testing.T, b built, settings map[string]string) {
	t.Helper()
	for _, s := range b.all(services) {
		selector, _ := at(s.body, "spec", "selector").(object)
		require.NotEmpty(t, selector, s.name)
		reached := map[any]bool{}
		for _, w := range b.workloads() {
			labels, _ := at(w.body, "spec", "template", "metadata", "labels").(object)
			if !matches(selector, labels) {
				continue
			}
			for _, c := range w.containers() {
				for _, port := range objects(c["ports"]) {
					reached[port["name"]] = true
				}
			}
		}
		ports := objects(at(s.body, "spec", "ports"))
		for _, p := range ports {
			require.True(t, reached[p["targetPort"]], "%s leads to the port %v", s.name, p["targetPort"])
		}
		typ := "ClusterIP"
		if outside := s.name == "dispatcher" || s.name == "prometheus"; outside && settings["exposure"] == "service" {
			typ = settings["serviceType"]
		}
		require.Equal(t, typ, at(s.body, "spec", "type"), s.name)
		require.Equal(t, typ == "NodePort", ports[0]["nodePort"] != nil, s.name)
		// Prometheus sees every pod, and so does who wakes the scaler or looks for
		// Redis' master; clients see only the ready ones.
		everyPod := at(s.body, "spec", "clusterIP") == "None"
		require.Equal(t, everyPod, at(s.body, "spec", "publishNotReadyAddresses") == true, s.name)
		if strings.HasSuffix(s.name, "-metrics") {
			require.True(t, everyPod, s.name)
		}
	}
}

// checkScaling: at most one scaler, and spec.replicas only where there is none.
func checkScaling(t *testing.T, b built, settings map[string]string) {
	t.Helper()
	_, fixed := b.one(t, deployments, "model-server").body["spec"].(object)["replicas"]
	require.Equal(t, settings["scaler"] == "none", fixed)
	var scalers int
	for _, d := range b.workloads() {
		if d.name == "scaler" {
			scalers++
		} else if d.name != "model-server" {
			require.NotNil(t, at(d.body, "spec", "replicas"), d.name)
		}
	}
	require.Equal(t, settings["scaler"] == "custom", scalers == 1)
	require.Equal(t, settings["scaler"] == "hpa", len(b.all(hpas)) == 1)
}

// checkAccess: no wildcards, and rights over the whole cluster for
// metrics-server only.
func checkAccess(t *testing.T, b built) {
	t.Helper()
	for _, r := range b.resources {
		if strings.Contains(r.typ, ":ClusterRole") {
			require.Contains(t, r.parent, "headroom:infra:MetricsServer", r.name)
		}
		for _, rule := range objects(r.body["rules"]) {
			for _, part := range []string{"apiGroups", "resources", "verbs"} {
				require.NotContains(t, texts(rule[part]), "*", r.name)
			}
			require.NotContains(t, texts(rule["resources"]), "secrets", r.name)
		}
	}
}

// checkManifests: everything that the cluster gets can be written as a manifest,
// under a name that no other has.
func checkManifests(t *testing.T, b built) {
	t.Helper()
	for _, r := range b.resources {
		if r.custom && strings.HasPrefix(r.typ, "kubernetes:") {
			require.NotEmpty(t, r.body["apiVersion"], "%s %s", r.typ, r.name)
			require.Equal(t, r.typ[strings.LastIndex(r.typ, ":")+1:], r.body["kind"], r.name)
		}
	}
}

func checkOutputs(t *testing.T, b built, settings map[string]string) {
	t.Helper()
	content, err := os.ReadFile("../../../contract/outputs.json")
	require.NoError(t, err)
	var contract struct {
		Outputs []struct{ Name, Type string }
	}
	require.NoError(t, json.Unmarshal(content, &contract))
	require.NotEmpty(t, contract.Outputs)
	require.Len(t, b.outputs, len(contract.Outputs))
	for _, output := range contract.Outputs {
		require.Equal(t, "string", output.Type)
		require.IsType(t, "", b.outputs[output.Name], output.Name)
		require.NotEmpty(t, b.outputs[output.Name], output.Name)
	}
	typ := settings["serviceType"]
	if settings["exposure"] != "service" {
		typ = "ClusterIP"
	}
	urls := map[string][2]string{
		"NodePort":     {"http://127.0.0.1:30501", "http://127.0.0.1:30090"},
		"LoadBalancer": {"http://192.0.2.7:5001", "http://192.0.2.7:9090"},
		"ClusterIP":    {"http://dispatcher.headroom.svc:5001", "http://prometheus.headroom.svc:9090"},
	}[typ]
	switch {
	case settings["exposure"] == "service":
		require.Equal(t, urls[0], b.outputs["dispatcherUrl"])
	case settings["exposureTls"] == "true":
		require.Equal(t, "https://headroom.example.com", b.outputs["dispatcherUrl"])
	default:
		require.Equal(t, "http://headroom.example.com", b.outputs["dispatcherUrl"])
	}
	if settings["prometheus"] == "own" {
		require.Equal(t, urls[1], b.outputs["prometheusUrl"])
	} else {
		require.Equal(t, settings["prometheusUrl"], b.outputs["prometheusUrl"])
	}
	require.Equal(t, settings["scaler"], b.outputs["scaler"])
	require.Equal(t, "model-server", b.outputs["targetDeployment"])
}

// What crosses to Prometheus: each component's job is scraped at the addresses
// of its Service, on the contract's port.
func TestMetricsPortsAreThoseOfTheContract(t *testing.T) {
	content, err := os.ReadFile("../../../contract/metrics.json")
	require.NoError(t, err)
	var contract map[string]struct {
		Job  string
		Port int
	}
	require.NoError(t, json.Unmarshal(content, &contract))
	require.Len(t, contract, 3)
	b := build(t)
	for _, component := range contract {
		d := b.one(t, deployments, component.Job)
		require.Equal(t, component.Job, at(d.body, "spec", "template", "metadata", "labels", "app.kubernetes.io/name"))
		var metrics []int
		for _, port := range objects(d.containers()[0]["ports"]) {
			if port["name"] == "metrics" {
				metrics = append(metrics, int(port["containerPort"].(float64)))
			}
		}
		require.Equal(t, []int{component.Port}, metrics, component.Job)
	}

	var scraped struct {
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
			DNS     []struct {
				Names []string
				Type  string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	text, _ := at(b.one(t, configMaps, "prometheus").body, "data", "prometheus.yml").(string)
	require.NoError(t, yaml.Unmarshal([]byte(text), &scraped))
	require.Len(t, scraped.ScrapeConfigs, len(contract)+1)
	require.Equal(t, "prometheus", scraped.ScrapeConfigs[len(contract)].JobName, "itself")
	for _, component := range contract {
		var found bool
		for _, config := range scraped.ScrapeConfigs {
			if config.JobName != component.Job {
				continue
			}
			found = true
			require.Len(t, config.DNS, 1)
			require.Equal(t, "A", config.DNS[0].Type)
			require.Equal(t, component.Port, config.DNS[0].Port)
			service := b.one(t, services, component.Job+"-metrics")
			require.Equal(t, []string{service.name + ".headroom.svc.cluster.local."}, config.DNS[0].Names)
		}
		require.True(t, found, component.Job)
	}
}

// Swapping the scaler must not restart the pods that serve, queue or measure.
func TestSwappingTheScalerLeavesEverythingElseAlone(t *testing.T) {
	custom, none := build(t, "scaler=custom"), build(t, "scaler=none", "replicas=3")
	hpa := build(t, "scaler=hpa", "hpaCpuPercent=90", "maxReplicas=20")
	for _, name := range []string{"model-server", "dispatcher", "redis", "prometheus"} {
		before := custom.one(t, deployments, name).body
		require.Equal(t, asJSON(t, before), asJSON(t, hpa.one(t, deployments, name).body), name)
		require.Equal(t, asJSON(t, at(before, "spec", "template")), asJSON(t, at(none.one(t, deployments, name).body, "spec", "template")), name)
	}
	require.EqualValues(t, 3, at(none.one(t, deployments, "model-server").body, "spec", "replicas"))
}

func TestHPA(t *testing.T) {
	b := build(t, "scaler=hpa", "hpaCpuPercent=90", "minReplicas=2", "maxReplicas=7")
	require.JSONEq(t, `{
		"scaleTargetRef": {"apiVersion":"apps/v1","kind":"Deployment","name":"model-server"},
		"minReplicas": 2, "maxReplicas": 7,
		"metrics": [{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":90}}}]
	}`, asJSON(t, b.one(t, hpas, "model-server").body["spec"]))
}

func TestAChangedConfigRollsItsPods(t *testing.T) {
	checksum := func(name string, settings ...string) any {
		d := build(t, settings...).one(t, deployments, name)
		return at(d.body, "spec", "template", "metadata", "annotations", "headroom.dev/config-checksum")
	}
	require.NotEmpty(t, checksum("scaler"))
	require.Equal(t, checksum("scaler"), checksum("scaler", "hpaCpuPercent=80"))
	require.NotEqual(t, checksum("scaler"), checksum("scaler", "maxReplicas=11"))
	require.NotEmpty(t, checksum("prometheus"))
	require.NotEqual(t, checksum("prometheus"), checksum("prometheus", "prometheusScrapeInterval=2s"))
	require.NotEqual(t, checksum("prometheus"), checksum("prometheus", "sloLatency=250ms"), "its rules")
}

func TestDispatcherArguments(t *testing.T) {
	b := build(t, "namespace=elsewhere", "sloLatency=250ms", "backendConcurrency=3", "dispatcherReplicas=2")
	d := b.one(t, deployments, "dispatcher")
	require.EqualValues(t, 2, at(d.body, "spec", "replicas"))
	require.Equal(t, []string{
		"--redis", "redis://redis:6379/0", "--endpoints-of", "elsewhere/model-server", "--slo", "250ms",
		"--max-picture-memory", "134217728", "--backend-concurrency", "3", "--listen", ":5001", "--metrics-listen", ":8000", "--drain-delay", "5s",
	}, texts(d.containers()[0]["args"]))
	require.JSONEq(t, `[{"name":"REDIS_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis","key":"password"}}},{"name":"GOMEMLIMIT","value":"429496729"}]`,
		asJSON(t, d.containers()[0]["env"]))
	require.JSONEq(t, `[{"apiGroups":["discovery.k8s.io"],"resources":["endpointslices"],"verbs":["get","list","watch"]}]`,
		asJSON(t, b.one(t, roles, "dispatcher").body["rules"]))
}

func TestModelServerSizeComesFromTheConfiguration(t *testing.T) {
	c := build(t, "modelServerCpuRequest=100m", "modelServerCpuLimit=150m", "modelServerMemory=300Mi").
		one(t, deployments, "model-server").containers()[0]
	require.JSONEq(t, `{"requests":{"cpu":"100m","memory":"300Mi"},"limits":{"cpu":"150m","memory":"300Mi"}}`, asJSON(t, c["resources"]))
	// Of 300 Mi, 314572800 bytes, pictures get a half, bodies a quarter, Go 60%.
	require.Equal(t, []string{
		"--model", "/model", "--listen", ":6001", "--grpc-listen", ":9000", "--metrics-listen", ":8001",
		"--max-decode-memory", "157286400", "--max-body-memory", "78643200",
	}, texts(c["args"]))
	require.JSONEq(t, `[{"name":"GOMEMLIMIT","value":"188743680"}]`, asJSON(t, c["env"]))
}

// More or less CPU for a running model server must not restart it.
func TestModelServersAreResizedInPlace(t *testing.T) {
	for _, d := range build(t).all(deployments) {
		policy := d.containers()[0]["resizePolicy"]
		if d.name == "model-server" {
			require.JSONEq(t, `[{"resourceName":"cpu","restartPolicy":"NotRequired"}]`, asJSON(t, policy))
		} else {
			require.Nil(t, policy, d.name)
		}
	}
}

func TestPasswordIsGeneratedOnceAndKept(t *testing.T) {
	first, second := build(t).one(t, secrets, "redis"), build(t).one(t, secrets, "redis")
	require.Equal(t, []string{"data"}, first.ignored, "a later run must not change it")
	require.NotEqual(t, first.body["data"], second.body["data"], "each stack has its own")
	require.GreaterOrEqual(t, len(decoded(t, at(first.body, "data", "password"))), 20)
}

func TestGivenPasswordIsUsedAndItsChangesArrive(t *testing.T) {
	secret := build(t, "redisPassword=given-by-hand").one(t, secrets, "redis")
	require.Empty(t, secret.ignored)
	require.Equal(t, "given-by-hand", decoded(t, at(secret.body, "data", "password")))
	require.Equal(t, "requirepass \"given-by-hand\"\n", decoded(t, at(secret.body, "data", "redis.conf")))
	for _, name := range []string{"redis", "dispatcher"} {
		d := build(t, "redisPassword=given-by-hand").one(t, deployments, name)
		require.Equal(t, "4711", at(d.body, "spec", "template", "metadata", "annotations", "headroom.dev/secret-version"), name)
	}
}

// The ways that the network policies open are those that the design has.
func TestNetworkPolicies(t *testing.T) {
	ways := func(b built) []string {
		var found []string
		for _, p := range b.all(policies) {
			require.Equal(t, []string{"Ingress"}, texts(at(p.body, "spec", "policyTypes")))
			to := at(p.body, "spec", "podSelector", "matchLabels", "app.kubernetes.io/name")
			for _, rule := range objects(at(p.body, "spec", "ingress")) {
				port := strconv.Itoa(int(objects(rule["ports"])[0]["port"].(float64)))
				if rule["from"] == nil {
					found = append(found, fmt.Sprintf("all → %v:%s", to, port))
				}
				for _, peer := range objects(rule["from"]) {
					found = append(found, fmt.Sprintf("%v → %v:%s", at(peer, "podSelector", "matchLabels", "app.kubernetes.io/name"), to, port))
				}
			}
		}
		return found
	}
	want := []string{
		"all → dispatcher:5001", "all → prometheus:9090",
		"dispatcher → redis:6379", "dispatcher → model-server:6001",
		"prometheus → dispatcher:8000", "prometheus → model-server:8001",
	}
	require.ElementsMatch(t, want, ways(build(t, "scaler=hpa")))
	want = append(want, "prometheus → scaler:8002", "scaler → prometheus:9090")
	require.ElementsMatch(t, want, ways(build(t)))
	require.ElementsMatch(t, append(want, "dispatcher → scaler:8002"), ways(build(t, "minReplicas=0")))

	denied := func(settings ...string) any {
		p := build(t, settings...).one(t, policies, "default-deny")
		require.Empty(t, objects(at(p.body, "spec", "ingress")))
		return at(p.body, "spec", "podSelector", "matchLabels")
	}
	require.Empty(t, denied(), "a namespace of our own is closed as a whole")
	require.Equal(t, object{"app.kubernetes.io/part-of": "headroom"}, denied("createNamespace=false"), "others' pods are left alone")
}

// Pods start when they are allowed to do their work, and metrics-server's API
// is announced when something answers behind it.
func TestOrder(t *testing.T) {
	b := build(t, "metricsServer=true")
	waitsFor := func(r registered, typ, name string) {
		t.Helper()
		var found bool
		for _, urn := range r.after {
			found = found || strings.HasSuffix(urn, "kubernetes:"+typ+"::"+name)
		}
		require.True(t, found, "%s waits for %v, not for the %s %s", r.name, r.after, typ, name)
	}
	for _, name := range []string{"dispatcher", "scaler"} {
		waitsFor(b.one(t, deployments, name), "rbac.authorization.k8s.io/v1:RoleBinding", name)
	}
	for _, name := range []string{"dispatcher", "scaler", "redis", "prometheus", "model-server"} {
		waitsFor(b.one(t, deployments, name), "core/v1:Namespace", "namespace")
	}
	metrics := b.one(t, deployments, "metrics-server")
	waitsFor(metrics, "core/v1:ServiceAccount", "metrics-server")
	waitsFor(metrics, "rbac.authorization.k8s.io/v1:ClusterRoleBinding", "system:metrics-server")
	waitsFor(metrics, "rbac.authorization.k8s.io/v1:ClusterRoleBinding", "metrics-server:system:auth-delegator")
	waitsFor(metrics, "rbac.authorization.k8s.io/v1:RoleBinding", "metrics-server-auth-reader")
	api := b.one(t, "apiregistration.k8s.io/v1:APIService", "v1beta1.metrics.k8s.io")
	waitsFor(api, deployments, "metrics-server")
	waitsFor(api, services, "metrics-server")
}

func TestKubeContextNamesTheCluster(t *testing.T) {
	find := func(settings ...string) any {
		for _, r := range build(t, settings...).resources {
			if r.typ == "pulumi:providers:kubernetes" {
				return r.body["context"]
			}
		}
		return "no provider"
	}
	require.Equal(t, "headroom-local", find("kubeContext=headroom-local"))
	require.Nil(t, find())
}
