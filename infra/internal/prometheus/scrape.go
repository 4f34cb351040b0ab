package prometheus

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

type file struct {
	Global        global   `yaml:"global"`
	ScrapeConfigs []scrape `yaml:"scrape_configs"`
}

type global struct {
	ScrapeInterval     string `yaml:"scrape_interval"`
	ScrapeTimeout      string `yaml:"scrape_timeout"`
	EvaluationInterval string `yaml:"evaluation_interval"`
}

type scrape struct {
	JobName      string      `yaml:"job_name"`
	DNSSDConfigs []discovery `yaml:"dns_sd_configs"`
}

type discovery struct {
	Names           []string `yaml:"names"`
	Type            string   `yaml:"type"`
	Port            int      `yaml:"port"`
	RefreshInterval string   `yaml:"refresh_interval"`
}

// renderConfig gives prometheus.yml. The pods are found by the addresses of
// headless Services: this asks nothing of the Kubernetes API, so Prometheus
// needs no permission, and works with builds that leave Kubernetes discovery
// out, as Debian's does. A name that doesn't exist is a job without targets.
func renderConfig(args Args) (string, error) {
	interval := args.ScrapeInterval
	config := file{Global: global{
		ScrapeInterval: milliseconds(interval),
		// A tenth is left, so that one slow target never delays its next scrape.
		ScrapeTimeout:      milliseconds(min(interval*9/10, 10*time.Second)),
		EvaluationInterval: milliseconds(interval),
	}}
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
	content, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("writing Prometheus' config: %w", err)
	}
	return string(content), nil
}

// milliseconds writes a duration as Prometheus reads it, which has no
// fractions.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%dms", d.Milliseconds())
}
