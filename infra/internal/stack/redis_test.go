package stack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	exporter   = "oliver006/redis_exporter:v1.67.0"
	redisName  = "redis"
	nodes      = "redis-node"
	sentinels  = "redis-sentinel"
	tlsSetting = "redisTlsSecret=redis-tls"
)

// workloads are all that have pods.
func (b built) workloads() []registered {
	return slices.Concat(b.all(deployments), b.all(statefulSets))
}

// redisShapes builds the stack with each Redis that it can have.
func redisShapes(t *testing.T, check func(t *testing.T, settings []string, b built)) {
	var shapes [][]string
	for _, replicas := range []string{"0", "1", "2"} {
		for _, storage := range [][]string{nil, {"redisStorage=2Gi"}, {"redisStorage=2Gi", "redisStorageClass=fast"}} {
			for _, tls := range [][]string{nil, {tlsSetting}} {
				for _, metrics := range [][]string{nil, {"redisExporterImage=" + exporter}} {
					for _, password := range [][]string{nil, {"redisPassword=given-by-hand", "redisSecondPassword=soon-to-come"}} {
						shapes = append(shapes, slices.Concat([]string{"redisReplicas=" + replicas}, storage, tls, metrics, password))
					}
				}
			}
		}
	}
	for _, url := range [][]string{
		{"redisUrl=redis://elsewhere:6379/0"}, {"redisUrl=rediss://elsewhere:6379/0", tlsSetting},
		{"redisMode=sentinel", "redisUrl=redis://s1:26379/0?master_name=m&addr=s2:26379"},
		{"redisMode=cluster", "redisUrl=redis://n1:7000?addr=n2:7001"},
	} {
		for _, password := range [][]string{nil, {"redisPassword=given-by-hand"}, {"redisPasswordSecret=redis-auth"}} {
			shapes = append(shapes, slices.Concat(url, password))
		}
	}
	for _, shape := range shapes {
		shape = append(shape, "apiKeysSecret=api-keys", "otlpEndpoint=http://collector:4318", "otlpHeadersSecret=otlp", "networkPolicyEgress=true")
		t.Run(strings.Join(shape[:len(shape)-4], ","), func(t *testing.T) { check(t, shape, build(t, shape...)) })
	}
}

func TestWhatHoldsForEveryRedis(t *testing.T) {
	redisShapes(t, func(t *testing.T, settings []string, b built) {
		checkParentsAndProvider(t, b)
		checkNothingIsMadeTwice(t, b)
		for _, w := range b.workloads() {
			checkHardening(t, w)
			checkPods(t, w)
			checkSources(t, b, w)
		}
		checkClaims(t, b)
		checkNothingSecretIsShown(t, b)
		checkWaysToRedis(t, b)
		checkEncryption(t, settings, b)
	})
}

// checkNothingIsMadeTwice: a second one of the same name is none that the engine
// takes.
func checkNothingIsMadeTwice(t *testing.T, b built) {
	t.Helper()
	made := map[string]bool{}
	for _, r := range b.resources {
		require.False(t, made[r.typ+" "+r.name], "%s %s", r.typ, r.name)
		made[r.typ+" "+r.name] = true
	}
}

// checkPods: every container has its size, its probes and a version.
func checkPods(t *testing.T, w registered) {
	t.Helper()
	ports := map[any]bool{}
	for _, c := range w.containers() {
		for _, bound := range []string{"requests", "limits"} {
			for _, resource := range []string{"cpu", "memory"} {
				require.NotEmpty(t, at(c, "resources", bound, resource), "%s %v", w.name, c["name"])
			}
		}
		// The pod serves without what stands beside its own container.
		require.Equal(t, c["name"] == w.name, c["readinessProbe"] != nil, "%s %v", w.name, c["name"])
		require.NotNil(t, c["livenessProbe"], "%s %v", w.name, c["name"])
		require.Regexp(t, `:[^/]+$`, c["image"])
		for _, p := range objects(c["ports"]) {
			require.False(t, ports[p["containerPort"]], "%s has two ports %v", w.name, p["containerPort"])
			ports[p["containerPort"]] = true
		}
	}
	labels, _ := at(w.body, "spec", "template", "metadata", "labels").(object)
	selector, _ := at(w.body, "spec", "selector", "matchLabels").(object)
	require.Equal(t, object{"app.kubernetes.io/name": w.name, "app.kubernetes.io/part-of": "headroom"}, selector)
	require.Subset(t, labels, selector)
}

// checkSources: each mount has its volume, or its claim of a StatefulSet, and
// each volume an object that is there, or that the settings name.
func checkSources(t *testing.T, b built, w registered) {
	t.Helper()
	named := map[string]bool{"redis-tls": true, "api-keys": true}
	sources := map[string]bool{}
	for _, v := range objects(w.podSpec()["volumes"]) {
		sources[v["name"].(string)] = true
		if name, ok := at(v, "secret", "secretName").(string); ok && !named[name] {
			b.one(t, secrets, name)
		}
		if name, ok := at(v, "configMap", "name").(string); ok {
			b.one(t, configMaps, name)
		}
		if name, ok := at(v, "persistentVolumeClaim", "claimName").(string); ok {
			b.one(t, claims, name)
		}
	}
	for _, claim := range objects(at(w.body, "spec", "volumeClaimTemplates")) {
		sources[at(claim, "metadata", "name").(string)] = true
	}
	for _, m := range objects(w.containers()[0]["volumeMounts"]) {
		require.True(t, sources[m["name"].(string)], "%s mounts %v", w.name, m["name"])
	}
}

// checkClaims: a StatefulSet finds the claims that are made for it, which are
// those that it would make.
func checkClaims(t *testing.T, b built) {
	t.Helper()
	var expected []string
	for _, set := range b.all(statefulSets) {
		for _, template := range objects(at(set.body, "spec", "volumeClaimTemplates")) {
			require.Equal(t, "1Gi", at(template, "spec", "resources", "requests", "storage"), "it can't be changed, and the claims' own size can")
			for i := range int(at(set.body, "spec", "replicas").(float64)) {
				name := fmt.Sprintf("%v-%s-%d", at(template, "metadata", "name"), set.name, i)
				claim := b.one(t, claims, name)
				require.Equal(t, at(template, "spec", "storageClassName"), at(claim.body, "spec", "storageClassName"))
				require.Equal(t, "2Gi", at(claim.body, "spec", "resources", "requests", "storage"))
				require.True(t, slices.ContainsFunc(set.after, func(urn string) bool { return strings.HasSuffix(urn, "::"+name) }), "%s waits for %v", set.name, set.after)
				expected = append(expected, name)
			}
		}
	}
	if len(b.all(statefulSets)) == 0 && len(b.all(claims)) > 0 {
		expected = append(expected, map[bool]string{false: redisName, true: redisName + "-fast"}[at(b.all(claims)[0].body, "spec", "storageClassName") != nil])
	}
	var made []string
	for _, claim := range b.all(claims) {
		made = append(made, claim.name)
		require.Equal(t, "true", at(claim.body, "metadata", "annotations", "pulumi.com/skipAwait"))
	}
	require.ElementsMatch(t, expected, made)
}

var tellsSecrets = regexp.MustCompile(`PASSWORD|AUTH|TOKEN|HEADERS`)

// checkNothingSecretIsShown: passwords are in the Secret, marked as secret, and
// nowhere else; a variable that holds one refers to a Secret.
func checkNothingSecretIsShown(t *testing.T, b built) {
	t.Helper()
	hidden := []string{"given-by-hand", "soon-to-come"}
	for _, secret := range b.all(secrets) {
		require.True(t, secret.inputs["data"].IsSecret())
		require.Nil(t, secret.body["stringData"])
		for _, value := range secret.body["data"].(object) {
			hidden = append(hidden, value.(string), decoded(t, value))
		}
	}
	for _, r := range b.resources {
		if r.typ == "kubernetes:"+secrets {
			continue
		}
		content, err := json.Marshal(r.body)
		require.NoError(t, err)
		for _, text := range hidden {
			require.NotContains(t, string(content), text, "%s %s", r.typ, r.name)
		}
	}
	for name, output := range b.outputs {
		for _, text := range hidden {
			require.NotContains(t, fmt.Sprint(output), text, name)
		}
	}
	for _, w := range b.workloads() {
		for _, c := range w.containers() {
			for _, v := range objects(c["env"]) {
				if tellsSecrets.MatchString(v["name"].(string)) {
					require.NotEmpty(t, at(v, "valueFrom", "secretKeyRef", "name"), "%s %v", w.name, v["name"])
					require.Nil(t, v["value"], "%s %v", w.name, v["name"])
				}
			}
		}
	}
}

// checkWaysToRedis: every headless Service and every edge leads to pods that
// listen there, and every pod of Redis is closed to the rest.
func checkWaysToRedis(t *testing.T, b built) {
	t.Helper()
	listens := func(component string, port any) bool {
		for _, w := range b.workloads() {
			for _, c := range w.containers() {
				for _, p := range objects(c["ports"]) {
					if w.name == component && (p["containerPort"] == port || p["name"] == port) {
						return true
					}
				}
			}
		}
		return false
	}
	for _, s := range b.all(services) {
		component, _ := at(s.body, "spec", "selector", "app.kubernetes.io/name").(string)
		for _, p := range objects(at(s.body, "spec", "ports")) {
			require.True(t, listens(component, p["targetPort"]), "%s leads to %s:%v", s.name, component, p["targetPort"])
		}
	}
	for _, set := range b.all(statefulSets) {
		service := b.one(t, services, at(set.body, "spec", "serviceName").(string))
		require.Equal(t, "None", at(service.body, "spec", "clusterIP"))
		require.Equal(t, true, at(service.body, "spec", "publishNotReadyAddresses"), "a pod has a name before it is ready")
	}
	closed := map[string]bool{}
	for _, p := range b.all(policies) {
		to, _ := at(p.body, "spec", "podSelector", "matchLabels", "app.kubernetes.io/name").(string)
		for _, rule := range objects(at(p.body, "spec", "ingress")) {
			closed[to] = rule["from"] != nil
			require.True(t, listens(to, objects(rule["ports"])[0]["port"]), "a way to %s %v", to, rule["ports"])
		}
	}
	for _, w := range b.workloads() {
		if strings.HasPrefix(w.name, redisName) {
			require.True(t, closed[w.name], "%s is open to everybody", w.name)
		}
	}
}

// checkEncryption: with TLS nothing listens or asks without it, and the
// dispatcher knows the authority, but not the key.
func checkEncryption(t *testing.T, settings []string, b built) {
	t.Helper()
	encrypted := slices.Contains(settings, tlsSetting)
	for _, w := range b.workloads() {
		if !strings.HasPrefix(w.name, redisName) {
			continue
		}
		c := w.containers()[0]
		args := strings.Join(texts(c["args"]), " ")
		require.Equal(t, encrypted, strings.Contains(args, "--port 0 --tls-port "), w.name)
		require.Equal(t, encrypted, strings.Contains(args, "--tls-replication yes"), w.name)
		for _, probe := range []string{"readinessProbe", "livenessProbe"} {
			command := texts(at(c, probe, "exec", "command"))
			if command[0] == "redis-cli" {
				require.Equal(t, encrypted, slices.Contains(command, "--tls"), "%s %s", w.name, probe)
			}
		}
		for _, v := range objects(c["env"]) {
			if v["name"] == "CA" {
				require.Equal(t, encrypted, v["value"] != "", w.name)
			}
		}
	}
	door := b.one(t, deployments, "dispatcher")
	args := texts(door.containers()[0]["args"])
	require.Equal(t, encrypted, strings.HasPrefix(args[1], "rediss://"), args[1])
	require.Equal(t, encrypted, slices.Contains(args, "--redis-ca"))
	for _, v := range objects(door.podSpec()["volumes"]) {
		if at(v, "secret", "secretName") == "redis-tls" {
			require.JSONEq(t, `[{"key":"ca.crt","path":"ca.crt"}]`, asJSON(t, at(v, "secret", "items")))
		}
	}
}

// valueOf is what follows a flag.
func valueOf(t *testing.T, args []string, flag string) string {
	t.Helper()
	i := slices.Index(args, flag)
	require.GreaterOrEqual(t, i, 0, "%s in %v", flag, args)
	return args[i+1]
}

func dispatcherArgs(t *testing.T, b built) []string {
	t.Helper()
	return texts(b.one(t, deployments, "dispatcher").containers()[0]["args"])
}

// The names and the kind of what is there must not change with what is added.
func TestRedisWithoutReplicasIsTheDeploymentThatItWas(t *testing.T) {
	plain := build(t)
	require.Empty(t, plain.all(statefulSets))
	require.Empty(t, plain.all(claims))
	require.JSONEq(t, `{"name":"data","emptyDir":{"sizeLimit":"2048Mi"}}`, asJSON(t, objects(plain.one(t, deployments, redisName).podSpec()["volumes"])[0]))
	kept := build(t, "redisStorage=8Gi", "redisStorageClass=fast", tlsSetting, "redisExporterImage="+exporter)
	d := kept.one(t, deployments, redisName)
	require.Equal(t, at(plain.one(t, deployments, redisName).body, "spec", "selector"), at(d.body, "spec", "selector"))
	require.Equal(t, "Recreate", at(d.body, "spec", "strategy", "type"), "two pods must not have the volume")
	require.JSONEq(t, `{"name":"data","persistentVolumeClaim":{"claimName":"redis-fast"}}`, asJSON(t, objects(d.podSpec()["volumes"])[0]))
	require.JSONEq(t, `{"accessModes":["ReadWriteOnce"],"storageClassName":"fast","resources":{"requests":{"storage":"8Gi"}}}`,
		asJSON(t, kept.one(t, claims, redisName+"-fast").body["spec"]), "another class is another claim, as a bound one can't be replaced")
	require.Nil(t, at(build(t, "redisStorage=8Gi").one(t, claims, redisName).body, "spec", "storageClassName"), "the cluster's default")
	require.Equal(t, "rediss://redis.headroom.svc.cluster.local:6379/0", valueOf(t, dispatcherArgs(t, kept), "--redis"))
}

func TestRedisWithReplicas(t *testing.T) {
	b := build(t, "redisReplicas=2", "clusterDomain=example.org", "namespace=elsewhere", "redisMaxMemory=512mb")
	require.Empty(t, slices.DeleteFunc(b.all(deployments), func(d registered) bool { return d.name != redisName }))
	require.Empty(t, slices.DeleteFunc(b.all(services), func(s registered) bool { return s.name != redisName }),
		"a Service over master and replicas would lead to either")
	for name, replicas := range map[string]int{nodes: 3, sentinels: 3} {
		set := b.one(t, statefulSets, name)
		require.EqualValues(t, replicas, at(set.body, "spec", "replicas"))
		require.Equal(t, "Parallel", at(set.body, "spec", "podManagementPolicy"), "one that waits for another must not keep it from starting")
		require.NotNil(t, at(set.podSpec(), "affinity", "podAntiAffinity"), "on a node of its own where there is one")
		require.EqualValues(t, 1, at(b.one(t, "policy/v1:PodDisruptionBudget", name).body, "spec", "maxUnavailable"))
		for _, annotation := range []string{"secret-version", "config-checksum"} {
			require.NotEmpty(t, at(set.body, "spec", "template", "metadata", "annotations", "headroom.dev/"+annotation))
		}
	}
	require.EqualValues(t, 2, at(build(t, "redisReplicas=1").one(t, statefulSets, nodes).body, "spec", "replicas"))
	require.EqualValues(t, 3, at(build(t, "redisReplicas=1").one(t, statefulSets, sentinels).body, "spec", "replicas"))

	args := dispatcherArgs(t, b)
	host := func(i int) string {
		return fmt.Sprintf("redis-sentinel-%d.redis-sentinel.elsewhere.svc.example.org:26379", i)
	}
	require.Equal(t, fmt.Sprintf("redis://%s/0?master_name=headroom&addr=%s&addr=%s", host(0), host(1), host(2)), valueOf(t, args, "--redis"))
	require.Equal(t, "sentinel", valueOf(t, args, "--redis-mode"))
	require.JSONEq(t, `[
		{"name":"REDIS_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis","key":"password"}}},
		{"name":"REDIS_SENTINEL_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis","key":"password"}}}]`,
		asJSON(t, b.one(t, deployments, "dispatcher").containers()[0]["env"].([]any)[:2]))

	node := texts(b.one(t, statefulSets, nodes).containers()[0]["args"])
	require.Equal(t, "yes", valueOf(t, node, "--appendonly"))
	require.Equal(t, "noeviction", valueOf(t, node, "--maxmemory-policy"))
	require.Equal(t, fmt.Sprint(512<<20), valueOf(t, node, "--maxmemory"))
	require.Equal(t, "1", valueOf(t, node, "--min-replicas-to-write"), "a master that is cut off from all replicas takes nothing")
	require.NotContains(t, texts(build(t, "redisReplicas=1").one(t, statefulSets, nodes).containers()[0]["args"]), "--min-replicas-to-write",
		"the loss of the only replica must not stop the service")
}

// Who may talk to whom: replicas to the master, sentinels to all, the dispatcher
// to both, Prometheus to the exporter.
func TestWaysToRedisWithReplicas(t *testing.T) {
	ways := func(settings ...string) []string {
		var found []string
		for _, p := range build(t, settings...).all(policies) {
			to, _ := at(p.body, "spec", "podSelector", "matchLabels", "app.kubernetes.io/name").(string)
			if !strings.HasPrefix(to, redisName) {
				continue
			}
			for _, rule := range objects(at(p.body, "spec", "ingress")) {
				for _, peer := range objects(rule["from"]) {
					found = append(found, fmt.Sprintf("%v → %s:%v", at(peer, "podSelector", "matchLabels", "app.kubernetes.io/name"), to, objects(rule["ports"])[0]["port"]))
				}
			}
		}
		return found
	}
	metrics := "redisExporterImage=" + exporter
	require.ElementsMatch(t, []string{"dispatcher → redis:6379"}, ways())
	require.ElementsMatch(t, []string{"dispatcher → redis:6379", "prometheus → redis:9121"}, ways(metrics))
	require.ElementsMatch(t, []string{
		"dispatcher → redis-node:6379", "redis-node → redis-node:6379", "redis-sentinel → redis-node:6379",
		"dispatcher → redis-sentinel:26379", "redis-node → redis-sentinel:26379", "redis-sentinel → redis-sentinel:26379",
		"prometheus → redis-node:9121",
	}, ways("redisReplicas=1", metrics))
	require.Empty(t, ways("redisUrl=redis://elsewhere:6379/0"))
}

func TestExporterIsScrapedBesideEveryRedis(t *testing.T) {
	for _, replicas := range []string{"0", "2"} {
		b := build(t, "redisReplicas="+replicas, "redisExporterImage="+exporter)
		component, kind := redisName, deployments
		if replicas != "0" {
			component, kind = nodes, statefulSets
		}
		pod := b.one(t, kind, component)
		require.Len(t, pod.containers(), 2)
		sidecar := pod.containers()[1]
		require.Equal(t, exporter, sidecar["image"])
		require.Equal(t, []string{"--redis.addr=redis://127.0.0.1:6379", "--web.listen-address=:9121"}, texts(sidecar["args"]))
		require.JSONEq(t, `[{"name":"REDIS_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis","key":"password"}}}]`, asJSON(t, sidecar["env"]))
		require.Nil(t, sidecar["volumeMounts"], "it sees neither the data nor the key of the certificate")

		service := b.one(t, services, component+"-metrics")
		require.Equal(t, "None", at(service.body, "spec", "clusterIP"))
		config, _ := at(b.one(t, configMaps, "prometheus").body, "data", "prometheus.yml").(string)
		require.Contains(t, config, "job_name: redis\n")
		require.Contains(t, config, service.name+".headroom.svc.cluster.local.")
	}
	b := build(t, tlsSetting, "redisExporterImage="+exporter)
	require.Equal(t, []string{"--redis.addr=rediss://127.0.0.1:6379", "--skip-tls-verification", "--web.listen-address=:9121"},
		texts(b.one(t, deployments, redisName).containers()[1]["args"]))
	config, _ := at(build(t).one(t, configMaps, "prometheus").body, "data", "prometheus.yml").(string)
	require.NotContains(t, config, "job_name: redis\n")
}

// Of a Redis that is there already nothing is made, but a Secret where the
// password comes from the stack's configuration.
func TestExternalRedis(t *testing.T) {
	for _, test := range []struct {
		settings []string
		args     []string // what the dispatcher gets beside the URL
		env      string
		made     []string
	}{
		{[]string{"redisUrl=redis://elsewhere:6379/0"}, nil, `[]`, nil},
		{
			[]string{"redisUrl=redis://user@elsewhere:6379/0", "redisPassword=given-by-hand"}, nil,
			`[{"name":"REDIS_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis","key":"password"}}}]`, []string{"kubernetes:" + secrets},
		},
		{
			[]string{"redisUrl=rediss://elsewhere:6379/0", "redisPasswordSecret=redis-auth", tlsSetting},
			[]string{"--redis-ca", "/etc/headroom/redis-ca/ca.crt"},
			`[{"name":"REDIS_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis-auth","key":"password"}}}]`, nil,
		},
		{
			[]string{"redisUrl=redis://s1:26379/0?master_name=m&addr=s2:26379", "redisMode=sentinel", "redisPasswordSecret=redis-auth"},
			[]string{"--redis-mode", "sentinel"},
			`[{"name":"REDIS_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis-auth","key":"password"}}},
			  {"name":"REDIS_SENTINEL_PASSWORD","valueFrom":{"secretKeyRef":{"name":"redis-auth","key":"sentinel-password","optional":true}}}]`, nil,
		},
		{[]string{"redisUrl=rediss://n1:7000?addr=n2:7001", "redisMode=cluster"}, []string{"--redis-mode", "cluster"}, `[]`, nil},
	} {
		t.Run(test.settings[0], func(t *testing.T) {
			b := build(t, test.settings...)
			args := dispatcherArgs(t, b)
			require.Equal(t, strings.TrimPrefix(test.settings[0], "redisUrl="), valueOf(t, args, "--redis"))
			usual := dispatcherArgs(t, build(t))
			require.Equal(t, test.args, append([]string(nil), args[len(usual):]...))

			door := b.one(t, deployments, "dispatcher")
			env := door.containers()[0]["env"].([]any)
			require.JSONEq(t, test.env, asJSON(t, env[:len(env)-1]))
			var made []string
			for _, r := range b.resources {
				if strings.Contains(r.parent, "headroom:infra:Redis") {
					made = append(made, r.typ)
				}
			}
			require.Equal(t, test.made, made)
			version := at(door.body, "spec", "template", "metadata", "annotations", "headroom.dev/secret-version")
			require.Equal(t, test.made != nil, version == "4711", "its pods roll with a password that is known here")
		})
	}
}

// With egress closed too the dispatcher gets to where it is sent.
func TestWaysOutToWhatIsExternal(t *testing.T) {
	ports := func(component string, settings ...string) []any {
		var found []any
		for _, p := range build(t, append(settings, "networkPolicyEgress=true", "scaler=none")...).all(policies) {
			if p.name != component {
				continue
			}
			for _, rule := range objects(at(p.body, "spec", "egress")) {
				for _, port := range objects(rule["ports"]) {
					if rule["to"] == nil && port["port"] != 53.0 && port["port"] != 443.0 && port["port"] != 6443.0 {
						found = append(found, port["port"])
					}
				}
			}
		}
		return found
	}
	require.Empty(t, ports("dispatcher"))
	require.Equal(t, []any{6379.0}, ports("dispatcher", "redisUrl=redis://elsewhere"))
	require.Equal(t, []any{6379.0, 7000.0, 7001.0}, ports("dispatcher", "redisMode=cluster", "redisUrl=redis://n1:7001?addr=n2:7000"))
	for _, component := range []string{"dispatcher", "model-server"} {
		require.Equal(t, []any{4318.0}, ports(component, "otlpEndpoint=http://collector:4318"), component)
	}
	require.Equal(t, []any{80.0}, ports("model-server", "otlpEndpoint=http://collector"))
}

func TestCallersKeysAreAFileThatTheDispatcherFollows(t *testing.T) {
	b := build(t, "apiKeysSecret=api-keys")
	require.Equal(t, "/etc/headroom/api-keys/keys.json", valueOf(t, dispatcherArgs(t, b), "--api-keys"))
	door := b.one(t, deployments, "dispatcher")
	require.JSONEq(t, `[{"name":"api-keys","secret":{"secretName":"api-keys","defaultMode":288,"items":[{"key":"keys.json","path":"keys.json"}]}}]`,
		asJSON(t, door.podSpec()["volumes"]))
	mount := objects(door.containers()[0]["volumeMounts"])[0]
	require.Equal(t, "/etc/headroom/api-keys", mount["mountPath"])
	require.Equal(t, true, mount["readOnly"])
	require.Nil(t, mount["subPath"], "a subPath would keep the first content for ever")
	require.NotContains(t, dispatcherArgs(t, build(t)), "--api-keys")
}

func TestTracesGoToTheCollector(t *testing.T) {
	b := build(t, "otlpEndpoint=http://collector.observability.svc:4318", "traceSampleRatio=0.05", "otlpHeadersSecret=otlp")
	plain := build(t)
	for _, name := range []string{"dispatcher", "model-server"} {
		c := b.one(t, deployments, name).containers()[0]
		args := texts(c["args"])
		usual := texts(plain.one(t, deployments, name).containers()[0]["args"])
		require.Equal(t, []string{"--otlp-endpoint", "http://collector.observability.svc:4318", "--trace-sample-ratio", "0.05"}, args[len(usual):], name)
		env := objects(c["env"])
		require.JSONEq(t, `{"name":"OTEL_EXPORTER_OTLP_HEADERS","valueFrom":{"secretKeyRef":{"name":"otlp","key":"headers"}}}`, asJSON(t, env[len(env)-1]), name)
	}
}

func TestSecondPassword(t *testing.T) {
	secret := build(t, "redisPassword=given-by-hand", "redisSecondPassword=soon-to-come").one(t, secrets, redisName)
	data := secret.body["data"].(object)
	require.Equal(t, "given-by-hand", decoded(t, data["password"]))
	require.Equal(t, "soon-to-come", decoded(t, data["second-password"]))
	require.Equal(t, `user default on sanitize-payload ~* &* +@all ">given-by-hand" ">soon-to-come"`+"\n", decoded(t, data["redis.conf"]))
	_, second := build(t).one(t, secrets, redisName).body["data"].(object)["second-password"]
	require.False(t, second)
}
