package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMonitoring(t *testing.T) {
	cfg, err := Load(written("prometheus=existing", "prometheusUrl=https://thanos.example/prometheus", `monitorLabels={"release":"kube-prometheus"}`,
		"monitoringNamespace=observability", "runbookUrl=https://example.com/runbooks", `dashboardLabels={"dashboards":true}`, "grafana=true"), project())
	require.NoError(t, err)
	require.Equal(t, Monitoring{
		Prometheus: PrometheusExisting, URL: "https://thanos.example/prometheus", RetentionSize: "1GB",
		Labels: map[string]string{"release": "kube-prometheus"}, Namespace: "observability",
		RunbookURL: "https://example.com/runbooks", DashboardLabels: map[string]string{"dashboards": "true"}, Grafana: true,
	}, cfg.Monitoring)
	require.False(t, cfg.Monitoring.Own())
	require.Equal(t, defaultGrafanaImage, cfg.Images.Grafana)
	require.Zero(t, cfg.PrometheusLookback(), "nobody knows how long somebody else's Prometheus keeps its data")
}

func TestPrometheusNeedNotBeKnownWhereItIsNotRun(t *testing.T) {
	_, err := Load(written("prometheusImage=BAD IMAGE", "grafanaImage=BAD IMAGE", "prometheus=existing", "prometheusUrl=http://p:9090"), project())
	require.NoError(t, err)
}

func TestLookback(t *testing.T) {
	for text, want := range map[string]time.Duration{"6h": 6 * time.Hour, "15d": 360 * time.Hour, "2w": 336 * time.Hour} {
		cfg, err := Load(written("prometheusRetention="+text), project())
		require.NoError(t, err)
		require.Equal(t, want, cfg.PrometheusLookback())
	}
}

func TestAVolumeHoldsWhatIsKept(t *testing.T) {
	cfg, err := Load(written("prometheusStorage=50Gi", "prometheusStorageClass=fast", "prometheusRetentionSize=40GB", "alertmanagerUrl=http://alertmanager:9093"), project())
	require.NoError(t, err)
	require.Equal(t, "50Gi", cfg.Monitoring.Storage)
}

func TestBadMonitoring(t *testing.T) {
	const foreign = " with headroom:prometheus existing, which is not this stack's"
	existing := []string{"prometheus=existing", "prometheusUrl=http://prometheus:9090"}
	for _, test := range []struct {
		message  string
		settings []string
	}{
		{`headroom:prometheus is "theirs"; must be one of own, existing`, []string{"prometheus=theirs"}},
		{`headroom:prometheusUrl is ""; must be set with headroom:prometheus existing`, []string{"prometheus=existing"}},
		{`headroom:prometheusUrl is "http://p:9090"; must be empty with headroom:prometheus own`, []string{"prometheusUrl=http://p:9090"}},
		{`headroom:prometheusUrl is "p:9090"; must be like http://prometheus-operated.monitoring.svc:9090, or the same with https`, []string{"prometheus=existing", "prometheusUrl=p:9090"}},
		{`headroom:prometheusUrl is "http://p/?x"; must be like http://prometheus-operated.monitoring.svc:9090, or the same with https`, []string{"prometheus=existing", "prometheusUrl=http://p/?x"}},
		{`headroom:prometheusUrl has a user in it; must be without one, like http://prometheus-operated.monitoring.svc:9090`, []string{"prometheus=existing", "prometheusUrl=http://me:secret@p"}},
		{`headroom:alertmanagerUrl is "alertmanager"; must be like http://alertmanager-operated.monitoring.svc:9093, or the same with https`, []string{"alertmanagerUrl=alertmanager"}},
		{`headroom:alertmanagerUrl is "http://a:9093"; must be empty` + foreign, append(existing, "alertmanagerUrl=http://a:9093")},
		{`headroom:prometheusStorage is "50Gi"; must be empty` + foreign, append(existing, "prometheusStorage=50Gi")},
		{`headroom:prometheusStorage is "100Mi"; must be from 1Gi to 16384Gi, such as 50Gi, or empty`, []string{"prometheusStorage=100Mi"}},
		{`headroom:prometheusStorageClass is "Fast"; must be the name of a StorageClass: lower-case letters, digits, - and .`, []string{"prometheusStorage=50Gi", "prometheusStorageClass=Fast"}},
		{`headroom:prometheusStorageClass is "fast"; must be empty while headroom:prometheusStorage is`, []string{"prometheusStorageClass=fast"}},
		{`headroom:prometheusRetentionSize is "1Gi"; must be a whole number and MB, GB or TB, such as 1GB`, []string{"prometheusRetentionSize=1Gi"}},
		{`headroom:prometheusRetentionSize is "3GB"; must be at most 80% of the volume, which is 3Gi without headroom:prometheusStorage`, []string{"prometheusRetentionSize=3GB"}},
		{`headroom:prometheusRetentionSize is "9GB"; must be at most 80% of the volume, which is headroom:prometheusStorage 10Gi`, []string{"prometheusStorage=10Gi", "prometheusRetentionSize=9GB"}},
		{`headroom:monitorLabels is "1 labels"; must be empty with headroom:prometheus own`, []string{`monitorLabels={"a":"b"}`}},
		{`headroom:monitorLabels["a b"] is "c"; ` + labelKeyRule, append(existing, `monitorLabels={"a b":"c"}`)},
		{`headroom:dashboardLabels["a"] is "b c"; must be a label's value: at most 63 letters, digits, -, _ and .`, []string{`dashboardLabels={"a":"b c"}`}},
		{`headroom:monitoringNamespace is "Monitoring"; must be a namespace's name`, []string{"monitoringNamespace=Monitoring"}},
		{`headroom:runbookUrl is "a#b"; must be a URL or a path, without # and spaces`, []string{"runbookUrl=a#b"}},
		{`headroom:grafana is "yes"; must be true or false`, []string{"grafana=yes"}},
		{`headroom:grafanaImage is "BAD IMAGE"; must be an image reference such as name:tag or host:5000/name@sha256:…`, []string{"grafana=true", "grafanaImage=BAD IMAGE"}},
	} {
		t.Run(test.message, func(t *testing.T) {
			_, err := Load(written(test.settings...), project())
			require.EqualError(t, err, test.message)
		})
	}
}
