package config

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Whose Prometheus measures headroom.
const (
	PrometheusOwn      = "own"      // one of the stack's own
	PrometheusExisting = "existing" // one that is there, run by the Prometheus Operator
)

// Monitoring says who measures headroom, what is kept of it, and who is told.
type Monitoring struct {
	Prometheus string // PrometheusOwn or PrometheusExisting

	// With PrometheusOwn.
	Storage         string // size of a volume for its data; empty: gone with its pod
	StorageClass    string // empty: the cluster's default
	RetentionSize   string // most data that is kept, at most 80% of the volume
	AlertmanagerURL string // who is told of alerts; empty: nobody

	// With PrometheusExisting.
	URL       string            // as reached from the scaler and from people
	Labels    map[string]string // of PodMonitors and rules, by which the Prometheus selects them
	Namespace string            // the one that it runs in

	RunbookURL      string            // to which #alert is added
	DashboardLabels map[string]string // of the ConfigMap with the dashboards
	Grafana         bool              // true: one of the stack's own
}

// Own tells whether Prometheus is the stack's own.
func (m Monitoring) Own() bool { return m.Prometheus == PrometheusOwn }

// scratchGibibytes is the most that Prometheus may write where it has no volume
// of its own.
const scratchGibibytes = 3

// PrometheusScratch is the same as a quantity.
func PrometheusScratch() string { return fmt.Sprintf("%dGi", scratchGibibytes) }

// PrometheusLookback is how long Prometheus keeps its data: PrometheusRetention,
// or 0, which is not known, where it is somebody else's.
func (c Config) PrometheusLookback() time.Duration {
	parts := retention.FindStringSubmatch(c.PrometheusRetention)
	if !c.Monitoring.Own() || parts == nil {
		return 0
	}
	number, _ := strconv.Atoi(parts[1]) // at most four digits
	unit := map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[parts[2]]
	return time.Duration(number) * unit
}

func (r *reader) monitoring() Monitoring {
	m := Monitoring{
		Prometheus: r.text("prometheus", PrometheusOwn),

		Storage:         r.text("prometheusStorage", ""),
		StorageClass:    r.text("prometheusStorageClass", ""),
		RetentionSize:   r.text("prometheusRetentionSize", "1GB"),
		AlertmanagerURL: r.text("alertmanagerUrl", ""),

		URL:       r.text("prometheusUrl", ""),
		Labels:    r.textMap("monitorLabels"),
		Namespace: r.text("monitoringNamespace", "monitoring"),

		RunbookURL:      r.text("runbookUrl", "docs/monitoring.md"),
		DashboardLabels: r.textMap("dashboardLabels"),
		Grafana:         r.boolean("grafana", false),
	}
	if m.DashboardLabels == nil {
		m.DashboardLabels = map[string]string{"grafana_dashboard": "1"}
	}
	return m
}

var (
	retentionSize = regexp.MustCompile(`^([1-9][0-9]{0,5})(MB|GB|TB)$`)
	runbook       = regexp.MustCompile(`^[^\s#"]+$`)
)

func (v *validator) monitoring(c Config) {
	m := c.Monitoring
	v.oneOf("prometheus", m.Prometheus, PrometheusOwn, PrometheusExisting)
	v.rule(dnsLabel.MatchString(m.Namespace), "monitoringNamespace", m.Namespace, "must be a namespace's name")
	v.rule(runbook.MatchString(m.RunbookURL), "runbookUrl", m.RunbookURL, "must be a URL or a path, without # and spaces")
	v.labels("dashboardLabels", m.DashboardLabels)
	v.labels("monitorLabels", m.Labels)
	v.webURL("prometheusUrl", m.URL, "http://prometheus-operated.monitoring.svc:9090")
	v.webURL("alertmanagerUrl", m.AlertmanagerURL, "http://alertmanager-operated.monitoring.svc:9093")
	v.prometheusStorage(m)
	if !v.sound("prometheus") {
		return
	}
	if m.Own() {
		v.rule(m.URL == "", "prometheusUrl", m.URL, "must be empty with headroom:prometheus own")
		v.rule(len(m.Labels) == 0, "monitorLabels", fmt.Sprintf("%d labels", len(m.Labels)), "must be empty with headroom:prometheus own")
		return
	}
	v.rule(m.URL != "", "prometheusUrl", m.URL, "must be set with headroom:prometheus existing")
	for _, key := range []struct{ name, value string }{
		{"prometheusStorage", m.Storage}, {"prometheusStorageClass", m.StorageClass}, {"alertmanagerUrl", m.AlertmanagerURL},
	} {
		v.rule(key.value == "", key.name, key.value, "must be empty with headroom:prometheus existing, which is not this stack's")
	}
}

// prometheusStorage leaves a fifth of the volume for what Prometheus has not
// put into blocks yet.
func (v *validator) prometheusStorage(m Monitoring) {
	volume, which := int64(scratchGibibytes)<<30, "3Gi without headroom:prometheusStorage"
	if m.Storage != "" {
		volume = v.quantity("prometheusStorage", m.Storage, memoryBytes, 1<<30, 16384<<30,
			"must be from 1Gi to 16384Gi, such as 50Gi, or empty")
		which = "headroom:prometheusStorage " + m.Storage
	}
	v.rule(m.StorageClass == "" || isObjectName(m.StorageClass), "prometheusStorageClass", m.StorageClass,
		"must be the name of a StorageClass: lower-case letters, digits, - and .")
	v.rule(m.StorageClass == "" || m.Storage != "", "prometheusStorageClass", m.StorageClass,
		"must be empty while headroom:prometheusStorage is")
	size, ok := prometheusBytes(m.RetentionSize)
	v.rule(ok, "prometheusRetentionSize", m.RetentionSize, "must be a whole number and MB, GB or TB, such as 1GB")
	if v.sound("prometheusStorage", "prometheusRetentionSize") {
		v.rule(size <= volume/10*8, "prometheusRetentionSize", m.RetentionSize,
			fmt.Sprintf("must be at most 80%% of the volume, which is %s", which))
	}
}

// prometheusBytes reads a size as Prometheus writes it: powers of 1024.
func prometheusBytes(s string) (int64, bool) {
	parts := retentionSize.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	number, err := strconv.ParseInt(parts[1], 10, 64)
	unit := map[string]int64{"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}[parts[2]]
	return number * unit, err == nil
}

func (v *validator) labels(key string, labels map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		entry, value := field(key, name), labels[name]
		v.rule(labelKey.MatchString(name), entry, value, labelKeyRule)
		v.rule(labelValue.MatchString(value), entry, value, "must be a label's value: at most 63 letters, digits, -, _ and .")
	}
}

// webURL checks a URL that may be empty. One that holds a password is not
// repeated.
func (v *validator) webURL(key, text, example string) {
	v.statement(!strings.Contains(text, "@"), key, "has a user in it", "must be without one, like "+example)
	u, err := url.Parse(text)
	v.rule(text == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(text, "?#"),
		key, text, fmt.Sprintf("must be like %s, or the same with https", example))
}
