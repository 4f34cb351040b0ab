package grafana

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// configFile is a key of the ConfigMap, and where Grafana looks for it below
// its folder.
type configFile struct{ key, path, content string }

// config has Grafana ask nobody but Prometheus, and take its dashboards and its
// data source from files only.
func (s Server) config() ([]configFile, error) {
	datasources, err := yaml.Marshal(map[string]any{
		"apiVersion": 1,
		"datasources": []any{map[string]any{
			"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy",
			"url": s.PrometheusURL, "isDefault": true, "editable": false,
			"jsonData": map[string]any{
				"httpMethod": "POST",
				// From it follows over how long Grafana takes rates: four times that.
				"timeInterval": fmt.Sprintf("%dms", s.ScrapeInterval.Milliseconds()),
			},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing Grafana's data sources: %w", err)
	}
	providers, err := yaml.Marshal(map[string]any{
		"apiVersion": 1,
		"providers": []any{map[string]any{
			"name": "headroom", "folder": "headroom", "type": "file", "disableDeletion": true, "allowUiUpdates": false,
			"updateIntervalSeconds": 30, "options": map[string]any{"path": dashboardsFolder},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing where Grafana's dashboards are: %w", err)
	}
	return []configFile{
		{"grafana.ini", "grafana.ini", fmt.Sprintf(settings, dataFolder, configFolder, secretFolder+"/"+passwordKey, dashboardsFolder+"/"+s.Home)},
		{"datasources.yaml", "provisioning/datasources/prometheus.yaml", string(datasources)},
		{"dashboards.yaml", "provisioning/dashboards/headroom.yaml", string(providers)},
	}, nil
}

const settings = `[paths]
data = %s
provisioning = %s/provisioning
[log]
mode = console
[security]
admin_user = admin
admin_password = $__file{%s}
disable_gravatar = true
cookie_samesite = strict
[users]
allow_sign_up = false
[auth.anonymous]
enabled = false
[dashboards]
default_home_dashboard_path = %s
[analytics]
enabled = false
reporting_enabled = false
check_for_updates = false
check_for_plugin_updates = false
[plugins]
preinstall_disabled = true
plugin_admin_enabled = false
[news]
news_feed_enabled = false
[snapshots]
external_enabled = false
`
