package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/promqltest"
)

const (
	claims      = "core/v1:PersistentVolumeClaim"
	podMonitors = "monitoring.coreos.com/v1:PodMonitor"
	ruleObjects = "monitoring.coreos.com/v1:PrometheusRule"
)

// existing are the settings for somebody else's Prometheus.
func existing(more ...string) []string {
	return append([]string{"prometheus=existing", "prometheusUrl=http://prometheus-operated.observability.svc:9090", "monitoringNamespace=observability",
		`monitorLabels={"release":"kube-prometheus-stack"}`}, more...)
}

// What holds for every way of measuring, beside what holds in every shape.
func TestWhatHoldsForEveryWayOfMeasuring(t *testing.T) {
	for _, scaler := range []string{"custom", "hpa"} {
		for _, grafana := range []string{"true", "false"} {
			for _, exporter := range []string{"redisExporterImage=exporter:1", "redisExporterImage="} {
				for _, storage := range []string{"prometheusStorage=20Gi", "prometheusStorage="} {
					own := []string{"scaler=" + scaler, "grafana=" + grafana, exporter, storage}
					t.Run(strings.Join(own, ","), func(t *testing.T) { checkMonitoring(t, build(t, own...)) })
				}
				other := existing("scaler="+scaler, "grafana="+grafana, exporter)
				t.Run(strings.Join(other, ","), func(t *testing.T) {
					b := build(t, other...)
					checkMonitoring(t, b)
					for _, typ := range []string{deployments, services, configMaps} {
						for _, r := range b.all(typ) {
							require.NotContains(t, r.name, "prometheus")
						}
					}
				})
			}
		}
	}
}

func checkMonitoring(t *testing.T, b built) {
	t.Helper()
	checkParentsAndProvider(t, b)
	for _, d := range b.all(deployments) {
		checkHardening(t, d)
		checkVolumes(t, d)
	}
	for _, r := range b.resources {
		if r.custom && !strings.HasPrefix(r.typ, "pulumi:") && r.typ != "kubernetes:core/v1:Namespace" {
			require.Equal(t, "headroom", at(r.body, "metadata", "namespace"), r.name)
		}
	}
	for _, s := range b.all(secrets) {
		require.True(t, s.inputs["data"].IsSecret(), s.name)
		for key, value := range s.body["data"].(object) {
			for _, r := range b.resources {
				if r.typ == s.typ {
					continue
				}
				require.NotContains(t, asJSON(t, r.body), value, "%s in %s %s", key, r.typ, r.name)
				require.NotContains(t, asJSON(t, r.body), decoded(t, value), "%s in %s %s", key, r.typ, r.name)
			}
		}
	}
	boards := b.one(t, configMaps, "grafana-dashboards")
	require.Equal(t, "1", at(boards.body, "metadata", "labels", "grafana_dashboard"))
	size := 0
	for name, content := range boards.body["data"].(object) {
		require.True(t, json.Valid([]byte(content.(string))), name)
		size += len(content.(string))
	}
	require.Less(t, size, 1<<19, "a ConfigMap holds 1 MiB")
}

func TestPrometheusKeepsItsDataOnAVolume(t *testing.T) {
	data := func(b built) object {
		for _, v := range objects(b.one(t, deployments, "prometheus").podSpec()["volumes"]) {
			if v["name"] == "data" {
				return v
			}
		}
		return nil
	}
	args := func(b built) []string { return texts(b.one(t, deployments, "prometheus").containers()[0]["args"]) }

	b := build(t)
	require.Empty(t, b.all(claims))
	require.Equal(t, object{"name": "data", "emptyDir": object{"sizeLimit": "3Gi"}}, data(b))
	require.Subset(t, args(b), []string{"--storage.tsdb.retention.time=6h", "--storage.tsdb.retention.size=1GB"})

	b = build(t, "prometheusStorage=50Gi", "prometheusStorageClass=fast", "prometheusRetention=30d", "prometheusRetentionSize=40GB")
	claim := b.one(t, claims, "prometheus-fast")
	require.Equal(t, "50Gi", at(claim.body, "spec", "resources", "requests", "storage"))
	require.Equal(t, "fast", at(claim.body, "spec", "storageClassName"))
	require.Equal(t, object{"name": "data", "persistentVolumeClaim": object{"claimName": "prometheus-fast"}}, data(b))
	require.Subset(t, args(b), []string{"--storage.tsdb.retention.time=30d", "--storage.tsdb.retention.size=40GB"})
	require.Equal(t, "Recreate", at(b.one(t, deployments, "prometheus").body, "spec", "strategy", "type"))
}

// alertsOf are the names of the alerts, with their long windows.
func alertsOf(t *testing.T, groups any) []string {
	t.Helper()
	var alerts []string
	for _, group := range objects(groups) {
		for _, rule := range objects(group["rules"]) {
			if rule["alert"] != nil {
				alerts = append(alerts, strings.TrimSpace(fmt.Sprint(rule["alert"], " ", at(rule, "labels", "long"))))
			}
		}
	}
	return alerts
}

func ownRules(t *testing.T, settings ...string) []string {
	t.Helper()
	text, _ := at(build(t, settings...).one(t, configMaps, "prometheus").body, "data", "rules.yml").(string)
	return alertsOf(t, fromYAML(t, []byte(text))["groups"])
}

func TestAlertsLookNoFurtherBackThanDataIsKept(t *testing.T) {
	require.Contains(t, ownRules(t), "HeadroomErrorBudgetBurn 6h")
	require.NotContains(t, ownRules(t), "HeadroomErrorBudgetBurn 1d")
	require.Contains(t, ownRules(t, "prometheusRetention=30d"), "HeadroomErrorBudgetBurn 3d")
}

func TestRedisIsWatchedWhereItHasAnExporter(t *testing.T) {
	require.NotContains(t, ownRules(t), "HeadroomRedisMemory <nil>")
	require.Contains(t, ownRules(t, "redisExporterImage=exporter:1"), "HeadroomRedisMemory <nil>")
}

func TestAlertmanager(t *testing.T) {
	config := func(settings ...string) object {
		text, _ := at(build(t, settings...).one(t, configMaps, "prometheus").body, "data", "prometheus.yml").(string)
		return fromYAML(t, []byte(text))
	}
	require.NotContains(t, config(), "alerting")
	require.Equal(t, object{"alertmanagers": []any{object{
		"scheme": "https", "path_prefix": "/alerts", "static_configs": []any{object{"targets": []any{"alertmanager.example:8443"}}},
	}}}, config("alertmanagerUrl=https://alertmanager.example:8443/alerts")["alerting"])
}

// Whose Prometheus it is, what is scraped has the jobs of the contract, and the
// selectors of the monitors match the pods, of which each is found once.
func TestPodMonitors(t *testing.T) {
	for _, replicas := range []string{"0", "1"} {
		b := build(t, existing("redisExporterImage=exporter:1", "redisReplicas="+replicas, "prometheusScrapeInterval=1500ms")...)
		workloads := slices.Concat(b.all(deployments), b.all(statefulSets))
		jobs := map[string]string{}
		for _, monitor := range b.all(podMonitors) {
			require.Equal(t, "monitoring.coreos.com/v1", monitor.body["apiVersion"])
			require.Equal(t, "PodMonitor", monitor.body["kind"])
			require.Equal(t, "kube-prometheus-stack", at(monitor.body, "metadata", "labels", "release"))
			selector, _ := at(monitor.body, "spec", "selector", "matchLabels").(object)
			require.NotEmpty(t, selector)
			endpoints := objects(at(monitor.body, "spec", "podMetricsEndpoints"))
			require.Len(t, endpoints, 1)
			require.Equal(t, "1500ms", endpoints[0]["interval"])
			require.Equal(t, "1350ms", endpoints[0]["scrapeTimeout"])
			relabelings := objects(endpoints[0]["relabelings"])
			require.Len(t, relabelings, 1)
			require.Equal(t, "job", relabelings[0]["targetLabel"])

			var found []string
			for _, w := range workloads {
				labels, _ := at(w.body, "spec", "template", "metadata", "labels").(object)
				if !matches(selector, labels) {
					continue
				}
				found = append(found, w.name)
				ports := 0
				for _, c := range w.containers() {
					for _, port := range objects(c["ports"]) {
						if port["name"] == endpoints[0]["port"] {
							ports++
						}
					}
				}
				require.Equal(t, 1, ports, w.name)
			}
			require.Len(t, found, 1)
			jobs[found[0]] = relabelings[0]["replacement"].(string)
		}
		want := map[string]string{"dispatcher": "dispatcher", "model-server": "model-server", "scaler": "scaler", "redis": "redis"}
		if replicas == "1" {
			delete(want, "redis")
			want["redis-node"] = "redis"
		}
		require.Equal(t, want, jobs)
	}
}

func matches(selector, labels object) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

func TestPrometheusRule(t *testing.T) {
	rule := build(t, existing()...).one(t, ruleObjects, "headroom")
	require.Equal(t, "kube-prometheus-stack", at(rule.body, "metadata", "labels", "release"))
	alerts := alertsOf(t, at(rule.body, "spec", "groups"))
	require.Contains(t, alerts, "HeadroomErrorBudgetBurn 3d")
	require.Contains(t, alerts, "HeadroomScalerNoLeader <nil>")
	content, err := yaml.Marshal(rule.body["spec"])
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	out, err := promqltest.Promtool(t, "check", "rules", "--lint=all", "--lint-fatal", path)
	require.NoError(t, err, out)

	hpa := build(t, existing("scaler=hpa")...)
	for _, alert := range alertsOf(t, at(hpa.one(t, ruleObjects, "headroom").body, "spec", "groups")) {
		require.NotContains(t, alert, "Scaler", "there is none")
	}
	require.Len(t, hpa.all(podMonitors), 2)
}

// The scaler reads the Prometheus that there is, and in one that others use too
// only its own namespace's series.
func TestTheScalerReadsSomebodyElsesPrometheus(t *testing.T) {
	b := build(t, existing("namespace=shop")...)
	text, _ := at(b.one(t, configMaps, "scaler").body, "data", "scaler.yaml").(string)
	config := fromYAML(t, []byte(text))
	require.Equal(t, "http://prometheus-operated.observability.svc:9090", at(config, "prometheus", "url"))
	require.Equal(t, "http://prometheus-operated.observability.svc:9090", b.outputs["prometheusUrl"])
	signals := config["signals"].(object)
	selector := regexp.MustCompile(`\b(dispatcher|inference|modelserver|process)_\w+`)
	var queries []string
	for name, signal := range signals {
		if name == "freshness" {
			for _, query := range signal.(object) {
				queries = append(queries, query.(string))
			}
		} else {
			queries = append(queries, signal.(string))
		}
	}
	require.Greater(t, len(queries), 10)
	for _, query := range queries {
		require.Equal(t, len(selector.FindAllString(query, -1)), strings.Count(query, `{namespace="shop"`), query)
		queries = append(queries, query)
	}
	filled := strings.NewReplacer("$window", "10s", "$quantile", "0.99")
	for i := range queries {
		queries[i] = filled.Replace(queries[i])
	}
	promqltest.Parse(t, queries)
}

func TestSomebodyElsesPrometheusIsLetIn(t *testing.T) {
	from := func(b built, to string, port float64) []string {
		var found []string
		for _, rule := range objects(at(b.one(t, policies, to).body, "spec", "ingress")) {
			if objects(rule["ports"])[0]["port"] != port {
				continue
			}
			for _, peer := range objects(rule["from"]) {
				found = append(found, fmt.Sprint(
					at(peer, "podSelector", "matchLabels", "app.kubernetes.io/name"), " ", at(peer, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name")))
			}
		}
		return found
	}
	b := build(t, existing("redisExporterImage=exporter:1")...)
	for to, port := range map[string]float64{"dispatcher": 8000, "model-server": 8001, "scaler": 8002, "redis": 9121} {
		require.Equal(t, []string{"<nil> observability"}, from(b, to, port))
	}
	for _, p := range b.all(policies) {
		require.NotContains(t, p.name, "prometheus")
	}
	require.Equal(t, []string{"prometheus <nil>"}, from(build(t), "model-server", 8001))
}

// With closed egress each still reaches what it asks.
func TestMonitoringReachesOut(t *testing.T) {
	const closed = "networkPolicyEgress=true"
	require.Contains(t, outgoing(t, build(t, closed, "alertmanagerUrl=http://alertmanager:9093")), "prometheus → anywhere TCP/9093")
	require.Contains(t, outgoing(t, build(t, existing(closed, "grafana=true")...)), "grafana → anywhere TCP/9090")
	require.Contains(t, outgoing(t, build(t, existing(closed)...)), "scaler → anywhere TCP/9090")
	require.Contains(t, outgoing(t, build(t, closed, "grafana=true")), "grafana → prometheus TCP/9090")
	require.Contains(t, outgoing(t, build(t, "prometheus=existing", "prometheusUrl=https://thanos.example/p", closed)), "scaler → anywhere TCP/443")
}

func TestGrafana(t *testing.T) {
	require.Empty(t, slices.DeleteFunc(build(t).all(deployments), func(r registered) bool { return r.name != "grafana" }))
	b := build(t, "grafana=true", "grafanaImage=grafana:1", "prometheusScrapeInterval=2s")
	d := b.one(t, deployments, "grafana")
	checkContainers(t, d)
	require.Equal(t, "grafana:1", d.containers()[0]["image"])
	require.Nil(t, d.containers()[0]["env"], "no password in the environment")
	service := b.one(t, services, "grafana")
	require.Equal(t, "ClusterIP", at(service.body, "spec", "type"))

	// Each file is where Grafana looks for it.
	volumes := map[string]object{}
	for _, v := range objects(d.podSpec()["volumes"]) {
		volumes[v["name"].(string)] = v
	}
	data, _ := at(b.one(t, configMaps, "grafana").body, "data").(object)
	files := map[string]string{}
	for _, item := range objects(at(volumes["config"], "configMap", "items")) {
		files[item["path"].(string)] = data[item["key"].(string)].(string)
	}
	require.Len(t, files, len(data))
	source := objects(fromYAML(t, []byte(files["provisioning/datasources/prometheus.yaml"]))["datasources"])[0]
	require.Equal(t, "http://prometheus.headroom.svc:9090", source["url"])
	require.Equal(t, "2000ms", at(source, "jsonData", "timeInterval"))
	mounts := map[string]any{}
	for _, m := range objects(d.containers()[0]["volumeMounts"]) {
		mounts[m["name"].(string)] = m["mountPath"]
	}
	require.Equal(t, "/etc/grafana", mounts["config"])
	provider := objects(fromYAML(t, []byte(files["provisioning/dashboards/headroom.yaml"]))["providers"])[0]
	require.Equal(t, mounts["dashboards"], at(provider, "options", "path"))
	require.Equal(t, "grafana-dashboards", at(volumes["dashboards"], "configMap", "name"))
	ini := files["grafana.ini"]
	home := regexp.MustCompile(`default_home_dashboard_path = (.*)`).FindStringSubmatch(ini)[1]
	require.Contains(t, b.one(t, configMaps, "grafana-dashboards").body["data"], filepath.Base(home))
	require.Equal(t, mounts["dashboards"], filepath.Dir(home))

	secret := b.one(t, secrets, "grafana")
	require.Contains(t, ini, fmt.Sprintf("admin_password = $__file{%s/admin-password}", mounts["secret"]))
	require.Equal(t, "grafana", at(volumes["secret"], "secret", "secretName"))
	require.GreaterOrEqual(t, len(decoded(t, at(secret.body, "data", "admin-password"))), 20)
	require.Equal(t, []string{"data"}, secret.ignored, "a later run must not change it")
	require.NotEqual(t, secret.body["data"], build(t, "grafana=true").one(t, secrets, "grafana").body["data"])
	require.Equal(t, "http://prometheus-operated.observability.svc:9090", datasource(t, build(t, existing("grafana=true")...)))
}

func datasource(t *testing.T, b built) any {
	t.Helper()
	text, _ := at(b.one(t, configMaps, "grafana").body, "data", "datasources.yaml").(string)
	return objects(fromYAML(t, []byte(text))["datasources"])[0]["url"]
}

func TestDashboardsAreFoundBySidecars(t *testing.T) {
	boards := build(t, `dashboardLabels={"dashboards":"yes"}`, "scaler=hpa").one(t, configMaps, "grafana-dashboards")
	require.Equal(t, "yes", at(boards.body, "metadata", "labels", "dashboards"))
	require.Nil(t, at(boards.body, "metadata", "labels", "grafana_dashboard"))
	require.Len(t, boards.body["data"], 2, "there is no scaler to show")
	require.Len(t, build(t).one(t, configMaps, "grafana-dashboards").body["data"], 3)
}
