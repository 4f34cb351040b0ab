package prometheus

import (
	"fmt"
	"net/url"
	"time"

	"go.yaml.in/yaml/v3"
)

type file struct {
	Global        global    `yaml:"global"`
	RuleFiles     []string  `yaml:"rule_files"`
	Alerting      *alerting `yaml:"alerting,omitempty"`
	ScrapeConfigs []scrape  `yaml:"scrape_configs"`
}

type global struct {
	ScrapeInterval     string `yaml:"scrape_interval"`
	ScrapeTimeout      string `yaml:"scrape_timeout"`
	EvaluationInterval string `yaml:"evaluation_interval"`
}

type alerting struct {
	Alertmanagers []alertmanager `yaml:"alertmanagers"`
}

type alertmanager struct {
	Scheme        string         `yaml:"scheme"`
	PathPrefix    string         `yaml:"path_prefix,omitempty"`
	StaticConfigs []staticConfig `yaml:"static_configs"`
}

type staticConfig struct {
	Targets []string          `yaml:"targets"`
	Labels  map[string]string `yaml:"labels,omitempty"`
}

type scrape struct {
	JobName        string          `yaml:"job_name"`
	ScrapeInterval string          `yaml:"scrape_interval,omitempty"`
	ScrapeTimeout  string          `yaml:"scrape_timeout,omitempty"`
	DNSSDConfigs   []discovery     `yaml:"dns_sd_configs,omitempty"`
	FileSDConfigs  []fileDiscovery `yaml:"file_sd_configs,omitempty"`
	Keep           []relabeling    `yaml:"metric_relabel_configs,omitempty"`
}

type discovery struct {
	Names           []string `yaml:"names"`
	Type            string   `yaml:"type"`
	Port            int      `yaml:"port"`
	RefreshInterval string   `yaml:"refresh_interval"`
}

type fileDiscovery struct {
	Files           []string `yaml:"files"`
	RefreshInterval string   `yaml:"refresh_interval"`
}

type relabeling struct {
	SourceLabels []string `yaml:"source_labels"`
	Regex        string   `yaml:"regex"`
	Action       string   `yaml:"action"`
}

// selfInterval is the time between two looks of Prometheus at itself.
const selfInterval = 15 * time.Second

// renderConfig gives prometheus.yml. The pods are found by the addresses of
// headless Services: this asks nothing of the Kubernetes API, so Prometheus
// needs no permission, and works with builds that leave Kubernetes discovery
// out, as Debian's does. A name that doesn't exist is a job without targets.
func renderConfig(args Args) (string, error) {
	interval := args.ScrapeInterval
	config := file{
		Global: global{
			ScrapeInterval: milliseconds(interval),
			// A tenth is left, so that one slow target never delays its next scrape.
			ScrapeTimeout:      milliseconds(min(interval*9/10, 10*time.Second)),
			EvaluationInterval: milliseconds(interval),
		},
		RuleFiles: []string{rulesKey},
	}
	if args.Alertmanager != "" {
		u, err := url.Parse(args.Alertmanager)
		if err != nil {
			return "", fmt.Errorf("reading the Alertmanager's URL: %w", err)
		}
		config.Alerting = &alerting{[]alertmanager{{
			Scheme: u.Scheme, PathPrefix: u.Path, StaticConfigs: []staticConfig{{Targets: []string{u.Host}}},
		}}}
	}
	for _, target := range args.Targets {
		config.ScrapeConfigs = append(config.ScrapeConfigs, scrape{
			JobName: target.Job,
			DNSSDConfigs: []discovery{{
				// The dot ends the name: no search list is tried.
				Names:           []string{fmt.Sprintf("%s.%s.svc.%s.", target.Service, args.Namespace.Name, args.ClusterDomain)},
				Type:            "A",
				Port:            target.Port,
				RefreshInterval: milliseconds(min(interval, 5*time.Second)),
			}},
		})
	}
	config.ScrapeConfigs = append(config.ScrapeConfigs, scrape{
		JobName:        Name,
		ScrapeInterval: milliseconds(selfInterval), ScrapeTimeout: milliseconds(10 * time.Second),
		FileSDConfigs: []fileDiscovery{{Files: []string{selfKey}, RefreshInterval: milliseconds(selfInterval)}},
		Keep: []relabeling{{
			SourceLabels: []string{"__name__"}, Regex: "prometheus_(notifications|rule|tsdb)_.*|process_(cpu_seconds_total|resident_memory_bytes)", Action: "keep",
		}},
	})
	content, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("writing Prometheus' config: %w", err)
	}
	return string(content), nil
}

// renderSelf gives the list of targets that has Prometheus scrape itself.
func renderSelf(facts map[string]string) (string, error) {
	content, err := yaml.Marshal([]staticConfig{{Targets: []string{fmt.Sprintf("localhost:%d", Port.Number)}, Labels: facts}})
	if err != nil {
		return "", fmt.Errorf("writing what Prometheus knows of the stack: %w", err)
	}
	return string(content), nil
}

// milliseconds writes a duration as Prometheus reads it, which has no
// fractions.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%dms", d.Milliseconds())
}
